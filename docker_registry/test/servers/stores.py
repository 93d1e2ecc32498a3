"""Real stores on loopback, started for the first test that asks and ended with the run."""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import SkipTest
from urllib.parse import quote, urlsplit

from botocore.config import Config
from botocore.session import Session

from docker_registry.test.clients.daemon import Process, free_port, wait_for_port

SWIFT = Path(__file__).parent / "swift"
GLANCE = Path(__file__).parent / "glance"
INSTALLED = Path(__file__).parent.parent.parent.parent / ".venv"
"""Below it they are installed, once for all runs."""


@dataclass(frozen=True, slots=True)
class Store:
    """A bucket of S3 that is there.

    :ivar verifies: whether signatures and sums are looked at.
    """

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str
    verifies: bool

    @property
    def port(self) -> int:
        return urlsplit(self.endpoint).port or 0

    def options(self, **more: Any) -> dict[str, Any]:
        """A daemon's, for a prefix that nobody has used."""
        return {
            "storage": "s3", "s3_endpoint": self.endpoint, "s3_bucket": self.bucket, "s3_part_size": "5MiB",
            "s3_access_key": self.access_key, "s3_secret_key": self.secret_key, "storage_path": f"/{uuid.uuid4().hex}",
            **more,
        }

    def theirs(self, prefix: str) -> dict[str, Any]:
        """Of Debian's docker-registry, for the same."""
        return {"s3": {
            "accesskey": self.access_key, "secretkey": self.secret_key, "region": "us-east-1", "bucket": self.bucket,
            "regionendpoint": self.endpoint, "secure": False, "v4auth": True, "rootdirectory": prefix,
        }}

    def client(self) -> Any:
        """Of botocore: not ours."""
        return Session().create_client(
            "s3", "us-east-1", endpoint_url=self.endpoint, aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}, proxies={}),
        )

    def fill(self, prefix: str, root: Path) -> None:
        """Put the files below ``root`` where docker-registry 0.x had them in a bucket: layers always in parts, however
        small (0.9.1, boto's ``initiate_multipart_upload``), everything else whole."""
        client = self.client()
        for path in sorted(root.rglob("*")):
            if not path.is_file():
                continue
            place = {"Bucket": self.bucket, "Key": f"{prefix.strip('/')}/{path.relative_to(root)}"}
            content = path.read_bytes()
            if path.name != "layer" or not content:
                client.put_object(**place, Body=content)
                continue
            upload = client.create_multipart_upload(**place)["UploadId"]
            tag = client.upload_part(**place, UploadId=upload, PartNumber=1, Body=content)["ETag"]
            parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
            client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload=parts)

    def objects(self, prefix: str) -> dict[str, str]:
        """The tag of each object below ``prefix``."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return {each["Key"].removeprefix(prefix): each["ETag"] for page in pages for each in page.get("Contents", ())}


@cache
def moto() -> Store:
    """Quick, in memory, and believes everything."""
    port = free_port()
    process = Process([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)])
    atexit.register(process.stop)
    wait_for_port(port)
    store = Store(f"http://127.0.0.1:{port}", "test", "test/with+signs=", "registry", False)
    with urllib.request.urlopen(urllib.request.Request(f"{store.endpoint}/{store.bucket}", method="PUT")):
        return store


@cache
def _swift() -> dict[str, str]:
    return _started(SWIFT, "SWIFT_VENV")


@cache
def swift() -> Store:
    """OpenStack Swift with its S3 API: verifies signatures and sums.

    :raises SkipTest: it does not start.
    :raises AssertionError: it does not start, and this is CI.
    """
    said = _swift()
    return Store(said["S3_ENDPOINT"], said["S3_ACCESS_KEY"], said["S3_SECRET_KEY"], said["S3_BUCKET"], True)


@dataclass(frozen=True, slots=True)
class Container:
    """A container of Swift that is there.

    :ivar auth_url: where one logs in by version 1.
    :ivar url: of the account.
    """

    auth_url: str
    user: str
    key: str
    url: str
    name: str

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    def at(self, url: str, port: int) -> str:
        """The same, by a proxy on loopback."""
        return urlsplit(url)._replace(netloc=f"127.0.0.1:{port}").geturl()

    def options(self, **more: Any) -> dict[str, Any]:
        """A daemon's, for a prefix that nobody has used."""
        return {
            "storage": "swift", "swift_authurl": self.auth_url, "swift_user": self.user, "swift_password": self.key,
            "swift_container": self.name, "swift_segment_size": "2MiB", "storage_path": f"/{uuid.uuid4().hex}", **more,
        }

    def theirs(self, prefix: str) -> dict[str, Any]:
        """Of Debian's docker-registry."""
        return {"swift": {
            "username": self.user, "password": self.key, "authurl": self.auth_url, "container": self.name,
            "prefix": prefix, "chunksize": 2 << 20,
        }}

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, Any, bytes]:
        """Status, headers and body of an answer: not by a client of ours.

        :param path: behind the account, quoted.
        """
        answer = self._ask(method, path, body, headers)
        if answer[0] == 401:
            _token.cache_clear()                # a test has started the server anew, which forgets what it has given
            answer = self._ask(method, path, body, headers)
        return answer

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Any, bytes]:
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            f"{self.url}{path}", body, {"X-Auth-Token": self.token(), "Content-Type": "", **lines}, method=method
        )
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def token(self) -> str:
        return _token(self.auth_url, self.user, self.key)[0]

    def names(self, prefix: str) -> list[str]:
        """Of all objects below ``prefix``, without it."""
        found: list[str] = []
        while page := json.loads(self.ask("GET", f"/{self.name}?format=json&prefix={prefix}&marker="
                                          f"{quote(prefix + found[-1]) if found else ''}")[2]):
            found += [each["name"].removeprefix(prefix) for each in page]
        return found

    def objects(self, prefix: str) -> dict[str, str]:
        """The tag of each object below ``prefix``."""
        return {
            name: self.ask("HEAD", f"/{self.name}/{quote(prefix + name)}")[1]["ETag"] for name in self.names(prefix)
        }

    def fill(self, prefix: str, root: Path) -> None:
        """Put the files below ``root`` where docker-registry 0.x had them: each of them one object."""
        for path in sorted(root.rglob("*")):
            if path.is_file():
                key = f"{prefix.strip('/')}/{path.relative_to(root)}"
                status, _, _ = self.ask("PUT", f"/{self.name}/{quote(key)}", path.read_bytes())
                assert status == 201, (key, status)


