"""What images are called in a real Glance, and what is left alone there."""

from __future__ import annotations

import json
import time

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from docker_registry.digest import Digest
from docker_registry.errors import StoreUnavailable
from docker_registry.names import Repository, Tag
from docker_registry.registry import naming as naming_module
from docker_registry.registry.documents import OCI_MANIFEST
from docker_registry.registry.naming import naming
from docker_registry.registry.registry import Registry
from docker_registry.registry.settings import Settings
from docker_registry.registry.uploads import Chunk
from docker_registry.storage import layout
from docker_registry.storage.glance.shelf import Shelf
from docker_registry.storage.glance.storage import GlanceStorage
from docker_registry.storage.glance.titles import Titles
from docker_registry.storage.memory import MemoryStorage
from docker_registry.test.clients.old_glance import FORMATS
from docker_registry.test.glance_case import reactor
from docker_registry.test.registry_case import Parts
from docker_registry.test.servers.projects import Project, foreign
from docker_registry.test.test_glance_old import OldCase, image

APP = Repository("team/app")

OURS = "docker_registry_store"


class TitlesTests(OldCase):
    """:ivar at: images by keys."""

    async def setUp(self) -> None:                              # type: ignore[override]
        super().setUp()
        self.project = await deferToThread(Project)
        images, owner = self.calls(self.project)
        self.at: dict[str, str] = {}

        self.titles = Titles(images, owner, lambda image: image.properties.get(OURS) == "us")
        for key in "ab":
            self.at[key] = await self.made(**{OURS: "us"})

    async def made(self, **properties: str) -> str:
        id: str = await deferToThread(self.project.image, None, **FORMATS, **properties)
        return id

    async def called(self) -> dict[str, str]:
        """Names of images that are called something."""
        found = await deferToThread(lambda: list(self.project.images()))
        return {each["id"]: each["name"] for each in found if each["name"]}

    async def test_set(self) -> None:
        """One image has the name, the one that had it before has none, and another name is another image's affair."""
        await self.titles.set("team/app:1", "team/app", self.at["a"])
        self.assertEqual(await self.called(), {self.at["a"]: "team/app:1"})
        await self.titles.set("team/app:1", "team/app", self.at["b"])
        await self.titles.set("app:1", "app", self.at["a"])
        self.assertEqual(await self.called(), {self.at["a"]: "app:1", self.at["b"]: "team/app:1"})
        self.assertEqual(await self.titles.names("team/app"), ["team/app:1"])
        before = await deferToThread(self.project.show, self.at["b"])
        await self.titles.set("team/app:1", "team/app", self.at["b"])
        self.assertEqual(await deferToThread(self.project.show, self.at["b"]), before)
        await self.titles.set("team/app:1", "team/app", None)
        self.assertEqual(await self.called(), {self.at["a"]: "app:1"})
        self.assertEqual(await self.titles.names("team/app"), [])

    async def test_others(self) -> None:
        """Images that are no registry's, another one's, or another project's keep their names; what 0.x named does
        not."""
        name = "team/app:1"
        kept = {await self.made(name=name): name, await self.made(name=name, **{OURS: "them"}): name}
        disk = {"container_format": "bare", "disk_format": "raw", "name": name, OURS: "us"}
        kept[await deferToThread(lambda: self.project.image(None, **disk))] = name
        old = await deferToThread(lambda: self.project.image(b"layer", **image("0" * 64), name=name))
        elsewhere = await deferToThread(foreign)
        public = {**FORMATS, "name": name, "visibility": "public", OURS: "us"}
        theirs = await deferToThread(lambda: elsewhere.image(None, **public))
        await self.titles.set(name, "team/app", self.at["a"])
        self.assertEqual(await self.called(), {**kept, self.at["a"]: name})
        self.assertEqual((await deferToThread(self.project.show, old))["meta_json"], image("0" * 64)["meta_json"])
        self.assertEqual((await deferToThread(elsewhere.show, theirs))["name"], name)

    async def test_operators(self) -> None:
        """Repositories whose names mean something to Glance: in:x would be a list of names, of which one is x."""
        for name in ("in:x", "neq:x", "eq:x", "x"):
            self.at[name] = await self.made(**{OURS: "us"})
        for name in ("in:x", "neq:x", "eq:x", "x"):
            await self.titles.set(name, name[:-2] or "x", self.at[name])
        expected = {id: name for name, id in self.at.items() if name.endswith("x")}
        self.assertEqual(await self.called(), expected)
        await self.titles.set("in:x", "in", None)
        del expected[self.at["in:x"]]
        self.assertEqual(await self.called(), expected)

    async def test_gone(self) -> None:
        """Images that go meanwhile are none to be named; a Glance that is down is told of."""
        self.at["c"] = await self.made(**{OURS: "us"})
        await deferToThread(self.project.ask, "DELETE", f"/{self.at['c']}")
        await self.titles.set("app:1", "app", self.at["c"])
        self.assertEqual(await self.called(), {})
        self.proxy.add(refuse=True)
        await self.fails(self.titles.set("app:1", "app", self.at["a"]), StoreUnavailable)


