"""docker 0.7, 1.5 and 1.9, as they pushed and pulled through protocol v1: call for call, header for header.

Each fails where that Docker failed, with the text that it printed, and takes what it took. Written from the source of
their package ``registry``.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import urlsplit

from docker_registry.test.clients import v1_wire
from docker_registry.test.clients.v1_images import Chain, Image, payload_sum, unpacked, without_end
from docker_registry.test.clients.v1_wire import Address, Body, V1Answer
from docker_registry.test.layer_case import expected_tarsum

GO = "Go 1.1 package http"
"""What Docker called itself when it looked for what is there."""

PIECE = 32 << 10
"""Bytes of a chunk: Go copies through a buffer of this size."""

JSON = {"Content-Type": "application/json"}
TOKEN = {"X-Docker-Token": "true"}


class Failed(AssertionError):
    """The text is what Docker printed, and the answer that it did not like."""


def demand(condition: object, problem: str, answer: object = "") -> None:
    if not condition:
        raise Failed(f"{problem}\n{answer}")


def pieces(content: bytes) -> Iterator[bytes]:
    return (content[at : at + PIECE] for at in range(0, len(content), PIECE))


class Docker:
    """:param host: of the registry, as image names begin.
    :param login: user and password.
    :ivar asked: method, path and status of each call.
    """

    agent: str
    list_type = "Content-type"
    """How the name of that field is written where it goes with a list."""

    def __init__(self, host: str, login: tuple[str, str] = ("", "")) -> None:
        self.host = host
        self.login = login
        self.asked: list[tuple[str, str, int]] = []
        self.tokens: list[str] = []
        self._cookies: dict[str, str] = {}

    # Calls

    def call(
        self, method: str, url: str, headers: Mapping[str, str | list[str]] | None = None, body: Body = None,
        agent: str = "",
    ) -> V1Answer:
        """One request as Go's client writes it: its own fields, the others in order of their names, its coding."""
        parts = urlsplit(url)
        fields = [("Host", parts.netloc), ("User-Agent", agent or self.agent)]
        if body is not None and not isinstance(body, bytes):
            fields.append(("Transfer-Encoding", "chunked"))
        elif body is not None or method == "PUT":
            fields.append(("Content-Length", str(len(body or b""))))
        more = dict(headers or {})
        if self._cookies:
            more["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        for name, values in sorted(more.items()):
            fields += [(name, value) for value in ([values] if isinstance(values, str) else values)]
        fields.append(("Accept-Encoding", "gzip"))
        answer = v1_wire.ask(address(parts.netloc), method, parts.path, fields, body)
        for cookie in answer.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name] = value
        self.asked.append((method, parts.path, answer.status))
        return answer

    @property
    def basic(self) -> dict[str, str]:
        """Sent whether somebody is logged in or not; ``Basic Og==`` is nobody."""
        return {"Authorization": "Basic " + base64.b64encode(":".join(self.login).encode()).decode()}

    @property
    def credentials(self) -> dict[str, str]:
        """Sent only if somebody is logged in."""
        return self.basic if self.login[0] else {}

    def authorized(self, joint: str = ",") -> dict[str, str]:
        """:param joint: between two tokens."""
        return {"Authorization": "Token " + joint.join(self.tokens)}

    @property
    def index(self) -> str:
        return f"http://{self.host}/v1/"

    def begin(self) -> None:
        """Tokens are of one push, or one pull."""
        self.tokens = []
        self.ping()

    def ping(self) -> None:
        raise NotImplementedError

    # Pushing

    def layer_of(self, image: Image) -> bytes:
        """The layer as it is sent."""
        return gzip.compress(image.archive, 6, mtime=0)

    def push(self, name: str, tag: str, chain: Chain) -> None:
        self.begin()
        listed = self.image_list(tag, chain)
        answer = self.put_list(f"{self.index}repositories/{name}/", listed)
        demand(answer.status in (200, 201), f"Error: Status {answer.status} trying to push repository {name}", answer)
        endpoints = self.allocated(answer)
        for endpoint in endpoints:
            self.push_to(endpoint, name, tag, chain, listed)
        closing = [each for each in listed if each.get("checksum")]
        answer = self.put_list(f"{self.index}repositories/{name}/images", closing, {"X-Docker-Endpoints": endpoints})
        demand(answer.status == 204, f"Error: Status {answer.status} trying to push checksums {name}", answer)

    def image_list(self, tag: str, chain: Chain) -> list[dict[str, str]]:
        """A tag for the image that has it."""
        return [{"id": each.id} for each in chain[:-1]] + [{"id": chain[-1].id, "Tag": tag}]

    def put_list(self, url: str, listed: object, more: Mapping[str, list[str]] | None = None) -> V1Answer:
        body = json.dumps(listed, separators=(",", ":")).encode()
        headers = {self.list_type: "application/json", **TOKEN, **self.basic, **(more or {})}
        while True:
            answer = self.call("PUT", url, headers, body)
            if not 300 <= answer.status < 400:
                return answer
            url = answer["Location"]

    def allocated(self, answer: V1Answer) -> list[str]:
        """The tokens are kept; the endpoints."""
        self.tokens = answer.headers.get_all("X-Docker-Token", [])
        demand(self.tokens, "Index response didn't contain an access token", answer)
        endpoints = self.endpoints(answer)
        demand(endpoints, "Index response didn't contain any endpoints", answer)
        return endpoints

    def endpoints(self, answer: V1Answer) -> list[str]:
        found = answer.headers.get_all("X-Docker-Endpoints", [])
        return [f"http://{each.strip()}/v1/" for value in found for each in value.split(",")]

    def push_to(self, endpoint: str, name: str, tag: str, chain: Chain, listed: list[dict[str, str]]) -> None:
        """Five look at once for what is missing; that is pushed one after the other."""
        with ThreadPoolExecutor(5) as workers:
            there = list(workers.map(lambda each: self.has(endpoint, each), chain))
        for image, has in zip(chain, there, strict=True):
            if not has:
                self.push_image(endpoint, image)
        self.push_tag(endpoint, name, tag, chain[-1])

    def has(self, endpoint: str, image: Image) -> bool:
        return self.call("GET", f"{endpoint}images/{image.id}/json", self.authorized()).status == 200

    def push_image(self, endpoint: str, image: Image) -> str:
        """:return: the sum; nothing if it was there."""
        url = f"{endpoint}images/{image.id}"
        if self.exists(self.call("PUT", f"{url}/json", JSON | self.authorized(), image.json), "metadata"):
            return ""
        layer = self.layer_of(image)
        answer = self.call("PUT", f"{url}/layer", self.layer_headers(), pieces(layer))
        demand(answer.status == 200, f"Received HTTP code {answer.status} while uploading layer", answer)
        sums = self.sums(image, layer)
        self.exists(self.call("PUT", f"{url}/checksum", sums | self.authorized()), "metadata")
        return sums["X-Docker-Checksum"]

    def exists(self, answer: V1Answer, what: str) -> bool:
        """Whether the registry has it already, which only the text of the error says."""
        if answer.status == 200:
            return False
        with suppress(ValueError, AttributeError):
            if answer.json.get("error") == "Image already exists":
                return True
        raise Failed(f"HTTP code {answer.status} while uploading {what}\n{answer}")

    def layer_headers(self) -> dict[str, str]:
        return {"Content-Type": "application/octet-stream", **self.authorized()}

    def sums(self, image: Image, layer: bytes) -> dict[str, str]:
        return {
            "X-Docker-Checksum": expected_tarsum(image.json, image.archive),
            "X-Docker-Checksum-Payload": payload_sum(image.json, layer),
        }

    def push_tag(self, endpoint: str, name: str, tag: str, image: Image) -> None:
        url = f"{endpoint}repositories/{name}/tags/{tag}"
        answer = self.call("PUT", url, JSON | self.authorized(), f'"{image.id}"'.encode())
        demand(answer.status in (200, 201), f"Internal server error: {answer.status} trying to push tag {tag}", answer)

    # Pulling

    def pull(self, name: str, tag: str) -> Chain:
        self.begin()
        answer = self.call("GET", f"{self.index}repositories/{name}/images", TOKEN | self.credentials)
        demand(answer.status == 200, f"Error: Status {answer.status} trying to pull repository {name}", answer)
        self.tokens = answer.headers.get_all("X-Docker-Token", [])
        demand(all("id" in each for each in answer.json), "the image list has no ids", answer)
        (endpoint, *_) = self.endpoints(answer) or self.no_endpoints()
        tags = self.tags(endpoint, name)
        demand(tag in tags, f"Tag {tag} not found in repository {name}", tags)
        return tuple(self.pull_image(endpoint, each) for each in reversed(self.history(endpoint, tags[tag])))

    def no_endpoints(self) -> list[str]:
        return [self.index]

    def reading(self) -> dict[str, str]:
        """Of a request that reads."""
        return self.authorized()

    def tags(self, endpoint: str, name: str) -> dict[str, str]:
        """The index knows names without a namespace, the registry does not."""
        qualified = name if "/" in name else f"library/{name}"
        answer = self.call("GET", f"{endpoint}repositories/{qualified}/tags", self.reading())
        demand(answer.status != 404, "Repository not found", answer)
        demand(answer.status == 200, "Could not reach any registry endpoint", answer)
        tags: dict[str, str] = answer.json
        return tags

    def history(self, endpoint: str, id: str) -> list[str]:
        """The ids of an image and what it stands on, the root last."""
        answer = self.call("GET", f"{endpoint}images/{id}/ancestry", self.reading())
        demand(answer.status == 200, f"Server error: {answer.status} trying to fetch remote history for {id}", answer)
        ids: list[str] = answer.json
        return ids

    def pull_image(self, endpoint: str, id: str) -> Image:
        self.check_id(id)
        url = f"{endpoint}images/{id}"
        answer = self.call("GET", f"{url}/json", self.reading())
        demand(answer.status == 200, f"HTTP code {answer.status}", answer)
        demand(answer.json.get("id") == id, "Failed to parse json", answer)
        layer = self.pull_layer(f"{url}/layer", self.size(answer), id)
        return Image(id, answer.body, unpacked(layer))

    def check_id(self, id: str) -> None:
        demand(re.fullmatch("[a-f0-9]{64}", id), f"image ID '{id}' is invalid")

    def size(self, answer: V1Answer) -> int:
        return int(answer.headers.get("X-Docker-Size", "-1"))

    def pull_layer(self, url: str, size: int, id: str) -> bytes:
        answer = self.call("GET", url, self.reading())
        problem = f"Server error: Status {answer.status} while fetching image layer ({id})"
        demand(answer.status == 200, problem, answer)
        return answer.body


