"""The same over TLS: uploads and downloads that are larger than any buffer, refusals, clients that vanish."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import ssl
import time
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.threads import deferToThread
from twisted.python.threadpool import ThreadPool

from docker_registry.front import Front
from docker_registry.registry.registry import Registry
from docker_registry.registry.settings import Settings
from docker_registry.storage.local import LocalStorage
from docker_registry.test.certificates import make_certificate
from docker_registry.test.reactor_case import ReactorCase
from docker_registry.threads import Threads
from docker_registry.v1.routes import V1
from docker_registry.v2.routes import V2
from docker_registry.web.limits import Limits
from docker_registry.web.site import Site

CONTENT = os.urandom(5_000_000)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class TLSTests(ReactorCase):
    async def setUp(self) -> None:  # type: ignore[override]
        from twisted.internet import reactor

        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        make_certificate(folder)
        pool = ThreadPool(0, 4)
        pool.start()
        self.addCleanup(pool.stop)
        runner = Threads(reactor, pool)
        storage = LocalStorage(folder / "store", runner, reactor)
        await storage.start()
        self.addCleanup(storage.close)
        registry = Registry(storage, runner, reactor, Settings(), time.time)
        front = Front(V1(registry, runner, time.time), V2(registry, runner))
        self.site = Site(reactor, front.handle, refusal=front.refusal, limits=Limits())
        text = f"ssl:0:interface=127.0.0.1:privateKey={folder}/key.pem:certKey={folder}/cert.pem"
        port = await serverFromString(reactor, text).listen(self.site)
        self.addCleanup(self.leave, port)
        self.port = port.getHost().port

    async def leave(self, port: Any) -> None:
        await port.stopListening()
        await self.site.drain()

    def ask(self, method: str, target: str, body: Any = None) -> tuple[int, http.client.HTTPMessage, bytes]:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=context)
        try:
            connection.request(method, target, body)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    async def test_protocol_is_negotiated(self) -> None:
        """Go's clients and curl offer HTTP/2 first (RFC 7301); some offer HTTP/1.1 alone, and old ones nothing."""

        def work() -> None:
            for offered, chosen in ((["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1"), ([], None)):
                context = ssl._create_unverified_context()
                context.set_alpn_protocols(offered)
                with (
                    socket.create_connection(("127.0.0.1", self.port), 30) as plain,
                    context.wrap_socket(plain) as connection,
                ):
                    self.assertEqual(connection.selected_alpn_protocol(), chosen)
                    connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: r\r\n\r\n")
                    self.assertEqual(connection.recv(100)[:15], b"HTTP/1.1 200 OK")

        await deferToThread(work)

    async def test_push_and_pull(self) -> None:
        """In chunks and whole; all of it and a range."""

        def work() -> None:
            _, headers, _ = self.ask("POST", "/v2/a/blobs/uploads/", b"")
            parts = iter([CONTENT[:1_000_000], CONTENT[1_000_000:]])
            connection_headers = self.chunked("PATCH", headers["Location"], parts)
            self.assertEqual(connection_headers["Range"], f"0-{len(CONTENT) - 1}")
            self.assertEqual(self.ask("PUT", f"{headers['Location']}?digest={DIGEST}", b"")[0], 201)
            self.assertEqual(self.ask("POST", f"/v2/b/blobs/uploads/?digest={DIGEST}", CONTENT)[0], 201)
            for name in ("a", "b"):
                status, _, content = self.ask("GET", f"/v2/{name}/blobs/{DIGEST}")
                self.assertEqual((status, content == CONTENT), (200, True))

        await deferToThread(work)

    def chunked(self, method: str, target: str, parts: Any) -> http.client.HTTPMessage:
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=context)
        try:
            connection.request(method, target, parts, {"Transfer-Encoding": "chunked"}, encode_chunked=True)
            answer = connection.getresponse()
            answer.read()
            self.assertEqual(answer.status, 202)
            return answer.headers
        finally:
            connection.close()

    async def test_vanishing(self) -> None:
        """In the middle of what is sent, both ways; nothing is logged, and the next one is served."""

        def work() -> None:
            self.assertEqual(self.ask("POST", f"/v2/a/blobs/uploads/?digest={DIGEST}", CONTENT)[0], 201)
            for request in (
                f"GET /v2/a/blobs/{DIGEST} HTTP/1.1\r\nHost: r\r\n\r\n",
                f"POST /v2/a/blobs/uploads/?digest={DIGEST} HTTP/1.1\r\nHost: r\r\nContent-Length: 5000000\r\n\r\nabc",
            ):
                connection = http.client.HTTPSConnection(
                    "127.0.0.1", self.port, timeout=30, context=ssl._create_unverified_context()
                )
                connection.connect()
                connection.sock.sendall(request.encode())
                if request.startswith("GET"):
                    connection.sock.recv(1000)
                connection.close()
            self.assertEqual(self.ask("GET", "/v2/")[0], 200)

        await deferToThread(work)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_refused_before_the_body(self) -> None:
        def work() -> None:
            status, headers, _ = self.ask("PUT", "/v2/a/manifests/t", b" " * ((4 << 20) + 1))
            self.assertEqual((status, headers["Connection"]), (413, "close"))

        await deferToThread(work)
