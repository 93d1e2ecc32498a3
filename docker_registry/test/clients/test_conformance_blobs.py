"""The OCI rules for what comes before the first manifest: the ping, an empty registry, blobs in every way."""

from __future__ import annotations

import os

from docker_registry.test.clients.conformance import Conformance, rows
from docker_registry.test.clients.pushing import OCTETS, chunks_of, content_range
from docker_registry.test.clients.wire import Answer, digest_of, with_query

WAYS = ["post", "put", "stream", "stream_with_length", "one_chunk", "chunks", "chunks_last_in_put"]
SIZE = 3 * 1024 - 5
"""Of a blob that is pushed in three chunks; the last is shorter."""

# Of a blob of 2048 bytes: what is asked for, and the first and last byte that come (none: 416).
RANGES = {
    "middle": ("bytes=500-1499", (500, 1499)),
    "open_end": ("bytes=500-", (500, 2047)),
    "suffix": ("bytes=-500", (1548, 2047)),
    "end_beyond": ("bytes=2000-5000", (2000, 2047)),
    "one_byte": ("bytes=0-0", (0, 0)),
    "last_byte": ("bytes=2047-2047", (2047, 2047)),
    "suffix_beyond": ("bytes=-5000", (0, 2047)),
    "start_beyond": ("bytes=5000-10000", None),
    "start_at_the_end": ("bytes=2048-", None),
    "reversed": ("bytes=500-0", None),
}
# A header field, and what the answer to a request for ten bytes is then.
CONDITIONS = {
    "has_it": ("If-None-Match", '"DIGEST"', 304),
    "has_it_weakly": ("If-None-Match", 'W/"DIGEST"', 304),
    "has_it_among_others": ("If-None-Match", '"x", "DIGEST"', 304),
    "has_any": ("If-None-Match", "*", 304),
    "has_another": ("If-None-Match", '"sha256:0"', 206),
    "part_of_it": ("If-Range", '"DIGEST"', 206),
    "part_of_it_weakly": ("If-Range", 'W/"DIGEST"', 200),
    "part_of_another": ("If-Range", '"sha256:0"', 200),
    "part_of_a_time": ("If-Range", "Wed, 25 Nov 2026 09:34:50 GMT", 200),
}
WELL_KNOWN = {"empty": b"", "empty_json": b"{}"}


class EmptyTests(Conformance):
    def test_ping(self) -> None:
        self.wire("GET", "/v2/").expect(200, Docker_Distribution_Api_Version="registry/2.0")

    def test_tags(self) -> None:
        self.repository.call("GET", "tags/list").error(404, "NAME_UNKNOWN")

    def test_referrers(self) -> None:
        """One 404 would send clients to the tags of old for good."""
        self.assertEqual(self.repository.referrers(digest_of(os.urandom(8))), [])
        self.assertEqual(self.repository.referrers("sha256:" + "0" * 64), [])

    def test_referrers_of_nonsense(self) -> None:
        self.repository.call("GET", "referrers/sha256:nonsense").error(400, "DIGEST_INVALID")