class Docker07(Docker):
    """docker 0.7.0. It needs a version from ``_ping``, a size with each image and endpoints with each list; it sends
    archives without their end, sums of archives only, and a tag for each image."""

    agent = "docker/0.7.0 go/go1.2rc5 git-commit/0d078b6 kernel/3.8.0-33-generic"
    list_type = "Content-Type"

    def ping(self) -> None:
        answer = self.call("GET", f"{self.index}_ping", agent=GO)
        demand(
            answer.headers.get("X-Docker-Registry-Version"),
            "Invalid Registry endpoint: This does not look like a Registry server "
            '("X-Docker-Registry-Version" header not found in the response)', answer,
        )

    def endpoints(self, answer: V1Answer) -> list[str]:
        """It does not know of lists."""
        return [f"http://{each}/v1/" for each in answer.headers.get_all("X-Docker-Endpoints", [])]

    def no_endpoints(self) -> list[str]:
        raise Failed("Index response didn't contain any endpoints")

    def image_list(self, tag: str, chain: Chain) -> list[dict[str, str]]:
        return [{"id": each.id, "Tag": tag} for each in chain]

    def push_to(self, endpoint: str, name: str, tag: str, chain: Chain, listed: list[dict[str, str]]) -> None:
        for image, entry in zip(chain, listed, strict=True):
            if not self.has(endpoint, image) and (checksum := self.push_image(endpoint, image)):
                entry["checksum"] = checksum
            self.push_tag(endpoint, name, tag, image)

    def has(self, endpoint: str, image: Image) -> bool:
        return self.call("GET", f"{endpoint}images/{image.id}/json", self.reading()).status == 200

    def layer_of(self, image: Image) -> bytes:
        return gzip.compress(without_end(image.archive), 6, mtime=0)

    def layer_headers(self) -> dict[str, str]:
        return self.authorized()

    def sums(self, image: Image, layer: bytes) -> dict[str, str]:
        return {"X-Docker-Checksum": expected_tarsum(image.json, image.archive)}

    def reading(self) -> dict[str, str]:
        return self.authorized(", ")

    def check_id(self, id: str) -> None:
        """Any."""

    def size(self, answer: V1Answer) -> int:
        size = answer.headers.get("X-Docker-Size", "")
        demand(size.isdigit(), f'strconv.ParseInt: parsing "{size}": invalid syntax', answer)
        return int(size)


