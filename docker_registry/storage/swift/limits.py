"""What an operator of Swift has set otherwise than others, as the store itself says it (``/info``)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from urllib.parse import urljoin

from twisted.logger import Logger

from docker_registry.errors import StorageError, StorageFailed
from docker_registry.storage.http import Http
from docker_registry.storage.swift.errors import BUSY
from docker_registry.storage.tokens import Access

USUAL = 1000
"""Segments of one list where nobody has changed that, or nobody says."""

LIMIT = 1 << 20
"""Bytes of what it says."""

BRIEF = 5.0
"""Seconds that it has."""


class Limit:
    """Called, it says how many segments one list may have. The store is asked once; what it does not say is as usual.

    :param access: says where the account is.
    """

    log = Logger()

    def __init__(self, http: Http, access: Callable[[], Awaitable[Access]]) -> None:
        self._http = http
        self._access = access
        self._found = 0

    async def __call__(self) -> int:
        if not self._found:
            try:
                self._found = await self._ask()
            except StorageError as error:
                self.log.debug("the store does not say how many segments a list may have: {error}", error=error)
                return USUAL                    # and is asked again
        return self._found

    async def _ask(self) -> int:
        where = urljoin((await self._access()).url, "/info")
        answer = await self._http.request("GET", where, {}, seconds=BRIEF)
        try:
            if answer.status in BUSY:
                raise StorageFailed(f"it answers {answer.status}")
            found = json.loads(await answer.content(LIMIT))["slo"]["max_manifest_segments"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return USUAL                        # it is not for everybody here (expose_info)
        finally:
            answer.close()
        return found if isinstance(found, int) and found > 0 else USUAL
