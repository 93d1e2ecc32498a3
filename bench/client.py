"""Loads that wrk cannot make: pushes, large downloads, readers that stop. They run in a process of their own."""

from __future__ import annotations

import json
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, TypeVar
from urllib.parse import urlsplit

from bench.contents import Content, chunk
from bench.failures import LoadFailed
from bench.wire import Answer, Connection

P = ParamSpec("P")
R = TypeVar("R")

RECEIVE = 1 << 20
"""Bytes that a reader asks of its socket at once."""

LONGEST = 900.0
"""Seconds after which a load is given up."""

EXCEPTIONS = 200
"""A second, that a registry is made to raise beside its work."""

PACE = 0.002
"""Seconds from one request to the next, where their times are taken one by one."""


class Way(Enum):
    """How a client pushes a blob; the value is the client's name."""

    DOCKER = "docker"               # POST, PATCH in chunks, empty PUT
    CONTAINERD = "containerd"       # POST, PUT with a length


class Client:
    """The process that makes the loads. Entered in ``with``."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=signal.signal,
            initargs=(signal.SIGINT, signal.SIG_IGN),
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call one of this module's functions there.

        :raises LoadFailed: it did not come to its end, or not in time.
        """
        try:
            return self._pool.submit(function, *args, **kwargs).result(LONGEST)
        except TimeoutError:
            raise LoadFailed("it takes too long") from None
        except OSError as error:
            raise LoadFailed(f"the client failed: {error}") from error


def push(port: int, repository: str, contents: Sequence[Content], way: Way, at_once: int = 1) -> float:
    """Push ``contents`` over ``at_once`` connections, each used for one push after the other.

    :returns: seconds, from the first request to the last answer.
    :raises LoadFailed: an answer is not what it should be.
    """
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(port)) for _ in range(at_once)]
        threads = stack.enter_context(ThreadPoolExecutor(at_once))

        def push_share(number: int) -> None:
            for content in contents[number::at_once]:
                _push_one(connections[number], repository, content, way)

        began = time.perf_counter()
        for ended in [threads.submit(push_share, number) for number in range(at_once)]:
            ended.result()
        return time.perf_counter() - began


def _push_one(connection: Connection, repository: str, content: Content, way: Way) -> None:
    location = _session(connection.ask("POST", f"/v2/{repository}/blobs/uploads/"))
    if way is Way.DOCKER:
        connection.send("PATCH", location, "Content-Type: application/octet-stream", "Transfer-Encoding: chunked")
        _send_file(connection, content.chunked)
        connection.socket.sendall(chunk(content.tail) + b"0\r\n\r\n")
        location = _session(connection.answer())
        answer = connection.ask("PUT", _with_digest(location, content))
    else:
        connection.send(
            "PUT", _with_digest(location, content), "Content-Type: application/octet-stream",
            f"Content-Length: {content.size}",
        )
        _send_file(connection, content.file)
        connection.socket.sendall(content.tail)
        answer = connection.answer()
    _expect(answer, 201)


