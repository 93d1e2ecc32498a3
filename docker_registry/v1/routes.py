"""The routes of v1: which handler answers what."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred

from docker_registry.errors import ImageUnknown
from docker_registry.names import ImageId
from docker_registry.registry.registry import Registry
from docker_registry.threads import Runner
from docker_registry.v1 import problems
from docker_registry.v1.answers import send_json
from docker_registry.v1.images import ImageRoutes
from docker_registry.v1.index import IndexRoutes
from docker_registry.v1.tags import TagRoutes
from docker_registry.web.application import Application
from docker_registry.web.request import Request
from docker_registry.web.routing import NameConverter

ALWAYS = frozenset({"", "/_ping", "/v1/_ping", "/_status", "/v1/_status", "/v1/search"})
"""What is there when images are not pushed and pulled by v1: today's clients search through it."""

COMPONENTS = 2
"""Of a name as clients of v1 write it: a namespace and a name, ``library`` where there is none."""

_app = Klein()
_app.url_map.converters["name"] = NameConverter


class V1:
    """Protocol v1 over a registry.

    :param runner: where files are read ahead while they are sent.
    :param now: seconds since the epoch.
    :param endpoints: what clients are told to talk to; empty is the host that they asked for.
    :param whole: whether images are pushed and pulled; otherwise only what ``docker search`` needs is there.
    """

    def __init__(
        self, registry: Registry, runner: Runner, now: Callable[[], float], endpoints: str = "", whole: bool = True
    ) -> None:
        self._registry = registry
        self._images = ImageRoutes(registry, runner, now)
        self._index = IndexRoutes(registry, endpoints)
        self._tags = TagRoutes(registry, now)
        self._whole = whole
        self._application = Application(self, _app, problems.phrase, usual=COMPONENTS)

    def handle(self, request: Request) -> Deferred[Any] | None:
        if self._whole or request.path.rstrip("/") in ALWAYS:
            return self._application.handle(request)
        problems.refusal(404, "Protocol v1 is switched off").answer(request)
        return None

    # Service

    @_app.route("/", methods=["GET"])
    async def root(self, request: Request) -> None:
        send_json(request, "docker-registry server")

    @_app.route("/_ping", methods=["GET"])
    @_app.route("/v1/_ping", methods=["GET"])
    async def ping(self, request: Request) -> None:
        send_json(request, {})

    @_app.route("/_status", methods=["GET"])
    @_app.route("/v1/_status", methods=["GET"])
    async def status(self, request: Request) -> None:
        failures = await self._registry.check()
        diverting = {} if failures else await self._registry.diverting()
        status = {"services": ["storage"], "failures": failures, "host": socket.gethostname(), **diverting}
        send_json(request, status, 503 if failures else 200)

    # Index

    @_app.route("/v1/search", methods=["GET"])
    async def search(self, request: Request) -> None:
        await self._index.search(request)

    @_app.route("/v1/users", methods=["GET"])
    async def login(self, request: Request) -> None:
        send_json(request, "OK")

    @_app.route("/v1/users", methods=["POST"])
    async def create_user(self, request: Request) -> None:
        await self._index.create_user(request)

    @_app.route("/v1/users/<user>", methods=["PUT"])
    async def change_user(self, request: Request, user: str) -> None:
        send_json(request, None, 204)

    @_app.route("/v1/repositories/<name:name>/", methods=["PUT"])
    async def allocate(self, request: Request, name: str) -> None:
        await self._index.allocate(request, name)

    @_app.route("/v1/repositories/<name:name>/", methods=["DELETE"])
    @_app.route("/v1/repositories/<name:name>/tags", methods=["DELETE"])
    async def delete_repository(self, request: Request, name: str) -> None:
        await self._tags.delete_all(request, name)

    @_app.route("/v1/repositories/<name:name>/images", methods=["GET"])
    async def get_images(self, request: Request, name: str) -> None:
        await self._index.get_images(request, name)

    @_app.route("/v1/repositories/<name:name>/images", methods=["PUT"])
    async def put_images(self, request: Request, name: str) -> None:
        await self._index.put_images(request, name)

    @_app.route("/v1/repositories/<name:name>/images", methods=["DELETE"])
    async def delete_images(self, request: Request, name: str) -> None:
        await self._index.delete_images(request, name)

    @_app.route("/v1/repositories/<name:name>/auth", methods=["PUT"])
    async def auth(self, request: Request, name: str) -> None:
        send_json(request, "OK")

    # Tags

    @_app.route("/v1/repositories/<name:name>/tags", methods=["GET"])
    async def get_tags(self, request: Request, name: str) -> None:
        await self._tags.list(request, name)

    @_app.route("/v1/repositories/<name:name>/tags/<tag>", methods=["GET"])
    async def get_tag(self, request: Request, name: str, tag: str) -> None:
        await self._tags.get(request, name, tag)

    @_app.route("/v1/repositories/<name:name>/tags/<tag>", methods=["PUT"])
    async def put_tag(self, request: Request, name: str, tag: str) -> None:
        await self._tags.put(request, name, tag)

    @_app.route("/v1/repositories/<name:name>/tags/<tag>", methods=["DELETE"])
    async def delete_tag(self, request: Request, name: str, tag: str) -> None:
        await self._tags.delete(request, name, tag)

    @_app.route("/v1/repositories/<name:name>/tags/<tag>/json", methods=["GET"])
    async def describe_tag(self, request: Request, name: str, tag: str) -> None:
        await self._tags.describe(request, name, tag)

    @_app.route("/v1/repositories/<name:name>/json", methods=["GET"])
    async def describe(self, request: Request, name: str) -> None:
        await self._tags.describe(request, name, "latest")

    @_app.route("/v1/repositories/<name:name>/properties", methods=["GET"])
    async def get_properties(self, request: Request, name: str) -> None:
        await self._tags.get_properties(request, name)

    @_app.route("/v1/repositories/<name:name>/properties", methods=["PUT"])
    async def put_properties(self, request: Request, name: str) -> None:
        await self._tags.put_properties(request, name)

    # Images

    @_app.route("/v1/images/<image>/json", methods=["GET"])
    async def get_image(self, request: Request, image: str) -> None:
        await self._images.get_json(request, image)

    @_app.route("/v1/images/<image>/json", methods=["PUT"])
    async def put_image(self, request: Request, image: str) -> None:
        await self._images.put_json(request, ImageId.parse(image))

    @_app.route("/v1/images/<image>/layer", methods=["GET"])
    async def get_layer(self, request: Request, image: str) -> None:
        await self._images.get_layer(request, image)

    @_app.route("/v1/images/<image>/layer", methods=["PUT"])
    async def put_layer(self, request: Request, image: str) -> None:
        await self._images.put_layer(request, ImageId.parse(image))

    @_app.route("/v1/images/<image>/checksum", methods=["PUT"])
    async def put_checksum(self, request: Request, image: str) -> None:
        await self._images.put_checksum(request, ImageId.parse(image))

    @_app.route("/v1/images/<image>/ancestry", methods=["GET"])
    async def get_ancestry(self, request: Request, image: str) -> None:
        await self._images.get_ancestry(request, image)

    @_app.route("/v1/images/<image>/files", methods=["GET"])
    async def get_files(self, request: Request, image: str) -> None:
        await self._images.get_files(request, image)

    @_app.route("/v1/images/<image>/diff", methods=["GET"])
    async def get_diff(self, request: Request, image: str) -> None:
        await self._images.get_diff(request, image)

    @_app.route("/v1/private_images/<image>/json", methods=["GET"])
    @_app.route("/v1/private_images/<image>/layer", methods=["GET"])
    @_app.route("/v1/private_images/<image>/files", methods=["GET"])
    async def get_private_image(self, request: Request, image: str) -> None:
        """Of docker-registry 0.6.1 to 0.8.1, for who has a token of a private repository: here nobody is given one."""
        raise ImageUnknown(str(ImageId.parse(image)))
