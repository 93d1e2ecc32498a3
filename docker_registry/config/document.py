"""A YAML file as plain values that know where they stand.

YAML is data here: no tags beyond the plain ones, a file that is small before its aliases are followed and after (H6),
and no two keys of one name. Nothing that a message says is taken from the text of a value: it may be a password.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

import yaml

from docker_registry.config.problems import ConfigError, Place, Problem

MAX_BYTES = 256 << 10
"""Longest file."""

MAX_NODES = 10_000
"""Values in a file, those that aliases repeat counted again."""

MAX_DEPTH = 20

Scalar = str | int | float | bool | None

_PLAIN = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null"))
_TIMESTAMP = "tag:yaml.org,2002:timestamp"      # 2026-01-31: text to us
_MERGE = "tag:yaml.org,2002:merge"
_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_TOKEN = re.compile(r"'(<[a-z ]+>|[],}:?-])'")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Value:
    """:ivar place: where the value stands.
    :ivar key: where its key stands; the value's own place in a list.
    """

    content: Scalar | dict[str, Value] | tuple[Value, ...]
    place: Place
    key: Place


def read(path: str) -> bytes:
    """The bytes of a configuration file.

    :raises ConfigError: it cannot be read, or is too long to be one.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _refused(path, f"cannot be read: {os.strerror(error.errno or 0)}") from None
    if len(content) > MAX_BYTES:
        raise _refused(path, f"longer than {MAX_BYTES} bytes")
    return content


def parse(content: bytes, file: str) -> dict[str, Value]:
    """The top level of a YAML document.

    :param file: for messages.
    :raises ConfigError: not YAML, not a mapping, a key twice, or larger than `MAX_NODES` once aliases are followed.
    """
    document = _whole(_decode(content, file), file)
    if document is None:
        raise _refused(file, "empty", allowed="a mapping of flavors")
    if not isinstance(document.content, dict):
        raise _refused(file, "not a mapping", document.place, "a mapping of flavors")
    return document.content


def plain(text: str) -> Any:
    """What ``text`` means in YAML, with the same limits, and lists as tuples.

    :raises ConfigError: nothing that it can be. The error has nothing of it.
    """
    document = _whole(text, "")
    return None if document is None else _without_places(document)


