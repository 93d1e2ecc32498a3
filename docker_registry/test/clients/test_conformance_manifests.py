"""The OCI rules for manifests: pushed by digest, by tag and by parameter, listed, read, referred to and deleted."""

from __future__ import annotations

import json
from typing import Any
from unittest import SkipTest

from docker_registry.registry.documents import OCI_INDEX, OCI_MANIFEST
from docker_registry.test.clients.conformance import Conformance, rows
from docker_registry.test.clients.contents import GROUPS, Content, make
from docker_registry.test.clients.wire import digest_of

IMAGE = ("Content-Type", OCI_MANIFEST)


class LifeCase(Conformance):
    """A group through the life of an image."""

    def push(self, content: Content) -> None:
        for digest, blob in content.blobs.items():
            self.repository.push(digest, blob)
        for digest, manifest in content.manifests.items():
            tags = tuple(tag for tag, tagged in content.tags.items() if content.by_parameter and tagged == digest)
            self.repository.push_manifest(digest, digest, manifest, tags)
        if not content.by_parameter:
            for tag, digest in content.tags.items():
                self.repository.push_manifest(tag, digest, content.manifests[digest])

    def check_there(self, content: Content) -> None:
        for tag, digest in content.tags.items():
            self.repository.check_manifest(tag, digest, content.manifests[digest])
        for digest, manifest in content.manifests.items():
            self.repository.check_manifest(digest, digest, manifest)
        for digest, blob in content.blobs.items():
            self.repository.check_blob(digest, blob)

    def check_tags(self, tags: list[str]) -> None:
        """All of them, in the order of their bytes; and what follows each one."""
        self.assertEqual(self.repository.tags(), sorted(tags))
        if self.ours or len(tags) > 1:
            for number, tag in enumerate(sorted(tags), 1):
                self.assertEqual(self.repository.tags(f"?last={tag}"), sorted(tags)[number:])

    def check_referrers(self, content: Content) -> None:
        def in_order(listed: Any) -> list[Any]:
            return sorted(listed, key=lambda each: each["digest"])

        for subject, referrers in content.referrers.items():
            self.assertEqual(in_order(self.repository.referrers(subject)), in_order(referrers))
            for wanted in {each.get("artifactType") for each in referrers} - {None}:
                some = [each for each in referrers if each.get("artifactType") == wanted]
                self.assertEqual(in_order(self.repository.referrers(subject, wanted)), in_order(some))
            self.assertEqual(self.repository.referrers(subject, "application/vnd.example.none"), [])

    def delete(self, content: Content) -> None:
        """Tags, then manifests from the last, then blobs; each is gone at once, and nothing else."""
        tags = set(content.tags)
        for tag in sorted(tags):
            if not self.ours and self.repository.call("DELETE", f"manifests/{tag}").status in (400, 405):
                raise SkipTest("this registry does not delete tags")
            self.repository.delete(f"manifests/{tag}")
            self.repository.check_no_manifest(tag)
            tags.discard(tag)
            self.assertEqual(self.repository.tags(), sorted(tags))
        for digest, manifest in content.manifests.items():
            self.repository.check_manifest(digest, digest, manifest)
        for digest in reversed(content.manifests):
            self.repository.delete(f"manifests/{digest}")
            self.repository.check_no_manifest(digest)
        for subject in content.referrers:
            self.assertEqual(self.repository.referrers(subject), [])
        for digest in content.blobs:
            self.repository.delete(f"blobs/{digest}")
            self.repository.check_no_blob(digest)

    def check_life(self, content: Content) -> None:
        self.push(content)
        self.check_tags(list(content.tags))
        self.check_there(content)
        self.check_referrers(content)
        self.delete(content)


class GroupTests(LifeCase):
    @rows(list(GROUPS))
    def sha256(self, group: str) -> None:
        self.check_life(make(group))

    def test_again(self) -> None:
        """What was deleted can be pushed again, well-known blobs among it."""
        content = make("artifact_without_layers")
        for _ in range(2):
            self.check_life(content)

    def test_repeated(self) -> None:
        content = make("index_with_subject")
        for _ in range(2):
            self.push(content)
        self.check_life(content)


class Sha512GroupTests(LifeCase):
    @rows(["image", "index", "nested_index", "artifacts_with_subject", "index_with_subject", "tag_param"])
    def sha512(self, group: str) -> None:
        self.check_life(make(group, "sha512"))


