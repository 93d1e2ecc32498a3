"""Headers of tar archives: POSIX.1-2008 pax ("pax Interchange Format"), ustar, GNU tar and version 7."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import NamedTuple

from docker_registry.registry.archive_limits import unreadable

BLOCK = 512
WITHOUT_CONTENT = frozenset((b"1", b"2", b"3", b"4", b"5", b"6"))
"""Kinds of members that have no content, whatever size they name: links, devices, directories, FIFOs."""

_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s6s2x32s32s8s8s155s12x")
_CHECKSUM = slice(148, 156)

_XATTR = b"SCHILY.xattr."
KEYS_OF_ALL = frozenset((b"mtime", b"uid", b"gid", b"uname", b"gname"))
KEYS = KEYS_OF_ALL | {
    b"path", b"linkpath", b"size", b"GNU.sparse.name", b"GNU.sparse.size", b"GNU.sparse.realsize"
}
_DECIMAL = re.compile(rb"(-?[0-9]{1,19})(?:\.[0-9]*)?")
_LARGEST = 1 << 63


class Sparse(NamedTuple):
    """What a file with holes is, when it is laid out.

    :ivar size: in bytes.
    """

    name: bytes
    size: int


class Member(NamedTuple):
    """One member: the values of its header, as they stand there, with long names and extended headers applied.

    :ivar mode: the number in the header, which may hold the bits of the file's type.
    :ivar size: bytes in the archive. A link or a directory may name a size and has no content all the same.
    :ivar mtime: seconds since the epoch; a fraction is cut off.
    :ivar typeflag: one byte.
    :ivar xattrs: extended attributes, without ``SCHILY.xattr.``.
    """

    name: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    typeflag: bytes
    linkname: bytes
    uname: bytes
    gname: bytes
    devmajor: int
    devminor: int
    xattrs: Mapping[bytes, bytes]
    sparse: Sparse | None


def read_header(block: bytes) -> Member:
    """:raises LayerInvalid: not a tar header."""
    name, mode, uid, gid, size, mtime, checksum, kind, link, magic, uname, gname, major, minor, prefix = (
        _FIELDS.unpack(block)
    )
    _verify(block, _number(checksum))
    name = text(name)
    if magic[:5] != b"ustar":
        uname = gname = major = minor = b""         # version 7 had no such fields
    elif magic == b"ustar\0" and prefix[0]:
        name = b"%b/%b" % (text(prefix), name)     # GNU tar has times there
    sparse = Sparse(name, _size(_number(block[483:495]))) if kind == b"S" else None
    return Member(
        name, _number(mode), _number(uid), _number(gid), _size(_number(size)), _number(mtime), kind, text(link),
        text(uname), text(gname), _number(major), _number(minor), {}, sparse,
    )


def apply(header: Member, said: Mapping[bytes, bytes]) -> Member:
    """The member whose header is preceded by those that say ``said``.

    :raises LayerInvalid: they name a number that is none.
    """
    def number(key: bytes, value: int) -> int:
        return _decimal(said[key]) if key in said else value

    name = said.get(b"path", header.name)
    sparse = Sparse(name, header.sparse.size) if header.sparse else None
    for key in (b"GNU.sparse.size", b"GNU.sparse.realsize"):
        if key in said:
            sparse = Sparse(said.get(b"GNU.sparse.name", name), _size(_decimal(said[key])))
    return Member(
        name, header.mode, number(b"uid", header.uid), number(b"gid", header.gid),
        _size(number(b"size", header.size)), number(b"mtime", header.mtime), header.typeflag,
        said.get(b"linkpath", header.linkname), said.get(b"uname", header.uname), said.get(b"gname", header.gname),
        header.devmajor, header.devminor,
        {key.removeprefix(_XATTR): value for key, value in said.items() if key.startswith(_XATTR)}, sparse,
    )


def _verify(block: bytes, checksum: int) -> None:
    """The sum of the block's bytes, its own field read as blanks; some old writers took bytes as signed."""
    unsigned = sum(block) - sum(block[_CHECKSUM]) + 8 * ord(" ")
    if checksum != unsigned:
        signed = unsigned - 256 * sum(byte > 127 for byte in block[:148] + block[156:])
        if checksum != signed:
            raise unreadable("no tar header where one should be")


def text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """A number in octal digits or, when its first bit is set, in base 256, two's complement (GNU, star)."""
    if field and field[0] & 0x80:
        bits = 8 * len(field) - 1
        value = int.from_bytes(field, "big") - (1 << bits)
        if field[0] & 0x40:
            value -= 1 << bits
        return _bounded(value)
    digits = field.lstrip(b" \0").partition(b"\0")[0].rstrip()
    if not digits:
        return 0
    try:
        if digits.isdigit():
            return int(digits, 8)
    except ValueError:          # an 8 or a 9
        pass
    raise unreadable("a tar header with a malformed number")


def _decimal(value: bytes) -> int:
    """A number of an extended header, its fraction cut off."""
    match = _DECIMAL.fullmatch(value)
    if match is None:
        raise unreadable("an extended header with a malformed number")
    return _bounded(int(match[1]))


def _bounded(value: int) -> int:
    if not -_LARGEST <= value < _LARGEST:
        raise unreadable("a number beyond 64 bits")
    return value


def _size(value: int) -> int:
    if value < 0:
        raise unreadable("a negative size")
    return value


def read_records(value: bytes, target: dict[bytes, bytes], keys: frozenset[bytes], limit: int) -> int:
    """Read ``"<length> <key>=<value>\\n"``, where the length counts all of it, as often as there is one.

    A key that is not in ``keys`` and no extended attribute is left out. An empty value takes back an earlier one.

    :returns: the number of records.
    :raises LayerInvalid: malformed, or more than ``limit``.
    """
    count = position = 0
    while position < len(value):
        if value[position] == 0:
            break                                   # some writers fill up with zeros
        count += 1
        if count > limit:
            raise unreadable("too many records in extended headers")
        blank = value.find(b" ", position, position + 20)
        digits = value[position:blank]
        end = position + int(digits) if blank > 0 and digits.isdigit() else 0
        equals = value.find(b"=", blank, end)
        if equals < 0 or end > len(value) or value[end - 1] != 10:
            raise unreadable("a malformed extended header")
        key = value[blank + 1:equals]
        if key in keys or (keys is KEYS and key.startswith(_XATTR)):
            target.pop(key, None)
            if equals + 1 < end - 1:
                target[key] = value[equals + 1:end - 1]
        position = end
    return count
