"""Protocol v1, what docker called the index: service routes, users, lists of images."""

from __future__ import annotations

import base64
import json
import socket
from concurrent.futures import ThreadPoolExecutor

from docker_registry.registry.imagelists import MOST
from docker_registry.test.clients import v1_wire
from docker_registry.test.clients.conformance import rows
from docker_registry.test.clients.v1_case import FORM, V1Case
from docker_registry.test.clients.v1_clients import GO, pieces
from docker_registry.test.clients.v1_images import image, new_id

NOT_JSON = "Error Decoding JSON"
INVALID = "Invalid data"
USER = {"username": "moby", "password": "whales", "email": "moby@example.com", "auth": ""}


def basic(text: str) -> tuple[str, str]:
    return "Authorization", "Basic " + base64.b64encode(text.encode()).decode()


ANONYMOUS = basic(":")


class ServiceTests(V1Case):
    @rows({"bare": "/_ping", "v1": "/v1/_ping", "slash": "/v1/_ping/"})
    def ping(self, target: str) -> None:
        """docker before 0.11 demands the version; 0.7.4 and later read whether the index is here, too."""
        answer = self.call("GET", target).expect(200)
        self.assertIn(answer.json, (True, {}))
        self.assertTrue(answer["X-Docker-Registry-Version"])
        self.assertEqual(answer["X-Docker-Registry-Standalone"].lower(), "true")
        self.assertFresh(answer)
        alike = self.call("HEAD", target).expect(200, Content_Length=answer["Content-Length"])
        self.assertEqual(alike["X-Docker-Registry-Version"], answer["X-Docker-Registry-Version"])

    def assertFresh(self, answer) -> None:
        """Not to be kept by anybody."""
        answer.expect(answer.status, Cache_Control="no-cache", Pragma="no-cache", Expires="-1")

    def test_root(self) -> None:
        self.assertIsInstance(self.call("GET", "/").expect(200, Content_Type="application/json").json, str)

    @rows({"bare": "/_status", "v1": "/v1/_status", "slash": "/v1/_status/"})
    def status(self, target: str) -> None:
        found = self.call("GET", target).expect(200).json
        self.assertEqual(found["failures"], {})
        self.assertIn("storage", found["services"])
        self.assertEqual(found["host"], socket.gethostname())

    @rows({
        "root": "/v1/", "none": "/v1/none", "image": f"/v1/images/{'a' * 64}", "more": f"/v1/images/{'a' * 64}/json/x",
        "private": f"/v1/private_images/{'a' * 64}/ancestry",
    })
    def unknown_path(self, target: str) -> None:
        for method in ("GET", "PUT", "DELETE"):
            answer = self.call(method, target)
            self.assertRefused(answer, 404)

    @rows({
        "ping": ("DELETE", "/v1/_ping", {"GET", "HEAD"}),
        "users": ("DELETE", "/v1/users/", {"GET", "HEAD", "POST"}),
        "image_json": ("DELETE", f"/v1/images/{'a' * 64}/json", {"GET", "HEAD", "PUT"}),
        "image_layer": ("POST", f"/v1/images/{'a' * 64}/layer", {"GET", "HEAD", "PUT"}),
        "checksum": ("GET", f"/v1/images/{'a' * 64}/checksum", {"PUT"}),
        "ancestry": ("PUT", f"/v1/images/{'a' * 64}/ancestry", {"GET", "HEAD"}),
        "repository": ("GET", "/v1/repositories/a/b/", {"PUT", "DELETE"}),
        "list": ("POST", "/v1/repositories/a/b/images", {"GET", "HEAD", "PUT", "DELETE"}),
        "search": ("PUT", "/v1/search", {"GET", "HEAD"}),
    })
    def wrong_method(self, row: tuple[str, str, set[str]]) -> None:
        """In JSON: docker prints a parse error of its own on HTML."""
        method, target, allowed = row
        answer = self.call(method, target).expect(405)
        self.assertEqual({each.strip() for each in answer["Allow"].split(",")}, allowed)

    @rows({
        "nobody": ANONYMOUS, "somebody": basic("moby:whales"), "no_colon": basic("moby"),
        "no_base64": ("Authorization", "Basic !"), "empty_token": ("Authorization", "Token "),
        "token": ("Authorization", 'Token signature=0123456789ABCDEF,repository="a/b",access=write'),
        "broken_token": ("Authorization", 'Token signature="'), "digest": ("Authorization", 'Digest username="x"'),
        "nothing": ("Authorization", ""), "word": ("Authorization", "x"),
    })
    def authorization(self, field: tuple[str, str]) -> None:
        """Nobody is asked who they are, so nothing that they say about it is wrong."""
        self.call("GET", "/v1/_ping", None, field).expect(200)
        self.call("GET", "/v1/users/", None, field).says("OK")
        self.call("PUT", self.below(""), b"[]", field).says("")
        made = image()
        self.put_image(made, field).says(True)
        self.put_tag("latest", made, None, field).says(True)
        self.call("GET", self.below("tags"), None, field).expect(200)


