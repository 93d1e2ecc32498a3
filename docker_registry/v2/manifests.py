"""``/v2/<name>/manifests/<reference>``."""

from __future__ import annotations

from functools import lru_cache

from docker_registry.digest import Digest
from docker_registry.names import Repository, Tag
from docker_registry.registry.events import ManifestPulled
from docker_registry.registry.registry import Registry
from docker_registry.v2.answers import ASK_AGAIN, FOREVER, REMEMBERED, client_has, etag, lines, send
from docker_registry.web.errors import Refusal
from docker_registry.web.request import Request

MAX_TAGS = 100
"""Tags in one PUT; clients may count on 10 (distribution-spec after 1.1, "Pushing Manifests")."""


class ManifestRoutes:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def get(self, request: Request, repository: Repository, reference: Tag | Digest) -> None:
        """The bytes as they were pushed, whatever ``Accept`` says: a client that cannot read them says so itself."""
        manifest = await self._registry.manifests.get(repository, reference)
        headers = _headers(manifest.digest, manifest.document.media_type, isinstance(reference, Tag))
        if client_has(request, manifest.digest):
            return send(request, 304, headers)
        send(request, 200, headers, manifest.content)
        if self._registry.events.of_pulls and request.method == "GET":
            tag = reference if isinstance(reference, Tag) else None
            await self._registry.events.tell(
                ManifestPulled(repository, manifest.digest, len(manifest.content), manifest.document, tag)
            )
        return None

    async def put(self, request: Request, repository: Repository, reference: Tag | Digest) -> None:
        tags = self._tags(request) if isinstance(reference, Digest) else []
        content = await request.body.read_all(self._registry.settings.max_manifest_bytes)
        content_type = (request.header(b"content-type") or b"").decode("latin-1")
        manifest = await self._registry.manifests.put(repository, reference, content, content_type, tags)
        digest = str(manifest.digest).encode()
        headers = [
            (b"Location", b"/v2/%b/manifests/%b" % (repository.name.encode(), digest)),
            (b"Docker-Content-Digest", digest),
        ]
        if manifest.document.subject is not None:
            headers.append((b"OCI-Subject", str(manifest.document.subject.digest).encode()))
        if tags:
            headers.append((b"OCI-Tag", ", ".join(tag.name for tag in tags).encode()))
        send(request, 201, headers)

    async def delete(self, request: Request, repository: Repository, reference: Tag | Digest) -> None:
        if isinstance(reference, Tag):
            await self._registry.manifests.untag(repository, reference)
        else:
            await self._registry.manifests.delete(repository, reference)
        send(request, 202, [])

    def _tags(self, request: Request) -> list[Tag]:
        names = list(dict.fromkeys(request.args.get("tag", ())))
        if len(names) > MAX_TAGS:
            raise Refusal(414, f"at most {MAX_TAGS} tags in one request")
        return [Tag.parse(name) for name in names]


@lru_cache(REMEMBERED)
def _headers(digest: Digest, media_type: str, by_tag: bool) -> bytes:
    text = str(digest).encode("ascii")
    return lines(
        (b"Content-Type", media_type.encode("ascii")),
        (b"Docker-Content-Digest", text),
        (b"ETag", etag(digest)),
        ASK_AGAIN if by_tag else FOREVER,
    )
