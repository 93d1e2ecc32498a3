"""From a path to an endpoint, beside what Klein itself would run."""

from __future__ import annotations

from typing import Any, cast

from klein import Klein
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.web.routing import LONG, REMEMBERED, BadPath, NameConverter, NoRoute, Router, WrongMethod

_app = Klein()
_app.url_map.converters["name"] = NameConverter


class Demo:
    """The grammar of distribution-spec 1.1, 3; each endpoint says what it was called with."""

    app = _app

    @_app.route("/v2/", methods=["GET"])
    async def base(self, request: object) -> Any:
        return "base", request

    @_app.route("/v2/_catalog", methods=["GET"])
    async def catalogue(self, request: object) -> Any:
        return "catalogue", request

    @_app.route("/v2/<name:name>/blobs/<digest>", methods=["GET"])
    async def blob(self, request: object, name: str, digest: str) -> Any:
        return "blob", request, name, digest

    @_app.route("/v2/<name:name>/blobs/<digest>", methods=["DELETE"])
    async def delete_blob(self, request: object, name: str, digest: str) -> Any:
        return "delete_blob", request, name, digest

    @_app.route("/v2/<name:name>/blobs/uploads/", methods=["POST"])
    async def uploads(self, request: object, name: str) -> Any:
        return "uploads", request, name

    @_app.route("/v2/<name:name>/blobs/uploads/<upload>", methods=["GET", "PATCH", "PUT"])
    async def upload(self, request: object, name: str, upload: str) -> Any:
        return "upload", request, name, upload

    @_app.route("/v2/<name:name>/manifests/<reference>", methods=["GET", "PUT"])
    async def manifest(self, request: object, name: str, reference: str) -> Any:
        return "manifest", request, name, reference

    @_app.route("/v2/<name:name>/tags/list", methods=["GET"])
    async def tags(self, request: object, name: str) -> Any:
        return "tags", request, name

    @_app.route("/v2/<name:name>/referrers/<digest>", methods=["GET"])
    async def referrers(self, request: object, name: str, digest: str) -> Any:
        return "referrers", request, name, digest


