"""What the registry may rely on, whatever lies below.

A flat key space of byte strings. Keys are ``str``: parts of printable characters, none of them ``.`` or ``..``, joined
by ``/``. What we write is of ``[A-Za-z0-9._-]+``; the rest is for reading what docker-registry 0.x left. Keys come from
`docker_registry.storage.layout` and from nowhere else. Every method returns a `Deferred` and none blocks the reactor.
What can go wrong is a `StorageError`:

- `NotFound`: nothing is stored at the key;
- `Damaged`: what is stored there is not what was committed (its length tells), or it is no object at all;
- `StorageFull`: a full disk or a quota, when writing;
- `StorageFailed`: everything else, the cause chained.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from docker_registry.storage.timing import Observe

SMALL = 16 << 20
"""Bytes that `IStorage.get` reads at most; what is longer is opened."""


_PART = r"(?!\.{1,2}(?:/|\Z))[^/\x00-\x1f\x7f\ud800-\udfff]+"
_KEY = re.compile(rf"{_PART}(?:/{_PART})*")


def is_key(text: str) -> bool:
    """Whether it is made as keys are: what is not never gets to a store, and is not taken from one."""
    return _KEY.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Stat:
    """:ivar size: in bytes; of what was begun and not committed, those that are durable.
    :ivar modified: seconds since the epoch, when it was last written or touched.
    :ivar mark: `IWriter.mark` of what was begun there; empty where no other machine can write.
    """

    size: int
    modified: float
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One name directly below a prefix.

    :ivar name: a single part, without slash.
    :ivar is_prefix: whether more lies below it; otherwise it is an object.
    """

    name: str
    is_prefix: bool


class Digester(Protocol):
    """Something that wants to see the bytes that are written, such as a hash."""

    def update(self, data: bytes, /) -> None: ...


class IReader(Interface):
    """An object opened for reading. What it reads stays the same when the key is overwritten or deleted meanwhile."""

    size: int = Attribute("Length of the whole object in bytes, known before the first byte.")
    modified: float = Attribute("Seconds since the epoch, when the object was last written or touched.")

    def read(count: int) -> Deferred[bytes]:
        """At most ``count`` bytes, from where the last read ended; ``b""`` at the end.

        May fire at once, when the bytes are at hand.

        :raises Damaged: the object ends before ``size`` bytes.
        """

    def close() -> None:
        """Give up what it holds. May be called twice."""


class IFile(Interface):
    """An `IReader` whose bytes lie in a file, for ``sendfile``."""

    def fileno() -> int:
        """An open descriptor, valid until the reader is closed; its own position says nothing."""


class IWriter(Interface):
    """An object being written. Use one method at a time."""

    offset: int = Attribute("Bytes taken so far, durable or not.")
    mark: str = Attribute("Tells what the last `sync` made durable from what another machine did; see `Stat`.")

    def write(parts: Sequence[bytes], digesters: Sequence[Digester] = ()) -> Deferred[None]:
        """Take more bytes, and show each part to each of ``digesters``, off the reactor.

        When it fails nothing is known about the bytes of this call: close, and resume from what was synced.
        """

    def sync() -> Deferred[int]:
        """Make durable what was written; fires with the number of bytes from the beginning that survive a power cut.
        0 if nothing of it can be resumed, see `IDirect`.

        When it fails, the object is lost as a whole: abandon it (C5).
        """

    def commit(key: str) -> Deferred[None]:
        """Publish the bytes at ``key`` by one atomic step, in place of whatever stands there.

        When the Deferred fires they survive a power cut, and the key that the writer was made for is gone.
        """

    def abandon() -> Deferred[None]:
        """Give up, and remove the bytes. Never fails; may be called after any other method."""

    def close() -> Deferred[None]:
        """Give up what the writer holds, and leave the bytes for `IStorage.resume`. May be called twice."""


class ICopying(Interface):
    """A writer that can go easy on the machine, where somebody else is given the same bytes and takes longer."""

    is_spare: bool = Attribute("Whether most likely it is abandoned: the disk is left alone until `IWriter.sync`.")
    in_turn: bool = Attribute("Whether one thing is done after the other: others need the processors more.")


