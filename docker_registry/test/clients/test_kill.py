"""kill -9 of the real process at each step of a push, and in the middle of a body: B1-B8 hold after the next start."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from docker_registry.test.clients.contents import Content, Descriptor
from docker_registry.test.clients.daemon import Ours, Process
from docker_registry.test.clients.pushing import OCTETS, Repository, chunks_of, content_range
from docker_registry.test.clients.tools import need
from docker_registry.test.clients.wire import Answer, Wire, digest_of
from docker_registry.test.worker_case import is_running

POINTS = 60
"""Steps of one kind that are tried; of more, some in between are left out, so that the tests stay short."""

ATTEMPTS = 3
"""Runs until a thread comes to a step: others may have made some of the calls before it."""

Step = tuple[str, int]
"""System call, and its number among those of its thread and name."""

CUT = (http.client.HTTPException, OSError)
"""What a client sees of a server that died."""


@dataclass
class Told:
    """What the client knows: nothing else may be expected of the registry after it died.

    :ivar sent: bytes of the open upload that have left the client, ``held`` of them acknowledged.
    :ivar closing: whether the request that ends it has been sent.
    """

    blobs: set[str] = field(default_factory=set)
    session: Answer | None = None
    held: int = 0
    sent: int = 0
    closing: bool = False
    tagged: bool = False
    untagged: bool = False


class Push:
    """A repository whose tag ``1`` is moved from one image to another, and whose tag ``2`` is deleted."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.told = Told()
        self.old, self.new = Content(), Content()
        before = self.old.image("1", layers=[self.old.layer()])
        self.old.tags["2"] = before["digest"]
        self.layer = self.new.blob(os.urandom(300_000), "application/octet-stream")
        self.config = self.new.config()
        self.new.image("1", layers=[self.layer], config=self.config, subject=before)

    def prepare(self) -> None:
        for digest, blob in self.old.blobs.items():
            self.repository.push(digest, blob, "put")
        for tag, digest in self.old.tags.items():
            self.repository.push_manifest(tag, digest, self.old.manifests[digest])

    def run(self) -> None:
        """As docker pushes a layer, as containerd pushes a blob, then the manifest; and a deletion.

        :raises CUT: the registry died.
        """
        repository, told = self.repository, self.told
        told.session = session = repository.begin()
        content = self.new.blobs[self.layer["digest"]]
        for start, chunk in chunks_of(content, 2):
            told.sent = start + len(chunk)
            session = repository.patch(session, start, chunk, content_range(start, chunk))
            told.held = told.sent
        told.closing = True
        repository.put(session, self.layer["digest"]).expect(201)
        told.session = None
        told.blobs.add(self.layer["digest"])
        repository.push(self.config["digest"], self.new.blobs[self.config["digest"]], "put")
        told.blobs.add(self.config["digest"])
        ((digest, manifest),) = self.new.manifests.items()
        repository.push_manifest("1", digest, manifest)
        told.tagged = True
        repository.delete("manifests/2")
        told.untagged = True

    # After the next start

    def check(self) -> None:
        repository = self.repository
        for digest in self.told.blobs:                                      # B1
            repository.check_blob(digest, self.new.blobs[digest])
        for digest in set(self.new.blobs) - self.told.blobs:                # B2
            self._absent_or_whole(f"blobs/{digest}", self.new.blobs[digest])
        ((old, old_manifest),), ((new, new_manifest),) = self.old.manifests.items(), self.new.manifests.items()
        self._check_closed(old, old_manifest, self.old)
        if self._absent_or_whole(f"manifests/{new}", new_manifest) or self.told.tagged:
            self._check_closed(new, new_manifest, self.new)                 # B4
        self._check_tags({old: old_manifest, new: new_manifest}, new)       # B3
        if self.told.session is not None:
            self._check_session(self.told.session)                          # B6
        self._repair()                                                      # B8

    def _absent_or_whole(self, below: str, content: bytes) -> bool:
        answer = self.repository.call("GET", below).expect(200, 404)
        if answer.status == 200 and answer.body != content:
            raise AssertionError(f"other bytes in {answer}")
        return answer.status == 200

    def _check_closed(self, digest: str, manifest: bytes, content: Content) -> None:
        self.repository.check_manifest(digest, digest, manifest)
        for each, blob in content.blobs.items():
            self.repository.check_blob(each, blob)

    def _check_tags(self, manifests: dict[str, bytes], new: str) -> None:
        answer = self.repository.call("GET", "manifests/1").expect(200)
        digest = answer["Docker-Content-Digest"]
        if answer.body != manifests[digest] or (self.told.tagged and digest != new):
            raise AssertionError(f"another manifest in {answer}")
        self.repository.check_manifest("1", digest, manifests[digest])
        listed = self.repository.tags()
        if self.told.untagged or listed == ["1"]:
            self.repository.check_no_manifest("2")
        else:
            ((old, manifest),) = self.old.manifests.items()
            self.repository.check_manifest("2", old, manifest)
        if listed not in (["1"], ["1", "2"]):
            raise AssertionError(f"tags: {listed}")

    def _check_session(self, session: Answer) -> None:
        """It is there, claims no more than was sent and no less than was acknowledged, and can be gone on with."""
        answer = self.repository.wire("GET", session["Location"])
        answer.expect(204, 404) if self.told.closing else answer.expect(204)
        if answer.status == 404:
            return
        last = int(answer["Range"].removeprefix("0-"))
        held = last + 1 if last else 0          # "0-0" is said of one byte too, but none of these uploads ends there
        # A blob that was published but not yet acknowledged has left its session empty.
        least = 0 if self.told.closing else self.told.held
        if not least <= held <= self.told.sent:
            raise AssertionError(f"{self.told} and {answer}")
        digest = self.layer["digest"]
        content = self.new.blobs[digest]
        rest = content[held:]
        if rest:
            answer = self.repository.patch(answer, held, rest, content_range(held, rest))
        self.repository.check_pushed(self.repository.put(answer, digest), digest, content)

    def _repair(self) -> None:
        for digest, blob in self.new.blobs.items():
            self.repository.push(digest, blob, "stream")
        ((digest, manifest),) = self.new.manifests.items()
        self.repository.push_manifest("1", digest, manifest)
        self._check_closed(digest, manifest, self.new)
        ((old, _),) = self.old.manifests.items()
        listed: list[Descriptor] = [dict(each) for each in self.repository.referrers(old)]
        if [each["digest"] for each in listed] != [digest]:
            raise AssertionError(f"referrers: {listed}")