class RefusalTests(V1Case):
    """What is refused before there is a request to route says so in v1's words as well (H9)."""

    @rows({
        "length": ([("Content-Length", "1x")], 400), "two_hosts": ([("Host", "a"), ("Host", "b")], 400),
        "both": ([("Content-Length", "1"), ("Transfer-Encoding", "chunked")], 400),
        "expectation": ([("Expect", "more")], 417), "many_fields": ([("X", "x")] * 101, 431),
    })
    def framing(self, row: tuple[list[tuple[str, str]], int]) -> None:
        fields, status = row
        for target in ("/v1/_ping", "/_ping?x=y", f"/v1/images/{'a' * 64}/json"):
            host = [] if fields[0][0] == "Host" else [("Host", self.host)]
            v1_wire.ask(self.address, "GET", target, [*host, *fields]).expect(status)

    def test_long_target(self) -> None:
        self.call("GET", "/v1/search?" + "q=x&" * 200).expect(414)
        # Refused before its path was looked at, so in v2's words.
        self.wire("GET", "/v1/search?q=" + "x" * 20_000).expect(414)

    def test_document_too_long(self) -> None:
        """Before a byte of it is read, where that can be known."""
        long = b" " * ((4 << 20) + 1)
        for target in (self.below(""), self.below("images"), self.of(new_id(), "json"), self.below("tags/latest")):
            self.call("PUT", target, long).expect(413)
            self.call("PUT", target, pieces(long)).expect(413)
        announced = [("Host", self.host), ("Content-Length", str(1 << 40)), ("Expect", "100-continue")]
        v1_wire.ask(self.address, "PUT", self.below(""), announced).expect(413)

    def test_encoded_path(self) -> None:
        for target in ("/v1/images/%2e%2e/json", "/v1/images/a%2fb/json", "/v1/images/%00/json", "/v1/images/%ff/json"):
            self.assertRefused(self.call("GET", target))


class SecondProtocolTests(V1Case):
    @rows({
        "go": GO, "docker_1_3": "docker/1.3.0 go/go1.3.3", "docker_1_4": "docker/1.4.1 go/go1.3.3",
        "docker_1_5": "docker/1.5.0 go/go1.4.1 git-commit/a8a31ef kernel/3.16.0 os/linux arch/amd64",
        "docker_1_5_later": "docker/1.5.1 go/go1.4.1",
    })
    def hidden_from(self, agent: str) -> None:
        """They would push through an early v2 that nobody has; without this answer they come to v1."""
        for method in ("GET", "HEAD"):
            answer = self.call(method, "/v2/", None, ("User-Agent", agent)).expect(404)
            self.assertNotIn("Docker-Distribution-Api-Version", answer.headers)

    @rows({
        "docker_1_5_dev": "docker/1.5.0-dev go/go1.4.1", "docker_1_6": "docker/1.6.0 go/go1.4.2",
        "docker_1_10": "docker/1.10.3 go/go1.5.3", "docker_20": "docker/20.10.24+dfsg1 go/go1.19.8",
        "go_today": "Go-http-client/1.1", "skopeo": "skopeo/1.9.3", "inside": "x docker/1.5.0 go/go1.4.1", "none": "",
    })
    def shown_to(self, agent: str) -> None:
        answer = self.call("GET", "/v2/", None, ("User-Agent", agent))
        answer.expect(200, Docker_Distribution_Api_Version="registry/2.0")