class ITaken(Interface):
    """An `IStorage` that a daemon takes as a whole, and that its other processes join."""

    def keeper() -> int:
        """A descriptor: as long as any process has it open, no other daemon gets the store."""

    def settle(process: int) -> Deferred[None]:
        """Clean up after a process of this daemon that has ended, wherever it was.

        When the Deferred fires, what others built upon what it left is durable.
        """


class ITimesReads(Interface):
    """A store that times by itself what it mostly answers at once: to do so from outside costs twice as much."""

    def time_reads(observe: Observe) -> None:
        """From now on time `IStorage.stat`, `IStorage.get` and `IStorage.open`, under these names."""


class IStorage(Interface):
    """A flat key space of byte strings."""

    def start() -> Deferred[None]:
        """Make it usable; nothing else is called before this has fired.

        :raises StorageError: it cannot be used; the text says what to do.
        """

    def stat(key: str) -> Deferred[Stat]:
        """:raises NotFound: nothing is stored at ``key``.
        :raises Damaged: what is there is not what was committed.
        """

    def get(key: str) -> Deferred[bytes]:
        """Read a small object whole.

        :raises NotFound: nothing is stored at ``key``.
        :raises Damaged: its length is not the committed one, or beyond `SMALL`.
        """

    def put(key: str, content: bytes) -> Deferred[None]:
        """Store a small object so that a reader sees the old bytes or the new, never a part.

        When the Deferred fires the bytes survive a power cut.
        """

    def open(key: str, offset: int = 0) -> Deferred[IReader]:
        """Open an object for reading from ``offset`` on; an offset beyond the end reads nothing.

        :raises NotFound: nothing is stored at ``key``.
        :raises Damaged: its length is not the committed one.
        """

    def create(key: str) -> Deferred[IWriter]:
        """Begin an object of unknown length at ``key``, over whatever was begun there.

        Until it is committed elsewhere, what is written can be resumed at ``key``, and nobody but its writer should
        read it.
        """

    def resume(key: str, offset: int) -> Deferred[IWriter]:
        """Go on with what was begun at ``key``, after its first ``offset`` bytes; what lies beyond is cut off.

        :raises NotFound: nothing was begun there.
        :raises Damaged: fewer than ``offset`` bytes are there.
        """

    def list(prefix: str, after: str = "", limit: int = 1000) -> Deferred[list[Entry]]:
        """The names directly below ``prefix`` (no slash at its end; ``""`` is the top), in byte order.

        :param after: only names beyond this one, which need not exist.
        :param limit: at most so many; there may be more if so many came.

        An absent prefix is an empty one. An entry that is there all the time is never missed.
        """

    def touch(key: str) -> Deferred[None]:
        """Set the time of modification to now. Durable when it suits.

        :raises NotFound: nothing is stored at ``key``.
        """

    def delete(key: str) -> Deferred[None]:
        """Remove one object. Readers that have it open go on. Durable when the Deferred fires.

        :raises NotFound: nothing is stored at ``key``.
        """

    def delete_tree(prefix: str) -> Deferred[None]:
        """Remove everything below ``prefix``, and the object of that name. Nothing there is no error.

        Durable when the Deferred fires. When it fails part of the tree may be gone.
        """

    def quarantine(key: str) -> Deferred[None]:
        """Take what stands at ``key`` out of service, keeping its bytes where an operator finds them.

        :raises NotFound: nothing is stored at ``key``.
        """

    def close() -> Deferred[None]:
        """Release what the storage holds (locks, threads, connections). It is not used afterwards."""


class IDistant(Interface):
    """A store whose content is on another machine: each blob that is opened costs a request."""


class IFlat(Interface):
    """A store in which there is nothing but keys: where a writer has committed, nothing is left of what it wrote to."""

    def discard(key: str) -> Deferred[None]:
        """Remove a small object of ours that is no content. As `IStorage.delete`, but whether it was there is not asked
        first, and not said.
        """


class IClaims(Interface):
    """A store at which several machines may be at work."""

    def claim(key: str, content: bytes) -> Deferred[None]:
        """As `IStorage.put`, unless something is there: then that stays. Of several who do so one is the first; what is
        read afterwards is his.
        """


