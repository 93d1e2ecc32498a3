"""Blobs in Glance: where what lies, what a push costs, and the states that an image can be in (F13, F14)."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.deferreds import outcomes
from docker_registry.digest import Digest
from docker_registry.errors import Damaged, NotFound, StorageFailed, StorageFull, StoreUnavailable
from docker_registry.storage import layout
from docker_registry.storage.flows import Flow
from docker_registry.storage.glance import committing
from docker_registry.storage.glance.errors import Deactivated
from docker_registry.storage.glance.images import new_id
from docker_registry.storage.glance.records import Record
from docker_registry.storage.glance.sending import Sending
from docker_registry.storage.glance.shelf import KEY, STORE, Load, Sum
from docker_registry.storage.glance.writer import Final, Writer
from docker_registry.storage.http import Crowded
from docker_registry.storage.interface import IFile, Leftover
from docker_registry.storage.local import LocalStorage
from docker_registry.storage.system import System
from docker_registry.test.glance_case import GlanceStorageCase, reactor
from docker_registry.test.registry_case import Direct
from docker_registry.test.servers.stores import glance_folder
from docker_registry.test.storage_contract import content

LAYER = content(1_300_000)


def calls(asked: list[Any]) -> list[str]:
    """What was asked since the last time: method, and whether of the bytes."""
    found = [each.method + (" file" if each.target.endswith("/file") else "") for each in asked]
    asked.clear()
    return found


class CopyTests(SynchronousTestCase):
    def test_who_takes_longer(self) -> None:
        """Where that is Glance a processor is left to it, where it is the copy it is not."""
        storage = LocalStorage(Path(self.mktemp()), Direct(), Clock())
        self.successResultOf(storage.start())
        self.addCleanup(storage.close)
        inner: Any = self.successResultOf(storage.create("u"))
        is_there: Deferred[None] = Deferred()
        taken: list[bytes] = []

        async def put(load: Load) -> Record:
            await is_there
            assert isinstance(load.body, Flow)
            while parts := await load.body.read():
                taken.extend(parts)
            return Record("", 0, "", "", "")

        sum = Sum("sha256", hashlib.sha256())
        writer = Writer(cast(Final, None), "u", inner, sum, Sending(put, None, sum, lambda image: None, True))
        writing = writer.write([b"one"])
        self.assertNoResult(writing)
        self.assertTrue(inner.in_turn)
        is_there.callback(None)
        self.successResultOf(writing)
        self.successResultOf(writer.write([b"two"]))
        self.assertFalse(inner.in_turn)
        self.assertEqual(taken, [b"one", b"two"])
        self.assertEqual(sum.hash.hexdigest(), hashlib.sha256(b"onetwo").hexdigest())
        self.successResultOf(writer.abandon())


class PlacesTests(GlanceStorageCase):
    async def test_a_push(self) -> None:
        """Bytes are sent to Glance once; what is left in the alternate store is which image has them."""
        for write in (self.commit, self.direct):
            key = await write(LAYER + write.__name__.encode())
            named = ["PATCH"] if write == self.commit else []           # in the end
            self.assertEqual(calls(self.proxy.asked), ["POST", "PUT file", "GET", *named])
            files = [path for path in self.folder.rglob("*") if path.is_file() and ".lock" not in path.name]
            self.assertEqual(max(path.stat().st_size for path in files) < 1000, True)
            self.assertFalse(await self.is_diverted(key))
            self.assertEqual(await self.content(key), LAYER + write.__name__.encode())
            self.assertEqual(calls(self.proxy.asked), ["GET file"])
            self.assertEqual((await self.storage.stat(key)).size, len(LAYER) + len(write.__name__))
            self.assertEqual(calls(self.proxy.asked), [])
            image = await self.images().show(await self.image_of(key))
            self.assertEqual((image.properties[KEY], len(image.properties[STORE])), (key, 32))
            calls(self.proxy.asked)

    async def test_sent_while_it_comes(self) -> None:
        """What names its digest first is in Glance with its last byte; whatever length was said, or none."""
        for length in (len(LAYER), None):
            whole = LAYER + str(length).encode()
            key = layout.blob(Digest.of(whole))
            writer = await self.storage.create_direct("u", key, len(whole) if length else None)
            seen = hashlib.sha256()
            for at in range(0, len(whole), 100_000):
                await writer.write([whole[at : at + 50_000], whole[at + 50_000 : at + 100_000], b""], [seen])
            self.assertEqual(writer.offset, len(whole))
            await writer.commit(key)
            self.assertEqual(seen.digest(), hashlib.sha256(whole).digest())
            self.assertEqual(len([each for each in calls(self.proxy.asked) if each == "PUT file"]), 1)
            self.assertEqual(await self.content(key), whole)

    async def test_the_copy_goes_easy(self) -> None:
        """While Glance takes what comes the disk is left alone; not when it fails, nor where a `sync` is to come."""
        noted: list[str] = []
        system = System(before=lambda call, _: noted.append(call))
        self.alternate = LocalStorage(Path(self.mktemp()), self.runner, reactor, system=system)
        storage = await self.make()
        for number, kind in enumerate(("first", "last", "refused")):
            whole = content(9 << 20) + b"%d" % number
            key = layout.blob(Digest.of(whole))
            rule = self.proxy.add(method="POST", target="/v2/images", status=503, times=int(kind == "refused"))
            noted.clear()
            last = kind == "last"
            writer: Any = await (storage.create("u") if last else storage.create_direct("u", key, len(whole)))
            seen = hashlib.sha256()
            await writer.write([whole[: 1 << 20]], [seen])
            await writer.write([whole[1 << 20 :]], [seen])
            self.assertEqual(noted.count("writeback"), 0 if kind == "first" else 1)
            self.assertEqual(rule.met, rule.times)
            await writer.commit(key)
            self.assertEqual(seen.digest(), hashlib.sha256(whole).digest())
            self.assertEqual(await self.content(key, storage), whole)

    async def test_given_up(self) -> None:
        """Neither store keeps anything of it; and what was cut off before can be gone on with."""
        key = layout.blob(Digest.of(LAYER))
        for end in ("abandon", "close"):
            writer = await self.storage.create_direct("u", key, len(LAYER))
            await writer.write([LAYER[:500_000]])
            offset = await writer.sync() if end == "close" else 0
            await getattr(writer, end)()
            await self.fails(self.storage.stat(key), NotFound)
        writer = await self.storage.resume("u", offset)
        await writer.write([LAYER[offset:]])
        await writer.commit(key)
        self.assertEqual(await self.content(key), LAYER)
        page = await self.storage._shelf.page("")
        await self.until(lambda: not self.storage._shelf._discarding)
        page = await self.storage._shelf.page("")
        self.assertEqual([each.id for each in page.images], [await self.image_of(key)])

    async def session(self, whole: bytes) -> int:
        """As a client leaves it that says in its next request whether that was all."""
        writer = await self.storage.create("u")
        await writer.write([whole])
        offset: int = await writer.sync()
        await writer.close()
        return offset

    async def test_digest_in_another_request(self) -> None:
        """By then all of it is in Glance, and is not sent again."""
        key = layout.blob(Digest.of(LAYER))
        offset = await self.session(LAYER)
        writer = await self.storage.resume("u", offset)
        await writer.write([b""])
        await writer.commit(key)
        self.assertEqual(calls(self.proxy.asked), ["POST", "PUT file", "GET", "PATCH"])
        self.assertEqual(await self.content(key), LAYER)
        image = await self.images().show(await self.image_of(key))
        self.assertEqual(image.properties[KEY], key)

    async def test_it_was_not_all(self) -> None:
        """More follows, or other bytes lie there now, or nobody came back: what was sent before is of no use."""
        more = LAYER + b"more"

        async def go_on() -> None:
            writer = await self.storage.resume("u", len(LAYER))
            await writer.write([b"more"])
            await writer.commit(layout.blob(Digest.of(more)))

        async def other_bytes() -> None:
            other = LAYER[:-1] + b"!"
            (self.folder / "u").write_bytes(other)
            writer = await self.storage.resume("u", len(other))
            await writer.commit(layout.blob(Digest.of(other)))
            self.assertEqual(await self.content(layout.blob(Digest.of(other))), other)

        async def shorter() -> None:
            writer = await self.storage.resume("u", 1000)
            await writer.commit(layout.blob(Digest.of(LAYER[:1000])))

        async def cancelled() -> None:
            await self.storage.delete_tree("u")

        async def late() -> None:
            self.storage._spares.drop("u")

        for what in (go_on, other_bytes, shorter, cancelled, late):
            await self.session(LAYER)
            await what()
            await self.until(lambda: not self.storage._spares._spares and not self.storage._shelf._discarding)
        for whole in (more, LAYER[:1000]):
            self.assertEqual(await self.content(layout.blob(Digest.of(whole))), whole)
        page = await self.storage._shelf.page("")
        self.assertEqual({each.properties[KEY] for each in page.images if KEY in each.properties}, {
            layout.blob(Digest.of(whole)) for whole in (more, LAYER[:1000], LAYER[:-1] + b"!")
        })
        self.assertEqual([each.status for each in page.images if KEY not in each.properties], [])

    async def test_small(self) -> None:
        for size in (0, 1, 70_000):
            whole = content(size)
            key = layout.blob(Digest.of(whole))
            await self.storage.put(key, whole)
            self.assertEqual(await self.storage.get(key), whole)
            self.assertEqual(await self.content(key), whole)
            self.assertEqual((await self.storage.stat(key)).size, size)

    async def test_everything_else(self) -> None:
        """Lies in the alternate store, and nobody asks Glance."""
        calls(self.proxy.asked)
        await self.storage.put("docker/registry/v2/repositories/a/_layers/x/link", b"1")
        await self.storage.put("big", bytes(300_000))
        reader = await self.storage.open("big")
        self.assertTrue(IFile.providedBy(reader))
        reader.close()
        writer = await self.storage.create("u")
        await writer.commit("elsewhere")
        await self.storage.touch("elsewhere")
        await self.storage.delete("elsewhere")
        await self.storage.delete_tree("docker/registry/v2/repositories/a/_layers")
        self.assertEqual([each.name for each in await self.storage.list("")], ["big", "docker"])
        self.assertEqual(calls(self.proxy.asked), [])

    async def test_lists(self) -> None:
        key = await self.commit(LAYER)
        above, _, name = key.rpartition("/")
        self.assertEqual([each.name for each in await self.storage.list(above)], [name])
        self.assertNotIn(layout.GLANCE, [each.name for each in await self.storage.list("")])
        self.assertEqual([each.name for each in await self.storage.list("", limit=1)], ["docker"])

    async def test_replaced_and_deleted(self) -> None:
        """The image goes with what it held; who reads it reads to the end."""
        key = await self.commit(LAYER)
        first = await self.image_of(key)
        reader = await self.storage.open(key)
        await self.commit(LAYER)
        second = await self.image_of(key)
        api = self.images()
        await self.until(lambda: not self.storage._shelf._discarding)
        await self.fails(api.show(first), NotFound)
        self.assertEqual(await reader.read(10), LAYER[:10])
        reader.close()
        await self.storage.delete(key)
        await self.fails(self.storage.delete(key), NotFound)
        await self.fails(self.storage.get(key), NotFound)
        await self.until(lambda: not self.storage._shelf._discarding)
        await self.fails(api.show(second), NotFound)
        key = await self.commit(LAYER)
        image = await self.image_of(key)
        await self.storage.delete_tree(key.rpartition("/")[0])
        await self.until(lambda: not self.storage._shelf._discarding)
        await self.fails(api.show(image), NotFound)

    async def test_quarantine(self) -> None:
        """The image stays, and is no leftover."""
        key = await self.commit(LAYER)
        image = await self.image_of(key)
        await self.storage.quarantine(key)
        await self.fails(self.storage.stat(key), NotFound)
        self.assertEqual((await self.images().show(image)).status, "active")
        self.assertEqual(await self.storage.leftovers(time.time() + 3600), [])

    async def test_leftovers(self) -> None:
        """What is ours and holds nothing; nothing of another registry, nor of anybody else."""
        key = await self.commit(LAYER)
        api = self.images()
        mine = {KEY: key, STORE: self.storage._shelf.store}
        made = {}
        for name, properties in (("ours", mine), ("other", {**mine, STORE: "f" * 32}), ("nobody's", {})):
            made[name] = self.new_image(api)
            await api.create(made[name], properties)
        self.assertEqual(await self.storage.leftovers(time.time() - 60), [])
        found = await self.storage.leftovers(time.time() + 60)
        self.assertEqual([(each.key, each.id) for each in found], [(key, f"image {made['ours']}")])
        await self.storage.remove_leftover(found[0])
        self.assertEqual(await self.storage.leftovers(time.time() + 60), [])
        self.assertEqual((await api.show(made["other"])).status, "queued")
        self.assertEqual(await self.content(key), LAYER)

    async def test_leftovers_beside_an_emptied_store(self) -> None:
        """What knew of the images is gone: that does not make leftovers of them."""
        key = await self.commit(LAYER)
        image = await self.image_of(key)
        leftover = Leftover(key, f"image {image}", 0.0)
        for gone, alert in ((layout.glance_images(""), "images that storage_alternate does not know"),
                            (layout.GLANCE, "storage_alternate was emptied")):
            await self.alternate.delete_tree(gone)
            self.storage._lookout._held.clear()
            with capturedLogs() as events:
                self.assertEqual(await self.storage.leftovers(time.time() + 60), [])
            self.assertEqual([each["alert"] for each in events if "alert" in each], [alert])
        await self.storage.remove_leftover(leftover)
        self.assertEqual((await self.images().show(image)).status, "active")

    async def test_two_push_the_same(self) -> None:
        """Both are answered, and one image is left that holds it (D4)."""
        await outcomes(*(self.write(self.commit) for _ in range(3)))
        key = layout.blob(Digest.of(LAYER))
        self.assertEqual(await self.content(key), LAYER)

    def write(self, how: Any) -> Any:
        from twisted.internet.defer import Deferred
        return Deferred.fromCoroutine(how(LAYER))


class StatesTests(GlanceStorageCase):
    """F13, by what was done to Glance itself."""

    async def setUp(self) -> None:                          # type: ignore[override]
        await super().setUp()
        self.key = await self.commit(LAYER)
        self.image = await self.image_of(self.key)
        self.storage._shelf._sure.clear()

    def change(self, column: str, value: object) -> None:
        """In Glance's own database."""
        with sqlite3.connect(glance_folder() / "glance.db", timeout=60) as database:
            database.execute(f"UPDATE images SET {column} = ? WHERE id = ?", (value, self.image))
            if column == "status":
                database.execute("DELETE FROM image_locations WHERE image_id = ?", (self.image,))

    async def heals(self) -> None:
        """Pushing it again makes it good (B8)."""
        await self.commit(LAYER)
        self.assertEqual(await self.content(self.key), LAYER)
        self.assertEqual((await self.storage.stat(self.key)).size, len(LAYER))

    async def test_deleted_underneath_us(self) -> None:
        await self.images().delete(self.image)
        await self.fails(self.storage.stat(self.key), NotFound)
        await self.fails(self.storage.open(self.key), NotFound)
        await self.fails(self.storage.get(self.key), NotFound)
        await self.heals()

    async def test_deactivated(self) -> None:
        """Served again when it is activated."""
        admin = self.images(username="admin", password="admin", project_name="admin")
        for action in ("deactivate", "reactivate"):
            answer = await admin._service.request("POST", f"/v2/images/{self.image}/actions/{action}", {}, [])
            self.assertEqual(answer.status, 204)
            answer.close()
            if action == "deactivate":
                for attempt in (self.storage.stat, self.storage.open, self.storage.get):
                    text = await self.fails(attempt(self.key), Deactivated)
                    self.assertIn("openstack image set --activate", text)
        self.assertEqual(await self.content(self.key), LAYER)
        self.assertFalse(self.storage.diversion.is_on)

    async def test_tampered(self) -> None:
        for column, value in (("checksum", "0" * 32), ("os_hash_value", "0" * 128), ("size", 5)):
            self.change(column, value)
            if column != "os_hash_value":                   # which downloads do not tell
                await self.fails(self.storage.open(self.key), Damaged)
            if column != "checksum":
                await self.fails(self.storage.stat(self.key), Damaged)
            await self.heals()
            self.image = await self.image_of(self.key)
            self.storage._shelf._sure.clear()

    async def test_without_bytes(self) -> None:
        """Not what it was when it was recorded: never served, as an empty blob least of all."""
        for status in ("queued", "saving", "killed"):
            self.change("status", status)
            error = NotFound if status == "killed" else Damaged
            await self.fails(self.storage.stat(self.key), error)
            (found,) = await outcomes(self.storage.open(self.key))
            self.assertIsInstance(found, (Damaged, NotFound))
        await self.heals()

    async def test_property_of_ours_is_changed(self) -> None:
        """Nothing is found by it."""
        await self.images().patch(self.image, {KEY: "x", STORE: "y"})
        self.assertEqual(await self.content(self.key), LAYER)

    async def test_cut_downloads(self) -> None:
        """Gone on with, three times."""
        cut = self.proxy.add(method="GET", target="/file$", times=3, cut=200_000)
        self.assertEqual(await self.content(self.key), LAYER)
        self.assertEqual(cut.met, 3)
        self.assertEqual([each.headers["range"] for each in self.proxy.seen("GET", "/file$")[1:]],
                         ["bytes=200000-", "bytes=400000-", "bytes=600000-"])
        self.proxy.add(method="GET", target="/file$", cut=0)
        await self.fails(self.content(self.key), StoreUnavailable)

    async def test_another_image_in_the_middle(self) -> None:
        self.proxy.add(method="GET", target="/file$", times=1, cut=200_000)
        reader = await self.storage.open(self.key)
        self.change("checksum", "0" * 32)
        with self.assertRaisesRegex(StorageFailed, "changed while it was read"):
            while await reader.read(100_000):
                pass

    async def test_record_is_torn(self) -> None:
        await self.alternate.put(layout.glance_image(self.key), b'{"image": 3}')
        await self.fails(self.storage.stat(self.key), Damaged)
        await self.storage.quarantine(self.key)
        await self.fails(self.storage.stat(self.key), NotFound)
        self.assertEqual(await self.storage.leftovers(time.time() + 3600), [])      # its image is kept
        await self.heals()

    async def test_token_ends(self) -> None:
        """Before a transfer and after it has begun (F14)."""
        service = self.storage._shelf._images._service

        async def revoke() -> None:
            from twisted.internet import reactor

            from docker_registry.storage.http import Http
            token = (await service.access()).token
            http = Http(reactor)
            answer = await http.request(
                "DELETE", f"{self.environ['OS_AUTH_URL']}/auth/tokens",
                {"X-Auth-Token": token, "X-Subject-Token": token},
            )
            self.assertEqual(answer.status, 204)
            await answer.discard()
            await http.close()

        self.proxy.add(method="PUT", status=401, times=1)
        await self.direct(LAYER + b"1")
        self.proxy.add(method="PUT", status=401, times=1)
        await self.commit(LAYER + b"2")
        self.proxy.add(method="GET", target="/file$", times=1, cut=200_000)
        reader = await self.storage.open(self.key)
        await revoke()
        whole = b""
        while part := await reader.read(100_000):
            whole += part
        self.assertEqual(whole, LAYER)
        self.assertFalse(self.storage.diversion.is_on)


