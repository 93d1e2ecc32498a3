"""Swift with a real Keystone: who gets in, who does not, and that a push does not notice when a token ends."""

from __future__ import annotations

import json
import shutil
import tempfile
import urllib.request
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs

from docker_registry.config.load import load
from docker_registry.errors import StorageError, StorageFull
from docker_registry.storage.choose import choose
from docker_registry.storage.swift.storage import SwiftStorage
from docker_registry.storage.tokens import LoginRefused
from docker_registry.test.clients import images
from docker_registry.test.clients.daemon import Ours
from docker_registry.test.clients.tools import run
from docker_registry.test.keystone_client import Keystone
from docker_registry.test.object_case import MIB, ObjectCase, reactor
from docker_registry.test.servers.projects import Login, Project
from docker_registry.test.servers.stores import glance, swift_with_keystone
from docker_registry.test.storage_contract import content

WHOLE = content(5 * MIB)


class KeystoneCase(ObjectCase):
    """:ivar proxy: what the catalogue has as Swift."""

    async def setUp(self) -> None:                          # type: ignore[override]
        self.environ = glance()
        accounts = swift_with_keystone()
        self.begin(urlsplit(accounts).port or 0)
        self.keystone = Keystone(self.environ["OS_AUTH_URL"], "admin", "admin", "admin")
        url = f"http://127.0.0.1:{self.proxy.port}{urlsplit(accounts).path}$(project_id)s"
        service = await deferToThread(self.keystone.offer, "object-store", url)
        self.addCleanup(deferToThread, self.keystone.withdraw, service)
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.options: dict[str, Any] = {
            "storage": "swift", "swift_container": f"c-{uuid.uuid4().hex}", "swift_segment_size": "2MiB",
            **{name.lower(): value for name, value in self.environ.items() if name != "OS_GLANCE_URL"},
        }

    def make(self, **options: Any) -> SwiftStorage:
        """As the configuration says, but for ``options``; those that are ``None`` are not there."""
        file = self.directory / "c.yml"
        given = {name: value for name, value in {**self.options, **options}.items() if value is not None}
        file.write_text(json.dumps({"x": given}))
        storage = choose(load(str(file), "x", {}).config, self.runner, reactor)
        assert isinstance(storage, SwiftStorage)
        self.addCleanup(self.close, storage)
        return storage

    async def refused(self, **options: Any) -> str:
        storage = self.make(**options)
        said = str(await self.fails(storage.start(), StorageError))
        self.assertNotIn("\n", said)
        return said


class LoginTests(KeystoneCase):
    async def test_password(self) -> None:
        """The container is made, and a blob goes in and out."""
        storage = self.make()
        await storage.start()
        writer = await storage.create("u")
        await writer.write([WHOLE])
        await writer.commit("b")
        self.assertEqual(await self.content("b", storage), WHOLE)
        await storage.delete("b")
        self.assertEqual(await storage.leftovers(1e12), [])
        again = self.make(storage_check=False)
        await again.put("a", b"x")
        self.assertEqual(await storage.get("a"), b"x")

    async def test_application_credential(self) -> None:
        id, secret = await deferToThread(
            Keystone(self.environ["OS_AUTH_URL"], "registry", "registry", "registry").credential, uuid.uuid4().hex
        )
        who = {name: None for name in self.options if name.startswith("os_") and name != "os_auth_url"}
        storage = self.make(**who, os_application_credential_id=id, os_application_credential_secret=secret)
        await storage.start()
        await storage.put("a", b"x")

    async def test_names_of_docker_registry_0x(self) -> None:
        """Over a Keystone whose old URL they have."""
        who = {name: None for name in self.options if name.startswith("os_")}
        storage = self.make(
            **who, swift_authurl=self.environ["OS_AUTH_URL"].replace("/v3", "/v2.0"), swift_user="registry",
            swift_password="registry", swift_tenant_name="registry", swift_region_name="RegionOne",
            swift_auth_version=2,
        )
        await storage.start()

    async def test_section_of_registry_2(self) -> None:
        section = {
            "authurl": self.environ["OS_AUTH_URL"], "username": "registry", "password": "registry",
            "tenant": "registry", "domain": "Default", "region": "RegionOne", "endpointtype": "public",
            "container": self.options["swift_container"],
        }
        none = {name: None for name in self.options if name != "storage"}
        await self.make(**none, swift=section).start()

    async def test_a_token_that_is_not_taken_any_more(self) -> None:
        """In the middle of a push: there is another login, and nobody notices."""
        storage = self.make()
        await storage.start()
        rule = self.proxy.add(method="PUT", target=".segments", times=1, skip=1, status=401)
        writer = await storage.create("u")
        await writer.write([WHOLE])
        await writer.commit("b")
        self.assertEqual(await self.content("b", storage), WHOLE)
        self.assertEqual(rule.met, 1)
        self.assertEqual(len({each.headers["x-auth-token"] for each in self.proxy.asked}), 2)

    async def test_wrong_password(self) -> None:
        said = await self.refused(os_password="marker of a secret")
        self.assertIn("cannot log in (the swift_ and os_ options say who): Keystone 127.0.0.1", said)
        self.assertIn("refuses the login: 401", said)
        self.assertNotIn("marker", said)

    async def test_no_role(self) -> None:
        """Who may only read cannot make a container, or write to one."""
        await deferToThread(self.keystone.user, "reader", "registry", "reader")
        who = {"os_username": "reader", "os_password": "reader"}
        said = await self.refused(**who)
        self.assertIn("cannot look for the container, or make it (a role that may write", said)
        self.assertIn("the login may not do this (403)", said)

    async def test_no_endpoint(self) -> None:
        said = await self.refused(os_region_name="elsewhere")
        self.assertIn("the catalogue has object-store in RegionOne: set os_region_name", said)
        said = await self.refused(os_interface="internal")
        self.assertIn("no internal endpoint of object-store", said)

    async def test_nobody_says_who(self) -> None:
        none = {name: None for name in self.options if name.startswith("os_")}
        said = await self.refused(**none)
        self.assertIn("set os_auth_url, OS_AUTH_URL, or OS_CLOUD", said)

    async def test_keystone_is_down_later(self) -> None:
        """A token that is good is used; without one it is said that there is none."""
        storage = self.make()
        await storage.start()
        service = storage.container.client._service
        log_in = service._log_in
        service._log_in = _down
        await storage.put("a", b"x")
        self.proxy.add(times=1, status=401)
        await self.fails(storage.put("a", b"y"), LoginRefused)
        service._log_in = log_in
        service._refusal = None
        await storage.put("a", b"y")


