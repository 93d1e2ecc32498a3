"""A registry over a store that a test has, served in the test's own process."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.endpoints import serverFromString

from docker_registry.front import Front
from docker_registry.registry.registry import Registry
from docker_registry.registry.settings import Settings
from docker_registry.storage.interface import IStorage
from docker_registry.test.clients.pushing import Repository
from docker_registry.test.clients.wire import Wire
from docker_registry.test.reactor_case import ReactorCase
from docker_registry.threads import Threads
from docker_registry.v1.routes import V1
from docker_registry.v2.routes import V2
from docker_registry.web.limits import Limits
from docker_registry.web.site import Site

reactor: Any = _reactor

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest_of(whole: bytes) -> str:
    return f"sha256:{hashlib.sha256(whole).hexdigest()}"


def manifest_of(*layers: bytes) -> bytes:
    """Of an image whose configuration is empty."""
    described = [
        {"mediaType": "application/octet-stream", "digest": digest_of(each), "size": len(each)}
        for each in (b"{}", *layers)
    ]
    return json.dumps(
        {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described[0], "layers": described[1:]}
    ).encode()


class Serving(ReactorCase):
    """:ivar runner: for the registry.
    :ivar plain: a wire to the registry that was served last, for what is not of v2.
    """

    runner: Threads
    plain: Wire

    async def serve(self, storage: IStorage, **settings: Any) -> Repository:
        """A repository of a registry over ``storage``; called in a thread."""
        registry = Registry(storage, self.runner, reactor, Settings(**settings), time.time)
        front = Front(V1(registry, self.runner, time.time), V2(registry, self.runner))
        site = Site(reactor, front.handle, refusal=front.refusal, limits=Limits())
        port: Any = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(site)
        self.addCleanup(self.leave, port, site)
        base = f"http://127.0.0.1:{port.getHost().port}"
        self.plain = Wire(base, strict=False)
        wire = Wire(base)
        self.addCleanup(wire.close)
        self.addCleanup(self.plain.close)
        return Repository(wire, "shop/web")

    async def leave(self, port: Any, site: Site) -> None:
        await port.stopListening()
        await site.drain()

    def push_image(self, repository: Repository, *layers: bytes) -> str:
        """Digest of the manifest."""
        for each in (b"{}", *layers):
            repository.push_put(digest_of(each), each).expect(201)
        manifest = manifest_of(*layers)
        repository.call("PUT", "manifests/latest", manifest, ("Content-Type", OCI_MANIFEST)).expect(201)
        return digest_of(manifest)