FOUND: list[tuple[str, str, tuple[str, ...]]] = [
    ("GET", "/v2/", ("base",)),
    ("GET", "/v2", ("base",)),
    ("HEAD", "/v2/", ("base",)),
    ("GET", "/v2/_catalog", ("catalogue",)),
    ("GET", "/v2/_catalog/", ("catalogue",)),
    ("GET", "/v2/a/blobs/sha256:0", ("blob", "a", "sha256:0")),
    ("HEAD", "/v2/a/b/c/blobs/sha256:0/", ("blob", "a/b/c", "sha256:0")),
    ("GET", "/v2/a/blobs/sha256%3A0", ("blob", "a", "sha256:0")),
    ("DELETE", "/v2/a/blobs/sha256:0", ("delete_blob", "a", "sha256:0")),
    ("POST", "/v2/a/blobs/uploads/", ("uploads", "a")),
    ("POST", "/v2/a/blobs/uploads", ("uploads", "a")),
    ("PATCH", "/v2/a/blobs/uploads/1-2", ("upload", "a", "1-2")),
    ("PUT", "/v2/a/blobs/uploads/uploads", ("upload", "a", "uploads")),
    ("GET", "/v2/a/manifests/latest", ("manifest", "a", "latest")),
    ("PUT", "/v2/library/busybox/manifests/v1", ("manifest", "library/busybox", "v1")),
    ("GET", "/v2/a/tags/list", ("tags", "a")),
    ("GET", "/v2/a/referrers/sha256:0", ("referrers", "a", "sha256:0")),
    # repositories with components called like keywords
    ("GET", "/v2/blobs/blobs/x", ("blob", "blobs", "x")),
    ("GET", "/v2/a/blobs/b/blobs/x", ("blob", "a/blobs/b", "x")),
    ("GET", "/v2/a/manifests/b/tags/list", ("tags", "a/manifests/b")),
    ("GET", "/v2/tags/list/tags/list", ("tags", "tags/list")),
    ("GET", "/v2/tags/list/manifests/list", ("manifest", "tags/list", "list")),
    ("GET", "/v2/a/blobs/uploads/manifests/x", ("manifest", "a/blobs/uploads", "x")),
    ("POST", "/v2/a/blobs/uploads/blobs/uploads/", ("uploads", "a/blobs/uploads")),
    ("GET", "/v2/a/blobs/uploads/blobs/x", ("blob", "a/blobs/uploads", "x")),
    ("GET", "/v2/uploads/manifests/uploads", ("manifest", "uploads", "uploads")),
    ("GET", "/v2/a/manifests/manifests/x", ("manifest", "a/manifests", "x")),
    ("GET", "/v2/manifests/manifests/manifests", ("manifest", "manifests", "manifests")),
    ("GET", "/v2/referrers/blobs/tags/list", ("tags", "referrers/blobs")),
    # decoded once; what is no name is for others to say
    ("GET", "/v2/a/manifests/%41", ("manifest", "a", "A")),
    ("GET", "/v2/a/manifests/%2541", ("manifest", "a", "%41")),
    ("GET", "/v2/%2e%2e/manifests/x", ("manifest", "..", "x")),
    ("GET", "/v2/%C3%A4/manifests/a+b", ("manifest", "ä", "a+b")),
    ("GET", "/v2/a//b/manifests/x", ("manifest", "a//b", "x")),
    ("GET", "/v2/a/manifests/%0a", ("manifest", "a", "\n")),
    ("GET", "/v2/a/manifests/" + "x" * 8000, ("manifest", "a", "x" * 8000)),
]
NO_ROUTE = [
    "/", "/v1/", "/v2x", "/V2/", "//v2/", "/v2//", "/v2/a", "/v2/a/", "/v2/blobs/x", "/v2/manifests/x", "/v2/tags/list",
    "/v2/a/tags", "/v2/a/tags/list/x", "/v2/a/manifests/", "/v2/a/manifests", "/v2/a/blobs/", "/v2/a/blobs/x//",
    "/v2//blobs/x", "/v2/a/manifests/x/y", "/v2/a/blobs/uploads/x/y", "/v2/a/tags%2Flist", "/v2%2Fa/tags/list", "", "*",
    "/v2/a%2Fmanifests%2Fx",
]
BAD = [
    "/v2/a%2fb/manifests/x", "/v2/a/manifests/x%2Fy", "/v2/a/manifests/x%00", "/v2/a%00/blobs/x", "/v2/a/manifests/%ff",
    "/v2/%c0%ae/blobs/x", "/v2/a/blobs/..%2f..%2fx", "/v2/a/blobs/%ed%a0%80",
]
WRONG = [
    ("PUT", "/v2/", ("GET", "HEAD")),
    ("GET", "/v2/a/blobs/uploads/", ("POST",)),
    ("GET", "/v2/a/blobs/uploads", ("POST",)),
    ("PUT", "/v2/a/blobs/sha256:0", ("DELETE", "GET", "HEAD")),
    ("OPTIONS", "/v2/a/manifests/x", ("GET", "HEAD", "PUT")),
    ("PATCH", "/v2/a/manifests/x", ("GET", "HEAD", "PUT")),
]


_usual = Klein()
_usual.url_map.converters["name"] = NameConverter


class Usual:
    """As the repositories of protocol v1."""

    app = _usual

    @_usual.route("/v1/<name:name>/", methods=["PUT"])
    async def repository(self, request: object, name: str) -> None: ...

    @_usual.route("/v1/<name:name>/tags", methods=["GET"])
    async def tags(self, request: object, name: str) -> None: ...

    @_usual.route("/v1/<name:name>/tags/<tag>", methods=["GET", "PUT"])
    async def tag(self, request: object, name: str, tag: str) -> None: ...

    @_usual.route("/v1/<name:name>/tags/<tag>/json", methods=["GET"])
    async def tag_json(self, request: object, name: str, tag: str) -> None: ...

    @_usual.route("/v1/<name:name>/images", methods=["GET", "PUT"])
    async def images(self, request: object, name: str) -> None: ...

    @_usual.route("/v1/<name:name>/json", methods=["GET"])
    async def json(self, request: object, name: str) -> None: ...


