"""From a path to an endpoint, by one pattern made from the rules that Klein was given.

Names have slashes in them, so a path is read from the right: the last keyword decides, and what stands before it is the
name, which may have components called like keywords.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from klein import Klein
from werkzeug.routing import BaseConverter

REMEMBERED = 4096
"""Paths whose meaning is kept."""

LONG = 512
"""Longer paths are not."""

_VARIABLE = re.compile(r"<(?:(?P<converter>[a-z]+):)?(?P<name>[a-z_]+)>")


class NameConverter(BaseConverter):
    """A repository's name: one segment or more."""

    regex = ".+"
    part_isolating = False


class NoRoute(Exception):
    """Nothing is at this path."""


class WrongMethod(Exception):
    """Something is at this path, but not for this method."""


class BadPath(Exception):
    """A path that means nothing: not UTF-8, or with an escaped slash or NUL in a segment."""


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """:ivar rule: as Klein was given it.
    :ivar endpoint: for `Klein.execute_endpoint`.
    :ivar arguments: the path's variables; the same object for every request of the path, not to be changed.
    """

    rule: str
    endpoint: str
    arguments: dict[str, str]


class Router:
    """A final slash may be there or not. HEAD is allowed wherever GET is; werkzeug sees to that.

    :param app: its rules have variables of one segment, ``<digest>``, and at most one ``<name:name>`` of several.
    :param usual: components of a usual name, 0 if there is no such number. A path that can be read in several ways is
        read so that the name has as many: with 2, ``team/tags/images`` are the images of ``team/tags``. There, a rule
        that ends with a slash is only meant by a path that does.
    """

    def __init__(self, app: Klein, usual: int = 0) -> None:
        self._endpoints: dict[str, dict[str, str]] = defaultdict(dict)      # rule -> method -> endpoint
        for each in app.url_map.iter_rules():
            for method in each.methods or ():
                self._endpoints[each.rule][method] = each.endpoint
        # Long rules before short ones; literal endings before variables: ``blobs/uploads`` is no blob.
        self._ordered = sorted(
            self._endpoints, key=lambda rule: (-rule.rstrip("/").count("/"), _VARIABLE.sub("~", rule) + "~")
        )
        self._readings = [self._reading(usual)] if usual else []
        self._readings.append(self._reading(0))
        self._find_again = lru_cache(REMEMBERED)(self._find)

    def _reading(self, components: int) -> _Reading:
        """:param components: of a name; 0 is any number."""
        choices, rules = [], {}
        for number, rule in enumerate(self._ordered):
            pattern, groups = _pattern(rule, number, components)
            choices.append(f"(?P<r{number}>{pattern})")
            rules[f"r{number}"] = (rule, groups)
        return _Reading(re.compile("|".join(choices), re.ASCII), rules)

    def resolve(self, method: str, path: str) -> Match:
        """:param path: as sent, percent-encoded.
        :raises NoRoute: nothing is there.
        :raises WrongMethod: something is, but not for this method.
        :raises BadPath: see there.
        """
        return self._find_again(method, path) if len(path) < LONG else self._find(method, path)

    @property
    def remembered(self) -> int:
        """How many paths are."""
        return self._find_again.cache_info().currsize

    def methods(self, path: str) -> list[str]:
        """What can be asked of a path; nothing if nothing is there."""
        return sorted({method for _, endpoints, _ in self._meanings(path) for method in endpoints})

    def _find(self, method: str, path: str) -> Match:
        found = False
        for rule, endpoints, arguments in self._meanings(path):
            if method in endpoints:
                return Match(rule, endpoints[method], {name: _decoded(text) for name, text in arguments.items()})
            found = True
        raise WrongMethod(path) if found else NoRoute(path)

    def _meanings(self, path: str) -> Iterator[tuple[str, dict[str, str], dict[str, str]]]:
        """For each reading of a path the rule, the endpoints by method, and the variables as they were sent."""
        for reading in self._readings:
            match = reading.pattern.fullmatch(path)
            if match is not None and match.lastgroup is not None:
                rule, groups = reading.rules[match.lastgroup]
                yield rule, self._endpoints[rule], {name: match[group] for name, group in groups.items()}


class _Reading(NamedTuple):
    """:ivar pattern: one choice for each rule, a group by its name in ``rules``.
    :ivar rules: the rule, and the group of each of its variables.
    """

    pattern: re.Pattern[str]
    rules: dict[str, tuple[str, dict[str, str]]]


def _pattern(rule: str, number: int, components: int) -> tuple[str, dict[str, str]]:
    """A regular expression for ``rule``, and the group of each variable."""
    groups: dict[str, str] = {}
    pattern, at = "", 0
    slash = "/" if components and rule.endswith("/") else "/?"
    rule = rule.rstrip("/")
    for variable in _VARIABLE.finditer(rule):
        group = f"v{number}_{len(groups)}"
        groups[variable["name"]] = group
        segments = "[^/]+"
        if variable["converter"] == "name" and components:
            segments = "/".join(["[^/]+"] * components)
        elif variable["converter"] == "name":
            segments = ".*[^/]" if variable.end() == len(rule) else ".+"    # a path's final slash is no part of a name
        pattern += re.escape(rule[at : variable.start()]) + f"(?P<{group}>{segments})"
        at = variable.end()
    return pattern + re.escape(rule[at:]) + slash, groups


def _decoded(text: str) -> str:
    """Percent-escapes are taken away once; what comes out must not be another path."""
    if "%" not in text:
        return text
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise BadPath(text) from None
    if decoded.count("/") != text.count("/") or "\0" in decoded:
        raise BadPath(text)
    return decoded
