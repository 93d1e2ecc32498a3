"""Signature version 4, as botocore makes it, by the store's clock."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

EMPTY = hashlib.sha256(b"").hexdigest()
"""The sum of a request without a body."""


class _AtTime(SigV4Auth):
    """Signs as at a time that is handed in, where botocore asks the system."""

    timestamp: str

    def add_auth(self, request: AWSRequest) -> None:
        request.context["timestamp"] = self.timestamp
        self._modify_request_before_signing(request)                            # type: ignore[attr-defined]
        text = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(text, request))   # type: ignore[attr-defined]


class _Header(_AtTime, S3SigV4Auth):
    sum: str

    def payload(self, request: AWSRequest) -> str:
        return self.sum


class _Query(_AtTime, S3SigV4QueryAuth):
    pass


def _timestamp(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")


def signed(
    keys: ReadOnlyCredentials,
    region: str,
    now: float,
    method: str,
    url: str,
    headers: Mapping[str, str],
    payload: str = EMPTY,
) -> dict[str, str]:
    """The header fields of a request, its signature among them.

    :param now: seconds since the epoch.
    :param payload: SHA-256 of the body, in hexadecimal. The signature covers it, so the store takes no other bytes.
    """
    signer = _Header(keys, "s3", region)
    signer.timestamp, signer.sum = _timestamp(now), payload
    request = AWSRequest(method, url, headers=dict(headers))
    signer.add_auth(request)
    return dict(request.headers.items())


def signed_url(
    keys: ReadOnlyCredentials, region: str, now: float, url: str, seconds: int, method: str = "GET"
) -> str:
    """A URL that whoever has it may use for so many ``seconds``."""
    signer = _Query(keys, "s3", region, seconds)
    signer.timestamp = _timestamp(now)
    request = AWSRequest(method, url)
    signer.add_auth(request)
    return str(request.url)
