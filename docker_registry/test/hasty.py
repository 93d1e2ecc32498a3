"""Little patience with a store that never answers, and no less than usual with one that is only busy.

Tests of silent stores cannot wait for as long as the registry does. Were they short of patience with all of a store's
answers, those of a slow machine would be taken for silence as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from docker_registry.storage.flows import Body
from docker_registry.storage.http import Answer, Http, Silent
from docker_registry.test.reactor_case import reactor
from docker_registry.test.servers.faults import FaultProxy

HASTE = 0.5
"""Seconds for an answer that never comes."""


class Time:
    """The reactor's, with what nobody has waited for.

    :ivar skipped: seconds.
    """

    def __init__(self) -> None:
        self.skipped = 0.0

    def skip(self, seconds: float) -> None:
        self.skipped += seconds

    def seconds(self) -> float:
        return float(reactor.seconds()) + self.skipped

    def callLater(self, *args: Any, **kwargs: Any) -> Any:
        return reactor.callLater(*args, **kwargs)


class Hasty(Http):
    """:param is_silent: whether nobody will answer a request, by its method and URL.
    :param skip: whom to tell of the seconds that it would have taken to find out.
    """

    def __init__(
        self,
        is_silent: Callable[[str, str], bool],
        *,
        skip: Callable[[float], None] = lambda seconds: None,
        **options: Any,
    ) -> None:
        super().__init__(reactor, **options)
        self._is_silent = is_silent
        self._skip = skip

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None = None,
        *,
        stream: bool = False,
        seconds: float | None = None,
    ) -> Answer:
        if not self._is_silent(method, url):
            return await super().request(method, url, headers, body, stream=stream, seconds=seconds)
        usual = self.patience.first_byte if seconds is None else seconds
        haste = min(HASTE, usual)
        try:
            return await super().request(method, url, headers, body, stream=stream, seconds=haste)
        except Silent:
            self._skip(usual - haste)
            raise


def hanging(*proxies: FaultProxy) -> Callable[[str, str], bool]:
    """Whether one of ``proxies`` is going to let a request hang."""

    def hangs(method: str, url: str) -> bool:
        parts = urlsplit(url)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        return any(proxy.port == parts.port and proxy.hangs(method, target) for proxy in proxies)

    return hangs
