"""URLs at which clients read large objects without this process between them and the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from botocore.signers import CloudFrontSigner
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from docker_registry.storage.s3.client import Client
from docker_registry.storage.s3.settings import quoted

VALID = 1200
"""Seconds for which a URL can be used; a download that has begun goes on."""


class Links(Protocol):
    async def link(self, client: Client, key: str) -> str:
        """:param key: whole."""


class Presigned:
    """URLs of the store itself."""

    async def link(self, client: Client, key: str) -> str:
        return await client.link(key, VALID)


@dataclass(frozen=True, slots=True)
class CloudFront:
    """URLs of a distribution that reads from the bucket.

    :ivar base: what they begin with, without a slash at its end.
    """

    base: str
    signer: CloudFrontSigner
    now: Callable[[], float]

    async def link(self, client: Client, key: str) -> str:
        until = datetime.fromtimestamp(self.now() + VALID, UTC)
        return self.signer.generate_presigned_url(f"{self.base}/{quoted(key)}", date_less_than=until)


def cloud_front(base: str, key_id: str, key: Path, now: Callable[[], float]) -> CloudFront:
    """:param key: a file with a private RSA key in PEM.
    :raises ValueError: it is none.
    """
    private = load_pem_private_key(key.read_bytes(), None)
    if not isinstance(private, RSAPrivateKey):
        raise ValueError("CloudFront signs with RSA")
    # SHA-1 is what CloudFront verifies.
    signer = CloudFrontSigner(key_id, lambda message: private.sign(message, PKCS1v15(), SHA1()))
    return CloudFront(base.rstrip("/"), signer, now)
