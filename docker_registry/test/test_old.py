"""Repositories of docker-registry 0.x, in a store that holds what it wrote."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any
from urllib.parse import quote_plus

from hypothesis import given, settings, strategies
from twisted.internet.defer import Deferred, fail
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from docker_registry.errors import Damaged, NameInvalid, NotFound, RepositoryUnknown, TagUnknown
from docker_registry.names import ImageId, Repository, Tag
from docker_registry.registry.old import OldStore
from docker_registry.storage.memory import MemoryStorage
from docker_registry.test.registry_case import LATEST, REPOSITORY, RegistryCase

IMAGE = "a" * 64
ELSEWHERE = "b" * 64


def once(name: str) -> str:
    """As versions up to 0.8.0 quoted."""
    return quote_plus(name)


def twice(name: str) -> str:
    """As later ones did."""
    return quote_plus(quote_plus(name))


class OldCase(RegistryCase):
    def setUp(self) -> None:
        super().setUp()
        self.old = self.registry.old
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self._log)
        self.addCleanup(globalLogPublisher.removeObserver, self._log)

    def _log(self, event: LogEvent) -> None:
        self.logged.append(formatEvent(event))

    def keep(self, directory: str, *files: str, content: str = IMAGE) -> None:
        for file in files or ("tag_latest",):
            self.successResultOf(self.storage.put(f"repositories/{directory}/{file}", content.encode()))

    def names(self, after: str = "", limit: int = 1000) -> list[str]:
        return [str(each) for each in self.now(self.old.repositories(after, limit))]

    def tags(self, name: str, after: str = "", limit: int = 100) -> list[str]:
        return self.now(self.old.tags(Repository(name), after, limit))


class RepositoriesTests(OldCase):
    def test_names(self) -> None:
        for directory in ("library/base", "team/app", "a/b%2Fc", "a/d%252Fe%252Ff", "library/x%2Fy"):
            self.keep(directory)
        self.assertEqual(self.names(), ["a/b/c", "a/d/e/f", "base", "library/x/y", "team/app"])

    def test_byte_order(self) -> None:
        """What is quoted stands elsewhere than its name, and so does a namespace."""
        names = ["a-b", "a-b/c", "a.b/c", "a/b", "a/b-c", "a/b.c", "a/b/c", "a/b/c-d", "a/b/c/d", "a/b0", "a/b_c",
                 "a/bc", "a0/b", "a_b/c", "ab", "ab/c", "library/b/c", "library0/b", "z"]
        for number, name in enumerate(names):
            namespace, _, rest = name.partition("/")
            quoted = (once, twice)[number % 2](rest)
            self.keep(f"{namespace}/{quoted}" if rest else f"library/{namespace}")
        self.assertEqual(names, sorted(names))
        self.assertEqual(self.names(), names)
        for after, limit in product([*names, "a", "a/b/", "a/", "-", "zz"], (1, 2, 3, 100)):
            self.assertEqual(self.names(after, limit), [name for name in names if name > after][:limit], (after, limit))

    def test_both_forms_are_one(self) -> None:
        self.keep(f"a/{once('b/c')}")
        self.keep(f"a/{twice('b/c')}")
        self.keep("a/b%25252Fc")
        self.assertEqual(self.names(), ["a/b/c"])

    def test_without_a_tag(self) -> None:
        """A directory alone is no repository, and neither is what an aborted push left."""
        self.keep("team/pushed", "_index_images", "taglatest_json", "json", "_private")
        self.keep("team/nothing", "tag_/latest", "tag_")
        self.assertEqual(self.names(), [])

    def test_names_that_v2_does_not_allow(self) -> None:
        """They are left out, and the log says so once."""
        for directory in ("Team/app", "team/App", "team/_x", "team/a%2Bb", "team/%2E%2E", "team/a%2F%2Fb", "team/a b",
                          "team/%61qq", "team/" + "x" * 251, "_ns/x"):
            self.keep(directory)
        self.keep("team/app")
        self.assertEqual(self.names(), ["team/app"])
        self.assertEqual(self.names(), ["team/app"])
        self.assertEqual(len([line for line in self.logged if "is not served" in line]), 10, self.logged)

    def test_bare_is_library(self) -> None:
        """They were one, and what v2 calls ``library/x`` is another."""
        self.keep("library/x")
        self.assertEqual(self.tags("x"), ["latest"])
        self.assertEqual(self.tags("library/x"), [])
        self.assertFalse(self.now(self.old.knows(Repository("library/x"))))
        self.fails(self.old.put_tag(Repository("library/x"), LATEST, IMAGE), NameInvalid)

    @settings(deadline=None)
    @given(strategies.sets(strategies.from_regex(r"[a-b]([.-]?[a-b0])?(/[a-b]([.-]?[a-b0])?){0,3}", fullmatch=True)),
           strategies.text("ab0-./"), strategies.integers(1, 4), strategies.booleans())
    def test_any_names(self, names: set[str], after: str, limit: int, is_late: bool) -> None:
        storage = MemoryStorage(self.clock)
        quoted = twice if is_late else once
        for name in names:
            namespace, _, rest = name.partition("/")
            directory = f"{namespace}/{quoted(rest)}" if rest else f"library/{namespace}"
            self.successResultOf(storage.put(f"repositories/{directory}/tag_x", b""))
        old = OldStore(storage)
        found = [str(each) for each in self.now(old.repositories(after, limit))]
        self.assertEqual(found, sorted(name for name in names if name > after)[:limit])
        for name in names:
            self.assertEqual(self.now(old.tags(Repository(name), "", 5)), ["x"])


class CostTests(OldCase):
    def setUp(self) -> None:
        super().setUp()
        self.listed: list[str] = []
        listing = self.storage.list

        def noted(prefix: str, after: str = "", limit: int = 1000) -> object:
            self.listed.append(prefix)
            return listing(prefix, after, limit)

        self.patch(self.storage, "list", noted)

    def test_tags_of_what_is_not_old(self) -> None:
        """One look at the one place where it would be; in a name of three parts one at the namespace besides, once."""
        self.tags("team/app")
        self.assertEqual(self.listed, ["repositories/team/app"])
        self.listed.clear()
        for _ in range(3):
            self.tags("team/app/web")
        self.assertEqual(self.listed, ["repositories/team", *[f"repositories/team/{twice('app/web')}"] * 3])

    def noted(self, call: Callable[[str], Any], asked: list[str]) -> Callable[[str], Any]:
        def ask(key: str) -> Any:
            asked.append(key)
            return call(key)

        return ask

    def test_tag_that_is_not_old(self) -> None:
        """One that has a link is found without looking at what is old."""
        self.push(self.image(b"layer"))
        asked: list[str] = []
        for name in ("get", "stat"):
            self.patch(self.storage, name, self.noted(getattr(self.storage, name), asked))
        self.listed.clear()
        self.now(self.registry.manifests.get(REPOSITORY, LATEST))
        self.assertEqual([key for key in [*asked, *self.listed] if not key.startswith("docker/")], [])

    def test_catalogue_of_what_is_not_old(self) -> None:
        self.names()
        self.assertEqual(self.listed, ["repositories/library", "repositories"])

    def test_pages(self) -> None:
        """A page looks into what it lists, and into no namespace before it."""
        for namespace, name in product("abc", "xyz"):
            self.keep(f"{namespace}/{name}")
        self.names("b/x", 2)
        self.assertEqual(self.listed, ["repositories/library", "repositories", "repositories/b", "repositories/b/y",
                                       "repositories/b/z"])

    def test_pushing_writes_nothing_old(self) -> None:
        deleted: list[str] = []
        self.patch(self.storage, "delete", deleted.append)
        self.fails(self.old.remove_tag(Repository("team/app"), LATEST), NotFound)
        self.assertEqual((self.listed, deleted), ([], []))


class TagsTests(OldCase):
    def test_files_that_are_tags(self) -> None:
        self.keep("team/app", "tag_latest", "tag__json", "taglatest_json", "tag_latest_json", "json", "_index_images",
                  "_private", "tagABC_json", "tag_a%2Bb", "tag_-x", "tag_" + "l" * 129)
        self.assertEqual(self.tags("team/app"), ["_json", "latest", "latest_json"])
        self.assertEqual([self.tags("team/app", after, 1) for after in ("", "_json", "latest", "latest_json")],
                         [["_json"], ["latest"], ["latest_json"], []])

    def test_metadata_that_looks_like_a_tag(self) -> None:
        """That of ``_x`` is called as a tag ``x_json`` is: what is in it tells, and neither writes over the other."""
        name = Repository("team/app")
        self.keep("team/app", "tag_y_json", content='{"arch": "old"}')
        self.keep("team/app", "tag_x_json", "tag__x", "tag__y")
        self.assertEqual(self.tags("team/app"), ["_x", "_y", "x_json"])
        self.assertEqual(self.now(self.old.metadata(name, Tag("_y"))), {"arch": "old"})
        self.assertIsNone(self.now(self.old.metadata(name, Tag("_x"))))
        self.now(self.old.put_metadata(name, Tag("_x"), {"arch": "new"}))
        self.now(self.old.remove_tag(name, Tag("_x")))
        self.now(self.old.remove_tag(name, Tag("_y")))
        self.assertEqual(list(self.storage.objects), ["repositories/team/app/tag_x_json"])

    def test_pages_with_odd_names_between(self) -> None:
        self.keep("team/app", *(f"tag_{number:02}{sign}" for number in range(9) for sign in ("", "%20")))
        self.assertEqual(self.tags("team/app", "", 5), ["00", "01", "02", "03", "04"])
        self.assertEqual(self.tags("team/app", "04", 100), ["05", "06", "07", "08"])

    def test_odd_names(self) -> None:
        """From 0.8.1 on they were quoted."""
        self.keep("team/app", "tag_a%2Bb", "tag_c+d", "tag_-x", "tag_ok", "tag_%07", content=f"{IMAGE}\n")
        odd = self.now(self.old.odd_tags(Repository("team/app")))
        self.assertEqual(odd, {"a+b": IMAGE, "c+d": IMAGE, "-x": IMAGE})

    def test_content_is_stripped(self) -> None:
        self.keep("team/app", content=f" {IMAGE}\r\n")
        self.assertEqual(self.now(self.old.tag(Repository("team/app"), LATEST)), IMAGE)

    def test_unreadable(self) -> None:
        """It is no tag, and does not keep the others from being listed."""
        self.keep("team/app", "tag_good", "tag_bad")
        reading = self.storage.get

        def get(key: str) -> Deferred[bytes]:
            return fail(Damaged(key)) if key.endswith("tag_bad") else reading(key)

        self.patch(self.storage, "get", get)
        name = Repository("team/app")
        self.assertEqual(self.now(self.registry.image_tags.all(name)), {"good": ImageId(IMAGE)})
        self.fails(self.registry.image_tags.get(name, Tag("bad")), TagUnknown)
        self.assertIn("team/app:bad is unreadable: push it again", "\n".join(self.logged))

    def test_both_forms(self) -> None:
        """They are read as one; what the newer version wrote counts, and nothing comes back when that is deleted."""
        name = Repository("a/b/c")
        self.keep(f"a/{once('b/c')}", "tag_latest", "tag_old", content=ELSEWHERE)
        self.keep(f"a/{twice('b/c')}", "tag_latest", "tag_new")
        self.assertEqual(self.tags("a/b/c"), ["latest", "new", "old"])
        self.assertEqual(self.tags("a/b/c", "latest", 1), ["new"])
        self.assertEqual(self.now(self.old.tag(name, LATEST)), IMAGE)
        self.assertEqual(self.now(self.old.tag(name, Tag("old"))), ELSEWHERE)
        self.now(self.old.remove_tag(name, LATEST))
        self.fails(self.old.tag(name, LATEST), NotFound)
        self.now(self.old.remove_repository(name))
        self.assertFalse(self.now(self.old.knows(name)))

    def test_writing_goes_where_it_was_found(self) -> None:
        name = Repository("a/b/c")
        self.keep(f"a/{once('b/c')}")
        self.now(self.old.put_tag(name, Tag("new"), ELSEWHERE))
        self.now(self.old.put_metadata(name, Tag("new"), {"arch": "amd64"}))
        self.now(self.old.put_images_list(name, [{"id": IMAGE}]))
        self.now(self.old.set_private(name, True))
        self.assertEqual({each.rpartition("/")[0] for each in self.storage.objects}, {f"repositories/a/{once('b/c')}"})
        self.assertEqual(self.tags("a/b/c"), ["latest", "new"])
        self.now(self.old.set_private(name, False))
        self.assertFalse(self.now(self.old.is_private(name)))

    def test_new_is_quoted_as_the_last_version_did(self) -> None:
        self.now(self.old.put_tag(Repository("a/b/c"), LATEST, IMAGE))
        self.now(self.old.put_tag(Repository("x"), LATEST, IMAGE))
        self.assertEqual(sorted(self.storage.objects),
                         ["repositories/a/b%252Fc/tag_latest", "repositories/library/x/tag_latest"])


class ImagesTests(OldCase):
    def test_ids_of_any_form(self) -> None:
        """They are read; nothing that leads elsewhere, or to what is ours, is an id."""
        for text in ("a" * 64, "a" * 16, "My-image_2.0"):
            self.keep("team/app", content=text)
            self.assertEqual(self.now(self.registry.image_tags.get(Repository("team/app"), LATEST)), ImageId(text))
        for text in ("", ".", "..", "../x", "a/b", "_uploads", "_probe", ".hidden", "a b", "\u00e9", "x" * 129, "a\0b"):
            self.keep("team/app", content=text)
            self.fails(self.registry.image_tags.get(Repository("team/app"), LATEST), TagUnknown)

    def test_odd_tags_are_read(self) -> None:
        self.keep("team/app", "tag_a%2Bb", "tag_ok")
        tags = self.now(self.registry.image_tags.all(Repository("team/app")))
        self.assertEqual(tags, {"a+b": ImageId(IMAGE), "ok": ImageId(IMAGE)})
        self.assertEqual(self.now(self.registry.tags.page(Repository("team/app"), "", 10)), ["ok"])


class FilesTests(OldCase):
    name = Repository("team/app")

    def test_images_list(self) -> None:
        for content, expected in (
            (f'[{{"id": "{IMAGE}", "Tag": "x"}}, {{"id": 5}}, 7, null, {{}}]', [{"id": IMAGE, "Tag": "x"}]),
            ("{}", None), ("[", None), ("", None), ("[" * 100_000, None),
        ):
            self.keep("team/app", "_index_images", content=content)
            self.assertEqual(self.now(self.old.images_list(self.name)), expected)

    def test_metadata(self) -> None:
        """0.6.3 to 0.6.5 kept that of ``latest`` as ``json``."""
        self.keep("team/app", "json", content='{"arch": "old"}')
        self.assertEqual(self.now(self.old.metadata(self.name, LATEST)), {"arch": "old"})
        self.assertIsNone(self.now(self.old.metadata(self.name, Tag("x"))))
        self.keep("team/app", "taglatest_json", content='{"arch": "new"}')
        self.assertEqual(self.now(self.old.metadata(self.name, LATEST)), {"arch": "new"})

    def test_metadata_goes_with_its_tag(self) -> None:
        self.keep("team/app", "tag_latest", "taglatest_json", "json", "_index_images", content="{}")
        self.now(self.old.remove_tag(self.name, LATEST))
        self.assertEqual(list(self.storage.objects), ["repositories/team/app/_index_images"])

    def test_knows(self) -> None:
        self.assertFalse(self.now(self.old.knows(self.name)))
        self.keep("team/app", "below/file")
        self.assertFalse(self.now(self.old.knows(self.name)))
        self.fails(self.registry.image_tags.all(self.name), RepositoryUnknown)
        self.keep("team/app", "_index_images")
        self.assertEqual(self.now(self.registry.image_tags.all(self.name)), {})