@cache
def _token(auth_url: str, user: str, key: str) -> tuple[str, str]:
    """A token, and the URL of the account."""
    request = urllib.request.Request(auth_url, headers={"X-Auth-User": user, "X-Auth-Key": key})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        return answer.headers["X-Auth-Token"], answer.headers["X-Storage-Url"]


@cache
def container() -> Container:
    """The same Swift, by its own API.

    :raises SkipTest: it does not start.
    :raises AssertionError: it does not start, and this is CI.
    """
    said = _swift()
    who = said["SWIFT_AUTH_URL"], said["SWIFT_USER"], said["SWIFT_KEY"]
    return Container(*who, _token(*who)[1], said["S3_BUCKET"])


@cache
def glance() -> dict[str, str]:
    """OpenStack Glance and Keystone: the variables that clients of theirs need.

    :raises SkipTest: it does not start.
    :raises AssertionError: it does not start, and this is CI.
    """
    return _started(GLANCE, "GLANCE_VENV")


def glance_folder() -> Path:
    """Where the data of `glance` lies, and its process ids."""
    glance()
    return _folders[GLANCE]


def swift_folder() -> Path:
    """The same of `swift`."""
    swift()
    return _folders[SWIFT]


@cache
def swift_with_keystone() -> str:
    """A Swift of its own that takes the tokens of `glance`'s Keystone; what the URLs of accounts begin with.

    :raises SkipTest: it does not start.
    :raises AssertionError: it does not start, and this is CI.
    """
    keystone = glance()["OS_AUTH_URL"]
    python = Path(os.environ.get("GLANCE_VENV", str(INSTALLED / "glance"))) / "lib"
    (packages,) = python.glob("python3.*/site-packages")
    said = _started(SWIFT, "SWIFT_VENV", SWIFT_KEYSTONE=keystone, SWIFT_KEYSTONE_PACKAGES=str(packages))
    return f"{said['S3_ENDPOINT']}/v1/KEY_"


def _started(script: Path, variable: str, **more: str) -> dict[str, str]:
    """What a server that a script starts says of itself; it is stopped at the end of the run.

    :param variable: which says where it is installed.
    :param more: variables of the script.
    """
    work = Path(tempfile.mkdtemp(prefix=f"{script.name}-"))
    atexit.register(shutil.rmtree, work, ignore_errors=True)
    if not more:
        _folders[script] = work
    environ = {**os.environ, variable: os.environ.get(variable, str(INSTALLED / script.name)), **more}
    started = subprocess.run(
        [script, "start", work], env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if started.returncode:
        problem = f"{script.name} does not start; run {script} check to see why: {started.stderr[-500:]}"
        if os.environ.get("CI"):
            raise AssertionError(problem)
        raise SkipTest(problem)
    atexit.register(subprocess.run, [script, "stop", work], env=environ, capture_output=True, check=False)
    return dict(re.findall(r"(\w+)=(\S+)", started.stdout))


_folders: dict[Path, Path] = {}

STORES: dict[str, Callable[[], Store | Container]] = {"moto": moto, "swift": swift, "container": container}
