"""The calls of S3 that are needed, a method each. Keys are whole: the prefix is in them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

from twisted.logger import Logger

from docker_registry.errors import NotFound, StorageFailed, Transient
from docker_registry.storage.flows import Octets
from docker_registry.storage.http import Answer
from docker_registry.storage.objects.reading import Reading, whole_size
from docker_registry.storage.objects.store import HASTY, Head, Page, Refused
from docker_registry.storage.s3 import documents
from docker_registry.storage.s3.client import LONG, Client, checked, header_time, md5, nothing
from docker_registry.storage.s3.documents import LIMIT, Malformed, Unfinished
from docker_registry.storage.s3.settings import quoted
from docker_registry.threads import Runner

DELETED = 1000
"""Objects that one request deletes."""

COPIED = 5 << 30
"""Bytes that one request copies, at most."""

TOUCHED, SESSION = "x-amz-meta-touched", "x-amz-meta-session"
"""When somebody renewed an object, in seconds since the epoch; and that it is an upload that is not finished."""


def _head(answer: Answer, key: str) -> Head:
    """:raises StorageFailed: the answer lacks what every object has."""
    touched = answer.header(TOUCHED) or ""
    modified = float(touched) if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", touched) else header_time(answer)
    return Head(whole_size(answer, key), modified, answer.header("etag") or "", answer.header(SESSION) or "")


class Bucket(Reading[Head]):
    """:param headers: of each object that is written: encryption, storage class."""

    log = Logger()

    def __init__(self, client: Client, runner: Runner, headers: Mapping[str, str]) -> None:
        super().__init__(client, _head)
        self.client = client
        self._runner = runner
        self._headers = dict(headers)

    # Reading

    async def page(
        self, prefix: str, *, delimiter: str = "", after: str = "", token: str = "", limit: int = 1000
    ) -> Page:
        query = {"list-type": "2", "encoding-type": "url", "prefix": prefix, "max-keys": str(min(limit, 1000))}
        query |= {"delimiter": delimiter} if delimiter else {}
        query |= {"continuation-token": token} if token else {"start-after": after} if after else {}

        async def read(answer: Answer) -> Page:
            content = await answer.content(LIMIT)
            return await self._runner.slow(documents.page, content) if len(content) > HASTY else documents.page(content)

        return await self.client.ask("GET", "", read, query)

    # Writing

    async def put(self, key: str, parts: Sequence[Octets], session: str = "", is_new: bool = False) -> str:
        """Store an object; its tag.

        :param session: of an upload that is not finished.
        :param is_new: whether nothing may be there.
        :raises Refused: something is.
        """
        headers = {**self._headers, SESSION: session} if session else self._headers
        headers = {**headers, "if-none-match": "*"} if is_new else headers
        return await self.client.ask("PUT", key, _tag, headers=headers, body=parts, payload=await self._sum(parts))

    async def copy(self, source: str, target: str, headers: Mapping[str, str] | None = None) -> None:
        """Of at most `COPIED` bytes.

        :param headers: of meta-data that takes the place of the source's.
        """
        lines = {**self._headers, "x-amz-copy-source": self._source(source), **(headers or {})}
        if headers is not None:
            lines["x-amz-metadata-directive"] = "REPLACE"
        await self.client.ask("PUT", target, checked("CopyObjectResult"), headers=lines, seconds=LONG)

    async def delete(self, key: str) -> None:
        """What is not there is no error."""
        await self.client.ask("DELETE", key, nothing)

    async def delete_many(self, keys: Sequence[str]) -> None:
        """:raises StorageError: one could not be deleted; others may be gone."""
        for at in range(0, len(keys), DELETED):
            body = documents.deletion(keys[at : at + DELETED])
            await self.client.ask(
                "POST", "", checked("DeleteResult"), {"delete": ""},
                {"Content-MD5": md5(body), "Content-Type": "application/xml"}, [body],
                payload=await self._sum([body]), seconds=LONG,
            )

    # In parts

    async def begin(self, key: str, headers: Mapping[str, str] | None = None) -> str:
        """The id of a new upload."""
        content = await self.client.ask(
            "POST", key, checked("InitiateMultipartUploadResult"), {"uploads": ""},
            {**self._headers, **(headers or {})}, [],
        )
        upload = documents.text(documents.parse(content), "UploadId")
        if not upload:
            raise StorageFailed(f"{key}: the store gave an upload no id")
        return upload

    async def part(self, key: str, upload: str, number: int, parts: Sequence[Octets]) -> str:
        """Send a part, from number 1 on; its tag."""
        query = {"partNumber": str(number), "uploadId": upload}
        return await self.client.ask("PUT", key, _tag, query, body=parts, payload=await self._sum(parts))

    async def part_copy(
        self, key: str, upload: str, number: int, source: str, tag: str = "", first: int = 0, size: int = 0
    ) -> str:
        """Take a part from another object; its tag.

        :param tag: of the other object, if it must be this one.
        :param size: bytes to take, from ``first`` on; 0 is all of it.
        """
        headers = {"x-amz-copy-source": self._source(source)}
        if tag:
            headers["x-amz-copy-source-if-match"] = tag
        if size:
            headers["x-amz-copy-source-range"] = f"bytes={first}-{first + size - 1}"
        query = {"partNumber": str(number), "uploadId": upload}
        content = await self.client.ask("PUT", key, checked("CopyPartResult"), query, headers, seconds=LONG)
        copied = documents.text(documents.parse(content), "ETag")
        if not copied:
            raise Malformed("the store does not say what it copied")
        return copied

    async def complete(self, key: str, upload: str, tags: Sequence[str], size: int) -> None:
        """Make an object of the parts, in one step.

        :param size: of all of them. When an answer is lost the upload is gone at the next try: then this tells whether
            the object is ours.
        """
        body = documents.completion(tags)
        try:
            await self.client.ask(
                "POST", key, checked("CompleteMultipartUploadResult"), {"uploadId": upload},
                {"Content-Type": "application/xml"}, [body], payload=await self._sum([body]), seconds=LONG,
            )
        except (Refused, Transient) as error:
            if isinstance(error, Refused) and error.code != "NoSuchUpload":
                raise
            if not await self._is_complete(key, len(tags), size):
                raise
            self.log.debug("{key} was completed, and the answer was lost", key=key)

    async def _is_complete(self, key: str, count: int, size: int) -> bool:
        try:
            head = await self.head(key)
        except NotFound:
            return False
        return head.size == size and head.tag.strip('"').endswith(f"-{count}")

    async def abort(self, key: str, upload: str, brief: bool = False) -> None:
        """Give up an upload; one that is not there is no error."""
        try:
            await self.client.ask("DELETE", key, nothing, {"uploadId": upload}, brief=brief)
        except NotFound:
            return
        except Refused as error:
            if error.code != "NoSuchUpload":
                raise

    async def unfinished(self, prefix: str) -> list[Unfinished]:
        """All uploads in parts below ``prefix`` that were begun and neither completed nor given up."""
        found: list[Unfinished] = []
        markers: tuple[str, str] | None = ("", "")
        while markers is not None:
            query = {"uploads": "", "prefix": prefix, "encoding-type": "url", "max-uploads": "1000"}
            if any(markers):
                query |= {"key-marker": markers[0], "upload-id-marker": markers[1]}
            content = await self.client.ask("GET", "", checked("ListMultipartUploadsResult"), query)
            before = markers
            page, markers = documents.unfinished(documents.parse(content))
            found += page
            if markers == before:
                break                           # a store that does not page would say the same for ever
        return found

    async def last_part(self, upload: Unfinished) -> float:
        """When the newest part of an upload came, in seconds since the epoch; 0 if it has none."""
        newest = 0.0
        marker = "0"
        while marker:
            query = {"uploadId": upload.id, "part-number-marker": marker}
            root = documents.parse(await self.client.ask("GET", upload.key, checked(), query))
            if not documents.text(root, "UploadId"):
                raise Malformed("the store's answer is no list of parts")
            times = [documents.seconds((each.text or "").strip()) for each in root.iterfind("{*}Part/{*}LastModified")]
            newest = max([newest, *times])
            following = documents.text(root, "NextPartNumberMarker")
            marker = following if documents.text(root, "IsTruncated") == "true" and following != marker else ""
        return newest

    def _source(self, key: str) -> str:
        return quoted(f"{self.client.place.bucket}/{key}")

    async def _sum(self, parts: Sequence[Octets]) -> str:
        if sum(map(len, parts)) <= HASTY:
            return _sha256(parts)
        return await self._runner.slow(_sha256, parts)


async def _tag(answer: Answer) -> str:
    """:raises Malformed: it has none, and so is not of a store that has something now (F2)."""
    await answer.content(LIMIT)
    if not (tag := answer.header("etag")):
        raise Malformed("the store does not say what it has stored")
    return tag


def _sha256(parts: Sequence[Octets]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()