class RefusedTests(Conformance):
    """What must not be taken, and leaves nothing."""

    def content(self, group: str = "image") -> Content:
        content = make(group)
        for digest, blob in content.blobs.items():
            self.repository.push(digest, blob)
        return content

    def refuse(self, reference: str, body: bytes, status: int, code: str, *fields: tuple[str, str]) -> None:
        self.repository.call("PUT", f"manifests/{reference}", body, *(fields or (IMAGE,))).error(status, code)
        self.repository.call("GET", f"manifests/{digest_of(body)}").error(404, "MANIFEST_UNKNOWN")
        self.repository.call("GET", "manifests/1").expect(404)

    @rows(["sha256", "sha512"])
    def bad_digest_image(self, algorithm: str) -> None:
        """Two blanks more than the digest knows of."""
        (manifest,) = self.content().manifests.values()
        digest = digest_of(manifest, algorithm)
        self.refuse(digest, manifest + b"  ", 400, "DIGEST_INVALID")
        self.repository.check_no_manifest(digest)

    def test_missing_manifest(self) -> None:
        self.repository.check_no_manifest(digest_of(b"nowhere"))
        self.repository.check_no_manifest("nowhere")

    @rows({
        "text": "sha256:baddigeststring", "upper_case": "sha256:" + "A" * 64, "unsupported": "md5:" + "a" * 32,
        "nothing": "sha256:", "colon": ":",
    })
    def invalid_digest(self, reference: str) -> None:
        (manifest,) = self.content().manifests.values()
        self.refuse(reference, manifest, 400, "DIGEST_INVALID")
        self.repository.call("GET", f"manifests/{reference}").error(400, "DIGEST_INVALID")
        self.repository.call("HEAD", f"manifests/{reference}").expect(400)

    def test_missing_blobs(self) -> None:
        """Each is named in the answer."""
        content = make("image")
        (manifest,) = content.manifests.values()
        answer = self.repository.call("PUT", "manifests/1", manifest, IMAGE).error(400, "MANIFEST_BLOB_UNKNOWN")
        self.assertEqual(len(answer.json["errors"]), len(content.blobs))
        for digest in content.blobs:
            self.assertIn(digest, answer.body.decode())
        self.repository.check_no_manifest("1")

    def test_blobs_of_another_repository(self) -> None:
        """A digest that was guessed opens nothing."""
        content = make("image")
        (manifest,) = content.manifests.values()
        other = self.fresh()
        for digest, blob in content.blobs.items():
            other.push(digest, blob)
        self.refuse("1", manifest, 400, "MANIFEST_BLOB_UNKNOWN")

    def test_missing_children(self) -> None:
        index = list(self.content("index").manifests.values())[-1]
        self.refuse("1", index, 400, "MANIFEST_BLOB_UNKNOWN", ("Content-Type", OCI_INDEX))

    @rows({
        "not_json": b"{",
        "not_an_object": b"[]",
        "empty": b"",
        "two_kinds": b'{"schemaVersion":2,"layers":[],"manifests":[]}',
        "version_1": b'{"schemaVersion":1}',
        "nothing": b'{"schemaVersion":2}',
    })
    def not_a_manifest(self, body: bytes) -> None:
        self.refuse("1", body, 400, "MANIFEST_INVALID")

    @rows({"other_type": ("Content-Type", OCI_INDEX), "unknown_type": ("Content-Type", "application/vnd.example")})
    def mislabelled(self, field: tuple[str, str]) -> None:
        (manifest,) = self.content().manifests.values()
        self.refuse("1", manifest, 400, "MANIFEST_INVALID", field)

    def test_too_large(self) -> None:
        self.repository.call("PUT", "manifests/1", b" " * (4 << 20) + b"{}", IMAGE).error(413, "MANIFEST_INVALID")

    @rows({"dash": "-a", "dot": ".a", "long": "a" * 129, "blank": "a%20b"})
    def invalid_tag(self, tag: str) -> None:
        (manifest,) = self.content().manifests.values()
        answer = self.repository.call("PUT", f"manifests/{tag}", manifest, IMAGE).expect(400)
        self.assertIn(answer.codes[0], ("TAG_INVALID", "MANIFEST_INVALID"))

    def test_invalid_tag_as_parameter(self) -> None:
        """None is made then."""
        ((digest, manifest),) = self.content().manifests.items()
        self.repository.call("PUT", f"manifests/{digest}?tag=good&tag=-bad", manifest, IMAGE).expect(400)
        self.repository.check_no_manifest("good")

    @rows({
        "upper_case": "A",
        "empty_component": "a//b",
        "underscore": "_a",
        "dots": "a/../b",
        "long": "a" * 256,
        "dash": "a-/b",
    })
    def invalid_name(self, name: str) -> None:
        self.wire("GET", f"/v2/{name}/tags/list").error(400, "NAME_INVALID")
        self.wire("POST", f"/v2/{name}/blobs/uploads/", b"").error(400, "NAME_INVALID")


