"""What can go wrong, in the registry's own words. No HTTP here.

RegistryError
 +- Unknown             the thing named is not here
 |   +- RepositoryUnknown, ManifestUnknown, BlobUnknown, UploadUnknown, TagUnknown, ImageUnknown
 +- Invalid             the client sent something malformed or untrue
 |   +- NameInvalid, TagInvalid, PageInvalid, ImageIdInvalid
 |   +- ImageInvalid        an image of protocol v1, or its parent, that cannot be
 |   +- ChecksumMismatch    what was sent has another checksum
 |   +- LayerInvalid        no archive, or one that is not worth reading
 |   +- DigestInvalid       malformed, or of an unsupported algorithm
 |   |   +- DigestMismatch  well-formed, and not what the bytes have
 |   +- SizeInvalid         a length that is not what was announced
 |   +- RangeInvalid        a chunk that does not start where the session stands
 |   +- ManifestInvalid     a document that no client could use
 |       +- ManifestTooLarge
 |       +- ManifestBlobUnknown   refers to what this repository does not hold
 +- Refused             well-formed, and not done here
 |   +- DeletionDisabled, BlobInUse, TooManyUploads
 |   +- ImageExists         complete, and so immutable
 |   +- ImageNotInProgress  there is nothing to confirm
 |   +- ImageInProgress     not complete, and so not readable
 +- StorageError        the backend failed; never the client's fault
     +- NotFound        internal to storage; the core turns it into an Unknown
     +- Damaged         the bytes are not those that were committed
     +- StorageFull     no room for more
     +- StorageFailed   the disk or the backend refused
     |   +- StorageRefused  and has said why
     +- OutOfService    whoever runs the backend lets nobody read it now
     +- StoreUnavailable    a store on the network cannot be reached, is busy, or does not let us in
         +- Transient       and the next try may succeed
         +- OutageKnown     and somebody has been told of that

SourceGone             apart: whoever was sending bytes has gone; nobody's fault, and nothing to report
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar


class RegistryError(Exception):
    """The root of everything that the registry and its storage raise on purpose."""


class SourceGone(Exception):
    """Bytes that were being sent ended before their end, because of whoever sent them."""


T = TypeVar("T")


def nearest(table: Mapping[type[BaseException], T], error: BaseException) -> T | None:
    """The entry of the first of the error's classes that has one, from its own up; ``None`` if nobody expected it."""
    for kind in type(error).__mro__:
        if kind in table:
            return table[kind]
    return None


def expect(found: object, *kinds: type[Exception]) -> None:
    """Go on with a result, or with an error of one of ``kinds``: a disk that fails must not look like a missing file
    (C6)."""
    if isinstance(found, Exception) and not isinstance(found, kinds):
        raise found


class Unknown(RegistryError):
    """The thing named is not here."""


class RepositoryUnknown(Unknown):
    pass


class ManifestUnknown(Unknown):
    pass


class BlobUnknown(Unknown):
    pass


class UploadUnknown(Unknown):
    """No session of this id in this repository, or not this user's: the three look alike (T4)."""


class TagUnknown(Unknown):
    pass


class ImageUnknown(Unknown):
    pass


class Invalid(RegistryError):
    """The client sent something malformed or untrue."""


class NameInvalid(Invalid):
    pass


class TagInvalid(Invalid):
    pass


class PageInvalid(Invalid):
    """A page size that is negative or no number."""


class ImageIdInvalid(Invalid):
    pass


class ImageInvalid(Invalid):
    """The text says what is wrong, in the words of docker-registry 0.x."""


class ChecksumMismatch(Invalid):
    pass


class LayerInvalid(Invalid):
    """Not an archive, or one that is beyond the limits for reading it."""


class DigestInvalid(Invalid):
    pass


class DigestMismatch(DigestInvalid):
    """The bytes do not have the digest that was named."""


class SizeInvalid(Invalid):
    pass


class RangeInvalid(Invalid):
    """A chunk does not start where the session stands.

    :ivar offset: bytes that the session holds; the client resumes here.
    """

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


class ManifestInvalid(Invalid):
    """:ivar reason: what is wrong with the document, for the client's eyes."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ManifestTooLarge(ManifestInvalid):
    pass


class ManifestBlobUnknown(ManifestInvalid):
    """:ivar digests: what the manifest refers to and the repository does not hold, as text."""

    def __init__(self, digests: Sequence[str]) -> None:
        super().__init__("the manifest refers to what is not in the repository")
        self.digests = tuple(digests)


class Refused(RegistryError):
    """Well-formed, and not done here."""


class DeletionDisabled(Refused):
    pass


class BlobInUse(Refused):
    """:ivar manifest: the digest of a manifest in the repository that refers to the blob, as text."""

    def __init__(self, manifest: str) -> None:
        super().__init__(manifest)
        self.manifest = manifest


class TooManyUploads(Refused):
    """As many sessions are open as may be; later there will be room."""


class ImageExists(Refused):
    pass


class ImageNotInProgress(Refused):
    pass


class ImageInProgress(Refused):
    pass


CLIENTS = (Unknown, Invalid, Refused, SourceGone)
"""What clients do, wrong or not; nothing that an operator could mend."""


class StorageError(RegistryError):
    """The backend failed."""


class NotFound(StorageError):
    """Nothing is stored at this key."""


class Damaged(StorageError):
    """What is stored at this key is not what was committed there."""


class StorageFull(StorageError):
    """No room: a full disk, a quota, a limit on the size of files."""


class StorageFailed(StorageError):
    """The disk or the backend refused; the cause is chained."""


class StorageRefused(StorageFailed):
    """The backend refused for a reason that it has said, and that an operator can mend; the text has it."""


class OutOfService(StorageError):
    """Whoever runs the backend lets nobody read what is at this key, which is as it was; the text says how it comes
    back."""


class StoreUnavailable(StorageError):
    """A store on the network cannot be reached, is busy, or does not let us in; what it holds is as it was."""


class Transient(StoreUnavailable):
    """The next try may succeed.

    :ivar is_last: whether there have been as many tries as help: whoever made them inside of another's does not have
        them made again by him.
    """

    is_last = False


class OutageKnown(StoreUnavailable):
    """It has been so for a while, and an operator has been told."""
