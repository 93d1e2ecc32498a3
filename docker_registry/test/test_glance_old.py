"""What docker-registry 0.x left in Glance: found there, read where it lies, and gone when it is deleted."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread

from docker_registry.deferreds import together
from docker_registry.errors import NotFound, StoreUnavailable
from docker_registry.storage import layout
from docker_registry.storage.clouds import cloud
from docker_registry.storage.glance import oldimages, oldindex
from docker_registry.storage.glance.errors import Deactivated
from docker_registry.storage.glance.images import Images
from docker_registry.storage.glance.oldindex import DAILY, FIRST, PATIENCE, PAUSE, SOON
from docker_registry.storage.glance.withold import with_old
from docker_registry.storage.http import Http
from docker_registry.storage.keystone import Keystone, Wanted
from docker_registry.storage.memory import MemoryStorage
from docker_registry.storage.retries import TRIES
from docker_registry.storage.tokens import Service
from docker_registry.test.clients.old_glance import FORMATS, OldProject, header
from docker_registry.test.clients.old_stores import TREES, id_of
from docker_registry.test.glance_case import GlanceCase, reactor
from docker_registry.test.servers.projects import Project, foreign


class Left:
    """A project as 0.x left it. It is made once for all tests that only read."""

    def __init__(self, name: str, root: Path) -> None:
        self.project = Project()
        self.tree = TREES[name](root)
        self.files = {path.relative_to(root).parts[1:]: path.read_bytes() for path in root.glob("images/*/*")}
        self.old = OldProject(self.project, files_aside=False)
        self.old.move(self.tree)
        self.old.clutter(self.tree, foreign())


class OldCase(GlanceCase):
    """:ivar alternate: what lies above.
    :ivar storage: with what was left below it.
    """

    def setUp(self) -> None:
        super().setUp()
        self.patch(oldindex, "SPREAD", 0.0)
        self.clock = Clock()
        self.alternate = MemoryStorage(Clock())

    def calls(self, project: Project) -> tuple[Images, Callable[[], Awaitable[str]]]:
        """To Glance, and what tells the id of the project."""
        http = Http(reactor)
        self.addCleanup(self.close_http, http)
        login = cloud(self.given, project.environ, []).login
        service = Service(http, Keystone(http, login, Wanted("image", url=self.url), self.retries()), reactor)

        async def owner() -> str:
            return (await service.access()).project

        return Images(service, self.retries(), self.runner), owner

    async def opened(self, project: Project) -> Any:
        """The store, as a start has it."""
        images, owner = self.calls(project)
        storage: Any = with_old(self.alternate, images, owner, self.clock, "here")
        self.addCleanup(storage.close)
        await storage.start()
        return storage


class ReadingTests(OldCase):
    left: Left | None = None

    async def setUp(self) -> None:                              # type: ignore[override]
        super().setUp()
        if ReadingTests.left is None:
            ReadingTests.left = await deferToThread(Left, "seed", Path(self.mktemp()))
        left = ReadingTests.left
        self.old, self.files = left.old, left.files
        self.storage = await self.opened(left.project)

    async def test_found(self) -> None:
        """All of them, page by page, and nothing that is not of this project, or of another kind."""
        found: list[str] = []
        while entries := await self.storage.list(layout.IMAGES, found[-1] if found else "", 3):
            self.assertLessEqual(len(entries), 3)
            found += [each.name for each in entries]
        self.assertEqual(found, sorted(self.old.ids))

    async def test_files(self) -> None:
        """Each is what it was, but for what it lost in a header; of several images the one that was whole."""
        self.assertGreater(len(self.files), 40)
        for (image, name), content in self.files.items():
            key = f"{layout.IMAGES}/{image}/{name}"
            if not self.kept(image, name):
                await self.fails(self.storage.get(key), NotFound)
                continue
            expected = content if name == "layer" else (header(content) or "").encode()
            self.assertEqual(await self.storage.get(key), expected, key)
            self.assertEqual((await self.storage.stat(key)).size, len(expected))
        for image in self.old.ids:
            names = sorted(name for each, name in self.files if each == image and self.kept(image, name))
            entries = await self.storage.list(f"{layout.IMAGES}/{image}")
            self.assertEqual([(each.name, each.is_prefix) for each in entries], [(name, False) for name in names])

    def kept(self, image: str, name: str) -> bool:
        return name == "layer" or header(self.files[image, name]) is not None

    async def test_layer(self) -> None:
        """From anywhere on, and to its end though Glance cuts it off."""
        image = id_of("base")
        whole = self.files[image, "layer"]
        for offset in (0, 1, 1000, len(whole) - 1, len(whole), len(whole) + 5):
            self.proxy.rules.clear()
            self.proxy.add(method="GET", target="/file", cut=300, times=2)
            reader = await self.storage.open(f"{layout.IMAGES}/{image}/layer", offset)
            self.assertEqual(reader.size, len(whole))
            parts = []
            while part := await reader.read(700):
                parts.append(part)
            self.assertEqual(b"".join(parts), whole[offset:])
            reader.close()

    async def test_absent(self) -> None:
        """What nobody left, and what we keep beside an image: no property is taken for that."""
        base = id_of("base")
        for key in (f"{base}/_diff", f"{base}/_layer", f"{base}/_manifest", f"{id_of('none')}/json",
                    f"{id_of('no-layer')}/layer", "_uploads/x"):
            for ask in (self.storage.stat, self.storage.get, self.storage.open):
                await self.fails(ask(f"{layout.IMAGES}/{key}"), NotFound)

    async def test_one_request(self) -> None:
        """For all that is asked for of an image at once."""
        await self.storage.list(layout.IMAGES)
        self.proxy.asked.clear()
        base = id_of("base")
        asked = [self.storage.get(f"{layout.IMAGES}/{base}/json"), self.storage.stat(f"{layout.IMAGES}/{base}/layer")]
        await together(*asked, self.storage.get(f"{layout.IMAGES}/{base}/ancestry"))
        self.assertEqual([each.target for each in self.proxy.asked], [f"/v2/images/{self.old.ids[base]}"])

    async def test_above(self) -> None:
        """What the alternate store has counts."""
        base = id_of("base")
        await self.alternate.put(f"{layout.IMAGES}/{base}/json", b"another")
        await self.alternate.put(f"{layout.IMAGES}/{base}/_layer", b"record")
        self.assertEqual(await self.storage.get(f"{layout.IMAGES}/{base}/json"), b"another")
        self.assertEqual(await self.storage.get(f"{layout.IMAGES}/{base}/_layer"), b"record")
        names = [each.name for each in await self.storage.list(f"{layout.IMAGES}/{base}")]
        self.assertEqual(names, ["_checksum", "_layer", "ancestry", "json", "layer"])
        names = [each.name for each in await self.storage.list(f"{layout.IMAGES}/{base}", "_d", 2)]
        self.assertEqual(names, ["_layer", "ancestry"])


def image(id: str, **more: str) -> dict[str, Any]:
    """Properties of an image that 0.x left."""
    members = json.dumps({"id": id})
    return {**FORMATS, "meta_json": members, "meta_ancestry": json.dumps([id]), "meta__checksum": "sha256:0", **more}


class LookingTests(OldCase):
    async def setUp(self) -> None:                              # type: ignore[override]
        super().setUp()
        self.project = await deferToThread(Project)

    def key(self, name: str, file: str = "json") -> str:
        return f"{layout.IMAGES}/{id_of(name)}/{file}"

    async def left(self, docker_name: str, data: bytes | None = b"layer", **more: str) -> str:
        found: str = await deferToThread(self.project.image, data, **image(id_of(docker_name), **more))
        return found

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await deferLater(reactor, 0.01)

    def written(self) -> int:
        """How many images the alternate store says there are."""
        count: int = json.loads(self.alternate.objects[layout.glance_old()].content)["count"]
        return count

    def lists(self) -> int:
        return len(self.proxy.seen("GET", r"/images\?"))

    async def test_down(self) -> None:
        """Glance is down when the registry starts: it starts. What only Glance can know is unknown, everything else is
        there, and when Glance is back so is the rest."""
        await self.left("a")
        down = self.proxy.add(refuse=True)
        storage = await self.opened(self.project)
        for ask in (storage.stat, storage.get, storage.delete):
            await self.fails(ask(self.key("a")), StoreUnavailable)
        await self.fails(storage.list(layout.IMAGES), StoreUnavailable)
        await storage.put("docker/x", b"x")
        self.assertEqual(await storage.get("docker/x"), b"x")
        await storage.put(self.key("b"), b"b")
        self.assertEqual(await storage.get(self.key("b")), b"b")
        met = down.met
        for _ in range(5):
            await self.fails(storage.get(self.key("a")), StoreUnavailable)
        self.assertEqual(down.met, met)
        self.proxy.rules.clear()
        self.clock.advance(PAUSE)
        self.assertEqual((await storage.stat(self.key("a", "layer"))).size, 5)
        self.proxy.add(refuse=True)
        self.clock.advance(PAUSE)
        await self.fails(storage.get(self.key("a")), StoreUnavailable)
        await self.fails(storage.get(self.key("none")), NotFound)

    async def test_slow(self) -> None:
        """Nobody waits for a long look for ever, and what was found already is served."""
        self.patch(oldimages, "PAGE", 1)
        await self.left("a")
        await self.left("b")
        self.proxy.add(method="GET", target="marker=", hang=True)
        storage = await self.opened(self.project)
        asked = storage.get(self.key("a"))
        await self.until(lambda: self.lists() == 2)
        self.assertIn(id_of("b").encode(), await storage.get(self.key("b")))
        self.clock.advance(PATIENCE)
        self.assertIn("still being looked through", await self.fails(asked, StoreUnavailable))

    async def test_written_down(self) -> None:
        """After a restart only as much is looked through as is needed, and later all."""
        await self.left("a")
        storage = await self.opened(self.project)
        await storage.get(self.key("a"))
        await self.left("b", meta_json="{")
        await self.fails(storage.get(self.key("b")), NotFound)
        await storage.close()
        self.proxy.asked.clear()
        storage = await self.opened(self.project)
        await storage.get(self.key("a"))
        await self.until(self.clock.getDelayedCalls)            # which is when it has been looked through
        (first, _) = self.proxy.seen("GET", r"/images\?")
        self.assertIn("created_at=lte", first.target)
        self.clock.advance(DAILY)
        await self.until(lambda: self.written() == 2)
        self.assertEqual(await storage.get(self.key("b", "_checksum")), b"sha256:0")
        self.assertNotIn("created_at=", self.proxy.seen("GET", r"/images\?")[-1].target)

    async def test_nothing_left(self) -> None:
        """In a project without old images nobody ever waits for that, whatever Glance does."""
        storage = await self.opened(self.project)
        await self.fails(storage.get(self.key("a")), NotFound)
        await storage.close()
        self.proxy.asked.clear()
        self.proxy.add(refuse=True)
        storage = await self.opened(self.project)
        await self.fails(storage.get(self.key("a")), NotFound)
        self.assertEqual(self.proxy.asked, [])
        self.proxy.rules.clear()
        await self.left("a")
        self.clock.advance(DAILY)
        await self.until(lambda: self.written() == 1)
        await storage.get(self.key("a"))
        self.assertEqual(self.lists(), 2)
        await self.left("b")
        self.clock.advance(DAILY)
        await self.until(lambda: self.written() == 2)
        self.assertEqual(self.lists(), 4)

    async def test_others_look(self) -> None:
        """Of processes that share the store one goes through everything, and the others through what is old."""
        await self.left("a")
        storage = await self.opened(self.project)
        await storage.get(self.key("a"))
        await self.left("b")
        other = await self.opened(self.project)
        await other.get(self.key("a"))
        await storage.close()
        self.clock.advance(DAILY - 1)
        written = json.loads(self.alternate.objects[layout.glance_old()].content)
        written |= {"looked": self.clock.seconds(), "newest": written["newest"] + 3600, "count": 2}
        await self.alternate.put(layout.glance_old(), json.dumps(written).encode())
        self.proxy.asked.clear()
        self.clock.advance(1)
        self.clock.advance(FIRST)
        while True:
            try:
                await other.get(self.key("b"))
                break
            except NotFound:
                await deferLater(reactor, 0.01)
        self.assertEqual(len(self.proxy.seen("GET", "created_at=lte")), self.lists())

    async def test_looks_again(self) -> None:
        """A look that failed is begun again though nobody asks, and so is the daily one."""
        await self.left("a")
        down = self.proxy.add(refuse=True)
        storage = await self.opened(self.project)
        self.clock.advance(FIRST)
        await self.until(lambda: down.met >= TRIES)
        await self.fails(storage.get(self.key("a")), StoreUnavailable)
        self.proxy.rules.clear()
        self.clock.advance(SOON)
        await self.until(lambda: layout.glance_old() in self.alternate.objects)
        self.assertEqual(self.written(), 1)
        down = self.proxy.add(refuse=True)
        self.clock.advance(DAILY)
        await self.until(self.clock.getDelayedCalls)            # which is when it has failed
        self.assertGreaterEqual(down.met, TRIES)
        self.proxy.rules.clear()
        await self.left("b")
        self.clock.advance(SOON)
        await self.until(lambda: self.written() == 2)

    async def test_too_many(self) -> None:
        self.patch(oldindex, "MOST", 1)
        await self.left("a")
        await self.left("b")
        storage = await self.opened(self.project)
        self.assertIn("more than 1", await self.fails(storage.get(self.key("none")), StoreUnavailable))

    async def test_nonsense(self) -> None:
        """A list that leads to itself, or that is none."""
        await self.left("a")
        for answer in (b'{"images": [], "next": "x"}', b"{}", b"[", b'{"images": [{"id": "x"}]}'):
            self.proxy.rules.clear()
            self.proxy.add(target=r"/images\?", status=200, body=answer)
            storage = await self.opened(self.project)
            if answer.startswith(b'{"images": []'):
                await self.fails(storage.get(self.key("a")), NotFound)
            else:
                await self.fails(storage.get(self.key("a")), StoreUnavailable)
            self.alternate.objects.clear()

    async def test_states(self) -> None:
        """An image without its data has no layer; one that is deactivated has one that nobody may read."""
        await self.left("queued", None, meta__inprogress="true")
        id = await self.left("deactivated")
        status, said = await deferToThread(self.project.ask, "POST", f"/{id}/actions/deactivate")
        self.assertEqual(status, 204, said)
        storage = await self.opened(self.project)
        for ask in (storage.stat, storage.open):
            await self.fails(ask(self.key("queued", "layer")), NotFound)
            await self.fails(ask(self.key("deactivated", "layer")), Deactivated)
        self.assertEqual(await storage.get(self.key("queued", "_inprogress")), b"true")
        self.assertFalse(await storage.delete_tree(self.key("queued", "")[:-1]))

    async def test_deleted_underneath(self) -> None:
        """The next one that is left takes its place, and then there is none."""
        first = await self.left("a", b"first")
        second = await self.left("a", b"second!")
        storage = await self.opened(self.project)
        sizes = {first: 5, second: 7}
        found = (await storage.stat(self.key("a", "layer"))).size
        ((gone, _),) = [each for each in sizes.items() if each[1] == found]
        del sizes[gone]
        await deferToThread(self.project.ask, "DELETE", f"/{gone}")
        ((left, size),) = sizes.items()
        self.assertEqual((await storage.stat(self.key("a", "layer"))).size, size)
        await deferToThread(self.project.ask, "DELETE", f"/{left}")
        await self.fails(storage.stat(self.key("a", "layer")), NotFound)

    async def test_delete(self) -> None:
        """A file, the layer, all of it; and what lies above goes with it."""
        id, other = await self.left("a", name="n"), await self.left("a", None, meta__inprogress="true")
        kept = await self.left("b")
        before = await deferToThread(self.project.show, kept)
        storage = await self.opened(self.project)
        await storage.put(self.key("a", "_checksum"), b"above")
        await storage.delete(self.key("a", "_checksum"))
        await self.fails(storage.get(self.key("a", "_checksum")), NotFound)
        await self.fails(storage.delete(self.key("a", "_checksum")), NotFound)
        said = await deferToThread(self.project.show, id)
        self.assertNotIn("meta__checksum", said)
        self.assertEqual((said["name"], said["meta_json"]), ("n", image(id_of("a"))["meta_json"]))
        await storage.put(self.key("a", "_layer"), b"above")
        await storage.delete_tree(self.key("a", "")[:-1])
        self.assertEqual(await storage.list(self.key("a", "")[:-1]), [])
        for each in (id, other):
            self.assertEqual(await deferToThread(self.project.show, each), {})
        self.assertEqual(await deferToThread(self.project.show, kept), before)
        await storage.delete(self.key("b", "layer"))
        await self.fails(storage.get(self.key("b")), NotFound)
        self.assertEqual(await deferToThread(self.project.show, kept), {})
