"""Directories as docker-registry 0.x left them, made by rule: of the first versions, of 0.7, and of 0.9.1.

The same call always makes the same tree, to the byte and to the second. Each has images that are to be served, by both
protocols, and what years of crashes, of mirrors and of people have left between them::

    tree = old_stores.TREES["0.9.1"](Path("registry"))
    tree.tags                                       {"team/a": {"latest": <id>}, ...}: what can be pulled
    tree.contents(tree.tags["team/a"]["latest"])    what is in it
"""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote_plus

from docker_registry.test.clients.v1_images import Chain, Contents, Image, contents, image, payload_sum, without_end
from docker_registry.test.layer_case import Content, expected_tarsum, member, tar

LEFT = 1_380_000_000
"""When the last file was written: in September 2013."""

SCRATCH = "511136ea3c5a64f264b78b5433614aec563103b4d4702f3ba7d4d2698e22c158"
"""The root of most images of that time; there is nothing in it."""


def once(name: str) -> str:
    """As versions up to 0.8.0 quoted names."""
    return quote_plus(name)


def twice(name: str) -> str:
    """As later versions did."""
    return quote_plus(quote_plus(name))


def zipped(archive: bytes) -> bytes:
    return gzip.compress(archive, 6, mtime=0)


def packed(archive: bytes) -> bytes:
    return lzma.compress(archive)


def as_it_is(archive: bytes) -> bytes:
    return archive


def id_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


