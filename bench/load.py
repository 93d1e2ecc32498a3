"""What is asked of a registry: each function does it once and tells how fast it was."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from bench.servers import Server

CHUNK = 1 << 20
REPOSITORY = "bench/image"


class Blob:
    """A file of random bytes and its digest."""

    def __init__(self, work: Path, size: int) -> None:
        self.path = work / f"blob-{size}"
        self.size = size
        hasher = hashlib.sha256()
        with self.path.open("wb") as file:
            for at in range(0, size, CHUNK):
                part = os.urandom(min(CHUNK, size - at))
                hasher.update(part)
                file.write(part)
        self.digest = f"sha256:{hasher.hexdigest()}"


def requests(server: Server, path: str, connections: int, seconds: int, close: bool) -> float:
    """Requests a second, by wrk."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-H", "Accept: */*, " + MANIFEST]
    if close:
        command += ["-H", "Connection: close"]
    said = subprocess.run([*command, server.url + path], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said:
        raise RuntimeError(f"{server.name} {path}: {said}")
    match = re.search(r"Requests/sec:\s+([0-9.]+)", said)
    assert match is not None, said
    return float(match[1])


MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def push_manifest(server: Server, config: Blob, layer: Blob) -> str:
    """An image of about 760 bytes of manifest, tagged; its digest."""
    described = [
        {"mediaType": "application/octet-stream", "digest": blob.digest, "size": blob.size} for blob in (config, layer)
    ]
    content = json.dumps({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": described[0], "layers": described[1:],
        "annotations": {"org.opencontainers.image.description": "x" * 300},
    }).encode()
    answer = server.request("PUT", f"/v2/{REPOSITORY}/manifests/latest", content, Content_Type=MANIFEST)
    assert answer.status == 201, answer.status
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class _Wire:
    """A connection over which requests are written by hand, so that the client costs little."""

    def __init__(self, server: Server) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pending = b""

    def head(self, method: str, target: str, *headers: str) -> None:
        lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]
        self.socket.sendall("\r\n".join(lines).encode())

    def answer(self, expected: int) -> dict[str, str]:
        """The headers of an answer that has no content."""
        while b"\r\n\r\n" not in self._pending:
            data = self.socket.recv(1 << 16)
            if not data:
                raise RuntimeError("the connection was closed")
            self._pending += data
        head, _, self._pending = self._pending.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        if first.split()[1] != str(expected):
            raise RuntimeError(f"{first}: {self._pending[:500]!r}")
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def close(self) -> None:
        self.socket.close()


def _start(wire: _Wire) -> str:
    wire.head("POST", f"/v2/{REPOSITORY}/blobs/uploads/", "Content-Length: 0")
    parts = urlsplit(wire.answer(202)["location"])
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _with_digest(location: str, blob: Blob) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={blob.digest}"


def push_as_docker(server: Server, blob: Blob) -> None:
    """POST, PATCH in chunks, PUT, each over a connection of its own."""
    wire = _Wire(server)
    location = _start(wire)
    wire.close()
    wire = _Wire(server)
    wire.head("PATCH", location, "Transfer-Encoding: chunked")
    with blob.path.open("rb") as file:
        while part := file.read(32 << 10):
            wire.socket.sendall(b"%x\r\n%b\r\n" % (len(part), part))
    wire.socket.sendall(b"0\r\n\r\n")
    parts = urlsplit(wire.answer(202)["location"])
    wire.close()
    wire = _Wire(server)
    wire.head("PUT", _with_digest(f"{parts.path}?{parts.query}".rstrip("?"), blob), "Content-Length: 0")
    wire.answer(201)
    wire.close()


def push_as_containerd(server: Server, blob: Blob) -> None:
    """POST, PUT with the whole blob."""
    wire = _Wire(server)
    location = _start(wire)
    wire.head("PUT", _with_digest(location, blob), f"Content-Length: {blob.size}")
    with blob.path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
        wire.socket.sendall(content)
    wire.answer(201)
    wire.close()


def in_process(function: str, server: Server, *blobs: Blob, parallel: int = 1) -> float:
    """Seconds that ``function`` takes for all blobs, called in another process, or in ``parallel`` of them."""
    tasks = [blobs[start::parallel] for start in range(parallel)]
    began = time.monotonic()
    clients = [
        subprocess.Popen([
            sys.executable, "-m", "bench.client", function, str(server.port),
            *(f"{blob.path}={blob.digest}" for blob in some),
        ])
        for some in tasks
    ]
    if any(client.wait(600) for client in clients):
        raise RuntimeError(f"{function} failed")
    return time.monotonic() - began


def pull(server: Server, blob: Blob, connections: int) -> float:
    """MB a second over all connections; each pulls several times, so that starting the clients counts for little."""
    times = max(1, 8 // connections)
    seconds = in_process("pull", server, *[blob] * (times * connections), parallel=connections)
    return blob.size * times * connections / seconds / 1e6


def read_all(server: Server, blob: Blob) -> None:
    wire = _Wire(server)
    wire.head("GET", f"/v2/{REPOSITORY}/blobs/{blob.digest}", "Connection: close")
    buffer, got = bytearray(1 << 20), 0
    while count := wire.socket.recv_into(buffer):
        got += count
    if got < blob.size:
        raise RuntimeError(f"{got} bytes instead of {blob.size}")


def stopped_readers(server: Server, blob: Blob, count: int) -> Callable[[], None]:
    """Ask for a blob ``count`` times and read nothing; what is returned ends it."""
    wires = [_Wire(server) for _ in range(count)]
    for wire in wires:
        wire.head("GET", f"/v2/{REPOSITORY}/blobs/{blob.digest}")
    for wire in wires:
        wire.socket.recv(1)

    def end() -> None:
        for wire in wires:
            wire.close()

    return end


def parallel_uploads(server: Server, blob: Blob, count: int) -> None:
    """The same blob, pushed by ``count`` clients at once."""
    threads = [threading.Thread(target=push_as_containerd, args=(server, blob)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
