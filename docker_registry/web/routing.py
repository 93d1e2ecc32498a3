"""From a path to an endpoint, by one pattern made from the rules that Klein was given.

Names have slashes in them, so a path is read from the right: the last keyword decides, and what stands before it is the
name, which may have components called like keywords.
"""

from __future__ import annotations

import re
from collections import defaultdict
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
    """:ivar allowed: the methods that the path has."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__(allowed)
        self.allowed = allowed


class BadPath(Exception):
    """A path that means nothing: not UTF-8, or with an escaped slash or NUL in a segment."""


class Match(NamedTuple):
    """:ivar rule: as Klein was given it.
    :ivar endpoint: for `Klein.execute_endpoint`.
    :ivar arguments: the path's variables; the same object for every request of the path, not to be changed.
    """

    rule: str
    endpoint: str
    arguments: dict[str, str]


class Router:
    """:param app: its rules have variables of one segment, ``<digest>``, and at most one ``<name:name>`` of several.

    A final slash may be there or not. HEAD is allowed wherever GET is; werkzeug sees to that.
    """

    def __init__(self, app: Klein) -> None:
        self._endpoints: dict[str, dict[str, str]] = defaultdict(dict)      # rule -> method -> endpoint
        for each in app.url_map.iter_rules():
            for method in each.methods or ():
                self._endpoints[each.rule][method] = each.endpoint
        self._rules: dict[str, tuple[str, dict[str, str]]] = {}
        choices = []
        # Literal endings are tried before variables: ``blobs/uploads`` is no blob. Long rules before short ones.
        for number, rule in enumerate(sorted(self._endpoints, key=lambda rule: _VARIABLE.sub("~", rule) + "~")):
            pattern, groups = _pattern(rule, number)
            choices.append(f"(?P<r{number}>{pattern}/?)")
            self._rules[f"r{number}"] = (rule, groups)
        self._match = re.compile("|".join(choices), re.ASCII).fullmatch
        self._find_again = lru_cache(REMEMBERED)(self._find)

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

    def _find(self, method: str, path: str) -> Match:
        match = self._match(path)
        if match is None or match.lastgroup is None:
            raise NoRoute(path)
        rule, groups = self._rules[match.lastgroup]
        endpoints = self._endpoints[rule]
        if method not in endpoints:
            raise WrongMethod(tuple(sorted(endpoints)))
        return Match(rule, endpoints[method], {name: _decoded(match[group]) for name, group in groups.items()})


def _pattern(rule: str, number: int) -> tuple[str, dict[str, str]]:
    """A regular expression for ``rule`` without its final slash, and the group of each variable."""
    groups: dict[str, str] = {}
    pattern, at = "", 0
    rule = rule.rstrip("/")
    for variable in _VARIABLE.finditer(rule):
        group = f"v{number}_{len(groups)}"
        groups[variable["name"]] = group
        several = ".*[^/]" if variable.end() == len(rule) else ".+"     # a path's final slash is no part of a name
        segments = several if variable["converter"] == "name" else "[^/]+"
        pattern += re.escape(rule[at : variable.start()]) + f"(?P<{group}>{segments})"
        at = variable.end()
    return pattern + re.escape(rule[at:]), groups


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