class TagTests(Conformance):
    def tagged(self, *tags: str) -> tuple[str, bytes]:
        content = make("no_layers")
        for digest, blob in content.blobs.items():
            self.repository.push(digest, blob)
        ((digest, manifest),) = content.manifests.items()
        for tag in tags:
            self.repository.push_manifest(tag, digest, manifest)
        return digest, manifest

    def test_pages(self) -> None:
        """Linked, and none lost; upper case before lower case."""
        tags = sorted(["b", "a", "B", "A", "0", "_", "a.1", "a-1", "a_1", "aa", "Z"])
        self.tagged(*tags)
        for size in (1, 3, 10, 11, 100):
            found: list[str] = []
            target: str | None = f"/v2/{self.repository.name}/tags/list?n={size}"
            while target is not None:
                answer = self.wire("GET", target).expect(200)
                self.assertLessEqual(len(answer.json["tags"]), size)
                found += answer.json["tags"]
                link = answer.headers.get("Link")
                target = link.split(">")[0].removeprefix("<") if link else None
                self.assertTrue(link is None or link.endswith('; rel="next"'))
            self.assertEqual(found, tags, f"pages of {size}")

    def test_page_of_none(self) -> None:
        self.tagged("a")
        answer = self.repository.call("GET", "tags/list?n=0").expect(200)
        self.assertEqual(answer.json["tags"], [])
        self.assertNotIn("Link", answer.headers)

    @rows({"minus_one": "-1", "letter": "x", "nothing": ""})
    def page_of(self, size: str) -> None:
        self.tagged("a")
        self.repository.call("GET", f"tags/list?n={size}").error(400, "PAGINATION_NUMBER_INVALID")

    def test_last_need_not_exist(self) -> None:
        self.tagged("a", "c")
        self.assertEqual(self.repository.tags("?last=b"), ["c"])
        self.assertEqual(self.repository.tags("?last=z&n=5"), [])

    def test_very_large_page(self) -> None:
        self.tagged("a")
        self.assertEqual(self.repository.tags(f"?n={10**30}"), ["a"])

    def test_manifest_without_tags(self) -> None:
        digest, manifest = self.tagged()
        self.repository.push_manifest(digest, digest, manifest)
        self.assertEqual(self.repository.tags(), [])

    def test_moved(self) -> None:
        """The last push counts; what the tag was stays, by its digest."""
        first, second = self.tagged("1"), self.tagged("1")
        self.repository.check_manifest("1", *second)
        self.repository.check_manifest(first[0], *first)

    def test_deleted_manifest_takes_its_tags(self) -> None:
        digest, _ = self.tagged("a", "b")
        other, manifest = self.tagged("c")
        self.repository.delete(f"manifests/{digest}")
        self.repository.call("DELETE", f"manifests/{digest}").error(404, "MANIFEST_UNKNOWN")
        self.assertEqual(self.repository.tags(), ["c"])
        self.repository.check_no_manifest("a")
        self.repository.check_manifest("c", other, manifest)

    def test_deleted_in_one_repository(self) -> None:
        here, self.repository = self.repository, self.fresh()
        content = make("index")
        for repository in (here, self.repository):
            for digest, blob in content.blobs.items():
                repository.push(digest, blob)
            for digest, manifest in content.manifests.items():
                repository.push_manifest(digest, digest, manifest)
        for digest in reversed(content.manifests):
            here.delete(f"manifests/{digest}")
        for digest, manifest in content.manifests.items():
            self.repository.check_manifest(digest, digest, manifest)

    def test_deleted_subject_leaves_its_referrers(self) -> None:
        content = make("artifacts_with_subject")
        for digest, blob in content.blobs.items():
            self.repository.push(digest, blob)
        for digest, manifest in content.manifests.items():
            self.repository.push_manifest(digest, digest, manifest)
        ((subject, referrers),) = content.referrers.items()
        self.repository.delete(f"manifests/{subject}")
        self.assertEqual(len(self.repository.referrers(subject)), len(referrers))
        self.repository.delete(f"manifests/{referrers[0]['digest']}")
        self.assertEqual(len(self.repository.referrers(subject)), len(referrers) - 1)

    def test_without_content_type(self) -> None:
        """The body says what it is, by its ``mediaType`` or by its shape."""
        digest, manifest = self.tagged()
        self.repository.call("PUT", f"manifests/{digest}", manifest).expect(201)
        bare = json.loads(manifest)
        del bare["mediaType"]
        self.repository.call("PUT", "manifests/bare", json.dumps(bare).encode()).expect(201)
        self.repository.call("GET", "manifests/bare").expect(200, Content_Type=OCI_MANIFEST)

    def test_what_a_client_has_is_not_sent_again(self) -> None:
        digest, _ = self.tagged("1")
        for reference in ("1", digest):
            for method in ("GET", "HEAD"):
                answer = self.repository.call(method, f"manifests/{reference}", None, ("If-None-Match", f'"{digest}"'))
                answer.expect(304, ETag=f'"{digest}"', Docker_Content_Digest=digest)
        other, manifest = self.tagged("1")
        answer = self.repository.call("GET", "manifests/1", None, ("If-None-Match", f'"{digest}"')).expect(200)
        self.assertEqual((answer["Docker-Content-Digest"], answer.body), (other, manifest))

    def test_any_accept(self) -> None:
        """Stored bytes are never converted, and never withheld."""
        digest, manifest = self.tagged("1")
        for accept in ("*/*", OCI_INDEX, "application/vnd.docker.distribution.manifest.v2+json", "text/html"):
            for reference in ("1", digest):
                answer = self.repository.call("GET", f"manifests/{reference}", None, ("Accept", accept)).expect(200)
                self.assertEqual(answer.body, manifest)