class Docker15(Docker):
    """docker 1.5.0. It looks for v2 first, and would push an early form of that if it were told of it; it sends both
    sums, closes with an empty list, and goes on with a layer that was cut.

    :param cut_at: bytes after which its connection is lost, once for each layer that is longer.
    """

    agent = "docker/1.5.0 go/go1.4.1 git-commit/a8a31ef kernel/3.16.0 os/linux arch/amd64"

    def __init__(self, host: str, login: tuple[str, str] = ("", ""), cut_at: int = 0) -> None:
        super().__init__(host, login)
        self._cut_at = cut_at

    def ping(self) -> None:
        """With TLS, which is refused; without; v2, then v1."""
        hello(address(self.host))
        answer = self.call("GET", f"http://{self.host}/v2/", agent=GO)
        demand(
            answer.status not in (200, 401) and "Docker-Distribution-Api-Version" not in answer.headers,
            "docker 1.5 would push through its own early v2", answer,
        )
        answer = self.call("GET", f"{self.index}_ping", agent=GO)
        demand(answer.json is True or isinstance(answer.json, dict), "unable to ping registry endpoint", answer)
        demand(answer.headers.get("X-Docker-Registry-Standalone", "true").lower() in ("true", "1"), "no index", answer)

    def pull_layer(self, url: str, size: int, id: str) -> bytes:
        if not 0 < self._cut_at < size:
            return super().pull_layer(url, size, id)
        parts = urlsplit(url)
        fields = [("Host", parts.netloc), ("User-Agent", self.agent), *self.authorized().items()]
        with v1_wire.asking(address(parts.netloc), "GET", parts.path, fields) as response:
            demand(response.headers.get("Accept-Ranges") == "bytes", "cannot go on", response.headers)
            have = response.read(self._cut_at)
        answer = self.call("GET", url, {"Range": f"bytes={len(have)}-{size}", **self.authorized()})
        demand(answer.status == 206, "the server doesn't support byte ranges", answer)
        return have + answer.body


