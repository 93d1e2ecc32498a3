"""One repository as clients use it: every way to push a blob, and what must hold after each step.

Rules are those of distribution-spec 1.1, and of its text after 1.1 where that demands more (digest headers, cancelling,
tag parameters).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from urllib.parse import quote

from docker_registry.registry.documents import OCI_INDEX, OCI_MANIFEST
from docker_registry.test.clients.wire import Answer, Wire, Wrong, digest_of, with_query

OCTETS = ("Content-Type", "application/octet-stream")
ACCEPT = (("Accept", OCI_INDEX), ("Accept", OCI_MANIFEST))

Push = Callable[[str, bytes], Answer]
"""Pushes a blob, given its digest and its bytes; the answer is the one that ends it, of any status."""


def check(condition: bool, problem: object) -> None:
    """:raises Wrong: with ``problem``, unless ``condition``."""
    if not condition:
        raise Wrong(str(problem))


def media_type(manifest: bytes) -> str:
    text: str = json.loads(manifest).get("mediaType", OCI_MANIFEST)
    return text


def chunks_of(content: bytes, number: int = 3) -> list[tuple[int, bytes]]:
    """Offset and bytes of each chunk."""
    size = -(-len(content) // number) or 1
    return [(start, content[start : start + size]) for start in range(0, len(content), size)]


def content_range(start: int, chunk: bytes) -> tuple[str, str]:
    """The first and the last byte, both inclusive, and no unit."""
    return "Content-Range", f"{start}-{start + len(chunk) - 1}"


class Repository:
    """:param wire: to its registry.
    :ivar name: of the repository.
    :ivar ways: every way to push a blob, by name.
    """

    def __init__(self, wire: Wire, name: str) -> None:
        self.wire = wire
        self.name = name
        self.ways: dict[str, Push] = {
            "post": self.push_post,
            "put": self.push_put,
            "stream": self.push_stream,
            "stream_with_length": self.push_stream_with_length,
            "one_chunk": self.push_one_chunk,
            "chunks": self.push_chunks,
            "chunks_last_in_put": self.push_chunks_last_in_put,
        }
        # Also of use with registries that know less than this one.
        self._rotation = itertools.cycle(["put", "post", "stream", "chunks"] if wire.strict else ["put"])

    def call(self, method: str, below: str, body: bytes | None = None, *fields: tuple[str, str]) -> Answer:
        return self.wire(method, f"/v2/{self.name}/{below}", body, *fields)

    # Pushing blobs

    def begin(self) -> Answer:
        """A session, as POST opens it."""
        answer = self.call("POST", "blobs/uploads/", b"").expect(202)
        return self._check_session(answer)

    def _check_session(self, answer: Answer) -> Answer:
        place = f"/v2/{self.name}/blobs/uploads/"
        relative = answer["Location"].startswith(place)
        check(relative or not self.wire.strict, f"a relative Location expected from {answer}")
        check(place in answer["Location"], answer)
        check(answer["Docker-Upload-UUID"] in answer["Location"], answer)
        return answer

    def put(self, session: Answer, digest: str, body: bytes = b"", *fields: tuple[str, str]) -> Answer:
        """End a session, where the answer before has said that it goes on."""
        return self.wire("PUT", with_query(session["Location"], "digest", digest), body, OCTETS, *fields)

    def patch(self, session: Answer, offset: int, chunk: bytes, *fields: tuple[str, str]) -> Answer:
        """The bytes that follow the first ``offset``; what the answer says has arrived is compared."""
        answer = self.wire("PATCH", session["Location"], chunk, OCTETS, *fields).expect(202)
        self._check_session(answer)
        return answer.expect(202, Range=f"0-{max(offset + len(chunk) - 1, 0)}")

    def push_post(self, digest: str, content: bytes) -> Answer:
        return self.call("POST", f"blobs/uploads/?digest={digest}", content, OCTETS)

    def push_put(self, digest: str, content: bytes) -> Answer:
        return self.put(self.begin(), digest, content)

    def push_stream(self, digest: str, content: bytes) -> Answer:
        session = self.begin()
        pieces = [piece for _, piece in chunks_of(content, 4)]
        streamed = self.wire("PATCH", session["Location"], iter(pieces), OCTETS)
        streamed.expect(202, Range=f"0-{max(len(content) - 1, 0)}")
        return self.put(streamed, digest)

    def push_stream_with_length(self, digest: str, content: bytes) -> Answer:
        return self.put(self.patch(self.begin(), 0, content), digest)

    def push_one_chunk(self, digest: str, content: bytes) -> Answer:
        fields = [content_range(0, content)] if content else []
        return self.put(self.patch(self.begin(), 0, content, *fields), digest)

    def push_chunks(self, digest: str, content: bytes) -> Answer:
        session = self.begin()
        for start, chunk in chunks_of(content):
            session = self.patch(session, start, chunk, content_range(start, chunk))
        return self.put(session, digest)

    def push_chunks_last_in_put(self, digest: str, content: bytes) -> Answer:
        session = self.begin()
        *first, last = chunks_of(content) or [(0, b"")]
        for start, chunk in first:
            session = self.patch(session, start, chunk, content_range(start, chunk))
        return self.put(session, digest, last[1], *([content_range(*last)] if content else []))

    def push(self, digest: str, content: bytes, way: str | None = None) -> None:
        """Push a blob, one way after the other if none is named, and follow where it is said to be."""
        answer = self.ways[way or next(self._rotation)](digest, content)
        self.check_pushed(answer, digest, content)

    def check_pushed(self, answer: Answer, digest: str, content: bytes) -> None:
        answer.expect(201, Docker_Content_Digest=digest)
        found = self.wire("GET", answer["Location"]).expect(200)
        check(found.body == content, f"other bytes behind the Location of {answer}")

    def mount(self, digest: str, source: str | None) -> Answer:
        """:param source: the repository that has it; ``None`` asks for any."""
        origin = "" if source is None else f"&from={quote(source, safe='')}"
        return self.call("POST", f"blobs/uploads/?mount={digest}{origin}", b"")

    # Pushing manifests

    def push_manifest(self, reference: str, digest: str, content: bytes, tags: tuple[str, ...] = ()) -> Answer:
        """:param tags: made by parameters of a push by digest."""
        query = "?" + "&".join(f"tag={tag}" for tag in tags) if tags else ""
        kind = ("Content-Type", media_type(content))
        answer = self.call("PUT", f"manifests/{reference}{query}", content, kind)
        answer.expect(201, Docker_Content_Digest=digest)
        if "subject" in json.loads(content):
            answer.expect(201, OCI_Subject=json.loads(content)["subject"]["digest"])
        if tags:
            applied = ",".join(answer.headers.get_all("OCI-Tag") or [])
            check({tag.strip() for tag in applied.split(",")} == set(tags), answer)
        found = self.wire("GET", answer["Location"], None, *ACCEPT).expect(200, Content_Type=media_type(content))
        check(found.body == content, f"other bytes behind the Location of {answer}")
        return answer

    # What is there, and what is not

    def check_blob(self, digest: str, content: bytes) -> None:
        """HEAD and GET have it, and say the same."""
        said = {"Content_Length": str(len(content)), "Docker_Content_Digest": digest}
        self.call("HEAD", f"blobs/{digest}").expect(200, **said)
        answer = self.call("GET", f"blobs/{digest}").expect(200, **said)
        check(answer.body == content and digest_of(content, digest.split(":")[0]) == digest, f"other bytes in {answer}")

    def check_manifest(self, reference: str, digest: str, content: bytes) -> None:
        """HEAD and GET have it under a tag or a digest, and say the same."""
        said = {
            "Content_Type": media_type(content), "Content_Length": str(len(content)), "Docker_Content_Digest": digest,
        }
        self.call("HEAD", f"manifests/{reference}", None, *ACCEPT).expect(200, **said)
        answer = self.call("GET", f"manifests/{reference}", None, *ACCEPT).expect(200, **said)
        check(answer.body == content, f"other bytes in {answer}")

    def check_no_blob(self, digest: str) -> None:
        self.call("HEAD", f"blobs/{digest}").expect(404)
        self.call("GET", f"blobs/{digest}").error(404, "BLOB_UNKNOWN")

    def check_no_manifest(self, reference: str) -> None:
        self.call("HEAD", f"manifests/{reference}", None, *ACCEPT).expect(404)
        self.call("GET", f"manifests/{reference}", None, *ACCEPT).error(404, "MANIFEST_UNKNOWN")

    def tags(self, query: str = "") -> list[str]:
        answer = self.call("GET", f"tags/list{query}").expect(200)
        check(answer.json["name"] == self.name, answer)
        found: list[str] = answer.json["tags"]
        return found

    def referrers(self, subject: str, artifact_type: str | None = None) -> list[Mapping[str, object]]:
        """What refers to ``subject``; filtered, if a type is given."""
        query = "" if artifact_type is None else f"?artifactType={quote(artifact_type, safe='')}"
        answer = self.call("GET", f"referrers/{subject}{query}").expect(200, Content_Type=OCI_INDEX)
        check((answer.json["schemaVersion"], answer.json["mediaType"]) == (2, OCI_INDEX), answer)
        if artifact_type is not None:
            answer.expect(200, OCI_Filters_Applied="artifactType")
        found: list[Mapping[str, object]] = answer.json["manifests"]
        return found

    def delete(self, below: str) -> None:
        """It goes, at once."""
        self.call("DELETE", below).expect(202)
        self.call("HEAD", below, None, *ACCEPT).expect(404)
