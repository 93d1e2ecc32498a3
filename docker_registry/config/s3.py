"""Options of ``storage: s3``: those of docker-registry 0.x, and what today's stores need beside them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from docker_registry.config.section import Section
from docker_registry.config.values import Allowed, Authorities, Bytes, Seconds, read, unsuitable

_FROZEN = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_ENDPOINT = re.compile(r"https?://(?:[A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\]")
_BASE = re.compile(r"https?://[A-Za-z0-9._-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?")


class CloudFront(Section):
    """A distribution of CloudFront that reads from the bucket."""

    base: str = Field(default="", description="What its URLs begin with, such as `https://d1234.cloudfront.net`.")
    keyid: str = Field(default="", description="The id of the key pair, or of the public key, that it trusts.")
    keysecret: Annotated[Path | None, Allowed("the path of a file with a private RSA key in PEM")] = Field(
        default=None, strict=False, description="The private key of that pair."
    )

    @field_validator("base")
    @classmethod
    def _url(cls, value: str) -> str:
        if value and not _BASE.fullmatch(value):
            raise unsuitable("not https://HOST or https://HOST/PATH")
        return value

    @field_validator("keysecret")
    @classmethod
    def _key(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                key = load_pem_private_key(read(value, "the file"), None)
            except (ValueError, TypeError):
                key = None
            if not isinstance(key, RSAPrivateKey):
                raise unsuitable("no private RSA key in PEM without a passphrase")
        return value

    @model_validator(mode="after")
    def _whole(self) -> CloudFront:
        given = [bool(self.base), bool(self.keyid), self.keysecret is not None]
        if any(given) and not all(given):
            raise unsuitable("base, keyid and keysecret belong together")
        return self


class S3(Section):
    """They stand beside the others, as in docker-registry 0.x."""

    s3_bucket: str | None = Field(default=None, description="The bucket of `s3`. Required there.")
    boto_bucket: str | None = Field(default=None, description="The same, as docker-registry 0.7 and later called it.")
    s3_access_key: SecretStr | None = Field(
        default=None,
        description="Without keys here they are looked for where every program of AWS does: in the environment, in the "
        "profile, and with the container or the machine, whose role is renewed in time.",
    )
    s3_secret_key: SecretStr | None = Field(default=None, description="Belongs to `s3_access_key`.")
    s3_region: str = Field(default="us-east-1", description="Where the bucket is; part of each signature.")
    s3_endpoint: Annotated[str | None, Allowed("https://HOST or https://HOST:PORT, or the same with http")] = Field(
        default=None, description="Of a store that is not AWS."
    )
    boto_host: str | None = Field(
        default=None, description="The host of a store that is not AWS, as docker-registry 0.x called it."
    )
    boto_port: int | None = Field(default=None, ge=1, le=65535, description="Its port.")
    s3_secure: bool = Field(
        default=True,
        description="Whether `boto_host` is spoken to by https. Without it nobody verifies who takes the bytes.",
    )
    s3_addressing: Literal["auto", "path", "virtual"] = Field(
        default="auto",
        description="Whether the bucket stands in the path (`HOST/BUCKET`) or in the host (`BUCKET.HOST`). `auto` is "
        "`virtual` on AWS if the bucket has no dots, and `path` elsewhere.",
    )
    s3_encrypt: bool = Field(
        default=False, description="Whether the store is told to encrypt each object (`AES256`). AWS does so unasked."
    )
    s3_kms_key: str | None = Field(
        default=None, description="The key of AWS KMS that objects are encrypted with (`aws:kms`)."
    )
    s3_storage_class: str | None = Field(
        default=None, description="Of each object, such as `STANDARD_IA`. Not one that has to be thawed."
    )
    s3_part_size: Bytes = Field(
        default=8 << 20, ge=5 << 20, le=512 << 20,
        description="Large blobs are sent in parts of this size, and of four times this size while half of "
        "`s3_memory` is free. Where that would be more than 10 000, parts are larger.",
    )
    s3_memory: Bytes = Field(
        default=512 << 20, ge=16 << 20,
        description="Parts on their way to the store, all uploads together; further ones wait. `s3_memory` divided by "
        "`s3_part_size` is the number of large uploads that get on at a time. Each of several workers has its share.",
    )
    s3_link_cache: Seconds = Field(
        default=5.0, ge=0, le=60,
        description="A blob that was read is read again for so long without asking the store whether its repository "
        "still holds it. What this registry deletes is gone at once. Set it to 0 where others delete from the same "
        "bucket; with several workers it is 0.",
    )
    s3_ca: Authorities = Field(
        default=None, description="Authorities that the store's certificate is verified with, in place "
        "of the system's."
    )
    storage_check: bool = Field(
        default=True,
        description="Whether the store is tried before the port opens: an object is written, read, listed and deleted.",
    )
    storage_redirect: bool = Field(
        default=False,
        description="Whether clients are sent to the store for blobs, by URLs that hold for 20 minutes. They have to "
        "reach it, and the bytes do not pass through the registry.",
    )
    cloudfront: CloudFront = Field(
        default=CloudFront(),
        description="With `storage_redirect`, clients are sent to CloudFront in place of the bucket.",
    )

    @field_validator("s3_bucket", "boto_bucket")
    @classmethod
    def _bucket(cls, value: str | None) -> str | None:
        if value is not None and not _BUCKET.fullmatch(value):
            raise unsuitable("no name of a bucket")
        return value

    @field_validator("s3_endpoint")
    @classmethod
    def _endpoint(cls, value: str | None) -> str | None:
        if value is not None and not _ENDPOINT.fullmatch(value):
            raise unsuitable("not https://HOST:PORT, without a path")
        return value

    @field_validator("boto_host")
    @classmethod
    def _boto_host(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not _HOST.fullmatch(value):
            raise unsuitable("not a host, without scheme and port")
        if value is not None and info.data.get("s3_endpoint") is not None:
            raise unsuitable("s3_endpoint says where the store is")
        return value

    @field_validator("s3_access_key", "s3_secret_key")
    @classmethod
    def _given(cls, value: SecretStr | None) -> SecretStr | None:
        return value if value is not None and value.get_secret_value() else None

    @field_validator("s3_secret_key")
    @classmethod
    def _pair(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if (value is None) != (info.data.get("s3_access_key") is None):
            raise unsuitable("s3_access_key and s3_secret_key belong together")
        return value

    @field_validator("s3_storage_class")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value in _FROZEN:
            raise unsuitable("what is of this class has to be thawed before it can be read")
        return value

    @field_validator("s3_memory")
    @classmethod
    def _room(cls, value: int, info: ValidationInfo) -> int:
        if value < 2 * info.data.get("s3_part_size", 0):
            raise unsuitable("less than two parts of s3_part_size")
        return value

    @property
    def bucket(self) -> str | None:
        return self.s3_bucket or self.boto_bucket

    @property
    def endpoint(self) -> str | None:
        """Of the store, ``None`` if it is AWS."""
        if self.boto_host is None:
            return self.s3_endpoint
        port = f":{self.boto_port}" if self.boto_port else ""
        return f"{'https' if self.s3_secure else 'http'}://{self.boto_host}{port}"