class Docker19(Docker):
    """docker 1.9.1 where it falls back from v2 to v1. Its token goes with every request, its empty login with none."""

    agent = "docker/1.9.1 go/go1.4.2 git-commit/a34a1d5 kernel/4.2.0 os/linux arch/amd64"

    def ping(self) -> None:
        answer = self.call("GET", f"http://{self.host}/v2/")
        version = answer.headers.get("Docker-Distribution-Api-Version")
        demand(answer.status in (200, 401) and version == "registry/2.0", "v2 is not there for docker 1.9", answer)
        answer = self.call("GET", f"{self.index}_ping")
        demand(answer.json is True or isinstance(answer.json, dict), "unable to ping registry endpoint", answer)

    @property
    def basic(self) -> dict[str, str]:
        return super().basic if self.login[0] else self.authorized() if self.tokens else {}

    def authorized(self, joint: str = ",") -> dict[str, str]:
        return super().authorized(joint) if self.tokens else {}


def address(host: str) -> Address:
    name, _, port = host.partition(":")
    return name, int(port)


def hello(address: Address) -> None:
    """Begin TLS with what does not speak it, and read what that says."""
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(bytes.fromhex("16030100c8010000c40303") + bytes(189))
        with suppress(ConnectionResetError):
            while connection.recv(65536):
                pass
