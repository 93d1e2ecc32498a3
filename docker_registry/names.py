"""What a client may call things: repositories, tags, references, upload sessions, images of protocol v1.

The one place where such text becomes a value; everything below takes values only.
"""

from __future__ import annotations

import re
import secrets
import uuid
from dataclasses import dataclass
from functools import lru_cache

from docker_registry.digest import Digest
from docker_registry.errors import ImageIdInvalid, NameInvalid, TagInvalid, UploadUnknown

NAME_LENGTH = 255
"""Characters in a name; clients add a host and stop at 255 for both (distribution-spec 1.1, "Pulling manifests")."""

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_COMPONENT_ALONE = re.compile(_COMPONENT, re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_IMAGE = re.compile(r"[0-9a-f]{64}|[0-9a-f]{16}", re.ASCII)
_OLD_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_UPLOAD = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)


def is_component(text: str) -> bool:
    """Whether ``text`` can stand between the slashes of a repository's name."""
    return len(text) <= NAME_LENGTH and _COMPONENT_ALONE.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether ``text`` is a tag, in the grammar of distribution-spec 1.1, "Pulling manifests"."""
    return _TAG.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, order=True)
class Repository:
    """A repository's name: components of lower-case letters, digits and inner separators, joined by ``/``."""

    name: str

    @classmethod
    def parse(cls, text: str) -> Repository:
        """:raises NameInvalid: not in the grammar of distribution-spec 1.1, "Pulling manifests", or too long."""
        return _repository(text)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, order=True)
class Tag:
    """A tag: 1 to 128 characters."""

    name: str

    @classmethod
    def parse(cls, text: str) -> Tag:
        """:raises TagInvalid: not in the grammar of distribution-spec 1.1, "Pulling manifests"."""
        return _tag(text)

    def __str__(self) -> str:
        return self.name


REMEMBERED = 4096
"""Names of each kind that need not be read again."""


@lru_cache(REMEMBERED)
def _repository(text: str) -> Repository:
    if len(text) > NAME_LENGTH or _NAME.fullmatch(text) is None:
        raise NameInvalid(text)
    return Repository(text)


@lru_cache(REMEMBERED)
def _tag(text: str) -> Tag:
    if not is_tag(text):
        raise TagInvalid(text)
    return Tag(text)


def is_image_id(value: object) -> bool:
    """Whether it is the text of an `ImageId`: documents of protocol v1 may have anything there."""
    return isinstance(value, str) and _IMAGE.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class UploadId:
    """The name of an upload session: a random UUID, 122 bits from the operating system (T4)."""

    text: str

    @classmethod
    def new(cls) -> UploadId:
        return cls(str(uuid.UUID(bytes=secrets.token_bytes(16), version=4)))

    @classmethod
    def parse(cls, text: str) -> UploadId:
        """:raises UploadUnknown: not a UUID in lower case; no such session can exist."""
        if _UPLOAD.fullmatch(text) is None:
            raise UploadUnknown(text)
        return cls(text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, order=True)
class ImageId:
    """The id of an image of protocol v1, chosen by the client: it says nothing about the content (T5)."""

    hex: str

    @classmethod
    def parse(cls, text: str) -> ImageId:
        """:raises ImageIdInvalid: not 64 hexadecimal digits, nor 16 as the oldest clients wrote them."""
        if not is_image_id(text):
            raise ImageIdInvalid(text)
        return cls(text)

    @classmethod
    def parse_old(cls, text: str) -> ImageId:
        """As `parse`, for reading what is stored: docker-registry 0.x took any text for an id before 0.9.1.

        What can stand in a key is read: nothing that leads elsewhere, nor to what is ours beside the images.

        :raises ImageIdInvalid: it is nothing of the kind.
        """
        if _OLD_IMAGE.fullmatch(text) is None:
            raise ImageIdInvalid(text)
        return cls(text)

    def __str__(self) -> str:
        return self.hex


def parse_reference(text: str) -> Tag | Digest:
    """A manifest's reference: a digest if there is a colon in it, else a tag.

    :raises DigestInvalid: there is a colon, and this is no digest.
    :raises TagInvalid: there is none, and this is no tag.
    """
    return Digest.parse(text) if ":" in text else Tag.parse(text)
