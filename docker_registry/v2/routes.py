"""The routes of v2: which handler answers what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from klein import Klein
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest

from docker_registry.digest import Digest
from docker_registry.errors import StorageFull
from docker_registry.names import Repository, UploadId, parse_reference
from docker_registry.registry.registry import Registry
from docker_registry.threads import Runner
from docker_registry.v2 import answers, problems
from docker_registry.v2.blobs import BlobRoutes
from docker_registry.v2.lists import ListRoutes
from docker_registry.v2.manifests import ManifestRoutes
from docker_registry.v2.uploads import UploadRoutes
from docker_registry.web.request import Request
from docker_registry.web.routing import BadPath, NameConverter, NoRoute, Router, WrongMethod

_app = Klein()
_app.url_map.converters["name"] = NameConverter


class V2:
    """Protocol v2 over a registry.

    :param runner: where files are read ahead while they are sent.
    """

    log = Logger()
    app = _app

    def __init__(self, registry: Registry, runner: Runner) -> None:
        self._blobs = BlobRoutes(registry, runner)
        self._uploads = UploadRoutes(registry)
        self._manifests = ManifestRoutes(registry)
        self._lists = ListRoutes(registry)
        self._app = self.app                # bound once: Klein binds anew at each access
        self._router = Router(self._app)

    def handle(self, request: Request) -> Deferred[None]:
        """Answer one request; what went wrong is phrased here and nowhere else."""
        try:
            match = self._router.resolve(request.method, request.path)
        except (NoRoute, WrongMethod, BadPath):
            answered: Deferred[Any] = fail()
        else:
            answered = cast(
                "Deferred[Any]",
                self._app.execute_endpoint(match.endpoint, cast(IRequest, request), **match.arguments),
            )
        answered.addErrback(self._phrase, request)
        return answered

    def _phrase(self, failure: Failure, request: Request) -> None:
        error = failure.value
        assert error is not None
        problem = problems.problem_for(error)
        if problem is None or request.status:
            failure.raiseException()        # not ours to phrase, or too late to
            return
        if problem is problems.INTERNAL:
            self.log.failure("{method} {path} failed", failure, method=request.method, path=request.path)
        elif problem is problems.PROBLEMS[StorageFull]:
            self.log.warn("{method} {path}: {error}", method=request.method, path=request.path, error=error)
        listed = problems.entries(problem, error)
        headers = [answers.JSON, NO_STORE, *problems.extra_headers(problem, error)]
        answers.send(request, problem.status, headers, problems.body(listed))

    def refusal(self, status: int, reason: str, target: bytes) -> tuple[Sequence[tuple[bytes, bytes]], bytes]:
        """The body of an answer that was decided before there was a request to route."""
        code = _REFUSALS.get(status, "UNKNOWN" if status >= 500 else "UNSUPPORTED")
        headers = [answers.VERSION, answers.NOSNIFF, answers.JSON, NO_STORE]
        return headers, problems.body([{"code": code, "message": reason}])

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


NO_STORE = (b"Cache-Control", b"no-store")

_REFUSALS = {413: "SIZE_INVALID", 416: "RANGE_INVALID", 429: "TOOMANYREQUESTS", 503: "UNAVAILABLE", 507: "UNAVAILABLE"}

