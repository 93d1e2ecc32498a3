"""The ways in which a blob gets into a container, call for call, and what becomes of its segments."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.deferreds import together
from docker_registry.errors import NotFound, StorageError, StorageFailed
from docker_registry.storage import layout
from docker_registry.storage.flows import Body, Flow
from docker_registry.storage.glance.storage import GlanceStorage
from docker_registry.storage.interface import Leftover
from docker_registry.storage.objects.budget import Budget
from docker_registry.storage.objects.filling import Filling
from docker_registry.storage.swift.client import Client
from docker_registry.storage.swift.container import Container, Segment
from docker_registry.storage.swift.groups import group_in
from docker_registry.test.glance_case import shelf_of
from docker_registry.test.registry_case import Direct
from docker_registry.test.storage_contract import content
from docker_registry.test.swift_case import MIB, SEGMENT, SwiftFaultCase, reactor

FIVE = content(5 * MIB)
LATER = 1e12
"""Everything is older."""


def pieces(whole: bytes, step: int = MIB) -> list[bytes]:
    return [whole[at : at + step] for at in range(0, len(whole), step)]


class SwiftWritingCase(SwiftFaultCase):
    async def write(self, writer: Any, whole: bytes) -> None:
        digester = hashlib.sha256()
        for piece in pieces(whole):
            await writer.write([piece[:1000], piece[1000:]], [digester])
        self.assertEqual(digester.digest(), hashlib.sha256(whole).digest())

    async def direct(self, key: str, whole: bytes, storage: Any = None) -> None:
        writer = await (storage or self.storage).create_direct("u/data", key, len(whole))
        await self.write(writer, whole)
        await writer.commit(key)
        await (storage or self.storage).large.tidied()

    async def session(self, key: str, whole: bytes, storage: Any = None) -> None:
        writer = await (storage or self.storage).create("u/data")
        await self.write(writer, whole)
        await writer.commit(key)

    def left(self) -> list[str]:
        """The names of all objects below the prefix."""
        return self.store.names(self.settings.prefix)

    def segments(self) -> list[str]:
        return [name for name in self.left() if name.startswith(".segments/")]

    async def nothing_is_left(self) -> None:
        """But what claims say of objects that are there."""
        self.assertEqual(self.segments(), [])
        self.assertEqual(await self.storage.leftovers(LATER), [])
        self.assertEqual([name for name in self.left() if name.startswith(".unfinished/")], [])
        self.assertEqual(self.storage.budget.left, self.settings.memory)


class ClaimTests(SwiftFaultCase):
    async def test_claims(self) -> None:
        await self.claimed()

    async def test_two_daemons_with_glance(self) -> None:
        """That start at once beside an empty container: one says which images are theirs."""
        for delay in (0.5, 1):                  # so that both have seen that it is empty
            self.proxy.add(method="PUT", target=layout.glance_store(), times=1, delay=delay)
        self.settings = replace(self.settings, check=False)
        login = {"OS_AUTH_URL": "http://127.0.0.1:9/v3", **{f"OS_{name}": "a" for name in ("USERNAME", "PASSWORD")}}
        shelves = []
        for _ in range(2):
            shelf, close = shelf_of({**login, "OS_PROJECT_NAME": "a"}, reactor, self.runner)
            shelves.append((shelf, GlanceStorage(shelf, self.make(), self.runner, reactor, close, check=False)))
        await together(*(storage.start() for _, storage in shelves))
        for _, storage in shelves:
            self.addCleanup(self.close, storage)
        self.assertEqual(len({shelf.store for shelf, _ in shelves}), 1)


class WritingTests(SwiftWritingCase):
    async def test_small(self) -> None:
        for begin in (self.direct, self.session):
            await begin("b", FIVE[:100])
            self.assertIn("PUT b", self.calls())
            self.assertEqual(await self.content("b"), FIVE[:100])
            await self.storage.delete("b")
            await self.nothing_is_left()
            self.calls()

    async def test_direct_of_one_segment(self) -> None:
        """Exactly: it is an ordinary object."""
        await self.direct("b", FIVE[:SEGMENT])
        self.assertEqual(self.calls(), ["PUT b"])
        self.assertEqual((await self.storage.stat("b")).size, SEGMENT)

    async def test_direct_and_large(self) -> None:
        """Each byte is sent once, whether the length is known or not; the list comes last, in one step."""
        for length in (len(FIVE), None):
            writer = await self.storage.create_direct("u/data", "b", length)
            await self.write(writer, FIVE)
            await self.fails(self.storage.get("b"), NotFound)
            self.assertEqual(await writer.sync(), 0)
            self.calls()
            await writer.commit("b")
            calls = self.calls()
            self.assertEqual(calls[-1:], ["PUT b multipart-manifest heartbeat"])
            await self.storage.large.tidied()
            self.assertEqual(self.calls(), ["DELETE .unfinished/GROUP"])
            self.assertEqual(len(self.segments()), 3)
            self.assertEqual(await self.content("b"), FIVE)
            await self.storage.delete("b")
            await self.nothing_is_left()

    async def test_session(self) -> None:
        """Costs the same: what was sent stays where it is."""
        writer = await self.storage.create("u/data")
        await self.write(writer, FIVE)
        await writer.commit("b")
        calls = self.calls()
        self.assertEqual(calls[-2:], ["PUT b multipart-manifest heartbeat", "DELETE u/data"])
        self.assertEqual(sorted(calls[:-2]), [
            "PUT .segments/GROUP/000000", "PUT .segments/GROUP/000001", "PUT .segments/GROUP/rest",
            "PUT .unfinished/GROUP", "PUT .unfinished/GROUP.claim", "PUT u/data",
        ])
        self.assertEqual(await self.content("b"), FIVE)
        self.assertEqual(await self.storage.list("u"), [])
        self.assertEqual(await self.storage.leftovers(LATER), [])
        self.assertEqual(self.storage.budget.left, self.settings.memory)
        await self.storage.delete("b")
        await self.nothing_is_left()

    async def test_session_that_another_one_ends(self) -> None:
        """Who has no segment of his own in it notes none; who has notes and claims at the same time."""
        for size, own in ((2 * SEGMENT, 0), (2 * SEGMENT + 1, 1)):
            writer = await self.storage.create("u/data")
            await self.write(writer, FIVE[:size])
            await writer.sync()
            await writer.close()
            writer = await self.storage.resume("u/data", size)
            self.calls()
            await writer.commit("b")
            calls = self.calls()
            self.assertEqual(calls[-2:], ["PUT b multipart-manifest heartbeat", "DELETE u/data"])
            self.assertEqual(sorted(calls[: -2 - own]), sorted(
                ["PUT .unfinished/GROUP.claim"] + own * ["PUT .unfinished/GROUP", "PUT .unfinished/GROUP.claim"]
            ))
            self.assertEqual(calls[-2 - own : -2], own * ["PUT .segments/GROUP/rest"])
            self.assertEqual(await self.content("b"), FIVE[:size])
            self.assertEqual(await self.storage.leftovers(LATER), [])
            await self.storage.delete("b")
            await self.nothing_is_left()

    async def test_note_that_cannot_be_removed(self) -> None:
        """The blob is there all the same; the purge sees that it has its segments."""
        rule = self.proxy.add(method="DELETE", target="unfinished", status=409)
        await self.direct("b", FIVE)
        self.assertGreater(rule.met, 0)
        rule.times = 0
        self.assertEqual([name.partition("/")[0] for name in self.left() if not name.startswith(".seg")],
                         [".unfinished", "b"])
        self.assertEqual(await self.storage.leftovers(LATER), [])
        self.assertEqual(await self.content("b"), FIVE)
        await self.storage.delete("b")
        await self.nothing_is_left()

    async def test_note_that_is_taken_away_late(self) -> None:
        """Whoever deletes the blob meanwhile writes his own afterwards."""
        self.proxy.add(method="DELETE", target="unfinished", times=1, delay=0.3)
        writer = await self.storage.create_direct("u/data", "b", len(FIVE))
        await self.write(writer, FIVE)
        await writer.commit("b")
        self.calls()
        answered: list[str] = []
        self.storage.large.tidied().addCallback(lambda _: answered.extend(self.calls()))
        await self.storage.delete("b")
        self.assertIn("DELETE .unfinished/GROUP", answered)
        self.assertEqual([call for call in answered if call.startswith("PUT")], [])
        self.assertEqual(self.calls()[0], "PUT .unfinished/GROUP")
        await self.nothing_is_left()

    async def test_note_that_nobody_waits_for(self) -> None:
        """Whoever wrote is told before it goes; a store that is closed meanwhile leaves it to the purge."""
        rule = self.proxy.add(method="DELETE", target="unfinished", times=1, hang=True)
        storage = self.make()
        writer = await storage.create_direct("u/data", "b", len(FIVE))
        await self.write(writer, FIVE)
        await writer.commit("b")
        self.assertEqual(await self.content("b"), FIVE)
        while not rule.met:
            await deferLater(reactor, 0.01)
        await storage.close()
        await storage.large.tidied()
        self.assertEqual(await self.storage.leftovers(LATER), [])
        await self.storage.delete("b")
        await self.nothing_is_left()

    async def test_given_up(self) -> None:
        for end in ("abandon", "close"):
            writer = await self.storage.create_direct("u/data", "b", len(FIVE))
            await self.write(writer, FIVE)
            await getattr(writer, end)()
            await self.nothing_is_left()
        writer = await self.storage.create("u/data")
        await self.write(writer, FIVE)
        await writer.sync()
        await writer.abandon()
        await self.nothing_is_left()
        self.assertEqual(self.left(), [])

    async def test_three_at_once(self) -> None:
        """Of one key: the last one saw the first, and never the second, whose segments are found by its note."""
        other = self.make()
        one, two, three = [
            await each.create_direct("u/data", "b", len(FIVE)) for each in (self.storage, self.storage, other)
        ]
        for each in (one, two, three):
            await self.write(each, FIVE)
        doom = other.large.groups.doom

        async def doom_late(segments: Iterable[str], key: str) -> None:
            await doom(segments, key)
            await two.commit("b")

        other.large.groups.doom = doom_late         # type: ignore[method-assign]
        await one.commit("b")
        await three.commit("b")
        [leftover] = await self.storage.leftovers(LATER)
        await self.storage.remove_leftover(leftover)
        self.assertEqual(await self.content("b"), FIVE)
        await self.storage.delete("b")
        await self.nothing_is_left()

    async def test_note_is_listed_late(self) -> None:
        """It is gone, as what it was of is an object: nothing of that is left over."""
        await self.direct("b", FIVE)
        await self.storage.large.tidied()
        [group] = {group_in(each) for each in self.segments()}

        async def unfinished() -> dict[str, float]:
            return {group: 0.0}

        self.storage.large.groups.unfinished = unfinished   # type: ignore[method-assign]
        self.assertEqual(await self.storage.leftovers(LATER), [])
        await self.storage.remove_leftover(Leftover("b", group, 0.0))
        self.assertEqual(await self.content("b"), FIVE)

    async def test_session_is_deleted_as_a_tree(self) -> None:
        """As the purge does, in another process."""
        writer = await self.storage.create("u/data")
        await self.write(writer, FIVE)
        await writer.sync()
        await writer.close()
        self.assertEqual(len(self.segments()), 3)
        await self.make().delete_tree("u")
        self.assertEqual(self.segments(), [])
        await self.nothing_is_left()

    async def test_session_goes_on_elsewhere(self) -> None:
        writer = await self.storage.create("u/data")
        await self.write(writer, FIVE[: 3 * MIB])
        self.assertEqual(await writer.sync(), 3 * MIB)
        await writer.write([FIVE[3 * MIB :], b"more"])
        await writer._parts.settled()               # type: ignore[attr-defined]
        await writer.close()
        other = self.make()
        stat = await other.stat("u/data")
        self.assertEqual((stat.size, stat.mark), (3 * MIB, writer.mark))
        self.assertEqual(await self.content("u/data", other), FIVE[: 3 * MIB])
        again = await other.resume("u/data", 3 * MIB)
        await self.write(again, FIVE[3 * MIB :])
        await again.commit("b")
        self.assertEqual(await self.content("b"), FIVE)
        # The first writer had sent one more, which nobody heard of.
        [leftover] = await self.storage.leftovers(LATER)
        self.assertEqual(leftover.key, "b")
        await self.storage.remove_leftover(leftover)
        self.assertEqual(await self.content("b"), FIVE)
        await self.storage.delete("b")
        await self.nothing_is_left()

    async def test_session_is_cut_anywhere(self) -> None:
        for offset in (0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 2 * SEGMENT + 1):
            writer = await self.storage.create("u/data")
            await self.write(writer, FIVE)
            await writer.sync()
            await writer.close()
            again = await self.storage.resume("u/data", offset)
            await again.write([b"end"])
            await again.commit("b")
            self.assertEqual(await self.content("b"), FIVE[:offset] + b"end", offset)
        for leftover in await self.storage.leftovers(LATER):
            await self.storage.remove_leftover(leftover)
        self.assertEqual(await self.content("b"), FIVE[:offset] + b"end")
        await self.storage.delete("b")
        await self.nothing_is_left()

    async def test_more_segments_than_a_list_has(self) -> None:
        """They are listed in groups."""
        self.takes(3)
        whole = content(17 * MIB)
        for begin, lists in ((self.direct, 2), (self.session, 2)):
            await begin("b", whole)
            self.assertEqual((await self.storage.stat("b")).size, len(whole))
            self.assertEqual(hashlib.sha256(await self.content("b")).digest(), hashlib.sha256(whole).digest())
            self.assertEqual(len([name for name in self.segments() if "/list-" in name]), lists)
            await self.storage.delete("b")
            await self.nothing_is_left()

    async def test_larger_where_there_is_memory(self) -> None:
        whole = content(21 * MIB)
        for begin, memory, sizes in (
            (self.direct, 512, [4, 4, 4, 4, 4, 1]), (self.direct, 48, [4, 4, 4, 4, 4, 1]),
            (self.direct, 12, [2] * 10 + [1]),
            (self.session, 512, [2, 2, 2, 2, 8, 5]), (self.session, 32, [2] * 10 + [1]),
        ):
            storage = self.make(settings=replace(self.settings, memory=memory * MIB))
            await begin("b", whole, storage)
            segments = await storage.container.segments(f"{self.settings.prefix}b")
            self.assertEqual([each.size for each in segments], [size * MIB for size in sizes])
            self.assertEqual(hashlib.sha256(await self.content("b")).digest(), hashlib.sha256(whole).digest())
        await self.storage.delete("b")
        await self.nothing_is_left()

    async def test_what_is_left_of_a_session(self) -> None:
        """Is a segment of its own, so that it is not sent again, unless it is little or there is no other."""
        whole = content(25 * MIB)
        for end, sizes in (
            (SEGMENT // 2, []), (SEGMENT, []), (SEGMENT + SEGMENT // 4 - 1, [2.0]),
            (SEGMENT + SEGMENT // 4, [2.0, 0.5]), (2 * SEGMENT, [2.0, 2.0]), (12 * MIB + 1, [2.0] * 6),
        ):
            writer = await self.storage.create("u/data")
            await self.write(writer, whole[:end])
            self.assertEqual(await writer.sync(), end)
            await writer.close()
            self.assertEqual(await self.sizes(), sizes)
            again = await self.storage.resume("u/data", end)
            await self.write(again, whole[end:])
            self.assertEqual(await again.sync(), len(whole))
            self.assertIn(8.0, await self.sizes())
            await again.commit("b")
            await again.close()
            self.assertEqual(hashlib.sha256(await self.content("b")).digest(), hashlib.sha256(whole).digest())
            await self.storage.delete("b")
            await self.nothing_is_left()

    async def sizes(self) -> list[float]:
        """Of the segments of a session, in MiB."""
        session, _ = await self.storage._session(f"{self.settings.prefix}u/data")
        return [piece.size / MIB for piece in session.pieces()]

    async def test_with_segments_of_another_size(self) -> None:
        """The option was changed between two starts."""
        writer = await self.storage.create("u/data")
        await self.write(writer, FIVE[: 3 * MIB])
        await writer.sync()
        await writer.close()
        other = self.make(settings=replace(self.settings, segment_size=MIB))
        again = await other.resume("u/data", 3 * MIB)
        await self.write(again, FIVE[3 * MIB :])
        await again.commit("b")
        self.assertEqual(await self.content("b"), FIVE)


class EarlyAnswerTests(SynchronousTestCase):
    """Of a store that says success before it has all."""

    async def ask(self, method: str, key: str, read: Any, *, body: Body, **options: Any) -> str:
        if not isinstance(body, Flow):
            self.stored = b"".join(body)
        return ""

    def test_nobody_waits_for_it_to_take_more(self) -> None:
        budget = Budget(MIB, Clock(), "memory")
        self.addCleanup(budget.close)
        buffer = self.successResultOf(Deferred.fromCoroutine(budget.take(100)))
        part = Filling(buffer)
        sending = Deferred.fromCoroutine(Container(cast(Client, self), Direct()).put_filling("k", part))
        for _ in range(2):
            buffer.add(memoryview(b"a" * 50))
            part.came()
        self.successResultOf(sending)
        self.assertEqual(self.stored, b"a" * 100)
        buffer.drop()


class OverwritingTests(SwiftWritingCase):
    """Segments go after the list that led to them, and those of others never."""

    async def test_large_by_large(self) -> None:
        await self.direct("other", FIVE)
        await self.direct("b", FIVE)
        before = set(self.segments())
        self.calls()
        await self.direct("b", FIVE[::-1])
        calls = self.calls()
        listed = max(at for at, call in enumerate(calls) if call == "PUT b multipart-manifest heartbeat")
        gone = [at for at, call in enumerate(calls) if call.startswith("DELETE .segments/")]
        self.assertEqual(len(gone), 3)
        self.assertGreater(min(gone), listed)
        # Those of the new one, and those that go: a crash after the list leaves a note of both.
        self.assertEqual(calls[:listed].count("PUT .unfinished/GROUP"), 2)
        self.assertEqual(await self.content("b"), FIVE[::-1])
        self.assertEqual(await self.content("other"), FIVE)
        self.assertEqual(len(before & set(self.segments())), 3)
        self.assertEqual(await self.storage.leftovers(LATER), [])

    async def test_large_by_small_and_back(self) -> None:
        await self.direct("b", FIVE)
        await self.session("b", b"small")
        self.assertEqual((await self.content("b"), self.segments()), (b"small", []))
        await self.session("b", FIVE)
        self.assertEqual((await self.content("b"), len(self.segments())), (FIVE, 3))

    async def test_the_answer_is_lost(self) -> None:
        """The list is there, and nobody heard: it is ours."""
        for begin in (self.direct, self.session):
            rule = self.proxy.add(method="PUT", target="/b[?]", times=1, lose=True)
            await begin("b", FIVE)
            self.assertEqual(rule.met, 1)
            self.assertEqual(await self.content("b"), FIVE)
            await self.storage.delete("b")
            await self.nothing_is_left()

    async def test_deleted_before_its_segments(self) -> None:
        await self.direct("b", FIVE)
        self.calls()
        await self.storage.delete("b")
        calls = self.calls()
        self.assertLess(calls.index("PUT .unfinished/GROUP"), calls.index("DELETE b"))
        self.assertLess(calls.index("DELETE b"), calls.index("DELETE .segments/GROUP/000000"))

    async def test_two_daemons_end_one_session(self) -> None:
        """As one blob: both may be told that it is there. As two: one of them is."""
        writer = await self.storage.create("u/data")
        await self.write(writer, FIVE[: 4 * MIB + 1])
        await writer.sync()
        await writer.close()
        one = await self.storage.resume("u/data", 4 * MIB + 1)
        two = await self.make().resume("u/data", 4 * MIB + 1)
        three = await self.make().resume("u/data", 4 * MIB + 1)
        await together(one.write([b"end"]), two.write([b"end"]), three.write([b"another"]))
        await one.commit("b")
        await two.commit("b")
        await self.fails(three.commit("c"), StorageFailed)
        await three.abandon()
        self.assertEqual(await self.content("b"), FIVE[: 4 * MIB + 1] + b"end")
        for leftover in await self.storage.leftovers(LATER):
            await self.storage.remove_leftover(leftover)
        self.assertEqual(await self.content("b"), FIVE[: 4 * MIB + 1] + b"end")

    async def test_given_up_by_one_and_ended_by_another(self) -> None:
        for first in ("commit", "abandon"):
            writer = await self.storage.create("u/data")
            await self.write(writer, FIVE)
            await writer.sync()
            await writer.close()
            one, two = await self.storage.resume("u/data", len(FIVE)), await self.make().resume("u/data", len(FIVE))
            if first == "commit":
                await one.commit("b")
                await two.abandon()
                self.assertEqual(await self.content("b"), FIVE)
                await self.storage.delete("b")
            else:
                await two.abandon()
                await self.fails(one.commit("b"), StorageError)
                await self.fails(self.storage.stat("b"), NotFound)
                await one.abandon()

    async def test_segments_of_others_stay(self) -> None:
        """A list that somebody made with other tools."""
        prefix = self.settings.prefix
        for number in range(2):
            await self.storage.container.put(f"{prefix}foreign/{number}", [b"x" * 10])
        segments = [Segment(self.storage.large.path(f"{prefix}foreign/{number}"), 10) for number in range(2)]
        await self.storage.container.put_large(f"{prefix}b", segments, "")
        self.assertEqual(await self.content("b"), b"x" * 20)
        await self.storage.delete("b")
        self.assertEqual(self.left(), ["foreign/0", "foreign/1"])

    async def test_quarantine(self) -> None:
        """With its segments, which are no leftovers."""
        await self.direct("b", FIVE)
        await self.storage.quarantine("b")
        await self.fails(self.storage.stat("b"), NotFound)
        self.assertEqual(await self.storage.leftovers(LATER), [])
        [kept] = [name for name in self.left() if name.startswith(".quarantine/")]
        _, _, found = self.store.ask("GET", f"/{self.store.name}/{self.settings.prefix}{kept.replace('%', '%25')}")
        self.assertEqual(found, FIVE)

    async def test_quarantine_of_what_lost_a_segment(self) -> None:
        await self.direct("b", FIVE)
        first, *others = self.segments()
        self.store.ask("DELETE", f"/{self.store.name}/{self.settings.prefix}{first}")
        await self.storage.quarantine("b")
        await self.fails(self.storage.stat("b"), NotFound)
        [kept] = [name for name in self.left() if name.startswith(".quarantine/")]
        _, _, found = self.store.ask("GET", f"/{self.store.name}/{self.settings.prefix}{kept.replace('%', '%25')}")
        self.assertEqual([line.removeprefix(self.settings.prefix) for line in found.decode().split()],
                         [first, *others])
        self.assertEqual(self.segments(), others)


class TouchTests(SwiftWritingCase):
    async def test_keeps_what_there_is(self) -> None:
        """A POST takes away what it does not say again; an object that loses its segments would lose its bytes."""
        await self.direct("large", FIVE)
        prefix, name = self.settings.prefix, self.store.name
        self.store.ask("PUT", f"/{name}/{prefix}s/1", b"one")
        self.store.ask("PUT", f"/{name}/{prefix}dynamic", b"", X_Object_Manifest=f"{name}/{prefix}s/")
        self.store.ask("PUT", f"/{name}/{prefix}plain", b"plain", X_Object_Meta_Of_Others="Ã©", Content_Type="a/b",
                       Content_Encoding="gzip", X_Delete_At="4000000000")
        for key, whole in (("large", FIVE), ("dynamic", b"one"), ("plain", b"plain")):
            before = await self.storage.stat(key)
            await self.storage.touch(key)
            self.assertGreater((await self.storage.stat(key)).modified, before.modified)
            self.assertEqual(await self.content(key), whole)
        _, headers, _ = self.store.ask("HEAD", f"/{name}/{prefix}plain")
        self.assertEqual((headers["Content-Type"], headers["Content-Encoding"], headers["X-Delete-At"]),
                         ("a/b", "gzip", "4000000000"))
        self.assertEqual(headers["X-Object-Meta-Of-Others"].encode("latin-1").decode(), "é")
        await self.storage.delete("large")
        await self.nothing_is_left()