class UserTests(V1Case):
    @rows({"slash": "/v1/users/", "none": "/v1/users"})
    def users(self, target: str) -> None:
        self.call("GET", target).says("OK")
        self.call("GET", target, None, ANONYMOUS).says("OK")
        body = json.dumps(USER).encode()
        self.call("POST", target, body, ("Content-Type", "application/json; charset=utf-8")).says("User Created", 201)
        self.call("POST", target, body, FORM).says("User Created", 201)
        self.call("POST", target, b"{").error(400, NOT_JSON)

    @rows({"slash": "/v1/users/moby/", "none": "/v1/users/moby"})
    def change(self, target: str) -> None:
        self.call("PUT", target, json.dumps(USER).encode()).expect(204)


class ListTests(V1Case):
    def assertToken(self, answer, access: str, name: str | None = None) -> None:
        token = rf'^Token signature=[A-Z0-9]{{16}},repository="{name or self.name}",access={access}$'
        self.assertRegex(answer["X-Docker-Token"], token)
        self.assertEqual(answer["WWW-Authenticate"], answer["X-Docker-Token"])
        self.assertEqual(answer["X-Docker-Endpoints"], self.host)

    def listed(self, name: str | None = None) -> dict[str, dict[str, str]]:
        answer = self.call("GET", self.below("images", name)).expect(200)
        self.assertToken(answer, "read", name)
        return {each["id"]: each for each in answer.json}

    @rows({"slash": "", "none": "none"})
    def allocate(self, form: str) -> None:
        target = self.below("")[: -1 if form else None]
        answer = self.call("PUT", target, json.dumps([{"id": new_id(), "Tag": "latest"}]).encode(), ANONYMOUS)
        self.assertToken(answer.says(""), "write")

    @rows({"none": "images", "slash": "images/"})
    def all_of(self, what: str) -> None:
        """From the empty list of a first push to the end of the last."""
        self.call("GET", self.below(what)).error(404, "images not found")
        self.call("HEAD", self.below(what)).expect(404)
        made = self.pushed()
        self.put_json(self.below(""), [{"id": made.id, "Tag": "latest"}]).says("")
        self.put_tag("latest", made).says(True)
        self.assertToken(self.call("PUT", self.below(what), b"[]").expect(204), "write")
        self.assertIn(made.id, self.listed())
        self.assertToken(self.call("GET", self.below(what)).expect(200), "read")
        self.assertToken(self.call("DELETE", self.below(what)).expect(204), "delete")
        self.assertIn(made.id, self.listed())

    def test_tokens_differ(self) -> None:
        given = {self.call("PUT", self.below(""), b"[]")["X-Docker-Token"] for _ in range(3)}
        self.assertEqual(len(given), 3)

    def test_checksums_are_kept(self) -> None:
        """docker 0.7 tells them at the end, and of the next push only those of new images."""
        made = self.pushed()
        self.put_json(self.below(""), [{"id": made.id, "Tag": "latest"}]).says("")
        self.put_tag("latest", made).says(True)
        self.put_json(self.below("images"), [{"id": made.id, "checksum": "tarsum+sha256:" + "1" * 64}]).expect(204)
        self.put_json(self.below(""), [{"id": made.id, "Tag": "latest"}]).says("")
        self.call("PUT", self.below("images"), b"[]").expect(204)
        self.assertIn(made.id, self.listed())

    def test_at_the_same_time(self) -> None:
        """Many clients say what they push: nothing of it is lost."""
        ids = [new_id() for _ in range(20)]
        with ThreadPoolExecutor(8) as clients:
            for answer in clients.map(lambda id: self.put_json(self.below(""), [{"id": id}]), ids):
                answer.says("")
        self.assertEqual(self.listed().keys(), set(ids))

    def test_merged(self) -> None:
        """A checksum that is known stays, one that is not is taken; the rest of later lists is left out."""
        first, second, third = (new_id() for _ in range(3))
        self.put_json(self.below(""), [{"id": first, "checksum": "a:1"}, {"id": second, "Tag": "x"}]).says("")
        self.put_json(self.below(""), [{"id": first, "checksum": "a:2"}, {"id": second, "checksum": "a:3"},
                                       {"id": third, "Tag": "y"}]).says("")
        self.assertEqual(list(self.listed().values()), [
            {"id": first, "checksum": "a:2"}, {"id": second, "checksum": "a:3"}, {"id": third},
        ])

    def test_ancestors(self) -> None:
        """Are in the list as what was tagged is."""
        root = self.pushed()
        top = self.pushed(root.id)
        self.put_json(self.below(""), [{"id": root.id}, {"id": top.id, "Tag": "latest"}]).says("")
        self.put_tag("latest", top).says(True)
        self.call("PUT", self.below("images"), b"[]").expect(204)
        self.assertLessEqual({root.id, top.id}, set(self.listed()))

    @rows({
        "no_json": (b"[", NOT_JSON), "nothing": (b"", NOT_JSON), "bytes": (b"\xff", NOT_JSON),
        "object": (b"{}", INVALID), "text": (b'"x"', INVALID), "null": (b"null", INVALID),
        "no_id": (b'[{"Tag": "latest"}]', INVALID),
        "no_object": (b"[1]", INVALID), "id_is_no_text": (b'[{"id": 1}]', INVALID),
        "id_is_a_path": (b'[{"id": "../../etc"}]', INVALID), "deep": (b"[" * 100_000, NOT_JSON),
    })
    def bad_list(self, row: tuple[bytes, str]) -> None:
        body, problem = row
        for what in ("", "images"):
            self.call("PUT", self.below(what), body).error(400, problem)
        self.call("GET", self.below("images")).error(404, "images not found")

    def test_long_list(self) -> None:
        """It only ever grows: the newest are kept, and no push fails of it."""
        ids = [f"{number:064x}" for number in range(MOST + 10)]
        for at in range(0, len(ids), 15_000):
            self.put_json(self.below(""), [{"id": id} for id in ids[at:at + 15_000]]).says("")
        listed = [each["id"] for each in self.call("GET", self.below("images")).expect(200).json]
        self.assertEqual(len(listed), MOST)
        self.assertIn(ids[-1], listed)

    def test_form(self) -> None:
        """curl's own type changes nothing."""
        self.call("PUT", self.below(""), b"[]", FORM).says("")

    def test_endpoints_are_the_host(self) -> None:
        """As the client wrote it, and no word more."""
        for host in ("registry.example:5000", "127.0.0.1", "[::1]:5000", "UPPER.example"):
            answer = self.call("PUT", self.below(""), b"[]", ("Host", host))
            self.assertEqual(answer.headers.get_all("X-Docker-Endpoints"), [host])

    def test_auth(self) -> None:
        for target in (self.below("auth"), self.below("auth/")):
            self.call("PUT", target).says("OK")
            self.call("PUT", target, None, ("Authorization", "Token x")).says("OK")

    def test_library(self) -> None:
        """Without a namespace it is ``library``: a pull asks for its list so, and for its tags the other way."""
        solo, made = self.name.partition("/")[0], self.pushed()
        answer = self.put_json(f"/v1/repositories/{solo}/", [{"id": made.id, "Tag": "latest"}]).says("")
        self.assertToken(answer, "write", f"library/{solo}")
        self.put_tag("latest", made, solo).says(True)
        self.put_json(f"/v1/repositories/{solo}/images", []).expect(204)
        for name in (solo, f"library/{solo}"):
            self.call("GET", self.below("tags", name)).says({"latest": made.id})
            listed = self.call("GET", self.below("images", name)).expect(200)
            self.assertToken(listed, "read", f"library/{solo}")

    @rows({
        "dots": "../x", "encoded": "%2e%2e/x", "twice": "%252e%252e/x", "backslash": "..%5cx", "null": "a%00b/c",
        "newline": "a/b%0a", "upper": "A/b", "inner": "a/../b", "overlong": "%c0%ae/x", "cyrillic": "%d0%b0/x",
        "dash": "a-/b", "long": "a/" + "b" * 255, "blank": "a/b%20c", "plus": "a/b+c", "at": "a/b@c", "end": "a/b.",
        "slash": "a%2fb/c", "empty": "a//b", "index": "a/_index_images", "uploads": "a/_uploads/b",
    })
    def bad_name(self, name: str) -> None:
        """Refused, and without a word about paths (T1, T6)."""
        made = self.started()
        for answer in (
            self.call("PUT", f"/v1/repositories/{name}/", b"[]"),
            self.call("PUT", f"/v1/repositories/{name}/images", b"[]"),
            self.call("GET", f"/v1/repositories/{name}/images"),
            self.call("GET", f"/v1/repositories/{name}/tags"),
            self.put_tag("latest", made, name),
            self.call("DELETE", f"/v1/repositories/{name}/tags"),
        ):
            self.assertRefused(answer, 400, 404, 405)
