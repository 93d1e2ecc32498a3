"""What goes with each call, and calls that take several."""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import replace
from typing import Any

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from docker_registry.errors import NotFound, Transient
from docker_registry.storage.retries import TRIES
from docker_registry.storage.s3 import copying
from docker_registry.test.s3_case import MIB, S3FaultCase, reactor
from docker_registry.test.servers.faults import Asked
from docker_registry.test.servers.stores import moto
from docker_registry.test.storage_contract import content

HEADERS = {
    "x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": "a-key",
    "x-amz-storage-class": "STANDARD_IA",
}

ID = "<UploadId>i</UploadId>"
PARTS = f"<ListPartsResult>{ID}%b</ListPartsResult>".encode()


def makes_an_object(asked: Asked) -> bool:
    """Or begins to: where S3 takes what an object is to be. With a part it refuses the same."""
    return (asked.method == "PUT" and "partNumber" not in asked.target) or asked.target.endswith("?uploads=")


class HeaderTests(S3FaultCase):
    """Encryption and storage class, of whatever is written in whatever way."""

    def setUp(self) -> None:
        super().setUp()
        self.storage = self.make(settings=replace(self.settings, object_headers=HEADERS))

    async def seen(self) -> list[str]:
        """The calls that made objects, all of which said so; no other did."""
        made = [each for each in self.proxy.asked if makes_an_object(each)]
        for each in self.proxy.asked:
            said = {name: value for name, value in each.headers.items() if name in HEADERS}
            self.assertEqual(said, HEADERS if each in made else {}, (each.method, each.target))
        self.proxy.asked.clear()
        return [f"{each.method}{' copy' if 'x-amz-copy-source' in each.headers else ''}" for each in made]

    async def kept(self, key: str) -> None:
        """What the store has of it."""
        found = await deferToThread(self.head, f"{self.settings.prefix}{key}")
        self.assertEqual(
            (found["StorageClass"], found["ServerSideEncryption"], found["SSEKMSKeyId"]),
            ("STANDARD_IA", "aws:kms", "a-key"),
        )

    def head(self, key: str) -> Any:
        return moto().client().head_object(Bucket=moto().bucket, Key=key)

    async def test_small(self) -> None:
        await self.storage.put("b", b"x")
        await self.kept("b")
        for begin in (lambda: self.storage.create_direct("u", "b", None), lambda: self.storage.create("u")):
            writer = await begin()
            await writer.write([b"x"])
            await writer.commit("b")
            await self.kept("b")
        self.assertEqual(await self.seen(), ["PUT"] * 3)

    async def test_direct(self) -> None:
        writer = await self.storage.create_direct("u", "b", None)
        await writer.write([content(6 * MIB)])
        await writer.commit("b")
        await self.kept("b")
        self.assertEqual(await self.seen(), ["POST"])

    async def test_session(self) -> None:
        """Pieces of it, too: they are charged for while they are there."""
        writer = await self.storage.create("u")
        await writer.write([content(6 * MIB)])
        await writer.sync()
        await writer.commit("b")
        await self.kept("b")
        self.assertEqual(sorted(await self.seen()), ["POST", "PUT", "PUT", "PUT"])

    async def test_copies(self) -> None:
        """AWS gives a copy what it is told, and not what its source has."""
        await self.storage.put("b", b"x")
        await self.storage.touch("b")
        await self.kept("b")
        await self.storage.quarantine("b")
        self.assertEqual(await self.seen(), ["PUT", "PUT copy", "PUT copy"])
        self.patch(copying, "COPIED", 5 * MIB)
        self.patch(copying, "RANGE", 5 * MIB)
        await self.storage.bucket.put(f"{self.settings.prefix}b", [content(6 * MIB)])
        await self.storage.touch("b")
        await self.kept("b")
        parts = self.proxy.seen("PUT", "partNumber")
        self.assertTrue(all(each.headers["x-amz-copy-source-if-match"] for each in parts), "it may change meanwhile")
        self.assertEqual((len(parts), await self.seen()), (2, ["PUT", "POST"]))


class AcknowledgedTests(S3FaultCase):
    """Nothing is, before all that it consists of is in the store (C1)."""

    async def test_what_does_not_arrive(self) -> None:
        """A piece, or a part: the bytes behind it are of no use."""
        for target, is_direct, end in (
            ("u/data/.*-000000", False, lambda writer: writer.sync()),
            ("u/data/.*-000000", False, lambda writer: writer.commit("b")),
            ("partNumber=1", True, lambda writer: writer.commit("b")),
        ):
            rule = self.proxy.add(method="PUT", target=target, status=503)
            begun = self.storage.create_direct("u/data", "b", None) if is_direct else self.storage.create("u/data")
            writer = await begun
            await writer.write([content(6 * MIB)])
            await self.fails(end(writer), Transient)
            await writer.close()
            await self.fails(self.storage.get("b"), NotFound)
            self.assertEqual(await self.size("u/data"), 0)
            self.assertEqual(rule.met, TRIES)
            rule.times = 0
            await self.storage.delete_tree("u")

    async def test_what_nobody_synced(self) -> None:
        """Pieces of a writer that went are found, at a key that says that nothing is acknowledged."""
        writer = await self.storage.create("u/data")
        await writer.write([content(6 * MIB)])
        while not self.proxy.seen("PUT", "u/data/.*-000000"):
            await deferLater(reactor, 0.01)
        await writer.close()
        self.assertEqual((await self.storage.stat("u/data")).size, 0)

    async def test_what_is_gone_on_with(self) -> None:
        """What is behind the last piece is read into the memory that was taken for it, and nowhere else."""
        for size, at in ((5 * MIB - 1, 5 * MIB - 1), (10 * MIB - 1, 10 * MIB - 1), (6 * MIB, 5 * MIB - 1)):
            writer = await self.storage.create("u/data")
            await writer.write([content(size)])
            await writer.sync()
            await writer.close()
            tracemalloc.start()
            self.addCleanup(tracemalloc.stop)
            writer = await self.storage.resume("u/data", at)
            self.assertLess(tracemalloc.get_traced_memory()[1], 4 * MIB)
            tracemalloc.stop()
            await writer.write([b"end"])
            await writer.commit("b")
            self.assertEqual(await self.content("b"), content(size)[:at] + b"end")

    async def size(self, key: str) -> int:
        """Of an upload, 0 if there is none."""
        try:
            return (await self.storage.stat(key)).size
        except NotFound:
            return 0