class Sha256Tests(Conformance):
    """Blobs; the class after this one says it all again for the other algorithm."""

    algorithm = "sha256"

    def blob(self, size: int = SIZE) -> tuple[str, bytes]:
        content = os.urandom(size)
        return digest_of(content, self.algorithm), content

    def test_missing(self) -> None:
        self.repository.check_no_blob(self.blob()[0])

    @rows(WAYS)
    def push(self, way: str) -> None:
        """Pushed, read, deleted, and the same again."""
        digest, content = self.blob()
        for _ in range(2):
            self.repository.push(digest, content, way)
            self.repository.check_blob(digest, content)
            self.repository.delete(f"blobs/{digest}")
            self.repository.check_no_blob(digest)

    @rows(WELL_KNOWN)
    def well_known(self, content: bytes) -> None:
        digest = digest_of(content, self.algorithm)
        for way in WAYS:
            self.repository.push(digest, content, way)
            self.repository.check_blob(digest, content)
            self.repository.delete(f"blobs/{digest}")

    @rows(WAYS)
    def bad_digest(self, way: str) -> None:
        digest, content = self.blob()
        other = content + b"oh no"
        self.repository.ways[way](digest, other).error(400, "DIGEST_INVALID")
        self.repository.check_no_blob(digest)
        self.repository.check_no_blob(digest_of(other, self.algorithm))

    @rows(WAYS)
    def malformed_digest(self, way: str) -> None:
        self.repository.ways[way](f"{self.algorithm}:oh-no", b"content").error(400, "DIGEST_INVALID")

    @rows(WAYS)
    def unsupported_digest(self, way: str) -> None:
        self.repository.ways[way]("sha384:" + "a" * 96, b"content").error(400, "DIGEST_INVALID")

    @rows(["PATCH", "PUT"])
    def out_of_order(self, method: str) -> None:
        """Before each chunk all the others are sent; the session stays as it was, and says how that is."""
        digest, content = self.blob()
        chunks = chunks_of(content)
        session = self.repository.begin()
        for start, chunk in chunks:
            for wrong in (each for each in chunks if each[0] != start):
                session = self.refused(method, session, digest, *wrong, held=start)
            if method == "PUT" and start == chunks[-1][0]:
                break
            session = self.repository.patch(session, start, chunk, content_range(start, chunk))
        else:
            return self.repository.check_pushed(self.repository.put(session, digest), digest, content)
        last = self.repository.put(session, digest, chunk, content_range(start, chunk))
        return self.repository.check_pushed(last, digest, content)

    def refused(self, method: str, session: Answer, digest: str, start: int, chunk: bytes, *, held: int) -> Answer:
        """A chunk that does not follow the ``held`` bytes; then what the session says of itself."""
        target = session["Location"] if method == "PATCH" else with_query(session["Location"], "digest", digest)
        answer = self.repository.wire(method, target, chunk, OCTETS, content_range(start, chunk))
        answer.error(416, "RANGE_INVALID").expect(416, Range=f"0-{max(held - 1, 0)}")
        return self.repository.wire("GET", answer["Location"]).expect(204, Range=f"0-{max(held - 1, 0)}")

    def test_chunk_of_another_length(self) -> None:
        """Than its header says: nothing of it is kept."""
        digest, content = self.blob()
        session = self.repository.begin()
        wrong = ("Content-Range", f"0-{len(content)}")
        self.repository.wire("PATCH", session["Location"], content, OCTETS, wrong).error(400, "SIZE_INVALID")
        self.repository.wire("GET", session["Location"]).expect(204, Range="0-0")
        self.repository.check_pushed(self.repository.put(session, digest, content), digest, content)

    def test_old_location(self) -> None:
        """A session's first Location leads to where it stands later, too."""
        digest, content = self.blob()
        session = self.repository.begin()
        self.repository.patch(session, 0, content[:1000])
        self.repository.wire("GET", session["Location"]).expect(204, Range="0-999")
        self.repository.patch(session, 1000, content[1000:])
        self.repository.check_pushed(self.repository.put(session, digest), digest, content)

    def test_cancel(self) -> None:
        digest, content = self.blob()
        session = self.repository.patch(self.repository.begin(), 0, content)
        self.repository.wire("DELETE", session["Location"], b"").expect(204)
        for method, body in (("GET", None), ("PATCH", b"more"), ("DELETE", b"")):
            self.repository.wire(method, session["Location"], body).error(404, "BLOB_UPLOAD_UNKNOWN")
        self.repository.put(session, digest).error(404, "BLOB_UPLOAD_UNKNOWN")
        self.repository.check_no_blob(digest)

    def test_mount(self) -> None:
        digest, content = self.blob()
        source = self.fresh()
        source.push(digest, content)
        self.repository.check_pushed(self.repository.mount(digest, source.name), digest, content)
        self.repository.check_blob(digest, content)
        source.delete(f"blobs/{digest}")
        self.repository.check_blob(digest, content)

    def test_mount_from_anywhere(self) -> None:
        digest, content = self.blob()
        self.fresh().push(digest, content)
        self.repository.check_pushed(self.repository.mount(digest, None), digest, content)
        self.repository.check_blob(digest, content)

    @rows({"unknown_source": False, "known_source": True, "malformed_source": "a//B", "anywhere": None})
    def mount_missing(self, source: bool | str | None) -> None:
        """Never an error: a session is opened instead."""
        digest, content = self.blob()
        other = self.fresh()
        if source is True:
            other.push(*self.blob())
        session = self.repository.mount(digest, source if isinstance(source, str | None) else other.name).expect(202)
        self.repository.check_no_blob(digest)
        self.repository.check_pushed(self.repository.put(session, digest, content), digest, content)

    def test_mount_from_where_it_is_not(self) -> None:
        """That some other repository has it is no reason to take it from there: whoever asks may not read that one."""
        digest, content = self.blob()
        self.fresh().push(digest, content)
        holder = self.fresh()
        holder.push(*self.blob())
        for source in (holder.name, self.fresh().name, "No/Name"):
            self.repository.mount(digest, source).expect(202)
            self.repository.check_no_blob(digest)

    def test_end_without_a_digest(self) -> None:
        """Refused, and the session goes on."""
        digest, content = self.blob()
        session = self.repository.begin()
        for end in ("", "?digest=", f"?digest={digest}&digest={digest}", "?digest=sha256%3Anonsense"):
            refused = self.repository.wire("PUT", session["Location"] + end, content, OCTETS)
            refused.error(400, "DIGEST_INVALID")
        self.repository.check_pushed(self.repository.put(session, digest, content), digest, content)

    @rows(RANGES)
    def range(self, row: tuple[str, tuple[int, int] | None]) -> None:
        wanted, part = row
        digest, content = self.blob(2048)
        self.repository.push(digest, content)
        answer = self.repository.call("GET", f"blobs/{digest}", None, ("Range", wanted))
        if part is None:
            answer.expect(416, Content_Range="bytes */2048")
        else:
            first, last = part
            answer.expect(206, Content_Range=f"bytes {first}-{last}/2048", Docker_Content_Digest=digest)
            self.assertEqual(answer.body, content[first : last + 1])

    @rows(CONDITIONS)
    def condition(self, row: tuple[str, str, int]) -> None:
        """What a client has is not sent again, and what it has a part of goes on only if it is the same."""
        name, value, status = row
        digest, content = self.blob(2048)
        self.repository.push(digest, content)
        fields = [(name, value.replace("DIGEST", digest)), ("Range", "bytes=0-9")]
        answer = self.repository.call("GET", f"blobs/{digest}", None, *fields)
        answer.expect(status, ETag=f'"{digest}"', Docker_Content_Digest=digest)
        self.assertEqual(answer.body, {304: b"", 206: content[:10], 200: content}[status])
        if name == "If-None-Match":
            fields = fields[:1]
            status = 304 if status == 304 else 200
            for method in ("GET", "HEAD"):
                self.repository.call(method, f"blobs/{digest}", None, *fields).expect(status)
            missing = digest_of(os.urandom(8), self.algorithm)
            self.repository.call("GET", f"blobs/{missing}", None, ("If-None-Match", "*")).error(404, "BLOB_UNKNOWN")

    def test_deletion_is_of_one_repository(self) -> None:
        digest, content = self.blob()
        other = self.fresh()
        for each in (self.repository, other):
            each.push(digest, content)
        self.repository.delete(f"blobs/{digest}")
        self.repository.call("DELETE", f"blobs/{digest}").error(404, "BLOB_UNKNOWN")
        other.check_blob(digest, content)

    def test_session_is_of_one_repository(self) -> None:
        session = self.repository.begin()
        other = session["Location"].replace(self.repository.name, self.fresh().name)
        self.repository.wire("GET", other).error(404, "BLOB_UPLOAD_UNKNOWN")
        self.repository.wire("GET", session["Location"]).expect(204)


class Sha512Tests(Sha256Tests):
    """No client says beforehand which algorithm it will name at the end."""

    algorithm = "sha512"
