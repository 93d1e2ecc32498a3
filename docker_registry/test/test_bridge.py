"""Between the protocols: what one chain, and one manifest, always come to, to the byte.

The digests are of what this code makes since its first release: who changes what is made changes what clients have.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from docker_registry.digest import Digest
from docker_registry.errors import LayerInvalid
from docker_registry.registry import bridge, documents
from docker_registry.registry.layers import Layer

TAR = "application/vnd.docker.image.rootfs.diff.tar"
ROOT = {
    "id": "1" * 64, "created": "2013-06-13T14:03:50.821769-07:00", "author": "moby",
    "container_config": {"Cmd": ["/bin/sh", "-c", "#(nop) ADD file"]}, "Size": 10,
}
TOP = {
    "id": "3" * 64, "parent": "2" * 64, "created": "2014-01-01T00:00:00Z", "docker_version": "1.5.0",
    "config": {"Cmd": ["/bin/true"], "Env": None}, "container": "c", "throwaway": True, "os": "linux",
}


def layer(content: bytes, diff_id: Digest | None = None) -> Layer:
    return Layer(Digest.of(content), len(content), diff_id or Digest.of(b"tar of " + content), 100, f"{TAR}.gzip")


class ManifestTests(SynchronousTestCase):
    chain: list[tuple[dict[str, Any], Layer]] = [
        (ROOT, layer(b"root")), ({"id": "2" * 64, "parent": "1" * 64}, layer(b"", Digest.of(b""))),
        (TOP, layer(b"top")),
    ]

    def made(self, chain: list[tuple[dict[str, Any], Layer]]) -> bridge.Made:
        history = [bridge.entry_of(members, layer) for members, layer in chain]
        return bridge.manifest_of(chain[-1][0], history, [layer for _, layer in chain])

    def test_to_the_byte(self) -> None:
        made = self.made(self.chain)
        config = hashlib.sha256(made.config).hexdigest()
        self.assertEqual(config, "1e659d5e50bef266664bfd845beea3208b307c2746d4f13f40cf072f76ad7507")
        self.assertEqual(made.digest.hex, "fcbd71eecf4abadf717814bca20990772deccdcc1b2946835abc4bcfc07c9306")
        documents.read(made.manifest, None, 100)

    def test_what_is_in_it(self) -> None:
        made = self.made(self.chain)
        self.assertEqual(made.layers, (Digest.of(b"root"), Digest.of(b"top")))
        self.assertEqual(json.loads(made.config), {
            "id": "3" * 64, "architecture": "amd64", "os": "linux", "created": "2014-01-01T00:00:00Z",
            "docker_version": "1.5.0", "container": "c", "config": {"Cmd": ["/bin/true"], "Env": None},
            "history": [
                {"created": "2013-06-13T14:03:50.821769-07:00", "created_by": "/bin/sh -c #(nop) ADD file",
                 "author": "moby"},
                {"created": "1970-01-01T00:00:00Z", "created_by": "", "empty_layer": True},
                {"created": "2014-01-01T00:00:00Z", "created_by": ""},
            ],
            "rootfs": {"type": "layers",
                       "diff_ids": [str(Digest.of(b"tar of root")), str(Digest.of(b"tar of top"))]},
        })

    def test_no_archive(self) -> None:
        broken = Layer(Digest.of(b"x"), 1, None, 0, TAR)
        with self.assertRaises(LayerInvalid):
            bridge.entry_of({"id": "4" * 64}, broken)

    def test_too_long(self) -> None:
        """Texts of a history are cut; settings cannot be."""
        long = {"container_config": {"Cmd": ["x" * 100_000]}, "author": "y" * 100_000, "comment": "z" * 100_000}
        entry = bridge.entry_of(long, layer(b"a"))
        self.assertEqual({len(entry[name]) for name in ("created_by", "author", "comment")}, {bridge.LONGEST})
        with self.assertRaises(LayerInvalid):
            self.made([({"id": "1" * 64, "config": {"Env": ["x" * bridge.CONFIG_BYTES]}}, layer(b"a"))])


class ImagesTests(SynchronousTestCase):
    def manifest(self, *media_types: str, config: str = bridge.CONFIG, size: int = 5) -> documents.Document:
        def described(name: str, media_type: str) -> dict[str, Any]:
            return {"mediaType": media_type, "size": size, "digest": str(Digest.of(name.encode()))}

        return documents.read(json.dumps({
            "schemaVersion": 2, "mediaType": documents.DOCKER_MANIFEST, "config": described("config", config),
            "layers": [described(f"layer{number}", each) for number, each in enumerate(media_types)],
        }).encode(), None, 200)

    def test_to_the_byte(self) -> None:
        config = {
            "architecture": "amd64", "os": "linux", "created": "2020-01-01T00:00:00Z", "config": {"Cmd": ["sh"]},
            "history": [{"created_by": "one", "created": "2019-01-01T00:00:00Z"}, {"empty_layer": True},
                        {"created_by": "two"}],
            "rootfs": {"diff_ids": []},
        }
        made = bridge.images_of(self.manifest(TAR, f"{TAR}.gzip"), config)
        self.assertEqual([str(each.id) for each in made], [
            "53c450a0fd9493c469c71f1c6dc6c5ca9703ad5d9327dd1f4aa0def0286dba31",
            "32d9880ceae24cab348f19d8e147aa5888c199680c6aa01156711cdd041f2352",
        ])
        self.assertEqual([hashlib.sha256(each.content).hexdigest() for each in made], [
            "1ba0b18b19bca59cd0da541be0ca8b5a17ed06ae7229b4a5c4d7c458c0917b16",
            "f6214a3a00d49ba1720a98d2bb6164e88949c75853be542b1ca4c88386ead9b7",
        ])
        first, last = (json.loads(each.content) for each in made)
        self.assertEqual(first, {
            "id": str(made[0].id), "architecture": "amd64", "os": "linux", "created": "2019-01-01T00:00:00Z",
            "container_config": {"Cmd": ["one"]}, "Size": 5,
        })
        self.assertEqual(last, {
            "id": str(made[1].id), "parent": str(made[0].id), "architecture": "amd64", "os": "linux",
            "created": "2020-01-01T00:00:00Z", "container_config": {"Cmd": ["two"]}, "config": {"Cmd": ["sh"]},
            "Size": 5,
        })

    def test_expressible(self) -> None:
        oci = "application/vnd.oci.image.layer.v1.tar"
        for media_types in ([TAR], [f"{TAR}.gzip"], [oci], [f"{oci}+gzip"], [TAR] * 127):
            self.assertTrue(bridge.is_expressible(self.manifest(*media_types)))
        for media_types in ([], [f"{oci}+zstd"], [TAR, "text/plain"], [f"{TAR}.foreign"], [TAR] * 128):
            self.assertFalse(bridge.is_expressible(self.manifest(*media_types)))
        self.assertFalse(bridge.is_expressible(self.manifest(TAR, config="application/vnd.oci.empty.v1+json")))
        self.assertFalse(bridge.is_expressible(self.manifest(TAR, size=bridge.CONFIG_BYTES + 1)))
