"""The calls of Image API v2: on a real Glance, and where something comes in between."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from docker_registry.errors import NotFound, StorageFailed, StorageFull, StoreUnavailable, Transient
from docker_registry.storage.flows import Flow
from docker_registry.storage.glance.errors import Conflict, Deactivated, Gone, Refused
from docker_registry.storage.glance.images import Download, Images, new_id
from docker_registry.storage.retries import TRIES
from docker_registry.test.glance_case import GlanceCase
from docker_registry.test.storage_contract import content

WHOLE = content(700_000)


async def read(download: Download | None) -> bytes:
    assert download is not None
    parts = []
    while part := await download.answer.read(100_000):
        parts.append(part)
    return b"".join(parts)


class ImagesTests(GlanceCase):
    def setUp(self) -> None:
        super().setUp()
        self.api = self.images()

    async def made(self, *parts: bytes, **properties: str) -> str:
        """The id of an image with these bytes."""
        image = self.new_image(self.api)
        await self.api.create(image, properties)
        await self.api.upload(image, parts)
        return image

    async def test_whole_life(self) -> None:
        image = self.new_image(self.api)
        made = await self.api.create(image, {"docker_id": "x/y:ä ~"}, name="ns/name:tag")
        self.assertEqual((made.id, made.status, made.size, made.hash), (image, "queued", None, ""))
        self.assertEqual((made.name, made.properties), ("ns/name:tag", {"docker_id": "x/y:ä ~"}))
        self.assertEqual((made.container_format, made.disk_format), ("docker", "raw"))
        self.assertIsNone(await self.api.download(image))
        await self.api.upload(image, [WHOLE[:10], WHOLE[10:]], len(WHOLE))
        found = await self.api.show(image)
        self.assertEqual((found.status, found.size), ("active", len(WHOLE)))
        self.assertEqual(found.checksum, hashlib.md5(WHOLE).hexdigest())
        self.assertEqual((found.hash_algorithm, found.hash), ("sha512", hashlib.sha512(WHOLE).hexdigest()))
        self.assertLess(abs(found.updated - time.time()), 60)
        got = await self.api.download(image)
        assert got is not None
        self.assertEqual((got.size, got.checksum), (found.size, found.checksum))
        self.assertEqual(await read(got), WHOLE)
        await self.api.delete(image)
        await self.api.delete(image)
        await self.fails(self.api.show(image), NotFound)
        await self.fails(self.api.download(image), NotFound)

    async def test_ranges(self) -> None:
        image = await self.made(WHOLE)
        for offset in (1, 400_000, len(WHOLE) - 1):
            got = await self.api.download(image, offset)
            assert got is not None
            self.assertEqual(got.size, len(WHOLE))
            self.assertEqual(await read(got), WHOLE[offset:])
        self.assertEqual((await self.fails(self.api.download(image, len(WHOLE)), Refused))[:19], "Glance refused: 416")

    async def test_of_no_bytes(self) -> None:
        image = await self.made()
        self.assertEqual((await self.api.show(image)).size, 0)

    async def test_flow(self) -> None:
        """Bytes of unknown length, as they come."""
        image = self.new_image(self.api)
        await self.api.create(image, {})
        left = [[WHOLE], [WHOLE, b"end"], []]

        async def following() -> Any:
            return left.pop(0)

        await self.api.upload(image, Flow(following, None))
        self.assertEqual((await self.api.show(image)).size, 2 * len(WHOLE) + 3)

    async def test_ids(self) -> None:
        """They are used once."""
        image = await self.made(b"1")
        await self.fails(self.api.create(image, {}), Conflict)
        await self.fails(self.api.upload(image, [b"2"]), Conflict)
        self.assertEqual(await read(await self.api.download(image)), b"1")
        await self.api.delete(image)
        await self.fails(self.api.create(image, {}), Conflict)

    async def test_lost_answer(self) -> None:
        """Of a creation: the image is there, and is ours."""
        lost = self.proxy.add(method="POST", lose=True, times=1)
        image = self.new_image(self.api)
        made = await self.api.create(image, {"a": "1"})
        self.assertEqual((made.status, lost.met), ("queued", 1))
        self.proxy.add(method="POST", lose=True, times=1)
        await self.fails(self.api.create(image, {"a": "2"}), Conflict)
        lost = self.proxy.add(method="DELETE", lose=True, times=1)
        await self.api.delete(image)
        self.assertEqual(lost.met, 1)

    async def test_patch(self) -> None:
        image = await self.made(b"x", a="1", b="2")
        found = await self.api.patch(image, {"a": "3", "c~/d": "4", "name": "n"}, ["b"])
        self.assertEqual((found.name, found.properties), ("n", {"a": "3", "c~/d": "4"}))
        await self.fails(self.api.patch(image, {}, ["b"]), Conflict)
        await self.fails(self.api.patch(new_id(), {"a": "1"}), NotFound)

    async def test_pages(self) -> None:
        """By a property; the youngest first, and to the last."""
        mark = new_id()
        made = [await self.made(b"x", mark=mark, number=str(number)) for number in range(4)]
        for limit in (1, 2, 3, 4, 10):
            found, marker = [], ""
            while True:
                page = await self.api.page({"mark": mark, "container_format": "docker"}, marker, limit)
                found += [each.id for each in page.images]
                marker = page.marker
                if not marker:
                    break
            self.assertEqual(sorted(found), sorted(made), limit)
        page = await self.api.page({"mark": mark, "number": "2"})
        self.assertEqual(([each.id for each in page.images], page.marker), ([made[2]], ""))
        self.assertEqual((await self.api.page({"mark": "of nobody"})).images, [])

    async def test_cut_upload(self) -> None:
        """The image is as it was, and may be tried again."""
        image = self.new_image(self.api)
        await self.api.create(image, {})

        async def broken() -> Any:
            if parts:
                return parts.pop()
            raise StorageFailed("no more")

        for length in (None, 2 * len(WHOLE)):
            parts = [[WHOLE]]
            await self.fails(self.api.upload(image, Flow(broken, length)), StorageFailed)
            self.assertIn((await self.api.show(image)).status, ("queued", "saving"))
            self.assertIsNone(await self.api.download(image))

    async def test_deleted_while_it_is_written(self) -> None:
        api = self.images(url=self.environ["OS_GLANCE_URL"])     # the proxy waits for the end of a request
        image = self.new_image(api)
        await api.create(image, {})
        parts = [[WHOLE], [WHOLE]]

        async def following() -> Any:
            if len(parts) == 1:
                while (await api.show(image)).status != "saving":
                    pass
                await api.delete(image)
            return parts.pop() if parts else []

        await self.fails(api.upload(image, Flow(following, 2 * len(WHOLE))), Gone)

    async def test_property_limit(self) -> None:
        text = await self.fails(self.api.create(new_id(), {f"p{number}": "" for number in range(129)}), Refused)
        self.assertIn("raise image_property_quota", text)

    async def test_wrong_value(self) -> None:
        text = await self.fails(self.api.create(new_id(), {"min_disk": "x"}), Refused)
        self.assertRegex(text, "^Glance refused: 400 .*min_disk")
        self.assertNotRegex(text, "[<>]|400.*400")


class BadDaysTests(GlanceCase):
    def setUp(self) -> None:
        super().setUp()
        self.api = self.images()

    async def test_what_passes(self) -> None:
        """It is asked again while that helps."""
        for what in ({"status": 503}, {"status": 429}, {"refuse": True}, {"hang": True}):
            rule = self.proxy.add(times=1, **what)
            await self.api.page({}, limit=1)
            self.assertEqual(rule.met, 1)
        rule = self.proxy.add(status=500)
        self.assertEqual(await self.fails(self.api.show(new_id()), Transient), "Glance is busy: 500")
        self.assertEqual(rule.met, TRIES)

    async def test_an_upload_has_one_try(self) -> None:
        rule = self.proxy.add(method="PUT", status=503)
        image = self.new_image(self.api)
        await self.api.create(image, {})
        await self.fails(self.api.upload(image, [b"x"]), Transient)
        self.assertEqual(rule.met, 1)

    async def test_quota(self) -> None:
        for status, body in (
            (413, b"<html><title>413</title><h1>413 Request Entity Too Large</h1>The quota is exceeded</html>"),
            (403, b"You are not permitted to exceed the quota"), (507, b""),
        ):
            self.proxy.rules.clear()
            self.proxy.add(method="PUT", status=status, body=body)
            await self.fails(self.api.upload(new_id(), [b"x"]), StorageFull)

    async def test_refused(self) -> None:
        self.proxy.add(status=403, body=b"<b>You are not authorized</b> to do\x1b[31m it")
        text = await self.fails(self.api.show(new_id()), Refused)
        self.assertIn("403 You are not authorized to do??31m it; does the login have the role member", text)

    async def test_elsewhere(self) -> None:
        """Nobody is followed: the token would go there."""
        other = self.before("http://127.0.0.1:0")
        self.proxy.add(status=302, headers={"Location": f"http://127.0.0.1:{other.port}/v2/images"})
        text = await self.fails(self.api.page({}), StoreUnavailable)
        self.assertIn(f"Glance is elsewhere: http://127.0.0.1:{other.port};", text)
        self.assertEqual(other.asked, [])

    async def test_no_glance(self) -> None:
        """What answers is something else."""
        for body in (b"<html>", b"[]", b"{}", b'{"images": [{"id": "../x"}]}', b'{"images": [{"id": 3}]}', b"[" * 9999):
            self.proxy.rules.clear()
            self.proxy.add(status=200, body=body)
            await self.fails(self.api.page({}), StorageFailed)
            await self.fails(self.api.show(new_id()), StorageFailed)

    async def test_another_server(self) -> None:
        """One that is asked for images, and has never heard of them: Keystone."""
        api = self.images(url=self.environ["OS_AUTH_URL"].removesuffix("/v3"))
        text = await self.fails(api.create(new_id(), {}), StoreUnavailable)
        self.assertIn("no Image API v2 where Glance should be: see os_glance_url", text)

    async def test_another_range(self) -> None:
        for headers in ({}, {"Content-Range": "bytes 4-9/10"}):
            self.proxy.rules.clear()
            self.proxy.add(status=206 if headers else 200, headers=headers, body=b"x")
            await self.fails(self.api.download(new_id(), 5), StorageFailed)

    async def test_deactivated(self) -> None:
        """By an operator, for real."""
        image = self.new_image(self.api)
        await self.api.create(image, {})
        await self.api.upload(image, [b"x"])
        admin = self.images(username="admin", password="admin", project_name="admin")
        await self.deactivate(admin, image)
        self.assertEqual((await self.api.show(image)).status, "deactivated")
        self.assertIn("openstack image set --activate", await self.fails(self.api.download(image), Deactivated))

    async def deactivate(self, admin: Images, image: str) -> None:
        answer = await admin._service.request("POST", f"/v2/images/{image}/actions/deactivate", {}, [])
        self.assertEqual(answer.status, 204)
        answer.close()
