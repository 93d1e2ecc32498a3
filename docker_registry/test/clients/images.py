"""Images on disk, as OCI layouts (image-spec 1.1, "Image Layout"), for clients to push."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

from docker_registry.registry.documents import OCI_INDEX, OCI_MANIFEST

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"


class Layout:
    """A directory that gets blobs, and an index that names what is in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "blobs" / "sha256").mkdir(parents=True)
        (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def add(self, content: bytes, media_type: str) -> dict[str, Any]:
        """Store a blob; its descriptor."""
        digest = hashlib.sha256(content).hexdigest()
        (self.root / "blobs" / "sha256" / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def add_json(self, document: Any, media_type: str) -> dict[str, Any]:
        return self.add(json.dumps(document).encode(), media_type)

    def add_image(self, *files: bytes, architecture: str = "amd64") -> dict[str, Any]:
        """An image with a layer for each of ``files``; its descriptor."""
        return self.add_stack(*(tar(f"file{n}", each) for n, each in enumerate(files)), architecture=architecture)

    def add_stack(self, *archives: bytes, architecture: str = "amd64") -> dict[str, Any]:
        """An image of these layers, the lowest first; its descriptor."""
        layers, diff_ids = [], []
        for archive in archives:
            diff_ids.append(f"sha256:{hashlib.sha256(archive).hexdigest()}")
            layers.append(self.add(gzip.compress(archive, 1, mtime=0), LAYER))
        config = {
            "architecture": architecture, "os": "linux", "config": {"Cmd": ["/file0"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created_by": f"layer {number}"} for number in range(len(archives))],
        }
        manifest = {
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": self.add_json(config, CONFIG), "layers": layers,
        }
        return self.add_json(manifest, OCI_MANIFEST) | {"platform": {"architecture": architecture, "os": "linux"}}

    def add_index(self, *images: dict[str, Any]) -> dict[str, Any]:
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(images)}
        return self.add_json(index, OCI_INDEX)

    def name(self, **descriptors: dict[str, Any]) -> None:
        """What clients find in the layout, by name."""
        named = [
            {**descriptor, "annotations": {"org.opencontainers.image.ref.name": name}}
            for name, descriptor in descriptors.items()
        ]
        (self.root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": named}))


def tar(name: str, content: bytes) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as writer:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        writer.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def make(root: Path, large: int = 300_000_000) -> Layout:
    """An image of three layers called ``image``, one of ``large`` bytes that cannot be compressed; one for two
    platforms called ``index``."""
    layout = Layout(root)
    image = layout.add_image(b"first", os.urandom(large), b"last")
    index = layout.add_index(layout.add_image(b"amd64"), layout.add_image(b"arm64", architecture="arm64"))
    layout.name(image=image, index=index)
    return layout
