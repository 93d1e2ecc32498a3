"""Tags as names of objects: heard of, looked up, and told to the store, whatever that does."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from zope.interface import implementer

from docker_registry.deferreds import deferred
from docker_registry.errors import StoreUnavailable
from docker_registry.names import Repository, Tag
from docker_registry.registry import events, naming
from docker_registry.registry.naming import LONG, PAUSE, TRIES, Naming
from docker_registry.storage import layout
from docker_registry.storage.interface import INames, Named
from docker_registry.test.registry_case import LATEST, OTHER, REPOSITORY
from docker_registry.test.test_images import REPOSITORY as APP
from docker_registry.test.test_images import ImageCase, image_id


@implementer(INames)
class Names:
    """:ivar called: keys by their names.
    :ivar down: how many calls fail.
    :ivar asked: how many calls there were.
    """

    def __init__(self) -> None:
        self.called: dict[str, str] = {}
        self.groups: dict[str, str] = {}
        self.down = self.asked = 0
        self.gate: Deferred[None] | None = None

    @deferred
    async def set_name(self, name: str, group: str, key: str | None) -> None:
        self.asked += 1
        if self.gate is not None:
            await self.gate
        if self.down:
            self.down -= 1
            raise StoreUnavailable("down")
        for each in [each for each, called in self.called.items() if called == key or each == name]:
            del self.called[each]
        if key is not None:
            self.called[name], self.groups[name] = key, group

    @deferred
    async def names(self, group: str) -> list[str]:
        return [name for name in self.called if self.groups[name] == group]

    @deferred
    async def named(self) -> list[Named]:
        return [Named(name, self.groups[name], key) for name, key in self.called.items()]


class NamingTests(ImageCase):
    def setUp(self) -> None:
        super().setUp()
        self.names = Names()
        self.naming = Naming(self.names, self.registry.tags, self.clock)
        self.registry.events.subscribe(self.naming.hear)

    def pushed(self, content: bytes, tag: str, repository: Repository = REPOSITORY) -> str:
        """The key of a manifest."""
        manifest = self.image(content, repository=repository)
        return layout.blob(self.push(manifest, Tag(tag), repository))

    def settle(self) -> None:
        self.clock.advance(0)

    def assertCalled(self, **called: str) -> None:
        self.settle()
        self.assertEqual(self.names.called, {name.replace("_", ":"): key for name, key in called.items()})

    def test_set_moved_deleted(self) -> None:
        one, two = self.pushed(b"1", "a", OTHER), self.pushed(b"2", "b", OTHER)
        self.assertCalled(other_a=one, other_b=two)
        self.assertEqual(self.pushed(b"3", "a", OTHER), three := self.pushed(b"3", "c", OTHER))
        self.assertCalled(other_c=three, other_b=two)
        self.now(self.registry.manifests.untag(OTHER, Tag("b")))
        self.assertCalled(other_c=three)
        self.now(self.registry.manifests.delete(OTHER, self.now(self.registry.tags.linked(OTHER, Tag("c")))))
        self.assertCalled()

    def test_library(self) -> None:
        """It is v1's name for none; what v2 calls so is another repository."""
        self.assertEqual(str(REPOSITORY), "library/busybox")
        self.pushed(b"1", "latest")
        self.settle()
        self.assertEqual(list(self.names.called), ["library/busybox:latest"])

    def test_repository_deleted(self) -> None:
        """All its names go, but for those of what was pushed since."""
        for tag in "abc":
            self.pushed(tag.encode(), tag, OTHER)
        kept = self.pushed(b"kept", "a", Repository("kept"))
        self.assertEqual(len(self.names.called), 0)
        self.settle()
        self.assertEqual(len(self.names.called), 4)
        self.names.down = 1
        self.now(self.registry.manifests.delete_all(OTHER))
        self.settle()
        again = self.pushed(b"again", "b", OTHER)
        self.clock.advance(PAUSE)
        self.assertCalled(kept_a=kept, other_b=again)

    def test_looked_up(self) -> None:
        """What counts is what the tag stands for when it is its turn, and after that."""
        self.names.gate = Deferred()
        self.pushed(b"1", "a", OTHER)
        self.settle()
        two = self.pushed(b"2", "a", OTHER)
        gate, self.names.gate = self.names.gate, None
        gate.callback(None)
        self.assertCalled(other_a=two)

    def test_store_fails(self) -> None:
        """No push notices. It is tried again, later and later, in order; and left out in the end."""
        self.names.down = 3
        one = self.pushed(b"1", "a", OTHER)
        self.settle()
        two = self.pushed(b"2", "b", OTHER)
        for pause in (PAUSE, 2 * PAUSE, 4 * PAUSE):
            self.assertEqual(self.names.called, {})
            self.clock.advance(pause - 1)
            asked = self.names.asked
            self.clock.advance(1)
            self.assertGreater(self.names.asked, asked)
        self.assertCalled(other_a=one, other_b=two)
        self.names.down, self.names.asked = TRIES, 0
        self.pushed(b"3", "a", OTHER)
        three = self.pushed(b"4", "c", OTHER)
        for _ in range(TRIES + 1):
            self.clock.advance(LONG)
        self.assertEqual(self.names.called["other:c"], three)
        self.assertEqual(self.names.called["other:a"], one)

    def test_many(self) -> None:
        self.patch(naming, "MOST", 3)
        self.names.gate = Deferred()
        for number in range(6):
            self.pushed(b"%d" % number, f"t{number}", OTHER)
        self.names.gate.callback(None)
        self.settle()
        self.assertEqual(len(self.names.called), 3)
        self.pushed(b"more", "more", OTHER)
        self.settle()
        self.assertEqual(len(self.names.called), 4)

    def test_long(self) -> None:
        """A name that cannot be one stops nobody."""
        self.pushed(b"1", "t" * 128, Repository("r" * 128))
        self.pushed(b"2", "a", OTHER)
        self.settle()
        self.assertEqual(list(self.names.called), ["other:a"])

    def test_stop(self) -> None:
        """What is being done is waited for, and nothing is begun."""
        self.names.gate = Deferred()
        one = self.pushed(b"1", "a", OTHER)
        self.settle()
        self.pushed(b"2", "b", OTHER)
        stopping = Deferred.fromCoroutine(self.naming.stop())
        self.assertNoResult(stopping)
        self.names.gate.callback(None)
        self.successResultOf(stopping)
        self.pushed(b"3", "c", OTHER)
        self.clock.advance(LONG)
        self.assertEqual(self.names.called, {"other:a": one})

    def test_stop_while_the_store_hangs(self) -> None:
        """It is not waited for long, and that it did not come to its end is no error."""
        self.names.gate = Deferred()
        for number in range(2):
            self.pushed(b"%d" % number, f"t{number}", OTHER)
        self.settle()
        with capturedLogs() as said:
            stopping = Deferred.fromCoroutine(self.naming.stop())
            self.clock.advance(naming.LEAVE - 0.1)
            self.assertNoResult(stopping)
            self.clock.advance(0.1)
            self.successResultOf(stopping)
        self.assertEqual([(each["log_level"].name, each.get("count")) for each in said], [("warn", 2)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_v1(self) -> None:
        """The manifest that the images make has the name, when there is one; of what 0.x left, when it is set."""
        made: list[events.Event] = []

        async def hear(event: events.Event) -> None:
            if isinstance(event, events.ManifestMade):
                made.append(event)

        self.registry.events.subscribe(hear)
        self.push_image("a")
        self.now(self.registry.image_tags.set(APP, LATEST, image_id("a")))
        self.settle()
        expected = {f"{APP}:latest": layout.blob(self.now(self.registry.tags.linked(APP, LATEST)))}
        self.assertEqual(self.names.called, expected)
        (event,) = made
        assert isinstance(event, events.ManifestMade)
        for is_pushed in (False, True):
            self.names.called.clear()
            self.now(self.naming.hear(replace(event, is_pushed=is_pushed)))
            self.settle()
            self.assertEqual(self.names.called, expected if is_pushed else {})
        self.now(self.registry.image_tags.delete(APP, LATEST))
        self.assertCalled()

    def test_v1_before_the_image_is_whole(self) -> None:
        self.put_json("a")
        self.now(self.registry.image_tags.set(APP, LATEST, image_id("a")))
        self.assertCalled()
        self.push_image("a")
        self.settle()
        key = layout.blob(self.now(self.registry.tags.linked(APP, LATEST)))
        self.assertEqual(self.names.called, {f"{APP}:latest": key})
