"""What is computed from the bytes of a v1 layer while they arrive.

None of these sums says who made a layer, and a tarsum not even that its bytes are those that were made: it is computed
from an archive that nobody has verified, and only compared with what the client says (T17). The digest decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from docker_registry.digest import CANONICAL, Digest, new_hash
from docker_registry.errors import LayerInvalid
from docker_registry.registry.archive import TarReader
from docker_registry.registry.archive_limits import LIMITS, ArchiveLimits
from docker_registry.registry.compression import Compression, Unpacker
from docker_registry.registry.layers import Layer
from docker_registry.registry.tar_headers import Member

_MEDIA_TYPES = {
    Compression.NONE: "application/vnd.docker.image.rootfs.diff.tar",
    Compression.GZIP: "application/vnd.docker.image.rootfs.diff.tar.gzip",
    Compression.BZIP2: "application/vnd.docker.image.rootfs.diff.tar",
    Compression.XZ: "application/vnd.docker.image.rootfs.diff.tar",
    Compression.ZSTD: "application/vnd.oci.image.layer.v1.tar+zstd",
}
"""There is no type for bzip2 and xz. docker and podman look at the bytes whatever the type says; containerd does so for
the type of a plain tar, though it knows neither of the two."""


class Reader(Protocol):
    """Takes bytes as they come and may refuse them."""

    def update(self, data: bytes, /) -> None:
        """:raises LayerInvalid: not what it can read."""

    def finish(self) -> None:
        """:raises LayerInvalid: that cannot have been all."""


class Attempt:
    """Shows bytes to ``reader`` until that refuses them. Whoever pushes them is not disturbed.

    :ivar refusal: why it gave up.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.refusal: LayerInvalid | None = None

    def update(self, data: bytes) -> None:
        if self.refusal is None:
            try:
                self._reader.update(data)
            except LayerInvalid as refusal:
                self.refusal = refusal

    def finish(self) -> bool:
        """Whether everything was read."""
        if self.refusal is None:
            try:
                self._reader.finish()
            except LayerInvalid as refusal:
                self.refusal = refusal
        return self.refusal is None


class TarsumVersion(Enum):
    """The value is what stands before the colon."""

    V0 = "tarsum+sha256"
    V1 = "tarsum.v1+sha256"         # without the time of modification, and with the extended attributes


class Tarsum:
    """The sum of image JSON and members that docker 0.5 to 1.5 computed; the order of the members does not matter.

    It is shown the archive without its compression, and is a visitor of that archive.
    """

    def __init__(
        self,
        image_json: bytes,
        version: TarsumVersion = TarsumVersion.V0,
        limits: ArchiveLimits = LIMITS,
    ) -> None:
        self._image_json = image_json
        self._version = version
        self._reader = TarReader(self, limits)
        self._hash = hashlib.sha256()
        self._sums: list[bytes] = []

    def update(self, data: bytes) -> None:
        """:raises LayerInvalid: no tar, a broken one, or beyond the limits."""
        self._reader.update(data)

    def finish(self) -> None:
        """:raises LayerInvalid: the archive ends too early."""
        self._reader.finish()

    def __str__(self) -> str:
        """``tarsum+sha256:<hex>``, of all that was shown; an archive without members, or of no bytes, has one too."""
        members = "".join(sorted(member.hex() for member in self._sums))
        return f"{self._version.value}:{hashlib.sha256(self._image_json + members.encode()).hexdigest()}"

    def begin(self, member: Member) -> None:
        self._hash = hashlib.sha256(_header_text(member, self._version))

    def content(self, data: bytes) -> None:
        self._hash.update(data)

    def end(self) -> None:
        self._sums.append(self._hash.digest())


