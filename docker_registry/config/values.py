"""The kinds of value that options have, and what a message says about them."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, cast

from OpenSSL import SSL
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError
from twisted.internet.endpoints import serverFromString

UNSUITABLE = "unsuitable"

_URL = re.compile(r"https?://(?:[A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?(?:/[\x21-\x7e]*)?")
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


class FromEnvironment(str):
    """Text that came by way of ``_env:NAME``; an option that is no text reads it as YAML would."""

    __slots__ = ()


def unsuitable(text: str) -> PydanticCustomError:
    """An error for a validator to raise. ``text`` says what is wrong and does not repeat a value that may be secret."""
    return PydanticCustomError(UNSUITABLE, "{text}", {"text": text})


def is_url(text: str) -> bool:
    """Whether a service may be asked there: http or https, and no password in it."""
    return _URL.fullmatch(text) is not None and "@" not in text and "?" not in text and "#" not in text


def read(path: Path, what: str) -> bytes:
    """A file that an option names.

    :raises PydanticCustomError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise unsuitable(f"{what} cannot be read: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class Allowed:
    """Beside a type: what may stand there, for messages and for the documentation."""

    text: str


@dataclass(frozen=True, slots=True)
class Units:
    """Numbers that may carry a unit: ``30`` is the same as ``30s``.

    :ivar factors: by unit, the smallest, which is 1, first.
    """

    factors: Mapping[str, int]

    def parse(self, value: object) -> object:
        """The number in the smallest unit; what is no text with a unit stays as it is, for the type to judge."""
        match = re.fullmatch(r"([0-9]{1,15})\s*([A-Za-z]+)", value) if isinstance(value, str) else None
        if match is None or match[2] not in self.factors:
            return value
        return int(match[1]) * self.factors[match[2]]

    def show(self, number: float) -> str:
        """``number`` in the largest unit that leaves it whole."""
        for unit, factor in reversed([*self.factors.items()]):
            if number and number % factor == 0:
                return f"{number / factor:g}{unit}"
        return f"{number:g}"


TIME = Units(MappingProxyType({"s": 1, "m": 60, "h": 3600, "d": 86400}))
SIZE = Units(MappingProxyType({"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}))

Seconds = Annotated[
    float, Allowed("seconds, or with a unit: 30s, 15m, 12h, 7d"), BeforeValidator(TIME.parse), TIME,
    Field(allow_inf_nan=False),
]
Bytes = Annotated[int, Allowed("bytes, or with a unit: 512KiB, 4MiB, 1GiB"), BeforeValidator(SIZE.parse), SIZE]


def _authorities(value: Path | None) -> Path | None:
    if value is not None and _CERTIFICATE not in read(value, "the file"):
        raise unsuitable("no certificate in PEM")
    return value


Authorities = Annotated[
    Path | None, Allowed("the path of a file with certificates in PEM"), Field(strict=False),
    AfterValidator(_authorities),
]


def beneath(options: Mapping[str, Any]) -> str | None:
    """The kind of store that ``storage_path`` is a place of: the one beside Glance, or the only one.

    :param options: those that are right.
    """
    storage = options.get("storage")
    return options.get("storage_alternate") if storage == "glance" else storage


def _storage_path(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str) or beneath(info.data) not in ("s3", "swift"):
        return _local_path(value)
    if not re.fullmatch(r"/*(?:(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+(?:/+|\Z))*", value):
        raise unsuitable("not a prefix of keys, such as /prod")
    return Path("/", *value.split("/"))


def _local_path(value: object) -> object:
    if not isinstance(value, str):
        return value
    if "\0" in value or not value.startswith(("/", "./")):
        raise unsuitable("neither absolute nor beginning with ./")
    return Path(os.path.abspath(value))


_PATH = Allowed("an absolute path, or one that begins with ./, from the working directory")
LocalPath = Annotated[Path | None, _PATH, BeforeValidator(_local_path)]
StoragePath = Annotated[Path | None, _PATH, BeforeValidator(_storage_path)]
"""Of a directory, or what the keys in a bucket or a container begin with."""


def _split(text: str) -> tuple[str, list[str], dict[str, str]]:
    """The kind, the unnamed and the named arguments of an endpoint string; of what ``haproxy:`` wraps when it does."""
    parts = re.split(r"(?<!\\):", text)
    kind, *arguments = parts[1:] if parts[0] == "haproxy" and len(parts) > 1 else parts
    plain = [re.sub(r"\\(.)", r"\1", argument) for argument in arguments]
    return kind, [each for each in plain if "=" not in each], dict(each.split("=", 1) for each in plain if "=" in each)


def reachable(text: str) -> tuple[str, int] | str | None:
    """Where a program of this machine reaches an endpoint: host and port, or the path of a socket.

    ``None`` where it takes more than that: TLS, a proxy's line, a socket of systemd.
    """
    kind, unnamed, named = _split(text)
    if text.startswith("haproxy:"):
        return None
    if kind == "unix":
        return named.get("address") or unnamed[0]
    if kind not in ("tcp", "tcp6"):
        return None
    every, here = ("::", "::1") if kind == "tcp6" else ("0.0.0.0", "127.0.0.1")
    host = named.get("interface") or every
    return here if host == every else host, int(named["port"] if "port" in named else unnamed[0])


def tls_key(text: str) -> str | None:
    """The file with the private key of an endpoint that speaks TLS."""
    kind, _, named = _split(text)
    return named.get("privateKey", "server.pem") if kind == "ssl" else None


def endpoint(text: str) -> str:
    """Check an endpoint string, and the certificate and key that it names.

    :raises PydanticCustomError: nothing could listen there.
    """
    kind, unnamed, named = _split(text)
    if kind in ("tcp", "tcp6", "ssl"):
        port = named.get("port", unnamed[0] if unnamed else "")
        if not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
            raise unsuitable("the port is no number from 0 to 65535")
    if key := tls_key(text):
        _check_certificate(named.get("certKey", key), key)
    if kind == "systemd":
        # Which sockets there are is known to the daemon that systemd starts, and to nobody else.
        if named.get("domain") not in ("INET", "INET6", "UNIX") or not named.keys() & {"index", "name"}:
            raise unsuitable("a systemd endpoint has a domain (INET, INET6, UNIX) and an index or a name")
        return text
    try:
        serverFromString(cast(Any, None), text)     # keeps the reactor for later, and touches nothing
    except (ValueError, TypeError, OSError, SSL.Error):
        raise unsuitable("not an endpoint") from None
    return text


def _check_certificate(certificate: str, key: str) -> None:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_passwd_cb(lambda *_: b"")        # instead of asking at the terminal
    for name, path, use in (
        ("certKey", certificate, context.use_certificate_file), ("privateKey", key, context.use_privatekey_file)
    ):
        try:
            with open(path, "rb"):
                use(path)
        except OSError as error:
            raise unsuitable(f"{name} cannot be read: {os.strerror(error.errno or 0)}") from None
        except SSL.Error:
            mismatch = "the key does not match the certificate, or has a passphrase, or is no PEM"
            raise unsuitable(mismatch if name == "privateKey" else "certKey is no certificate in PEM") from None


AUTO = 0
"""What ``auto`` is as a number of workers."""

MOST_WORKERS = 64


def _workers(value: object) -> object:
    if value == "auto":
        return AUTO
    if isinstance(value, int) and not isinstance(value, bool) and not 1 <= value <= MOST_WORKERS:
        raise unsuitable("out of range")
    return value


Workers = Annotated[
    int, Allowed(f"a whole number from 1 to {MOST_WORKERS}, or auto"), BeforeValidator(_workers),
]


def _at_least_one(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise unsuitable("empty")
    return value


AnyEndpoints = Annotated[
    tuple[Annotated[str, AfterValidator(endpoint)], ...],
    Allowed("a list of Twisted's endpoint strings, such as tcp:5000:interface=127.0.0.1"),
]


Endpoints = Annotated[AnyEndpoints, AfterValidator(_at_least_one)]


def why_not_usable(path: Path) -> str | None:
    """What keeps this process from storing at ``path``, which need not exist yet; ``None`` when nothing does."""
    there = path
    while not os.path.exists(there) and there != there.parent:     # what cannot be seen is not there, either
        there = there.parent
    if not os.path.isdir(there):
        return "not a directory" if there == path else f"{there} is not a directory"
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
        sealed = os.statvfs(there).f_flag & os.ST_RDONLY
        why = ": its file system is read-only, or ReadWritePaths in systemd's unit does not name it" if sealed else ""
        return f"{'not' if there == path else f'{there} is not'} writable for {_user()}{why}"
    return None


def why_not_writable(path: Path) -> str | None:
    """What keeps this process from writing to a file of that name; ``None`` when nothing does."""
    if os.path.isdir(path):
        return "a directory"
    if os.path.exists(path):
        return None if os.access(path, os.W_OK, effective_ids=True) else f"not writable for {_user()}"
    if not os.path.isdir(path.parent):
        return f"{path.parent} is no directory"
    return why_not_usable(path.parent)


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"