def scalar(text: str) -> Scalar:
    """What ``text`` means as a plain value in YAML; a number or text when it could be either."""
    loader = yaml.SafeLoader("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))
    if tag not in _PLAIN:
        return text
    try:
        value: Scalar = loader.construct_object(yaml.ScalarNode(tag, text))
    except (ValueError, KeyError, IndexError):
        return text
    return value


def shown(key: str) -> str:
    """``key`` for a message, unless it looks like a value that slipped into the place of a key."""
    return f" '{key}'" if _KEY.fullmatch(key) else ""


def _without_places(value: Value) -> Any:
    match value.content:
        case dict() as members:
            return {name: _without_places(each) for name, each in members.items()}
        case tuple() as items:
            return tuple(map(_without_places, items))
        case content:
            return content


def _whole(text: str, file: str) -> Value | None:
    """A document; ``None`` if there is none in the text.

    :raises ConfigError: it is not YAML, or not as it may be here.
    """
    try:
        _weigh(text, file)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise _refused(file, f"not YAML: {_describe(error)}", _place(error.problem_mark)) from None
    except yaml.YAMLError as error:
        before = text[: getattr(error, "position", 0)]
        place = Place(before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise _refused(file, "not YAML: a character that may not stand in a text", place) from None
    if node is None:
        return None
    reader = _Reader(file)
    document = reader.value(node, "", _place(node.start_mark), 0)
    if reader.problems:
        raise ConfigError(reader.problems)
    return document


class _Reader:
    """Follows the nodes of one document.

    :ivar problems: what is wrong and does not hinder looking further.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._left = MAX_NODES
        self.problems: list[Problem] = []

    def value(self, node: yaml.Node, path: str, key: Place, depth: int) -> Value:
        self._left -= 1
        place = _place(node.start_mark)
        if self._left < 0:
            raise _refused(self._file, f"more than {MAX_NODES} values once aliases are followed", place)
        if depth > MAX_DEPTH:
            raise _refused(self._file, f"nested deeper than {MAX_DEPTH} levels", place)
        content: Scalar | dict[str, Value] | tuple[Value, ...] = None
        if isinstance(node, yaml.ScalarNode):
            content = self._scalar(node, path)
        elif node.tag not in _COLLECTIONS:
            self._complain(place, path, "a tag that is not allowed")
        elif isinstance(node, yaml.MappingNode):
            content = self._mapping(node, path, depth)
        else:
            items = [self.value(item, path, _place(item.start_mark), depth + 1) for item in node.value]
            content = tuple(items)
        return Value(content, place, key)

    def _scalar(self, node: yaml.ScalarNode, path: str) -> Scalar:
        if node.tag == _TIMESTAMP:
            return str(node.value)
        try:
            if node.tag in _PLAIN:
                value: Scalar = yaml.SafeLoader("").construct_object(node)
                return value
            text = "a tag that is not allowed"
        except (ValueError, KeyError, IndexError):
            text = "not what its tag or its shape says"
        self._complain(_place(node.start_mark), path, text)
        return None

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Value]:
        own: dict[str, Value] = {}
        merged: dict[str, Value] = {}
        for key_node, value_node in node.value:
            place = _place(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                self._complain(place, path, "a key that is no text")
            elif key_node.tag == _MERGE:
                for name, value in self._merge(value_node, path, depth).items():
                    merged.setdefault(name, value)
            else:
                # As written: a flavor may be called "on" or "2026".
                name = str(key_node.value)
                inner = f"{path}.{name}" if path else name
                if name in own:
                    again = f"duplicate key{shown(name)}, first in line {own[name].key.line}"
                    self._complain(place, inner if shown(name) else path, again)
                else:
                    own[name] = self.value(value_node, inner, place, depth + 1)
        return merged | own

    def _merge(self, node: yaml.Node, path: str, depth: int) -> dict[str, Value]:
        place = _place(node.start_mark)
        found = self.value(node, path, place, depth + 1).content
        sources = found if isinstance(found, tuple) else (Value(found, place, place),)
        merged: dict[str, Value] = {}
        for source in sources:
            if isinstance(source.content, dict):
                merged = source.content | merged
            else:
                self._complain(source.place, path, "only a mapping can be merged")
        return merged

    def _complain(self, place: Place, path: str, text: str) -> None:
        self.problems.append(Problem(self._file, place, path, text))


def _decode(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        place = Place(before.count(b"\n") + 1, len(before) - before.rfind(b"\n"))
        raise _refused(file, "not UTF-8", place) from None


def _weigh(text: str, file: str) -> None:
    """Refuse what would be too much for the composer, which follows the nesting by recursion."""
    nodes = depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        nodes += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if nodes > MAX_NODES:
            raise _refused(file, f"more than {MAX_NODES} values", _place(event.start_mark))
        if depth > MAX_DEPTH:
            raise _refused(file, f"nested deeper than {MAX_DEPTH} levels", _place(event.start_mark))


def _describe(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's words without what they quote from the file; its own tokens may stay."""
    text = error.problem or ""
    if "'\\t'" in text:
        return "a tab; indent with spaces"
    if text.startswith("but "):
        text = f"{error.context}, {text}"
    if not all(_TOKEN.fullmatch(quoted) for quoted in re.findall(r"'[^']*'|\"[^\"]*\"", text)):
        text = re.sub(r"\s*(?:, but found)?\s(['\"]).*\1", "", text)
    return text or "cannot be read"


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1) if mark is not None else Place()


def _refused(file: str, text: str, place: Place | None = None, allowed: str = "") -> ConfigError:
    return ConfigError([Problem(file, place or Place(), "", text, allowed)])