def _header_text(member: Member, version: TarsumVersion) -> bytes:
    name = member.name
    if member.typeflag == b"5" and not name.endswith(b"/"):
        name += b"/"
    mtime = b"mtime%d" % member.mtime if version is TarsumVersion.V0 else b""
    text = b"name%bmode%duid%dgid%dsize%d%btypeflag%blinkname%buname%bgname%bdevmajor%ddevminor%d" % (
        name, member.mode, member.uid, member.gid, member.size, mtime, member.typeflag,
        member.linkname, member.uname, member.gname, member.devmajor, member.devminor,
    )
    if version is TarsumVersion.V1:
        text += b"".join(key + value for key, value in sorted(member.xattrs.items()))
    return text


class RawSums:
    """What is computed from the bytes as they are sent.

    :ivar size: bytes so far.
    :ivar content, with_json: one for each sum; whoever shows the bytes to each of them, in a thread of its own, needs
        not call `update`.
    """

    def __init__(self, image_json: bytes) -> None:
        self.content = new_hash(CANONICAL)
        self.with_json = hashlib.sha256(image_json + b"\n")
        self.size = 0

    def update(self, data: bytes) -> None:
        self.size += len(data)
        self.content.update(data)
        self.with_json.update(data)

    @property
    def digest(self) -> Digest:
        return Digest(CANONICAL, self.content.hexdigest())

    @property
    def payload(self) -> str:
        """``sha256:<hex>`` of image JSON, newline and layer: "payload" and the older "simple" sum are the same."""
        return f"sha256:{self.with_json.hexdigest()}"


class UnpackedSums:
    """What is computed from the archive without its compression, as far as that can be taken off.

    Never refuses: what cannot be unpacked has no diff id, and what is no tar has no tarsum.
    """

    def __init__(self, image_json: bytes, tarsums: Sequence[TarsumVersion], limits: ArchiveLimits) -> None:
        self._hash = new_hash(CANONICAL)
        self._tarsums = [Tarsum(image_json, version, limits) for version in tarsums]
        self._tars = [Attempt(tarsum) for tarsum in self._tarsums]
        self._unpacker = Unpacker([self._hash, *self._tars], limits)
        self._whole = Attempt(self._unpacker)
        self.diff_id: Digest | None = None
        self.size = 0
        self.sums: tuple[str, ...] = ()

    def update(self, data: bytes) -> None:
        self._whole.update(data)

    def finish(self) -> None:
        if self._whole.finish():
            self.diff_id = Digest(CANONICAL, self._hash.hexdigest())
            self.size = self._unpacker.size
            self.sums = tuple(str(tarsum) for tarsum, tar in zip(self._tarsums, self._tars, strict=True)
                              if tar.finish())

    @property
    def refusal(self) -> LayerInvalid | None:
        """Why there is no diff id; for the log."""
        return self._whole.refusal

    @property
    def media_type(self) -> str:
        return _MEDIA_TYPES[self._unpacker.compression or Compression.NONE]


class LayerSums:
    """All that is computed of a layer while it is pushed. It never refuses a layer.

    `raw` and `unpacked` share nothing, so that two threads can show them the same bytes at the same time; each of them
    wants its bytes in order. Hashing and unpacking let other threads run.

    :param image_json: exactly as it was sent.
    :param tarsums: which to compute besides; each costs about as much as the diff id.
    """

    def __init__(
        self,
        image_json: bytes,
        tarsums: Sequence[TarsumVersion] = (),
        limits: ArchiveLimits = LIMITS,
    ) -> None:
        self.raw = RawSums(image_json)
        self.unpacked = UnpackedSums(image_json, tarsums, limits)

    def update(self, data: bytes) -> None:
        self.raw.update(data)
        self.unpacked.update(data)

    def finish(self) -> Layer:
        """Everything, once all bytes have been seen; may take some milliseconds."""
        self.unpacked.finish()
        return Layer(
            digest=self.raw.digest,
            size=self.raw.size,
            diff_id=self.unpacked.diff_id,
            unpacked=self.unpacked.size,
            media_type=self.unpacked.media_type,
            sums=(self.raw.payload, *self.unpacked.sums),
        )
