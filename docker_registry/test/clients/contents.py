"""What the groups of the OCI rules push: images, indexes and artifacts of every kind, never twice the same."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from docker_registry.registry.documents import OCI_INDEX, OCI_MANIFEST
from docker_registry.test.clients.images import CONFIG, LAYER, tar
from docker_registry.test.clients.wire import digest_of

Descriptor = dict[str, Any]

TAR = "application/vnd.oci.image.layer.v1.tar"
NOWHERE = "application/vnd.oci.image.layer.nondistributable.v1.tar"
EMPTY = "application/vnd.oci.empty.v1+json"
EXAMPLE, OTHER = "application/vnd.example.oci.conformance.v1", "application/vnd.example.oci.conformance.v2"
NOTED = {"org.opencontainers.conformance": "hello conformance test"}


@dataclass
class Content:
    """What one group pushes.

    :ivar algorithm: of all digests.
    :ivar manifests: by digest, what is referred to first.
    :ivar tags: the digest of each.
    :ivar referrers: by their subject's digest, as the registry must list them.
    :ivar by_parameter: whether tags are made by parameters of the push by digest.
    """

    algorithm: str = "sha256"
    by_parameter: bool = False
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    referrers: dict[str, list[Descriptor]] = field(default_factory=dict)

    def blob(self, content: bytes, media_type: str, data: bool = False) -> Descriptor:
        """:param data: whether the descriptor repeats the bytes."""
        digest = digest_of(content, self.algorithm)
        self.blobs[digest] = content
        descriptor: Descriptor = {"mediaType": media_type, "digest": digest, "size": len(content)}
        return descriptor | ({"data": base64.b64encode(content).decode()} if data else {})

    def layer(self, media_type: str = LAYER, data: bool = False) -> Descriptor:
        archive = tar("file", os.urandom(16).hex().encode())
        return self.blob(archive if media_type == TAR else gzip.compress(archive), media_type, data)

    def config(self, architecture: str = "amd64", **more: Any) -> Descriptor:
        config = {"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, **more}
        return self.blob(json.dumps(config | {"author": os.urandom(8).hex()}).encode(), CONFIG)

    def image(
        self,
        tag: str | None = None,
        *,
        layers: Sequence[Descriptor] | None = None,
        config: Descriptor | None = None,
        **more: Any,
    ) -> Descriptor:
        """:param layers: two of its own if not given.
        :param more: fields of the manifest.
        """
        image = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config or self.config(),
            "layers": [self.layer(), self.layer()] if layers is None else list(layers),
            **more,
        }
        return self._manifest(image, tag, image["config"])

    def index(self, tag: str | None = None, *, children: Sequence[Descriptor] | None = None, **more: Any) -> Descriptor:
        """:param children: images for two platforms if not given."""
        if children is None:
            children = [
                self.image(config=self.config(each)) | {"platform": {"architecture": each, "os": "linux"}}
                for each in ("amd64", "arm64")
            ]
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(children), **more}
        return self._manifest(index, tag, {})

    def _manifest(self, manifest: dict[str, Any], tag: str | None, config: Descriptor) -> Descriptor:
        content = json.dumps(manifest).encode()
        digest = digest_of(content, self.algorithm)
        self.manifests[digest] = content
        descriptor: Descriptor = {"mediaType": manifest["mediaType"], "digest": digest, "size": len(content)}
        if tag is not None:
            self.tags[tag] = digest
        if "subject" in manifest:
            listed = dict(descriptor)
            # An image without a type of its own goes by its config's, an index has none then.
            if artifact_type := manifest.get("artifactType") or config.get("mediaType"):
                listed["artifactType"] = artifact_type
            if annotations := manifest.get("annotations"):
                listed["annotations"] = annotations
            self.referrers.setdefault(manifest["subject"]["digest"], []).append(listed)
        return descriptor

    def empty(self) -> Descriptor:
        return self.blob(b"{}", EMPTY)

    def artifact(self, tag: str | None = None, artifact_type: str = EXAMPLE, **more: Any) -> Descriptor:
        """An image in form only."""
        layers = more.pop("layers", None) or [self.layer(artifact_type)]
        return self.image(tag, config=self.empty(), layers=layers, artifactType=artifact_type, **more)


def nested_index(content: Content) -> None:
    content.index("index-of-index", children=[content.index(), content.index()])


def artifact_index(content: Content) -> None:
    content.index("artifact-index", children=[content.artifact(), content.artifact()], artifactType=EXAMPLE)


def artifacts_with_subject(content: Content) -> None:
    subject = content.image("image")
    content.image(subject=subject)
    content.artifact("tagged-artifact1", subject=subject, annotations=NOTED | {"n": "1"})
    content.artifact("tagged-artifact2", OTHER, subject=subject, annotations=NOTED | {"n": "2"})


def index_with_subject(content: Content) -> None:
    subject = content.index("index")
    content.index(subject=subject)
    children = [content.artifact()]
    content.index("tagged-artifact", children=children, artifactType=EXAMPLE, subject=subject, annotations=NOTED)


def missing_subject(content: Content) -> None:
    nowhere = {"mediaType": OCI_MANIFEST, "digest": digest_of(os.urandom(8)), "size": 123}
    content.artifact("tagged-artifact", subject=nowhere, annotations=NOTED)


def non_distributable_layers(content: Content) -> None:
    """Two layers that nobody pushes, and one that is."""
    layers = []
    for media_type in (f"{NOWHERE}+gzip", NOWHERE):
        digest = digest_of(os.urandom(8))
        urls = [f"https://store.example.com/blobs/{hashlib.sha256(digest.encode()).hexdigest()}"]
        layers.append({"mediaType": media_type, "digest": digest, "size": 123456, "urls": urls})
    content.image("non-distributable-image", layers=[*layers, content.layer()])


def custom_fields(content: Content) -> None:
    more: Descriptor = {"org.example.unknown": {"deep": [1, 2.5, None, "ä"]}, "flag": True}
    image = content.image(config=content.config(**more), **more)
    content.index("custom-fields", children=[image | more], **more)


def tags_by_parameter(content: Content) -> None:
    content.by_parameter = True
    content.index("tag-param")
    for number, digest in enumerate(content.manifests):
        content.tags[f"tag-param-{number}"] = digest
    for number in range(10):
        content.tags[f"Ten-{number}"] = digest


def large_manifest(content: Content) -> None:
    """The largest that registries are asked to take are a little shorter than 4 MiB."""
    content.image("large-manifest", annotations={f"large-annotation-{number}": "A" * 10000 for number in range(390)})


GROUPS: dict[str, Callable[[Content], object]] = {
    "image": lambda content: content.image("image"),
    "image_uncompressed": lambda content: content.image("image", layers=[content.layer(TAR), content.layer(TAR)]),
    "large_manifest": large_manifest,
    "index": lambda content: content.index("index"),
    "nested_index": nested_index,
    "empty_index": lambda content: content.index("index", children=[]),
    "artifact": lambda content: content.artifact("artifact"),
    "artifact_index": artifact_index,
    "artifact_without_layers": lambda content: content.artifact("no-layers", layers=[content.empty()]),
    "artifacts_with_subject": artifacts_with_subject,
    "index_with_subject": index_with_subject,
    "missing_subject": missing_subject,
    "data_field": lambda content: content.image("data-field", layers=[content.layer(data=True)]),
    "non_distributable_layers": non_distributable_layers,
    "custom_fields": custom_fields,
    "no_layers": lambda content: content.image("no-layers", layers=[]),
    "tag_param": tags_by_parameter,
}


def make(group: str, algorithm: str = "sha256") -> Content:
    """What ``group`` pushes. Only a parameter can tag what has a sha512 digest: a PUT by tag would make it sha256."""
    content = Content(algorithm, by_parameter=algorithm != "sha256")
    GROUPS[group](content)
    return content