class IDirect(Interface):
    """A store that saves work when it is told beforehand where an object is to be committed."""

    def create_direct(key: str, final: str, length: int | None) -> Deferred[IWriter]:
        """As `IStorage.create`, of an object that is committed at ``final``, or abandoned.

        What is written may be beyond resuming: then `IWriter.sync` fires with 0.

        :param length: of all of it in bytes, if that is known.
        """


class IRedirects(Interface):
    """A store that clients can read from themselves."""

    def link(key: str) -> Deferred[str]:
        """A URL at which whoever has it may read the object, for a while. Whether it is there is not asked."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """What a writer left that came to nothing, and that costs room though no key leads to it.

    :ivar key: where it was to be committed.
    :ivar id: of the store's.
    :ivar modified: seconds since the epoch, when its last byte came.
    """

    key: str
    id: str
    modified: float


class ILeftovers(Interface):
    """A store in which halves of objects stay when a process ends in the middle of its work."""

    def leftovers(before: float) -> Deferred[list[Leftover]]:
        """Those whose last byte came ``before`` a time, in seconds since the epoch."""

    def remove_leftover(leftover: Leftover) -> Deferred[None]:
        """What has gone meanwhile is no error."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Content that is there, though the store does not know of it any more.

    :ivar key: where it was, as it says itself.
    :ivar id: of the store's.
    :ivar size: in bytes.
    """

    key: str
    id: str
    size: int


class IRecovery(Interface):
    """Finds content again that the store has lost; the store is started."""

    store: str = Attribute("What tells its content from that of others.")

    def stores() -> Deferred[dict[str, int]]:
        """Whose content is where ours is, and how many objects each has."""

    def adopt(store: str) -> Deferred[None]:
        """Let the content of ``store`` be ours from now on."""

    def lost() -> Deferred[list[Lost]]:
        """What is there, and not found at its key. Of one key there may be several."""

    def recover(lost: Lost, seen: Callable[[int], object]) -> Deferred[str]:
        """Read it, and let it be found at its key again if it is what belongs there, and nothing else is found there.

        :param seen: told how many more bytes were read.
        :returns: why it cannot be; empty if it is.
        :raises StoreUnavailable: another try may succeed.
        """


class IRecovers(Interface):
    """A store that may lose where its content is, and not the content."""

    recovery: IRecovery = Attribute("Finds it again.")


class IChores(Interface):
    """A store that has something to do beside requests, in one of the processes that share it."""

    def begin_chores() -> None:
        """Called in that process when it has started."""


@dataclass(frozen=True, slots=True)
class Diverting:
    """What a store that may write elsewhere has come to, as one process knows it.

    :ivar reason: why it writes elsewhere now; empty if it does not.
    :ivar since: seconds since the epoch, when that began; 0 if it does not.
    :ivar diverted: objects that were written elsewhere.
    :ivar moved: objects that were moved back.
    :ivar waiting: objects that are still to be moved back, if this process sees to that; 0 otherwise.
    """

    reason: str
    since: float
    diverted: int
    moved: int
    waiting: int


class IDiverts(Interface):
    """A store that writes elsewhere while it fails, and moves that back when it works again."""

    def diverting() -> Diverting:
        """How things stand."""

    def waiting() -> Deferred[int]:
        """Objects that are to be moved back, counted now; a thousand may be more."""


class IExplores(Interface):
    """A store that has to look through what others left before it knows all that it holds."""

    def explored() -> Deferred[None]:
        """Fires when it knows, however long that takes.

        :raises StorageError: it cannot find out now.
        """


@dataclass(frozen=True, slots=True)
class Named:
    """:ivar group: in which it was named.
    :ivar key: of the object, as that says itself.
    """

    name: str
    group: str
    key: str


class INames(Interface):
    """A store whose objects people see elsewhere, too, each under a name."""

    def set_name(name: str, group: str, key: str | None) -> Deferred[None]:
        """Let the object at ``key`` be called ``name`` there, and none other of ours.

        :param group: by which `names` finds it.
        :param key: ``None`` if nothing is called so any more. The same if nothing is there.
        """

    def names(group: str) -> Deferred[list[str]]:
        """What objects are called that were named in ``group``."""

    def named() -> Deferred[list[Named]]:
        """All objects of ours that have a name."""
