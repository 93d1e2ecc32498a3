"""What has to be known of a bucket, and how its URLs are made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

REGION = "us-east-1"
"""Where nothing else is said."""

_REGION = re.compile(r"[a-z0-9-]{1,40}")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(?::[0-9]{1,5})?")
_AWS_HOST = re.compile(r"(?:[A-Za-z0-9.-]+\.)?s3[.-](?:dualstack\.)?([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bucket is reached.

    :ivar endpoint: ``https://host:port``; ``None`` is AWS.
    :ivar addressing: ``path`` (``host/bucket``), ``virtual`` (``bucket.host``), ``auto`` is what suits.
    """

    bucket: str
    region: str = REGION
    endpoint: str | None = None
    addressing: str = "auto"

    @property
    def host(self) -> str:
        """Of all buckets, with the port if it is not the scheme's."""
        if self.endpoint is not None:
            return urlsplit(self.endpoint).netloc
        return f"s3.{self.region}.amazonaws.com{'.cn' if self.region.startswith('cn-') else ''}"

    @property
    def is_virtual(self) -> bool:
        if self.addressing == "auto":
            # A wildcard certificate holds for one label: a bucket with dots has none.
            return self.endpoint is None and "." not in self.bucket
        return self.addressing == "virtual"

    def url(self, key: str, query: Mapping[str, str] | None = None) -> str:
        """:param key: empty for the bucket itself."""
        scheme = urlsplit(self.endpoint).scheme if self.endpoint else "https"
        base = f"{scheme}://{self.bucket}.{self.host}" if self.is_virtual else f"{scheme}://{self.host}/{self.bucket}"
        text = f"{base}/{quoted(key)}" if key or self.is_virtual else base
        return f"{text}?{fields(query)}" if query else text

    def elsewhere(self, region: str | None, host: str | None) -> Place | None:
        """Where the store says that the bucket is, if that may be followed: credentials go nowhere else (F8).

        :param region: that it named.
        :param host: that it redirects to.
        """
        if host and not _HOST.fullmatch(host):
            return None                         # ``elsewhere.example/.s3.example.org`` is no host of ours
        if host and self.endpoint is None and (match := _AWS_HOST.fullmatch(host)):
            region = match[1]
        if region and region != self.region and _REGION.fullmatch(region) and (self.endpoint is None or not host):
            return Place(self.bucket, region, self.endpoint, self.addressing)
        if host and self.endpoint is not None and host != self.host and host.endswith(f".{self.host}"):
            scheme = urlsplit(self.endpoint).scheme
            return Place(self.bucket, region or self.region, f"{scheme}://{host}", "path")
        return None


def quoted(key: str) -> str:
    """As a path, and as the source of a copy."""
    return quote(key, safe="/-_.~")


def fields(query: Mapping[str, str]) -> str:
    return "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in sorted(query.items()))


@dataclass(frozen=True, slots=True)
class Settings:
    """:ivar prefix: of all keys, with a slash at its end unless it is empty.
    :ivar access_key: without it botocore's chain is asked.
    :ivar object_headers: of each object that is written: encryption, storage class.
    :ivar part_size: bytes of one part of a large object.
    :ivar memory: bytes of parts that are on their way, all transfers together.
    :ivar ca: certificates that take the place of the system's.
    :ivar check: whether the store is tried before the port opens.
    """

    place: Place
    prefix: str = ""
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    object_headers: Mapping[str, str] = field(default_factory=dict)
    part_size: int = 8 << 20
    memory: int = 512 << 20
    ca: Path | None = None
    check: bool = True
