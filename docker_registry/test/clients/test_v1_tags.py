"""Protocol v1, repositories: tags, what clients say of themselves when they set them, properties, deletion."""

from __future__ import annotations

import json
import time
from typing import Any

from docker_registry.test.clients.conformance import rows
from docker_registry.test.clients.v1_case import AGENT, FORM, NO_IMAGE, V1Case
from docker_registry.test.clients.v1_images import Image, new_id

INVALID = "Invalid data"
NO_REPOSITORY = "Repository not found"
NO_TAG = "Tag not found"
UNKNOWN = {
    "arch": "amd64", "docker_go_version": None, "docker_version": None, "kernel": None, "last_update": None,
    "os": "linux",
}
"""What is told of a tag that nobody described."""

ODD_NAMES = {
    "plain": "repo", "namespace": "team/repo", "deep": "a/b/c/d", "dots": "a.b/c.d_e__f-g--h", "digits": "0/1",
    "long": "a" * 255, "library": "library/x/y", "tags": "team/tags", "images": "team/images", "json": "team/json",
    "auth": "team/auth", "properties": "team/properties", "below_tags": "tags/images", "below_images": "images/tags",
    "v1": "v1/images",
}
"""Keywords of the routes among them: names have two components, and where they end decides."""


class TagTests(V1Case):
    def tagged(self, *tags: str, name: str | None = None) -> Image:
        made = self.pushed()
        for tag in tags:
            self.put_tag(tag, made, name).says(True)
        return made

    @rows({"none": "", "slash": "/"})
    def all_of(self, slash: str) -> None:
        """Set, read, moved, deleted."""
        tag, tags = self.below(f"tags/1.0{slash}"), self.below(f"tags{slash}")
        self.call("GET", tags).error(404, NO_REPOSITORY)
        self.call("GET", tag).error(404, NO_TAG)
        self.call("DELETE", tag).error(404, f"{NO_TAG}: 1.0")
        self.call("DELETE", tags).error(404, NO_REPOSITORY)
        for made in (self.pushed(), self.pushed()):
            self.put_json(tag, made.id).says(True)
            self.call("GET", tag).says(made.id)
            self.call("GET", tags).says({"1.0": made.id})
            self.call("HEAD", tags).expect(200)
            self.call("HEAD", tag).expect(200)
        self.call("DELETE", tag).says(True)
        self.call("GET", tag).error(404, NO_TAG)
        self.call("HEAD", tag).expect(404)
        self.call("DELETE", tag).error(404, f"{NO_TAG}: 1.0")

    def test_known_without_tags(self) -> None:
        self.put_json(self.below(""), [{"id": new_id()}]).says("")
        self.call("GET", self.below("tags")).says({})
        self.call("GET", self.below("tags/latest")).error(404, NO_TAG)

    @rows({"none": "", "slash": "/", "tags": "/tags", "tags_slash": "/tags/"})
    def delete_repository(self, end: str) -> None:
        """Tags and lists go, images never."""
        made = self.tagged("a", "b")
        self.put_json(self.below(""), [{"id": made.id}]).says("")
        self.put_json(self.below("properties"), {"access": "private"}).says(True)
        target = self.below("").rstrip("/") + end
        self.call("DELETE", target).says(True)
        self.call("GET", self.below("tags")).error(404, NO_REPOSITORY)
        self.call("GET", self.below("images")).error(404, "images not found")
        self.call("GET", self.below("properties")).says({"access": "public"})
        self.wire("GET", f"/v2/{self.name}/tags/list").expect(404)
        self.call("DELETE", target).error(404, NO_REPOSITORY)
        self.call("GET", self.of(made, "json")).expect(200)
        self.put_tag("a", made).says(True)
        self.call("GET", self.below("tags")).says({"a": made.id})

    @rows({
        "no_json": b"{", "nothing": b"", "bytes": b"\xff", "object": b"{}", "list": b"[]", "null": b"null",
        "empty": b'""', "number": b"5", "bare": b"a" * 64,
    })
    def invalid(self, body: bytes) -> None:
        self.call("PUT", self.below("tags/latest"), body).error(400, INVALID)
        self.call("GET", self.below("tags")).error(404, NO_REPOSITORY)

    @rows({"absent": new_id(), "path": "../../etc/passwd", "short": "a", "upper": "A" * 64})
    def no_image(self, id: str) -> None:
        self.put_json(self.below("tags/latest"), id).error(404, NO_IMAGE)
        self.call("GET", self.below("tags")).error(404, NO_REPOSITORY)

    def test_of_an_image_in_progress(self) -> None:
        made = self.started()
        self.put_tag("latest", made).says(True)
        self.call("GET", self.below("tags")).says({"latest": made.id})

    def test_form(self) -> None:
        self.put_tag("latest", self.pushed(), None, FORM).says(True)

    @rows({
        "one": "a", "digits": "1.0", "underscore": "_a", "case": "LATEST", "all": "a.b-c_D.9", "long": "t" * 128,
        "json": "json", "like_a_file": "_json", "tag": "tag_latest", "tags": "tags", "escaped": "%61%2e1",
    })
    def tag(self, tag: str) -> None:
        made = self.tagged(tag)
        named = "a.1" if tag == "%61%2e1" else tag
        self.call("GET", self.below(f"tags/{tag}")).says(made.id)
        self.call("GET", self.below("tags")).says({named: made.id})
        self.call("GET", self.below(f"tags/{tag}/json")).expect(200)
        self.wire("GET", f"/v2/{self.name}/manifests/{named}").expect(200)
        self.call("DELETE", self.below(f"tags/{tag}")).says(True)
        self.call("GET", self.below("tags")).says({})

    @rows({
        "dots": "..", "escaped_dots": "%2e%2e", "dash": "-a", "dot": ".a", "blank": "a%20b", "newline": "a%0a",
        "slash": "a%2fb", "long": "t" * 129, "null": "a%00", "plus": "a+b", "colon": "a:b", "at": "a@b",
        "umlaut": "%c3%a4", "empty": "%20", "latin": "%e4",
    })
    def bad_tag(self, tag: str) -> None:
        """v1 took more than v2 does: such a tag nobody could ever pull."""
        made = self.pushed()
        target = self.below(f"tags/{tag}")
        for answer in (self.put_json(target, made.id), self.call("GET", target), self.call("DELETE", target)):
            self.assertRefused(answer)
        self.call("GET", self.below("tags")).error(404, NO_REPOSITORY)

    @rows(ODD_NAMES)
    def name_of_routes(self, name: str) -> None:
        made = self.tagged("latest", name=name)
        self.addCleanup(self.call, "DELETE", self.below("tags", name))
        self.call("GET", self.below("tags", name)).says({"latest": made.id})
        self.call("GET", self.below("tags/latest", name)).says(made.id)
        self.put_json(self.below("", name), [{"id": made.id}]).says("")
        self.assertIn({"id": made.id}, self.call("GET", self.below("images", name)).expect(200).json)
        self.call("GET", self.below("json", name)).expect(200)
        self.call("GET", self.below("properties", name)).says({"access": "public"})
        self.call("PUT", self.below("auth", name)).says("OK")
        self.wire("GET", f"/v2/{name}/manifests/latest").expect(200)

    def test_names_do_not_meet(self) -> None:
        """Neither with each other, nor with what is kept beside tags (T6)."""
        first, second = self.name, f"{self.name}/b"
        names = first, second, f"{first}-b", f"{first}.b"
        ids = {name: self.tagged("latest", name=name).id for name in names}
        for name, id in ids.items():
            self.call("GET", self.below("tags", name)).says({"latest": id})
        self.call("DELETE", self.below("tags", first)).says(True)
        self.call("GET", self.below("tags", second)).says({"latest": ids[second]})