class OldTree:
    """:param root: made if it is not there.
    :ivar images: complete ones, by id.
    :ivar tags: what both protocols serve: repository, tag, image.
    :ivar v1_only: what v2 cannot serve, in the same form; ``warm`` names it.
    :ivar odd_tags: what v1 lists although nobody may name a tag so today.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images: dict[str, Image] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.v1_only: dict[str, dict[str, str]] = {}
        self.odd_tags: dict[str, dict[str, str]] = {}
        self._parents: dict[str, str | None] = {}

    def chain(self, id: str) -> Chain:
        """The image and what it stands on, the root first."""
        parent = self._parents[id]
        return (*(self.chain(parent) if parent else ()), self.images[id])

    def contents(self, id: str) -> Contents:
        """What a container sees."""
        return contents([each.archive for each in self.chain(id) if each.archive])

    def write(self, path: str, content: bytes | str) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)

    # Images

    def image(
        self,
        name: str,
        parent: str | None = None,
        *files: Content,
        id: str | None = None,
        pack: Callable[[bytes], bytes] = zipped,
        archive: bytes | None = None,
    ) -> Image:
        """A complete one, without a checksum.

        :param parent: an id.
        :param archive: of the layer, if it is none of ``files``.
        """
        archive = tar(files or [member(name, f"This is {name}.\n".encode())]) if archive is None else archive
        made = image(
            parent, archive, id or id_of(name),
            container_config={"Cmd": ["/bin/sh", "-c", f"#(nop) ADD {name}"]},
            config={"Cmd": ["/bin/cat", f"/{name}"], "Env": ["PATH=/bin"]},
            docker_version="0.6.3",
        )
        self._parents[made.id] = parent
        self.images[made.id] = made
        self.write(f"images/{made.id}/json", made.json)
        self.write(f"images/{made.id}/ancestry", json.dumps([each.id for each in reversed(self.chain(made.id))]))
        self.write(f"images/{made.id}/layer", pack(archive))
        return made

    def layer(self, image: Image) -> bytes:
        """As it is stored."""
        return (self.root / "images" / image.id / "layer").read_bytes()

    def checksum(self, image: Image, content: bytes | str) -> None:
        self.write(f"images/{image.id}/_checksum", content)

    def bare_checksum(self, image: Image) -> None:
        """As it was kept up to 0.6.9."""
        self.checksum(image, expected_tarsum(image.json, image.archive))

    def checksums(self, image: Image) -> None:
        """As it was kept from 0.7 on."""
        sums = [payload_sum(image.json, self.layer(image)), expected_tarsum(image.json, image.archive)]
        self.checksum(image, json.dumps(sums))

    def unfinished(self, name: str, parent: str | None) -> Image:
        """Its client vanished in the middle of the layer."""
        made = self.image(name, parent)
        self.write(f"images/{made.id}/_inprogress", "true")
        self.write(f"images/{made.id}/layer", self.layer(made)[:20])
        del self.images[made.id]
        return made

    def without(self, image: Image, file: str) -> None:
        (self.root / "images" / image.id / file).unlink()

    # Repositories

    def tag(self, directory: str, name: str, tag: str, id: str, served: bool = True) -> None:
        """:param directory: below ``repositories/``.
        :param name: the registry's, for that directory.
        """
        self.write(f"repositories/{directory}/tag_{tag}", id)
        (self.tags if served else self.v1_only).setdefault(name, {})[tag] = id

    def images_list(self, directory: str, *ids: str) -> None:
        """With an image that is long gone: nothing was ever removed from these lists."""
        listed = [{"id": each, "Tag": "latest"} for each in ids] + [{"id": id_of("gone"), "checksum": "sha256:0"}]
        self.write(f"repositories/{directory}/_index_images", json.dumps(listed, indent=4))

    # What people and crashes left

    def leftovers(self, base: Image) -> None:
        """The same in each of the trees."""
        self.unfinished("unfinished", base.id)
        self.write("repositories/library/unfinished/tag_latest", id_of("unfinished"))
        empty = self.image("no-layer", base.id)
        self.without(empty, "layer")
        del self.images[empty.id]
        self.tag("library/no-layer", "no-layer", "latest", empty.id, served=False)
        orphan = self.image("orphan", base.id)
        self.without(orphan, "ancestry")
        self.tag("library/broken", "broken", "no-ancestry", orphan.id)
        torn = self.image("torn", base.id)
        self.write(f"images/{torn.id}/ancestry", f'["{torn.id}", "{base.id[:20]}')
        self.tag("library/broken", "broken", "torn", torn.id)
        self.write("repositories/library/broken/tag_dead", id_of("gone"))
        self.write("repositories/library/broken/tag_nothing", "")
        self.write("repositories/library/broken/tag_path", "../../../etc/passwd")
        cut = self.image("cut", base.id, pack=lambda archive: zipped(archive)[:-30])
        self.tag("library/broken", "broken", "cut", cut.id, served=False)
        half = self.image("half-json", base.id)
        self.write(f"images/{half.id}/json", half.json[:30])
        self.write(f"images/{half.id}/_files", '[["other", "f", false, 0, 0, 420, 0, 0]]')
        del self.images[half.id]
        self.tag("library/broken", "broken", "half-json", half.id, served=False)
        (self.root / "repositories" / "team" / "empty").mkdir(parents=True)
        self.write("repositories/Team/App/tag_latest", base.id)
        self.images_list("team/pushed-to-nowhere", base.id)

    def age(self) -> None:
        """Give all of it the age that it is said to have."""
        for directory, _, files in os.walk(self.root, topdown=False):
            for name in (*files, "."):
                os.utime(os.path.join(directory, name), (LEFT, LEFT))


def _system() -> Sequence[Content]:
    return (
        member("etc", type=tarfile.DIRTYPE, mode=0o755),
        member("etc/passwd", b"root:x:0:0::/root:/bin/sh\n"),
        member("etc/motd", b"Welcome.\n"),
        member("bin", type=tarfile.DIRTYPE, mode=0o755),
        member("bin/cat", hashlib.sha256(b"cat").digest() * 2000, mode=0o755),
        member("bin/more", type=tarfile.SYMTYPE, linkname="cat", mode=0o777),
    )


def seed(root: Path) -> OldTree:
    """The first versions, 0.5 to 0.6: one bare checksum or none, names quoted once, ids of any form."""
    tree = OldTree(root)
    base = tree.image("base", None, *_system(), pack=packed)
    tree.bare_checksum(base)
    app = tree.image("app", base.id, member("app", b"first\n"), member("etc/.wh.motd"), pack=as_it_is)
    tree.checksum(app, payload_sum(app.json, tree.layer(app)) + "\n")
    again = tree.image("again", app.id, member("app", b"second\n"))         # pushed twice: the checksum is gone
    tree.tag("library/base", "base", "latest", base.id)
    tree.images_list("library/base", base.id)
    tree.write("repositories/library/base/_images_list", json.dumps([base.id, id_of("gone")]))
    tree.tag("team/app", "team/app", "latest", again.id)
    tree.tag("team/app", "team/app", "1.0", app.id)
    tree.images_list("team/app", base.id, app.id, again.id)
    tree.tag(f"team/{once('sub/app')}", "team/sub/app", "latest", app.id)

    short = tree.image("short", None, id="cafebabedeadbeef")
    tree.bare_checksum(short)
    tree.tag("team/short", "team/short", "latest", tree.image("shorter", short.id, id="0123456789abcdef").id)
    tree.tag("team/named", "team/named", "latest", tree.image("named", base.id, id="My-image_2.0").id)

    garbage = tree.image("garbage", base.id)
    tree.checksum(garbage, b"\xff\xfe\x00sha256:\xe9")
    tree.tag("library/sums", "sums", "garbage", garbage.id)
    quoted = tree.image("quoted", base.id)
    tree.checksum(quoted, json.dumps(payload_sum(quoted.json, tree.layer(quoted))))
    tree.tag("library/sums", "sums", "quoted", quoted.id)
    wrong = tree.image("wrong", base.id)
    tree.checksum(wrong, payload_sum(base.json, tree.layer(base)))
    tree.tag("library/sums", "sums", "wrong", wrong.id)
    tree.leftovers(base)
    tree.age()
    return tree


def v07(root: Path) -> OldTree:
    """0.7: lists of checksums, what clients said of themselves, private repositories, layers with nothing in them."""
    tree = OldTree(root)
    scratch = tree.image("scratch", None, archive=tar([]), id=SCRATCH)
    base = tree.image("base", scratch.id, *_system())
    settings = tree.image("settings", base.id, archive=b"")
    app = tree.image("app", settings.id, member("app", b"0.7\n"), pack=lambda archive: zipped(without_end(archive)))
    for each in (scratch, base, settings, app):
        tree.checksums(each)
    tree.write(f"images/{app.id}/_files", json.dumps([["app", "f", False, 4, 0, 420, 0, 0]]))
    tree.write(f"images/{app.id}/_diff", "{}")
    said = json.dumps({"arch": "amd64", "docker_go_version": "go1.1.2", "docker_version": "0.7.0",
                       "kernel": "3.8.0-33-generic", "last_update": LEFT, "os": "linux"})
    for tag in ("latest", "_json", "x_json"):
        tree.tag("library/app", "app", tag, app.id)
    for tag in ("latest", "_json", "1.0"):
        tree.write(f"repositories/library/app/tag{tag}_json", said)     # that of _json reads as a tag would
    tree.write("repositories/library/app/json", said)
    tree.images_list("library/app", scratch.id, base.id, settings.id, app.id)
    tree.tag("team/secret", "team/secret", "latest", base.id)
    tree.write("repositories/team/secret/_private", "")
    tree.tag(f"team/{once('sub/deep/app')}", "team/sub/deep/app", "v1", app.id)
    tree.tag(f"library/{once('sub/app')}", "library/sub/app", "v1", settings.id)
    tree.leftovers(base)
    tree.age()
    return tree


def v091(root: Path) -> OldTree:
    """0.9.1, the last one, over a store that 0.8.0 has used before: names quoted twice beside names quoted once."""
    tree = OldTree(root)
    scratch = tree.image("scratch", None, archive=tar([]), id=SCRATCH)
    base = tree.image("base", scratch.id, *_system())
    app = tree.image("app", base.id, member("app", b"0.9.1\n"), member(".wh.etc"))
    older = tree.image("older", base.id, member("app", b"0.8.0\n"))
    mirrored = tree.image("mirrored", base.id, member("mirrored", b"without a checksum\n"))
    for each in (scratch, base, app, older):
        tree.checksums(each)
    tree.tag("a/b%252Fc", "a/b/c", "latest", app.id)
    tree.images_list("a/b%252Fc", scratch.id, base.id, app.id)
    for quoted, found in ((once, older), (twice, app)):
        tree.tag(f"both/{quoted('b/c')}", "both/b/c", "latest", found.id)
        tree.tag(f"both/{quoted('b/c')}", "both/b/c", quoted.__name__, found.id)
    tree.tag(f"before/{once('b/c')}", "before/b/c", "latest", older.id)
    tree.tag("library/mirrored", "mirrored", "latest", mirrored.id)
    tree.tag("team/marks", "team/marks", "ok", app.id)
    tree.write("repositories/team/marks/tag_lines", f"{app.id}\n")
    tree.tags["team/marks"]["lines"] = app.id
    for file, tag in (("a%2Bb", "a+b"), ("-dash", "-dash")):
        tree.write(f"repositories/team/marks/tag_{file}", app.id)
        tree.odd_tags.setdefault("team/marks", {})[tag] = app.id
    tree.leftovers(base)
    tree.age()
    return tree


TREES: dict[str, Callable[[Path], OldTree]] = {"seed": seed, "0.7": v07, "0.9.1": v091}