class Case(SynchronousTestCase):
    timeout = 300
    options: Mapping[str, object] = {}

    def setUp(self) -> None:
        self.work = Path(tempfile.mkdtemp(prefix="kill-"))
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)
        # As few threads as there can be: steps are counted for each one.
        self.registry = Ours(self.work / "registry", threads=2, shutdown_grace=0, **self.options)
        self.addCleanup(self.registry.stop)

    def fresh(self) -> Repository:
        wire = Wire(f"http://{self.registry.host}")
        self.addCleanup(wire.close)
        return Repository(wire, f"kill/{uuid.uuid4().hex}")


class StepCase(Case):
    """The steps are system calls; strace kills the process when it begins the one that is meant."""

    points = POINTS

    def setUp(self) -> None:
        need(("strace", "strace"))
        if subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode:
            raise SkipTest("processes cannot be traced here: ptrace is not permitted")
        super().setUp()
        self.names: set[str] = set()

    def threads(self) -> list[int]:
        """What does the daemon's work; not the reactor."""
        daemon = self.victim()
        return sorted({int(task.name) for task in Path(f"/proc/{daemon}/task").iterdir()} - {daemon})

    def victim(self) -> int:
        """The process that is killed."""
        return self.registry.daemon.process.pid

    def traced(self, threads: Sequence[int], *options: str) -> Process:
        tracer = Process(["strace", *(f"--attach={thread}" for thread in threads), *options])
        try:
            for thread in threads:
                tracer.wait_for(f"{thread} attached")
        except AssertionError:
            tracer.stop(signal.SIGINT)
            raise
        return tracer

    def prepared(self) -> Push:
        push = Push(self.fresh())
        push.prepare()
        self.names.add(push.repository.name)
        return push

    def steps(self, calls: str) -> list[Step]:
        """Those of a push; strace counts the calls of each thread and each name apart: they are the busiest one's."""
        self.prepared().run()           # now all threads are there
        push, threads, output = self.prepared(), self.threads(), self.work / "calls"
        tracer = self.traced(threads, "-e", f"trace={calls}", "-o", str(output))
        push.run()
        tracer.stop(signal.SIGINT)
        found = Counter(re.findall(r"^(\d+)\s+(\w+)\(", output.read_text(), re.MULTILINE))
        busiest: Counter[str] = Counter()
        for (_, call), count in found.items():
            busiest[call] = max(busiest[call], count)
        steps = [(call, number) for call, last in sorted(busiest.items()) for number in range(1, last + 1)]
        self.assertGreater(len(steps), 5)
        return steps

    def kill(self, calls: str) -> None:
        steps = self.steps(calls)
        tried = steps[:: -(-len(steps) // self.points)]
        killed = sum(any(self.killed_at(step) for _ in range(ATTEMPTS)) for step in tried)
        self.assertGreater(killed, len(tried) // 2)

    def killed_at(self, step: Step) -> bool:
        """Whether the push came to this step, and the daemon died there; what it left is good in any case."""
        push, (call, number) = self.prepared(), step
        inject = f"inject={call}:signal=KILL:when={number}"
        tracer = self.traced(self.threads(), "-e", f"trace={call}", "-e", inject, "-o", os.devnull)
        try:
            push.run()
        except CUT:
            died = True
        else:
            died = False
        tracer.stop(signal.SIGINT)
        self.recover(died)
        push.repository.wire.close()
        try:
            push.check()
            self.assertEqual([], list((self.registry.root / ".tmp").iterdir()))                 # B7
            catalogue = push.repository.wire("GET", "/v2/_catalog").expect(200)
            self.assertEqual(set(catalogue.json["repositories"]), self.names)
        except (*CUT, AssertionError) as error:
            log = "\n".join(self.registry.daemon.output)
            raise self.failureException(f"after a kill at {step} with {push.told}: {error}\n{log}") from error
        return died

    def recover(self, died: bool) -> None:
        if died:
            self.assertEqual(self.registry.daemon.process.wait(30), -signal.SIGKILL)
        self.registry.stop(signal.SIGKILL)
        self.registry.start()


class StepTests(StepCase):
    def test_rename(self) -> None:
        self.kill("rename,renameat,renameat2,link,linkat")

    def test_fsync(self) -> None:
        self.kill("fsync,fdatasync")

    def test_mkdir(self) -> None:
        self.kill("mkdir,mkdirat")

    def test_unlink(self) -> None:
        self.kill("unlink,unlinkat,rmdir")


class WorkerStepTests(StepCase):
    """One of two workers is killed; the other one, and the one that takes its place, have what was acknowledged."""

    options = {"workers": 2, "secret_key": "s"}
    points = 5          # each time it takes longer until the next one is started

    def pids(self) -> dict[str, int]:
        """Of the workers as they are now, by number."""
        lines = "\n".join(self.registry.daemon.output)
        return {number: int(pid) for number, pid in re.findall(r"worker (\d) is ready: process (\d+)", lines)}

    def victim(self) -> int:
        return self.pids()["1"]

    def prepared(self) -> Push:
        """Whose connection is with the victim: the other one is stopped while it is made."""
        push = super().prepared()
        push.repository.wire.close()
        os.kill(self.pids()["2"], signal.SIGSTOP)
        try:
            push.repository.call("GET", "tags/list")
        finally:
            os.kill(self.pids()["2"], signal.SIGCONT)
        return push

    def killed_at(self, step: Step) -> bool:
        self.began, self.traced_worker = self.registry.mark(), self.victim()
        return super().killed_at(step)

    def recover(self, died: bool) -> None:
        """A step may come after the last answer."""
        if died or not is_running(self.traced_worker):
            self.registry.daemon.wait_for("worker 1 is ready", self.began)
            self.assertIn("was killed by signal 9", "\n".join(self.registry.daemon.output[self.began :]))

    def test_any(self) -> None:
        self.kill("rename,renameat,renameat2,fsync,fdatasync,mkdir,mkdirat,unlink,unlinkat,rmdir")


class BodyTests(Case):
    """In the middle of a PATCH (D11, H1, H2)."""

    SIZE = 32 << 20

    def cut(self, number: int) -> int:
        """Acknowledged first part, a second one cut by a signal, then the upload goes on; how much of it was left."""
        content = os.urandom(1 << 20) * (self.SIZE >> 20)
        first, second = content[: 1 << 20], content[1 << 20 :]
        repository = self.fresh()
        session = repository.patch(repository.begin(), 0, first)
        with socket.create_connection(("127.0.0.1", self.registry.port)) as client:
            head = f"PATCH {session['Location']} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(second)}\r\n\r\n"
            # All but the last bytes: what no buffer holds has been taken by the daemon when this returns.
            client.sendall(head.encode() + second[:-1000])
            status = self.registry.stop(number)
        self.assertEqual(status, -number if number == signal.SIGKILL else 0)
        self.registry.start()
        repository.wire.close()
        answer = repository.wire("GET", session["Location"]).expect(204)
        held = int(answer["Range"].removeprefix("0-")) + 1
        self.assertGreaterEqual(held, len(first))
        self.assertLess(held, len(content))
        if held < len(content):
            answer = repository.wire("PATCH", answer["Location"], content[held:], OCTETS).expect(202)
        answer.expect(202, Range=f"0-{len(content) - 1}")
        digest = digest_of(content)
        repository.check_pushed(repository.put(answer, digest), digest, content)
        return held - len(first)

    def test_sigkill(self) -> None:
        """What was acknowledged is there."""
        self.cut(signal.SIGKILL)

    def test_sigterm(self) -> None:
        """What came is kept."""
        self.assertGreater(self.cut(signal.SIGTERM), 0)
