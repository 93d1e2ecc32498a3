"""What a status of Swift's means."""

from __future__ import annotations

from docker_registry.errors import NotFound, StorageError, StorageFull, StoreUnavailable, Transient
from docker_registry.storage.objects.store import OutOfRange, Refused

BUSY = frozenset({408, 429, 498, 500, 502, 503, 504})
"""Worth another try. 498 is how Swift says that it was asked too often."""


class NoRights(StoreUnavailable):
    """The login may not do this."""


class Overtaken(Transient):
    """Nothing was written or deleted: what is there is newer, or its deletion. That passes when the proxy's clock is
    where the other one's was.
    """

    def __init__(self, where: str) -> None:
        super().__init__(f"{where}: what is there is newer than what came now: the clocks of Swift's proxies differ")


def meaning(status: int, where: str, key: str, said: str = "") -> StorageError:
    """The error that an answer without success comes to.

    :param where: the container, for operators.
    :param said: what is the matter, where it is known; where a redirect leads to.
    """
    if status in BUSY:
        return Transient(f"{where}: the store is busy: {status}")
    if status == 404:
        return NotFound(key)
    if status in (413, 507):
        return StorageFull(f"{where}: a quota is used up, or the disks are full ({status})")
    if status == 403:
        return NoRights(f"{where}: the login may not do this (403): it needs a role of the project for object storage")
    if status == 416:
        return OutOfRange("416", "")
    if 300 <= status < 400:
        return StoreUnavailable(f"{where} is elsewhere: {said}; set swift_storage_url if that is right")
    return Refused(str(status), said, where)
