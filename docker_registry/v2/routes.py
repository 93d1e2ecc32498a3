"""The routes of v2: which handler answers what."""

from __future__ import annotations

from klein import Klein

from docker_registry.digest import Digest
from docker_registry.names import Repository, UploadId, parse_reference
from docker_registry.registry.registry import Registry
from docker_registry.threads import Runner
from docker_registry.v2 import answers, problems
from docker_registry.v2.blobs import BlobRoutes
from docker_registry.v2.lists import ListRoutes
from docker_registry.v2.manifests import ManifestRoutes
from docker_registry.v2.uploads import UploadRoutes
from docker_registry.web.application import Application
from docker_registry.web.request import Request
from docker_registry.web.routing import NameConverter

_app = Klein()
_app.url_map.converters["name"] = NameConverter


class V2:
    """Protocol v2 over a registry.

    :param runner: where files are read ahead while they are sent.
    """

    def __init__(self, registry: Registry, runner: Runner) -> None:
        self._blobs = BlobRoutes(registry, runner)
        self._uploads = UploadRoutes(registry)
        self._manifests = ManifestRoutes(registry)
        self._lists = ListRoutes(registry)
        self.handle = Application(self, _app, problems.phrase).handle

    @_app.route("/v2/", methods=["GET"])
    async def base(self, request: Request) -> None:
        answers.send(request, 200, [answers.JSON, answers.ASK_AGAIN], b"{}")

    @_app.route("/v2/_catalog", methods=["GET"])
    async def catalogue(self, request: Request) -> None:
        await self._lists.catalogue(request)

    @_app.route("/v2/<name:name>/tags/list", methods=["GET"])
    async def tags(self, request: Request, name: str) -> None:
        await self._lists.tags(request, Repository.parse(name))

    @_app.route("/v2/<name:name>/referrers/<digest>", methods=["GET"])
    async def referrers(self, request: Request, name: str, digest: str) -> None:
        await self._lists.referrers(request, Repository.parse(name), Digest.parse(digest))

    @_app.route("/v2/<name:name>/manifests/<reference>", methods=["GET"])
    async def get_manifest(self, request: Request, name: str, reference: str) -> None:
        await self._manifests.get(request, Repository.parse(name), parse_reference(reference))

    @_app.route("/v2/<name:name>/manifests/<reference>", methods=["PUT"])
    async def put_manifest(self, request: Request, name: str, reference: str) -> None:
        await self._manifests.put(request, Repository.parse(name), parse_reference(reference))

    @_app.route("/v2/<name:name>/manifests/<reference>", methods=["DELETE"])
    async def delete_manifest(self, request: Request, name: str, reference: str) -> None:
        await self._manifests.delete(request, Repository.parse(name), parse_reference(reference))

    @_app.route("/v2/<name:name>/blobs/<digest>", methods=["GET"])
    async def get_blob(self, request: Request, name: str, digest: str) -> None:
        await self._blobs.get(request, Repository.parse(name), Digest.parse(digest))

    @_app.route("/v2/<name:name>/blobs/<digest>", methods=["DELETE"])
    async def delete_blob(self, request: Request, name: str, digest: str) -> None:
        await self._blobs.delete(request, Repository.parse(name), Digest.parse(digest))

    @_app.route("/v2/<name:name>/blobs/uploads/", methods=["POST"])
    async def start_upload(self, request: Request, name: str) -> None:
        await self._uploads.start(request, Repository.parse(name))

    @_app.route("/v2/<name:name>/blobs/uploads/<upload>", methods=["GET"])
    async def upload_status(self, request: Request, name: str, upload: str) -> None:
        await self._uploads.status(request, Repository.parse(name), UploadId.parse(upload))

    @_app.route("/v2/<name:name>/blobs/uploads/<upload>", methods=["PATCH"])
    async def append_to_upload(self, request: Request, name: str, upload: str) -> None:
        await self._uploads.append(request, Repository.parse(name), UploadId.parse(upload))

    @_app.route("/v2/<name:name>/blobs/uploads/<upload>", methods=["PUT"])
    async def finish_upload(self, request: Request, name: str, upload: str) -> None:
        await self._uploads.finish(request, Repository.parse(name), UploadId.parse(upload))

    @_app.route("/v2/<name:name>/blobs/uploads/<upload>", methods=["DELETE"])
    async def cancel_upload(self, request: Request, name: str, upload: str) -> None:
        await self._uploads.cancel(request, Repository.parse(name), UploadId.parse(upload))
