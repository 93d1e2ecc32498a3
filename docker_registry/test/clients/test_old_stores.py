"""What docker-registry 0.x left, opened where it lies by a daemon: listed, found, pulled and pushed to by both
protocols."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import random
import shutil
import stat
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from twisted.trial.unittest import SynchronousTestCase

from docker_registry.registry.documents import DOCKER_MANIFEST
from docker_registry.test.clients import old_stores
from docker_registry.test.clients.daemon import Ours
from docker_registry.test.clients.images import Layout
from docker_registry.test.clients.tools import need, run
from docker_registry.test.clients.v1_clients import Docker, Docker07, Docker15
from docker_registry.test.clients.v1_images import Chain, contents, image, unpacked
from docker_registry.test.layer_case import member, tar

State = dict[str, tuple[object, ...]]


def state_of(root: Path) -> State:
    """Mode, time and content of everything that is not ours."""
    found: State = {}
    for directory, names, files in os.walk(root):
        if Path(directory) == root:
            names[:] = [name for name in names if name != "docker" and not name.startswith(".")]
            files = [name for name in files if not name.startswith(".")]
        for name in (*files, *names):
            path = Path(directory, name)
            about = path.lstat()
            is_file = stat.S_ISREG(about.st_mode)
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if is_file else ""
            found[str(path.relative_to(root))] = about.st_mode, about.st_mtime_ns if is_file else 0, digest
    return found


def unquoted(path: str) -> str:
    return unquote(unquote(path))


def repository_of(name: str) -> str:
    return f"repositories/{name if '/' in name else 'library/' + name}"


class OldStoreCase(SynchronousTestCase):
    """:cvar name: of the tree.
    :cvar only_reads: whether one daemon serves all tests of the class.
    """

    timeout = 300
    name = "seed"
    only_reads = False
    first: dict[type, OldStoreCase] = {}

    def setUp(self) -> None:
        if type(self) in self.first:
            vars(self).update({name: vars(self.first[type(self)])[name] for name in self.kept})
            return
        self.work = Path(tempfile.mkdtemp(prefix="old-"))
        self.tree = old_stores.TREES[self.name](self.work / "store")
        self.prepare()
        self.before = self.state()
        self.registry = self.opened()
        if self.only_reads:
            self.first[type(self)] = self
            atexit.register(self.leave)
        else:
            self.addCleanup(self.leave)

    kept: tuple[str, ...] = ("work", "tree", "before", "registry")
    """What belongs to the daemon."""

    def leave(self) -> None:
        self.registry.stop()
        shutil.rmtree(self.work, ignore_errors=True)

    def prepare(self) -> None:
        """Put what was left where the registry is to find it."""

    def opened(self) -> Ours:
        """A registry on what was left."""
        return Ours(self.tree.root)

    def state(self) -> State:
        """Of what was left."""
        return state_of(self.tree.root)

    def get(self, path: str, status: int = 200) -> Any:
        found, _, body = self.registry.request("GET", path, headers={"Accept": DOCKER_MANIFEST})
        self.assertEqual(found, status, (path, body))
        return json.loads(body)

    def served(self) -> Iterator[tuple[str, str, str]]:
        """Repository, tag and image of all that can be pulled."""
        for name, tags in self.tree.tags.items():
            for tag, id in tags.items():
                yield name, tag, id

    def one_of_each(self) -> list[tuple[str, str, str]]:
        """As `served`, one tag of each repository."""
        return list({name: (name, tag, id) for name, tag, id in self.served()}.values())

    def pulled_by_v1(self, kind: type[Docker], name: str, tag: str) -> Chain:
        return kind(self.registry.host).pull(name, tag)

    def pulled_by_v2(self, name: str, tag: str) -> list[bytes]:
        """Its layers without their compression."""
        target = Path(tempfile.mkdtemp(dir=self.work))
        source = f"docker://{self.registry.host}/{name}:{tag}"
        run("skopeo", "copy", "--quiet", "--src-tls-verify=false", source, f"dir:{target}")
        manifest = json.loads((target / "manifest.json").read_text())
        return [unpacked((target / each["digest"].partition(":")[2]).read_bytes()) for each in manifest["layers"]]

    def pushed_by_v2(self, name: str, tag: str) -> bytes:
        """The one layer of an image that is pushed."""
        archive = tar([member("pushed", name.encode())])
        layout = Layout(Path(tempfile.mkdtemp(dir=self.work)) / "layout")
        layout.name(image=layout.add_stack(archive))
        target = f"docker://{self.registry.host}/{name}:{tag}"
        run("skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{layout.root}:image", target)
        return archive

    def assertUnchanged(self, *but: str) -> None:
        """Nothing of what was left has changed, and nothing came but what the documentation names.

        :param but: what went since.
        """
        after = self.state()
        expected = {path: state for path, state in self.before.items() if path not in but}
        self.assertEqual({path: state for path, state in after.items() if path in self.before}, expected)
        added = {path.rpartition("/")[2] for path in after.keys() - self.before.keys()}
        self.assertEqual(added - {"_layer", "_manifest"}, set())

    def tags_of(self, name: str) -> list[str]:
        tags: list[str] = self.get(f"/v2/{name}/tags/list")["tags"]
        return tags


class ReadingTests:
    """What holds for each of the trees, as long as it is only read."""

    def test_listed(self: Any) -> None:
        """Page by page, in order; nothing that is no repository, or that v2 could not name."""
        names = sorted({*self.tree.tags, *self.tree.v1_only, "unfinished"})
        found, after = [], ""
        while page := self.get(f"/v2/_catalog?n=3&last={after}")["repositories"]:
            found += page
            after = quote(page[-1], safe="")
        self.assertEqual(found, names)
        for name in names:
            tags = {**self.tree.tags.get(name, {}), **self.tree.v1_only.get(name, {})}
            listed = self.tags_of(name)
            self.assertEqual(sorted(tags), [tag for tag in listed if tag in tags], name)
            by_v1 = self.get(f"/v1/repositories/{name}/tags")
            self.assertEqual({tag: by_v1.get(tag) for tag in tags}, tags)
            odd = self.tree.odd_tags.get(name, {})
            self.assertEqual({tag: by_v1.get(tag) for tag in odd}, odd)
            self.assertEqual(set(listed) & set(odd), set())
            for tag, id in odd.items():
                self.assertEqual(self.get(f"/v1/repositories/{name}/tags/{quote(tag)}"), id)
        self.assertEqual(self.tags_of("broken"), ["cut", "dead", "half-json", "no-ancestry", "nothing", "path", "torn"])
        self.get("/v1/repositories/team/empty/tags", 404)
        self.get("/v2/team/empty/tags/list", 404)
        self.assertUnchanged()

    def test_found(self: Any) -> None:
        for term in ("b", "app", "broken"):
            found = [each["name"] for each in self.get(f"/v1/search?q={term}&n=100")["results"]]
            names = {*self.tree.tags, *self.tree.v1_only, "unfinished"}
            self.assertEqual(sorted(found), sorted(name for name in names if term in name))
        self.assertUnchanged()

    def test_pulled_by_v1(self: Any) -> None:
        """To the byte; docker 0.7 took ids of any form."""
        for name, tag, id in self.served():
            pulled = self.pulled_by_v1(Docker15 if len(id) == 64 else Docker07, name, tag)
            self.assertEqual([each.id for each in pulled], [each.id for each in self.tree.chain(id)])
            self.assertEqual([each.json for each in pulled], [each.json for each in self.tree.chain(id)])
            self.assertEqual(contents([each.archive for each in pulled if each.archive]), self.tree.contents(id))
        self.get(f"/v1/images/{old_stores.id_of('unfinished')}/json", 400)
        for gone in ("no-layer", "half-json", "gone"):
            self.get(f"/v1/images/{old_stores.id_of(gone)}/json", 404)
        self.assertUnchanged()

    def test_pulled_by_v2(self: Any) -> None:
        need(("skopeo", "skopeo"))
        for name, tag, id in self.served():
            self.assertEqual(contents(self.pulled_by_v2(name, tag)), self.tree.contents(id), (name, tag))
        for name, tags in self.tree.v1_only.items():
            for tag in tags:
                self.get(f"/v2/{name}/manifests/{tag}", 404)
        for tag in ("dead", "nothing", "path"):
            self.get(f"/v2/broken/manifests/{tag}", 404)
        self.get("/v2/unfinished/manifests/latest", 404)
        self.assertUnchanged()
        for name, tag, id in self.served():
            self.assertEqual(self.get(f"/v1/repositories/{name}/tags/{tag}"), id)

class WritingTests:
    """What holds for each of the trees when it is written to."""

    def test_pushed_to_by_v1(self: Any) -> None:
        """On top of what is there, over it, and beside it; who pulls by v2 gets it."""
        for name, tag, id in self.one_of_each():
            if len(id) < 64:
                continue
            pushed = (*self.tree.chain(id), image(id))
            client = Docker15(self.registry.host)
            client.push(name, tag, pushed)
            self.assertEqual(len([each for each in client.asked if each[1].endswith("/layer")]), 1)
            archives = [each.archive for each in pushed if each.archive]
            self.assertEqual(contents(self.pulled_by_v2(name, tag)), contents(archives))
            self.assertIn(tag, self.tags_of(name))

    def test_goes_on_with_what_was_left_half(self: Any) -> None:
        for name in ("unfinished", "no-layer", "half-json"):
            (base,) = {chain[-2] for chain in map(self.tree.chain, self.tree.tags["broken"].values())}
            pushed = (*self.tree.chain(base.id), image(base.id, id=old_stores.id_of(name)))
            client = Docker15(self.registry.host)
            client.push(name, "latest", pushed)
            self.assertEqual(contents([each.archive for each in client.pull(name, "latest") if each.archive]),
                             contents([each.archive for each in pushed if each.archive]))
            files = self.get(f"/v1/images/{pushed[-1].id}/files")
            self.assertEqual([each[0] for each in files], list(contents([pushed[-1].archive])))

    def test_pushed_to_by_v2(self: Any) -> None:
        """What is pushed over an old tag is what it stands for, in both; what is deleted is gone in both."""
        need(("skopeo", "skopeo"))
        for name, tag, id in self.one_of_each():
            archive = self.pushed_by_v2(name, tag)
            (pulled,) = self.pulled_by_v1(Docker15, name, tag)
            self.assertEqual(pulled.archive, archive)
            self.assertNotEqual(pulled.id, id)
        self.assertEqual(self.pulled_by_v2(name, tag), [archive])
        for name, tag, _ in self.one_of_each():
            self.assertEqual(self.registry.request("DELETE", f"/v2/{name}/manifests/{tag}")[0], 202)
            self.get(f"/v1/repositories/{name}/tags/{tag}", 404)
        self.registry.stop()
        self.registry.start()
        for name, tag, _ in self.one_of_each():
            self.get(f"/v2/{name}/manifests/{tag}", 404)
            self.assertNotIn(tag, self.get(f"/v1/repositories/{name}/tags"))

    def test_deleted(self: Any) -> None:
        """By v2, by v1 or with its repository: gone in both, and nothing else is touched."""
        gone = set()
        for number, (name, tag, _) in enumerate(self.served()):
            if number % 2:
                self.get(f"/v2/{name}/manifests/{tag}")
            v1, v2 = f"/v1/repositories/{name}/tags/{tag}", f"/v2/{name}/manifests/{tag}"
            self.assertIn(self.registry.request("DELETE", v1 if number % 3 else v2)[0], (200, 202))
            for path in (v1, v2):
                self.get(path, 404)
            gone |= {path for path in self.before if path.endswith((f"/tag_{tag}", f"/tag{tag}_json", "/json"))
                     and path.startswith("repositories/") and unquoted(path).startswith(repository_of(name) + "/")}
        self.assertUnchanged(*gone)


class SeedReadingTests(ReadingTests, OldStoreCase):
    name = "seed"
    only_reads = True


class SeedWritingTests(WritingTests, OldStoreCase):
    name = "seed"


class V07ReadingTests(ReadingTests, OldStoreCase):
    name = "0.7"
    only_reads = True

    def test_what_was_said(self) -> None:
        for path in ("json", "tags/latest/json", "tags/_json/json"):
            self.assertEqual(self.get(f"/v1/repositories/app/{path}")["docker_version"], "0.7.0")
        self.assertEqual(self.get("/v1/repositories/team/secret/properties"), {"access": "private"})


class V07WritingTests(WritingTests, OldStoreCase):
    name = "0.7"


class V091ReadingTests(ReadingTests, OldStoreCase):
    name = "0.9.1"
    only_reads = True


class V091WritingTests(WritingTests, OldStoreCase):
    name = "0.9.1"

    def test_odd_tags(self) -> None:
        """What 0.9.1 took as a tag is listed, and may be deleted; nobody may set it, or such a one (T2)."""
        before = self.get("/v1/repositories/team/marks/tags")
        self.assertEqual(before["a+b"], before["ok"])
        body = json.dumps(before["ok"]).encode()
        for tag in ("a+b", "a%2Bb", "-dash", ".hidden", "a%20b"):
            status, _, _ = self.registry.request("PUT", f"/v1/repositories/team/marks/tags/{tag}", body)
            self.assertEqual(status, 400, tag)
        self.assertEqual(self.get("/v1/repositories/team/marks/tags"), before)
        self.assertUnchanged()
        for tag, status in (("a+b", 200), ("a+b", 404), ("a%20b", 404)):
            self.assertEqual(self.registry.request("DELETE", f"/v1/repositories/team/marks/tags/{tag}")[0], status)
        del before["a+b"]
        self.assertEqual(self.get("/v1/repositories/team/marks/tags"), before)
        self.assertUnchanged("repositories/team/marks/tag_a%2Bb")

    def test_both_forms_are_one(self) -> None:
        """Deleting brings nothing back of what stood in the other directory."""
        self.assertEqual(self.tags_of("both/b/c"), ["latest", "once", "twice"])
        self.assertEqual(self.registry.request("DELETE", "/v1/repositories/both/b/c/tags/latest")[0], 200)
        self.assertEqual(self.tags_of("both/b/c"), ["once", "twice"])
        self.assertEqual(self.registry.request("DELETE", "/v1/repositories/both/b/c/")[0], 200)
        self.get("/v2/both/b/c/tags/list", 404)
        self.assertFalse([path for path in self.state() if path.startswith("repositories/both/")])


class LinkTests(OldStoreCase):
    """Symbolic links that lead out of the store are not followed (T7); those that stay in it are."""

    def prepare(self) -> None:
        outside, root = self.work / "outside", self.tree.root
        self.outside = old_stores.OldTree(outside)
        image = self.outside.image("outside")
        self.outside.tag("team/app", "team/app", "latest", image.id)
        (root / "images" / image.id).symlink_to(outside / "images" / image.id)
        (root / "repositories" / "team" / "link").symlink_to(outside / "repositories" / "team" / "app")
        (root / "repositories" / "team" / "app" / "tag_out").symlink_to(outside / "repositories/team/app/tag_latest")
        self.tree.tag("team/app", "team/app", "image", image.id)
        base, app = old_stores.id_of("base"), old_stores.id_of("app")
        for name, target in (("out", outside / "images" / image.id / "layer"), ("in", Path("..", base, "layer"))):
            made = self.tree.image(name, base)
            self.tree.without(made, "layer")
            (root / "images" / made.id / "layer").symlink_to(target)
            self.tree.tag("team/app", "team/app", f"layer-{name}", made.id)
        (root / "repositories" / "team" / "app" / "tag_in").symlink_to("tag_1.0")
        self.assertEqual((root / "repositories" / "team" / "app" / "tag_in").read_text(), app)
        self.elsewhere = state_of(outside)

    def test_links(self) -> None:
        self.assertNotIn("team/link", self.get("/v2/_catalog")["repositories"])
        self.get("/v2/team/link/tags/list", 404)
        self.assertEqual(self.get("/v1/repositories/team/app/tags/in"), old_stores.id_of("app"))
        for tag, status in (("out", 404), ("image", 404), ("layer-out", 404), ("layer-in", 200), ("in", 200)):
            self.get(f"/v2/team/app/manifests/{tag}", status)
        for name in ("outside", "out"):
            for what in ("json", "layer", "ancestry"):
                self.get(f"/v1/images/{old_stores.id_of(name)}/{what}", 404)
        self.assertEqual(self.registry.request("DELETE", "/v1/repositories/team/link/")[0], 404)
        self.assertEqual(self.registry.request("DELETE", "/v1/repositories/team/app/")[0], 200)
        self.assertEqual(state_of(self.work / "outside"), self.elsewhere)


class CrowdTests(OldStoreCase):
    def prepare(self) -> None:
        content = random.Random(0).randbytes(20_000_000)
        base = self.tree.image("large", None, member("large", content), pack=old_stores.as_it_is)
        for number in range(4):
            image = self.tree.image(f"child{number}", base.id, member("large", content[number:]))
            self.tree.tag(f"crowd/r{number}", f"crowd/r{number}", "latest", image.id)

    def test_prepared_once(self) -> None:
        """Twenty clients pull four images on one layer at the same time, and nobody has pulled them before."""
        paths = [f"/v2/crowd/r{number % 4}/manifests/latest" for number in range(20)]
        with ThreadPoolExecutor(20) as clients:
            pulled = list(clients.map(self.get, paths))
        self.assertEqual(len({json.dumps(each) for each in pulled}), 4)
        names = ("large", *(f"child{number}" for number in range(4)))
        for name in names:
            self.registry.daemon.wait_for(f"prepared .*{old_stores.id_of(name)}")
        prepared = [line for line in self.registry.daemon.output if "prepared " in line]
        for name in names:
            self.assertEqual(len([line for line in prepared if old_stores.id_of(name) in line]), 1, name)
        self.assertEqual(len(prepared), len(names))


class WorkersTests(CrowdTests):
    """The same, when two processes answer."""

    def opened(self) -> Ours:
        return Ours(self.tree.root, workers=2, secret_key="k" * 64)