class BadDaysTests(GlanceStorageCase):
    async def test_quota(self) -> None:
        """Said to the client; nothing is diverted, nothing acknowledged, and the bytes can be committed later."""
        for status in (413, 403):
            self.proxy.rules.clear()
            self.proxy.add(method="PUT", status=status, body=b"The size of the image exceeds the quota")
            for write in (self.commit, self.direct):
                text = await self.fails(write(LAYER), StorageFull)
                self.assertIn("exceeds the quota", text)
            await self.fails(self.storage.put(layout.blob(Digest.of(b"x")), b"x"), StorageFull)
        self.assertFalse(self.storage.diversion.is_on)
        await self.fails(self.storage.stat(layout.blob(Digest.of(LAYER))), NotFound)
        self.proxy.rules.clear()
        writer = await self.storage.resume("images/_uploads/x", len(LAYER))
        await writer.commit(layout.blob(Digest.of(LAYER)))
        self.assertEqual(await self.content(layout.blob(Digest.of(LAYER))), LAYER)

    async def test_property_limit(self) -> None:
        self.proxy.add(method="POST", target="/v2/images$", status=413,
                       body=b"The limit has been exceeded on the number of allowed image properties")
        text = await self.fails(self.commit(LAYER), StorageFailed)
        self.assertIn("raise image_property_quota of Glance", text)

    async def test_role_is_missing(self) -> None:
        self.proxy.add(method="POST", target="/v2/images$", status=403, body=b"You are not authorized")
        self.assertIn("the role member", await self.fails(self.commit(LAYER), StorageFailed))
        self.assertFalse(self.storage.diversion.is_on)

    async def test_id_is_in_use(self) -> None:
        """Another one is taken."""
        rule = self.proxy.add(method="POST", target="/v2/images$", status=409, times=1)
        self.assertEqual(await self.content(await self.commit(LAYER)), LAYER)
        self.assertEqual(rule.met, 1)

    async def test_deleted_while_it_is_sent(self) -> None:
        rule = self.proxy.add(method="PUT", status=410, times=1)
        self.assertEqual(await self.content(await self.commit(LAYER)), LAYER)
        self.assertEqual(rule.met, 1)

    async def test_other_bytes_arrive(self) -> None:
        """Glance's own hash tells; they are sent again, and never acknowledged as they are."""
        rule = self.proxy.add(method="PUT", flip=700_000, times=1)
        for write in (self.commit, self.direct):
            rule.met = 0
            key = await write(LAYER)
            self.assertEqual((rule.met, await self.content(key)), (1, LAYER))
        rule.times = 1000
        key = await self.commit(LAYER + b"1")
        self.assertTrue(await self.is_diverted(key))
        self.assertEqual(await self.content(key), LAYER + b"1")
        self.assertIn("has other bytes than were sent", self.storage.diversion.reason)

    async def test_start(self) -> None:
        """What will not pass by itself is said before the port opens."""
        await self.storage.close()
        for given, said in (
            ({"password": "wrong"}, "storage glance: .*refuses the login: 401"),
            ({"project_name": "none"}, "storage glance: .*refuses the login"),
        ):
            with self.assertRaisesRegex(StorageFailed, said):
                await self.unstarted(check=True, **given).start()
        self.proxy.add(status=302, headers={"Location": "http://elsewhere.example/v2/images"})
        with self.assertRaisesRegex(StorageFailed, "Glance is elsewhere: http://elsewhere.example;"):
            await self.unstarted(check=True).start()
        self.proxy.rules.clear()
        self.proxy.add(method="DELETE", status=403)
        with self.assertRaisesRegex(StorageFailed, "storage glance: Glance: cannot delete an image: .*403"):
            await self.unstarted(check=True).start()
        self.proxy.rules.clear()
        self.storage = await self.make(check=True)

    async def test_start_while_glance_fails(self) -> None:
        """No hindrance."""
        await self.storage.close()
        rule = self.proxy.add(status=503)
        self.storage = await self.make(check=True)
        self.assertTrue(self.storage.diversion.is_on)
        key = await self.commit(LAYER)
        self.assertTrue(await self.is_diverted(key))
        rule.times = 0
        await self.storage.diversion.over()
        self.assertEqual(await self.storage.moving.round(), 1)
        self.assertFalse(await self.is_diverted(key))
        self.assertEqual(await self.content(key), LAYER)

    async def test_name_of_the_store(self) -> None:
        """Stays, and all who join see the same."""
        first = self.storage._shelf.store
        await self.storage.close()
        self.storage = await self.make()
        self.assertEqual(self.storage._shelf.store, first)

    def test_unused_ids(self) -> None:
        self.assertNotEqual(new_id(), new_id())
        self.assertIsInstance(self.folder, Path)