class DescriptionTests(V1Case):
    def described(self, agent: str) -> dict[str, Any]:
        made = self.pushed()
        before = int(time.time())
        self.put_tag("latest", made, None, ("User-Agent", agent)).says(True)
        described: dict[str, Any] = self.call("GET", self.below("tags/latest/json")).expect(200).json
        self.call("GET", self.below("json")).says(described)
        self.assertIn(described.pop("last_update"), range(before, int(time.time()) + 2))
        return described

    def test_of_docker(self) -> None:
        self.assertEqual(self.described(AGENT[1]), {
            "docker_version": "1.5.0", "docker_go_version": "go1.4.1", "kernel": "3.16.0", "arch": "amd64",
            "os": "linux",
        })

    @rows({
        "none": ("", {}), "curl": ("curl/8.0", {}), "only_docker": ("docker/0.7.0", {"docker_version": "0.7.0"}),
        "case": ("docker/1 os/Linux arch/AMD64 kernel/3-X", {"docker_version": "1", "os": "linux", "arch": "amd64",
                                                             "kernel": "3-x"}),
        "empty": ("docker/ go/", {}), "paths": ("os/../../etc", {"os": ".."}),
        "long": ("docker/" + "1" * 5000, {"docker_version": "1" * 100}),
    })
    def other(self, row: tuple[str, dict[str, str]]) -> None:
        agent, expected = row
        self.assertEqual(self.described(agent), expected)

    def test_never_pushed(self) -> None:
        """It is told all the same, of whatever repository."""
        for target in (self.below("json"), self.below("json/"), self.below("tags/x/json"), self.below("tags/x/json/")):
            self.call("GET", target).says(UNKNOWN)
            self.call("HEAD", target).expect(200)

    def test_goes_with_its_repository(self) -> None:
        self.described(AGENT[1])
        self.call("DELETE", self.below("")).says(True)
        self.call("GET", self.below("json")).says(UNKNOWN)

    def test_goes_with_its_tag(self) -> None:
        self.described(AGENT[1])
        self.call("DELETE", self.below("tags/latest")).says(True)
        self.call("GET", self.below("tags/latest/json")).says(UNKNOWN)


class PropertiesTests(V1Case):
    @rows({"none": "properties", "slash": "properties/"})
    def access(self, what: str) -> None:
        self.call("GET", self.below(what)).says({"access": "public"})
        for access in ("private", "public", "public", "private"):
            self.put_json(self.below(what), {"access": access}).says(True)
            self.call("GET", self.below(what)).says({"access": access})
        self.call("HEAD", self.below(what)).expect(200)

    @rows({
        "empty": {}, "list": [], "text": "private", "other": {"access": "secret"}, "null": {"access": None},
        "else": {"x": "y"}, "number": {"access": 1}, "nested": {"access": ["private"]}, "object": {"access": {}},
    })
    def invalid(self, value: Any) -> None:
        self.call("PUT", self.below("properties"), json.dumps(value).encode()).error(400, INVALID)
        self.call("PUT", self.below("properties"), b"{").error(400, INVALID)
        self.call("GET", self.below("properties")).says({"access": "public"})