class AccountQuotaTests(KeystoneCase):
    """Of a whole project, which only a reseller sets."""

    async def setUp(self) -> None:                          # type: ignore[override]
        await super().setUp()
        project = await deferToThread(Project)
        self.options |= {name.lower(): project.environ[name] for name in
                         ("OS_USERNAME", "OS_PASSWORD", "OS_PROJECT_NAME")}
        self.account = f"{swift_with_keystone()}{project.id}"
        await deferToThread(self.keystone.role, "ResellerAdmin")
        await deferToThread(self.keystone.user, "reseller", "registry", "ResellerAdmin")
        scope = {"project": {"name": "registry", "domain": {"id": "default"}}}
        self.reseller = (await deferToThread(Login, self.environ, "reseller", scope)).token

    def give(self, quota: str) -> None:
        """:param quota: bytes; empty for as many as one likes."""
        headers = {"X-Auth-Token": self.reseller, "X-Account-Meta-Quota-Bytes": quota}
        request = urllib.request.Request(self.account, b"", headers, method="POST")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            self.assertEqual(answer.status, 204)

    async def push(self, storage: SwiftStorage, key: str) -> None:
        writer = await storage.create("u")
        await writer.write([WHOLE])
        await writer.commit(key)

    async def test_no_room(self) -> None:
        """What is there is read and deleted; nobody takes that for a store that fails, or keeps the registry from
        starting."""
        storage = self.make()
        await storage.start()
        await self.push(storage, "b")
        await storage.put("k", b"x")
        await deferToThread(self.give, "0")
        for write in (storage.put("c", b"x"), self.push(storage, "c")):
            error = await self.fails(write, StorageFull)
            self.assertIn("a quota is used up, or the disks are full (413)", str(error))
        again = self.make()
        with capturedLogs() as events:
            await again.start()
        self.assertEqual(self.mailed(events), {"storage full"})
        self.assertEqual(await self.content("b", again), WHOLE)
        await again.delete("b")
        await again.delete("k")
        await deferToThread(self.give, "")
        await self.push(again, "c")
        self.assertEqual(await self.content("c", storage), WHOLE)


async def _down() -> Any:
    raise LoginRefused("down")


class ClientTests(KeystoneCase):
    async def test_skopeo(self) -> None:
        """A daemon that is configured by a project's variables; what is pushed comes back, byte for byte."""
        await deferToThread(self.push_and_pull)
        self.assertIn("/prod/docker/registry/v2/blobs/sha256/", self.keys())

    async def test_skopeo_with_glance(self) -> None:
        """Content of images in Glance, and everything else here."""
        await deferToThread(self.push_and_pull, storage="glance", storage_alternate="swift")
        self.assertNotIn("/prod/docker/registry/v2/blobs/", self.keys())
        self.assertIn("docker/registry/v2/repositories/a/b/_manifests/tags/1/current/link", self.keys())

    def keys(self) -> str:
        """What was asked of Swift."""
        return " ".join(each.target for each in self.proxy.seen("PUT"))

    def push_and_pull(self, **options: Any) -> None:
        layout = images.make(self.directory / "layout", large=5_000_000)
        registry = Ours(self.directory / "registry", **{**self.options, "storage_path": "/prod", **options})
        try:
            target = f"docker://{registry.host}/a/b:1"
            run("skopeo", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false",
                f"oci:{layout.root}:image", target)
            found = self.directory / "found"
            run("skopeo", "copy", "--quiet", "--src-tls-verify=false", target, f"oci:{found}:image")
            for blob in (found / "blobs" / "sha256").iterdir():
                self.assertEqual(blob.read_bytes(), (layout.root / "blobs" / "sha256" / blob.name).read_bytes())
        finally:
            self.assertEqual(registry.stop(), 0)
        self.assertNotIn("gAAAA", "\n".join(registry.daemon.output))       # as its tokens begin