class CrowdTests(GlanceStorageCase):
    async def test_slow_clients(self) -> None:
        """Of many some are sent while they come, the others when they are committed; all arrive."""
        self.patch(committing, "AT_ONCE", 2)
        wholes = [LAYER + b"%d" % number for number in range(4)]
        writers = [await self.storage.create(f"u/{number}") for number in range(4)]
        for writer, whole in zip(writers, wholes, strict=True):
            await writer.write([whole])
        self.assertEqual(len(self.proxy.seen("POST", "/v2/images$")), 2)
        for writer, whole in zip(writers, wholes, strict=True):
            await writer.commit(layout.blob(Digest.of(whole)))
            self.assertEqual(await self.content(layout.blob(Digest.of(whole))), whole)
        self.assertEqual((await self.storage.waiting(), self.storage.diversion.is_on), (0, False))

    async def test_all_connections_are_busy(self) -> None:
        """With readers, and with writers, that are slow: whoever comes later is put off, and nobody says that Glance
        fails.
        """
        key = await self.commit(content(3 << 20))
        http: Any = self.storage._shelf._images._service._http
        http._streams.limit = http._streams.tokens = 2
        http._flows.limit = http._flows.tokens = 0
        readers = [await self.storage.open(key) for _ in range(2)]
        http._is_silent = lambda method, url: url.endswith("/file")
        await self.fails(self.storage.open(key), Crowded)
        whole = content(700_000)
        diverted = await self.commit(whole)
        self.assertTrue(await self.is_diverted(diverted))
        self.assertFalse(self.storage.diversion.is_on)
        http._is_silent = lambda method, url: False
        for reader in readers:
            reader.close()
        http._flows.limit = http._flows.tokens = 1
        self.assertEqual(await self.storage.moving.round(), 1)
        self.assertEqual(await self.content(diverted), whole)