class TagsTests(OldCase):
    """A registry whose blobs are in Glance, and whose tags are names there."""

    async def setUp(self) -> None:                              # type: ignore[override]
        super().setUp()
        self.patch(naming_module, "PAUSE", 0.1)
        self.project = await deferToThread(Project)
        images, owner = self.calls(self.project)
        shelf = Shelf(images, self.retries(), reactor)

        async def close() -> None:
            """`OldCase` closes connections."""

        self.storage = GlanceStorage(
            shelf, MemoryStorage(reactor), self.runner, reactor, close, titles=Titles(images, owner, shelf.is_ours)
        )
        await self.storage.start()
        self.addCleanup(self.storage.close)
        self.registry = Registry(self.storage, self.runner, reactor, Settings(), time.time)
        self.addCleanup(self.registry.close)
        names = naming(self.storage, self.registry.tags, self.registry.events, reactor)
        assert names is not None
        self.names = names
        self.addCleanup(self.names.stop)

    async def push(self, content: bytes, tag: str) -> str:
        """The key of the manifest."""
        digest = Digest.of(content)
        await self.registry.uploads.take(APP, digest, Parts(content), Chunk())
        described = {"mediaType": "application/octet-stream", "digest": str(digest), "size": len(content)}
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described, "layers": [described]}
        made = await self.registry.manifests.put(APP, Tag(tag), json.dumps(document).encode(), None)
        return layout.blob(made.digest)

    async def called(self) -> dict[str, str]:
        """Keys by the names of their images."""
        found = await deferToThread(lambda: list(self.project.images()))
        return {each["name"]: each["docker_registry_key"] for each in found if each["name"]}

    async def assertCalled(self, **called: str) -> None:
        """Soon."""
        expected = {f"{APP}:{tag}": key for tag, key in called.items()}
        while await self.called() != expected:
            await deferLater(reactor, 0.05)

    async def test_tags(self) -> None:
        one, two = await self.push(b"1", "a"), await self.push(b"2", "b")
        await self.assertCalled(a=one, b=two)
        await self.push(b"2", "a")
        await self.assertCalled(a=two)
        await self.registry.manifests.untag(APP, Tag("a"))
        await self.assertCalled()
        three = await self.push(b"3", "c")
        await self.assertCalled(c=three)
        await self.registry.manifests.delete_all(APP)
        await self.assertCalled()

    async def test_glance_down(self) -> None:
        """No push notices; when what was diverted is in Glance, it has its name."""
        one = await self.push(b"1", "a")
        await self.assertCalled(a=one)
        self.proxy.add(refuse=True)
        two = await self.push(b"2", "a")
        self.assertEqual((await self.registry.manifests.get(APP, Tag("a"))).digest, layout.content_digest(two))
        await deferLater(reactor, 0.5)
        self.proxy.rules.clear()
        await self.storage.diversion.over()
        await self.assertCalled(a=one)
        await self.storage.moving.round()
        await self.assertCalled(a=two)

    async def test_only_patches(self) -> None:
        """Glance does everything but change images: tags are set and deleted as ever, and the log says so once."""
        self.proxy.add(method="PATCH", status=403)
        await self.push(b"1", "a")
        await deferLater(reactor, 0.5)
        two = await self.push(b"2", "a")
        self.assertEqual(await self.called(), {})
        self.proxy.rules.clear()
        await self.assertCalled(a=two)
