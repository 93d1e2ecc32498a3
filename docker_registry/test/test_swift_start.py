"""A daemon over a container: how it starts, how it does not, and that it never says its key or its token."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from typing import Any

from docker_registry.storage.objects.check import PROBE
from docker_registry.test.process_case import ProcessCase, reactor
from docker_registry.test.servers.faults import FaultProxy
from docker_registry.test.servers.stores import container

SECRET = "marker/of+a=secret"


class StartTests(ProcessCase):
    def setUp(self) -> None:
        super().setUp()
        self.store = container()

    def configure(self, **options: Any) -> None:
        listen = ["tcp:0:interface=127.0.0.1"]
        self.write(json.dumps({"x": {**self.store.options(), "listen": listen, "loglevel": "debug", **options}}))

    async def test_starts(self) -> None:
        """The container is made."""
        name = f"new-{uuid.uuid4().hex}"
        self.configure(swift_container=name, storage_path="/prod")
        daemon, port = await self.started()
        self.assertIn(f"storing in container {name} below /prod/", daemon.said.seen)
        self.assertIn("200 OK", await self.ask(port, "GET /v2/"))
        await self.stop(daemon)
        self.assertEqual(self.store.ask("HEAD", f"/{name}")[0], 204)

    async def test_wrong_key(self) -> None:
        self.configure(swift_password=SECRET)
        line = await self.does_not_start(78)
        self.assertIn("cannot log in (the swift_ and os_ options say who)", line)
        self.assertIn("refuses the user or the key: 401", line)
        self.assertNotIn(SECRET, line)

    async def test_another_account(self) -> None:
        """One that the login has no part in."""
        self.configure(swift_storage_url=self.store.url.replace("AUTH_test", "AUTH_other"))
        line = await self.does_not_start(78)
        self.assertIn("cannot look for the container, or make it (a role that may write", line)
        self.assertIn("403", line)

    async def test_no_login_there(self) -> None:
        self.configure(swift_authurl=self.store.auth_url.replace("/auth/v1.0", "/nowhere/v1.0"))
        self.assertIn("is none of version 1 at /nowhere/v1.0", await self.does_not_start(78))

    async def test_nobody_there(self) -> None:
        """Another attempt may succeed."""
        proxy = FaultProxy(reactor).start()
        await proxy.stop()
        self.configure(swift_authurl=f"http://127.0.0.1:{proxy.port}/auth/v1.0")
        self.assertIn("cannot be reached", await self.does_not_start(1))

    async def test_written_again(self) -> None:
        """As RadosGW 16 does: two pushes of one blob would take each other's segments."""
        proxy = FaultProxy(reactor, self.store.port).start()
        self.addCleanup(proxy.stop)
        tag = hashlib.md5(PROBE, usedforsecurity=False).hexdigest()
        proxy.add(method="PUT", target=r"/\.probe/[0-9a-f]+$", skip=1, times=1, status=201, headers={"ETag": tag})
        self.configure(swift_storage_url=self.store.at(self.store.url, proxy.port))
        line = await self.does_not_start(78)
        self.assertIn("cannot write only where nothing is (If-None-Match, which the Swift API of Ceph's RadosGW lacks: "
                      "use storage s3 there)", line)

    async def test_no_large_objects(self) -> None:
        proxy = FaultProxy(reactor, self.store.port).start()
        self.addCleanup(proxy.stop)
        proxy.add(method="PUT", target="multipart-manifest=put", status=400, body=b"no such thing")
        self.configure(swift_storage_url=self.store.at(self.store.url, proxy.port))
        self.assertIn("cannot make an object of segments (static large objects", await self.does_not_start(78))

    async def test_no_links(self) -> None:
        """Clients that are sent to Swift would be refused there. It may pass, also when another start has set the key:
        not each proxy knows a new one yet."""
        proxy = FaultProxy(reactor, self.store.port).start()
        self.addCleanup(proxy.stop)
        rule = proxy.add(method="GET", target="temp_url_sig=", status=401)
        name = f"links-{uuid.uuid4().hex}"
        self.configure(storage_redirect=True, swift_temp_url_key="secret", swift_container=name,
                       swift_storage_url=self.store.at(self.store.url, proxy.port))
        for _ in range(2):
            line = await self.does_not_start(1)
            self.assertIn("cannot read an object by a TempURL (tempurl with SHA-256, ", line)
            self.assertIn("the store answers 401", line)
        self.assertEqual(rule.met, 2)
        proxy.rules.clear()
        daemon, _ = await self.started()
        await self.stop(daemon)

    async def test_without_looking(self) -> None:
        """It starts whatever is the matter, and says so to who asks for something."""
        self.configure(swift_password=SECRET, storage_check=False)
        daemon, port = await self.started()
        self.assertIn("200 OK", await self.ask(port, "GET /v2/"))
        for _ in range(2):
            answer = await self.ask(port, "GET /v2/a/manifests/1")
            self.assertIn("503 Service Unavailable", answer)
            self.assertIn("Retry-After: 30", answer)
        await self.stop(daemon)
        self.assertEqual(daemon.said.seen.count("the login is refused"), 1)
        self.assertNotIn(SECRET, daemon.said.seen)


class SecretTests(ProcessCase):
    """T44: nothing that was said to the store, or by it, is said to anybody else."""

    async def test_keys_and_tokens(self) -> None:
        store = container()
        proxy = FaultProxy(reactor, store.port).start()
        self.addCleanup(proxy.stop)
        options = store.options(
            swift_authurl=store.at(store.auth_url, proxy.port), swift_storage_url=store.at(store.url, proxy.port),
            storage_redirect=True, swift_temp_url_key=SECRET, swift_container=f"secret-{uuid.uuid4().hex}",
        )
        self.write(json.dumps({"x": {**options, "listen": ["tcp:0:interface=127.0.0.1"], "loglevel": "debug"}}))
        daemon, port = await self.started()
        digest = f"sha256:{hashlib.sha256(b'layer').hexdigest()}"
        answers = [
            await self.ask(port, f"POST /v2/a/blobs/uploads/?digest={digest}", body=b"layer"),
            await self.ask(port, f"GET /v2/a/blobs/{digest}"),
        ]
        self.assertIn("201 Created", answers[0])
        self.assertIn("307 Temporary Redirect", answers[1])
        token = proxy.seen("PUT")[-1].headers["x-auth-token"]
        for fault in (
            {"status": 400, "body": f"{SECRET} {token}\r\n\x1b[31m".encode()}, {"status": 403, "body": token.encode()},
            {"refuse": True}, {"status": 200, "body": b'[{"half'}, {"status": 401},
        ):
            rule = proxy.add(target="/v1/", **fault)
            answers.append(await self.ask(port, "GET /v2/_catalog"))
            answers.append(await self.ask(port, "GET /v2/a/manifests/1"))
            rule.times = 0
        await self.stop(daemon)
        self.assertNotIn("\x1b", daemon.said.seen)
        told = daemon.said.seen + daemon.complained.seen + "".join(answers[:1] + answers[2:])
        for marker in (store.key, base64.b64encode(store.key.encode()).decode(), "temp_url_sig", "X-Auth-Key", SECRET,
                       token):
            self.assertNotIn(marker, told)
        self.assertIn("temp_url_sig", answers[1])       # that one is for the client