class PageTests(S3FaultCase):
    """Lists that a store tells in pages (F5, F7): all of them are read."""

    def page(self, target: str, name: str, content: str) -> None:
        """What the store says once."""
        body = f"<{name}><EncodingType>url</EncodingType>{content}</{name}>".encode()
        self.proxy.add(method="GET", target=target, times=1, status=200, body=body)

    async def test_unfinished(self) -> None:
        name = "ListMultipartUploadsResult"
        prefix = self.settings.prefix

        def upload(key: str) -> str:
            when = "<Initiated>2026-01-01T00:00:00.000Z</Initiated>"
            return f"<Upload><Key>{prefix}{key}</Key><UploadId>{key}-id</UploadId>{when}</Upload>"

        more = f"<NextKeyMarker>{prefix}a%2Bb</NextKeyMarker><NextUploadIdMarker>n/1</NextUploadIdMarker>"
        self.page("uploads", name, f"{upload('a%2Bb')}<IsTruncated>true</IsTruncated>{more}")
        self.page("key-marker", name, f"{upload('c')}<IsTruncated>false</IsTruncated>")
        found = [(each.key, each.id) for each in await self.storage.bucket.unfinished(prefix)]
        self.assertEqual(found, [(f"{prefix}a+b", "a%2Bb-id"), (f"{prefix}c", "c-id")])
        second = self.proxy.asked[1].target
        self.assertIn(f"key-marker={prefix.rstrip('/')}%2Fa%2Bb&", second)
        self.assertIn("upload-id-marker=n%2F1", second)

    async def test_the_same_page_again(self) -> None:
        """Of a store that knows no pages, and says that there are more: nobody asks for ever."""
        body = b"<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>"
        rule = self.proxy.add(target="uploads", status=200, body=body + b"</ListMultipartUploadsResult>")
        self.assertEqual(await self.storage.leftovers(time.time()), [])
        self.assertEqual(rule.met, 2)
        rule.times = 0
        more = b"<IsTruncated>true</IsTruncated><NextPartNumberMarker>7</NextPartNumberMarker>"
        upload = await self.storage.bucket.begin(f"{self.settings.prefix}b")
        [unfinished] = await self.storage.bucket.unfinished(self.settings.prefix)
        rule = self.proxy.add(target="uploadId", status=200, body=PARTS % more)
        self.assertEqual(await self.storage.bucket.last_part(unfinished), 0.0)
        self.assertEqual(rule.met, 2)
        rule.times = 0
        await self.storage.bucket.abort(f"{self.settings.prefix}b", upload)

    async def test_parts(self) -> None:
        """The newest of all: so long somebody was at it."""
        key = f"{self.settings.prefix}b"
        upload = await self.storage.bucket.begin(key)
        [unfinished] = await self.storage.bucket.unfinished(self.settings.prefix)
        old, new = (f"<Part><LastModified>20{year}-01-01T00:00:00.000Z</LastModified></Part>" for year in (25, 27))
        more = "<IsTruncated>true</IsTruncated><NextPartNumberMarker>1000</NextPartNumberMarker>"
        self.page("uploadId", "ListPartsResult", ID + old + more)
        self.page("part-number-marker=1000&", "ListPartsResult", ID + new)
        self.assertEqual(await self.storage.bucket.last_part(unfinished), 1798761600.0)
        await self.storage.bucket.abort(key, upload)

    async def test_delete_tree(self) -> None:
        names = ["t/a", "t/b", "t/c"]
        for name in ["t", "tt", *names]:
            await self.storage.put(name, b"x")
        more = "<IsTruncated>true</IsTruncated><NextContinuationToken>n/+</NextContinuationToken>"

        def listed(*names: str) -> str:
            return "".join(f"<Contents><Key>{self.settings.prefix}{name}</Key></Contents>" for name in names)

        self.page("list-type", "ListBucketResult", listed(*names[:2]) + more)
        self.page("continuation-token=n%2F%2B", "ListBucketResult", listed(names[2]))
        await self.storage.delete_tree("t")
        self.assertEqual([each.name for each in await self.storage.list("")], ["tt"])