USUAL: list[tuple[str, ...]] = [
    ("PUT", "/v1/a/b/", "repository", "a/b"),
    ("PUT", "/v1/a/b", "repository", "a/b"),
    ("PUT", "/v1/a", "repository", "a"),
    ("PUT", "/v1/a/b/c/d/", "repository", "a/b/c/d"),
    ("PUT", "/v1/a/images/", "repository", "a/images"),
    ("PUT", "/v1/a/images", "images", "a"),
    ("GET", "/v1/a/images/", "images", "a"),
    ("PUT", "/v1/a/b/images/", "images", "a/b"),
    ("PUT", "/v1/a/b/c/images", "images", "a/b/c"),
    ("PUT", "/v1/a/tags/images", "images", "a/tags"),
    ("PUT", "/v1/a/tags/json", "tag", "a", "json"),
    ("GET", "/v1/a/tags/json", "json", "a/tags"),
    ("PUT", "/v1/a/b/tags/images", "tag", "a/b", "images"),
    ("GET", "/v1/a/b/tags/json", "tag", "a/b", "json"),
    ("GET", "/v1/a/b/tags/json/json", "tag_json", "a/b", "json"),
    ("GET", "/v1/a/tags/tags", "tags", "a/tags"),
    ("GET", "/v1/a/tags/1", "tag", "a", "1"),
    ("GET", "/v1/a/b/c/tags/images", "tag", "a/b/c", "images"),
    ("GET", "/v1/a/b/c/tags/1/json", "tag_json", "a/b/c", "1"),
]
"""Method, path, endpoint and what it is called with."""


class RoutingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.demo = Demo()
        self.app = self.demo.app
        self.router = Router(self.app)

    def run_endpoint(self, method: str, path: str) -> Any:
        """What the endpoint was called with."""
        match = self.router.resolve(method, path)
        request: Any = object()
        name, told, *arguments = self.successResultOf(
            cast(Any, self.app.execute_endpoint(match.endpoint, request, **match.arguments))
        )
        self.assertIs(told, request)
        return (name, *arguments)

    def test_found(self) -> None:
        """The first time, and when it is remembered."""
        for method, path, expected in FOUND * 2:
            self.assertEqual(self.run_endpoint(method, path), expected, f"{method} {path}")

    def test_no_route(self) -> None:
        for path in NO_ROUTE:
            self.assertRaises(NoRoute, self.router.resolve, "GET", path)

    def test_bad_path(self) -> None:
        """What would become another path when decoded, or nothing at all (T1)."""
        for path in BAD:
            self.assertRaises(BadPath, self.router.resolve, "GET", path)

    def test_wrong_method(self) -> None:
        for method, path, allowed in WRONG:
            with self.assertRaises(WrongMethod, msg=path):
                self.router.resolve(method, path)
            self.assertEqual(self.router.methods(path), list(allowed), path)

    def test_usual_names(self) -> None:
        """Where a path can be read in several ways, the name has as many components as names have."""
        router = Router(Usual().app, usual=2)
        for method, path, *expected in USUAL:
            match = router.resolve(method, path)
            self.assertEqual([match.endpoint, *match.arguments.values()], expected, f"{method} {path}")
        with self.assertRaises(WrongMethod):
            router.resolve("PATCH", "/v1/a/tags/")
        self.assertEqual(router.methods("/v1/a/tags/"), ["GET", "HEAD", "PUT"])
        self.assertEqual(router.methods("/v2/"), [])

    def test_keywords_far_to_the_left_cost_nothing(self) -> None:
        """A path of nothing but keywords is read in one go: the limit of targets bounds it."""
        path = "/v2/a" + "/blobs/uploads" * 580 + "/x/y"
        self.assertRaises(NoRoute, self.router.resolve, "GET", path)

    def test_what_is_remembered_is_bounded(self) -> None:
        for number in range(REMEMBERED + 100):
            self.router.resolve("GET", f"/v2/a/manifests/{number}")
        self.router.resolve("GET", "/v2/a/manifests/" + "x" * LONG)
        self.assertEqual(self.router.remembered, REMEMBERED)