def slowest(port: int, target: str, accept: str, broken: str, count: int) -> float:
    """Ask for ``target`` ``count`` times, `PACE` apart, and for ``broken`` `EXCEPTIONS` times a second meanwhile.

    :returns: seconds that 99 of 100 requests for ``target`` did not exceed.
    :raises LoadFailed: an answer is not what it should be.
    """
    over = threading.Event()

    def fail() -> None:
        with Connection(port) as connection:
            due = time.perf_counter()
            while not over.wait(max(0.0, due - time.perf_counter())):
                _expect(connection.ask("GET", broken), 500)
                due += 1 / EXCEPTIONS

    times = []
    with Connection(port) as connection, ThreadPoolExecutor(1) as beside:
        failing = beside.submit(fail)
        try:
            due = time.perf_counter()
            for _ in range(count):
                time.sleep(max(0.0, due - time.perf_counter()))
                began = time.perf_counter()
                _expect(connection.ask("GET", target, f"Accept: {accept}"), 200)
                times.append(time.perf_counter() - began)
                due = max(due + PACE, began)
        finally:
            over.set()
        failing.result()
    return sorted(times)[len(times) * 99 // 100]


def push_image(port: int, repository: str, content: Content) -> float:
    """Push an image of one layer as docker 1.5 did, and tag it.

    :returns: seconds, from the first request to the last answer.
    :raises LoadFailed: an answer is not what it should be.
    """
    described = json.dumps({"id": _image(content), "architecture": "amd64", "os": "linux"}).encode()
    payload = content.sum_after(described + b"\n")
    with Connection(port) as connection:
        began = time.perf_counter()
        _expect(connection.ask("PUT", f"/v1/images/{_image(content)}/json", content=described), 200)
        connection.send("PUT", image_layer(content), "Transfer-Encoding: chunked")
        _send_file(connection, content.chunked)
        connection.socket.sendall(chunk(content.tail) + b"0\r\n\r\n")
        _expect(connection.answer(), 200)
        answer = connection.ask(
            "PUT", f"/v1/images/{_image(content)}/checksum", f"X-Docker-Checksum-Payload: sha256:{payload}"
        )
        _expect(answer, 200)
        tagged = json.dumps(_image(content)).encode()
        _expect(connection.ask("PUT", f"/v1/repositories/{repository}/tags/latest", content=tagged), 200)
        return time.perf_counter() - began


def image_layer(content: Content) -> str:
    """Where the layer of an image is that `push_image` pushed."""
    return f"/v1/images/{_image(content)}/layer"


def _image(content: Content) -> str:
    """The image's id, which is the client's choice."""
    return content.digest.removeprefix("sha256:")


def _send_file(connection: Connection, path: str | None) -> None:
    if path is not None:
        with Path(path).open("rb", buffering=0) as file:
            connection.send_file(file)


def _session(answer: Answer) -> str:
    """Path and query of an upload session; its address may be absolute."""
    _expect(answer, 202)
    location = answer.headers[b"location"].decode("ascii")
    return location if location.startswith("/") else "/" + location.split("/", 3)[3]


def _with_digest(location: str, content: Content) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={content.digest}"


def _expect(answer: Answer, status: int) -> None:
    if answer.status != status:
        said = answer.content[:200].decode(errors="replace").strip()
        raise LoadFailed(f"{answer.status} instead of {status}: {said}")


def download(port: int, target: str, size: int, connections: int) -> float:
    """Read ``target`` once over each of ``connections`` and throw it away.

    :returns: seconds, from the first request to the last byte.
    :raises LoadFailed: not ``size`` bytes.
    """
    with ExitStack() as stack:
        opened = [stack.enter_context(Connection(port)) for _ in range(connections)]
        threads = stack.enter_context(ThreadPoolExecutor(connections))
        began = time.perf_counter()
        for ended in [threads.submit(_read_away, connection, target, size) for connection in opened]:
            ended.result()
        return time.perf_counter() - began


def follow(port: int, target: str, size: int, connections: int) -> float:
    """As `download`, of what is somewhere else on this machine: the registry says where.

    :raises LoadFailed: it does not.
    """
    began = time.perf_counter()
    with Connection(port) as connection:
        answer = connection.ask("GET", target)
    _expect(answer, 307)
    place = urlsplit(answer.headers[b"location"].decode("ascii"))
    return time.perf_counter() - began + download(place.port or 80, f"{place.path}?{place.query}", size, connections)


def pull(port: int, targets: Sequence[tuple[str, int]], at_once: int) -> float:
    """Read ``targets``, given with their sizes, over ``at_once`` connections.

    :returns: seconds, from the first request to the last byte.
    """
    with ExitStack() as stack:
        opened = [stack.enter_context(Connection(port)) for _ in range(at_once)]
        threads = stack.enter_context(ThreadPoolExecutor(at_once))

        def pull_share(number: int) -> None:
            for target, size in targets[number::at_once]:
                _read_away(opened[number], target, size)

        began = time.perf_counter()
        for ended in [threads.submit(pull_share, number) for number in range(at_once)]:
            ended.result()
        return time.perf_counter() - began


def _read_away(connection: Connection, target: str, size: int) -> None:
    head = _begin_reading(connection, target, size)
    buffer = bytearray(RECEIVE)
    left = size - len(head.content)
    while left and (count := connection.socket.recv_into(buffer, min(left, RECEIVE))):
        left -= count
    if left:
        raise LoadFailed(f"a download ended {left} bytes early")


def _begin_reading(connection: Connection, target: str, size: int) -> Answer:
    connection.send("GET", target)
    head = connection.head()
    if head.status != 200 or head.length != size:
        raise LoadFailed(f"{target}: {head.status}, {head.length} bytes instead of {size}")
    return head


def stall(port: int, target: str, size: int, readers: int, seconds: float) -> None:
    """Ask for ``target`` over ``readers`` connections, read the head of each answer, and nothing more.

    :param seconds: how long to leave them so.
    :raises LoadFailed: a reader is cut off, or the server has no answer for anybody else.
    """
    with ExitStack() as stack:
        opened = [stack.enter_context(Connection(port)) for _ in range(readers)]
        for connection in opened:
            _begin_reading(connection, target, size)
        time.sleep(seconds)
        with Connection(port) as another:
            _expect(another.ask("GET", "/v2/"), 200)
        for connection in opened:
            buffer = bytearray(RECEIVE)
            if not connection.socket.recv_into(buffer):
                raise LoadFailed("a reader that stopped was cut off")
