"""The real process when the machine has no more to give: open files (E7), room on the disk (C4); or a bad disk (C5)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from docker_registry.test.clients.contents import Content
from docker_registry.test.clients.daemon import PATIENCE, Ours, Process, until
from docker_registry.test.clients.pushing import Repository
from docker_registry.test.clients.tools import need
from docker_registry.test.clients.wire import Wire, digest_of
from docker_registry.test.mail_servers import Inbox

CLIENTS = 300
FILES = 128

MIB = 1 << 20
DISK = 24 * MIB


class FilesTests(SynchronousTestCase):
    """More clients come than there are files for."""

    timeout = 120
    workers = 1

    def setUp(self) -> None:
        need(("prlimit", "util-linux"))
        self.ours = Ours(
            Path(self.mktemp()).absolute(), under=["prlimit", f"--nofile={FILES}:{FILES}"], limits={"per_address": 0},
            workers=self.workers, secret_key="s",
        )
        self.addCleanup(self.ours.stop)
        self.wire = Wire(f"http://{self.ours.host}")
        self.addCleanup(self.wire.close)

    def ask(self, connection: socket.socket, path: str) -> bytes:
        """The answer's status, ``b""`` if there is none; who is told to come again is told when."""
        try:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: registry\r\n\r\n".encode())
            answer = connection.recv(MIB)
        except ConnectionError:
            return b""
        self.assertEqual(answer[9:12] == b"503", b"\r\nRetry-After: 30\r\n" in answer)
        return answer[9:12]

    def test_more_clients_than_files(self) -> None:
        """Those for whom there is room are served, whatever they ask for; the others are told, or cut."""
        repository = Repository(self.wire, "shortage/files")
        layer = os.urandom(300_000)
        repository.push(digest_of(layer), layer, "put")
        self.wire.close()
        with contextlib.ExitStack() as stack:
            connections = []
            for _ in range(CLIENTS):
                connection = stack.enter_context(socket.socket())
                connection.settimeout(PATIENCE)
                with contextlib.suppress(ConnectionError):
                    connection.connect(("127.0.0.1", self.ours.port))
                connections.append((connection, self.ask(connection, "/v2/")))
            self.assertEqual({status for _, status in connections}, {b"200", b"503", b""})
            served = [connection for connection, status in connections if status == b"200"]
            self.assertGreater(len(served), 10)
            began = self.cpu(), time.monotonic()
            for connection in served:
                self.assertEqual(self.ask(connection, f"/v2/shortage/files/blobs/{digest_of(layer)}"), b"200")
            connections[-1][0].settimeout(1)
            self.assertEqual(self.ask(connections[-1][0], "/v2/"), b"")
            self.assertLess(self.cpu() - began[0], 1 + 0.2 * (time.monotonic() - began[1]))
        repository.check_blob(digest_of(layer), layer)
        repository.push(digest_of(b"after"), b"after", "put")
        self.assertIn("raise LimitNOFILE", self.ours.daemon.wait_for("limits.connections"))
        self.assertEqual([line for line in self.ours.daemon.output if "Traceback" in line], [])

    def cpu(self) -> float:
        """Seconds of processor time that the daemon has taken, in all its processes."""
        pid = self.ours.daemon.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        stats = [Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split() for each in (pid, *children)]
        return sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")


class WorkersFilesTests(FilesTests):
    """The same of two workers, each of which has so many files."""

    workers = 2


class DiskTests(SynchronousTestCase):
    """A file system of 24 MiB."""

    timeout = 120

    def setUp(self) -> None:
        place = Path(self.mktemp()).absolute()
        place.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(place)], capture_output=True, check=False
        )
        if mounted.returncode:
            raise SkipTest("a small file system cannot be mounted here: run as root")
        self.addCleanup(subprocess.run, ["umount", str(place)], check=True)
        self.place = place
        self.ours = Ours(place / "store")
        self.addCleanup(self.ours.stop)
        self.wire = Wire(f"http://{self.ours.host}")
        self.addCleanup(self.wire.close)
        self.repository = Repository(self.wire, "shortage/disk")

    def fill(self) -> Path:
        """Take all the room that is left; the file that has it."""
        filler = self.place / "filler"
        with filler.open("wb", buffering=0) as file:
            for size in (MIB, 4096, 1):
                try:
                    while file.write(bytes(size)) == size:
                        continue
                except OSError:
                    continue
        return filler

    def test_full_disk(self) -> None:
        """What does not fit is refused, and what was there stays; pulls go on; deleting needs no room (C4)."""
        repository, content = self.repository, Content()
        first, second = os.urandom(16 * MIB), os.urandom(16 * MIB)
        descriptor = content.image("1", layers=[content.layer()])
        for digest, blob in (*content.blobs.items(), (digest_of(first), first)):
            repository.push(digest, blob, "put")
        manifest = content.manifests[descriptor["digest"]]
        repository.push_manifest("1", descriptor["digest"], manifest)
        session = repository.patch(repository.begin(), 0, second[: 2 * MIB])
        for refused in (
            self.wire("PATCH", session["Location"], second[2 * MIB :]),
            repository.put(session, digest_of(second), second[2 * MIB :]),
            repository.push_post(digest_of(second), second),
        ):
            refused.error(507, "UNAVAILABLE")
        self.wire("GET", session["Location"]).expect(204, Range=f"0-{2 * MIB - 1}")
        repository.check_blob(digest_of(first), first)

        filler = self.fill()
        begun = repository.begin()          # a name, for which there is room
        self.wire("PATCH", begun["Location"], b"a few bytes").error(507, "UNAVAILABLE")
        repository.push_post(digest_of(b"a few bytes"), b"a few bytes").error(507, "UNAVAILABLE")
        repository.call("PUT", "manifests/2", manifest).error(507, "UNAVAILABLE")
        mount = f"/v2/shortage/other/blobs/uploads/?mount={digest_of(first)}&from=shortage/disk"
        self.wire("POST", mount, b"").error(507, "UNAVAILABLE")
        repository.call("GET", "manifests/1").expect(200)
        repository.call("GET", "tags/list").expect(200)
        repository.call("DELETE", "manifests/1").expect(202)
        repository.call("DELETE", f"manifests/{descriptor['digest']}").expect(202)
        repository.call("DELETE", f"blobs/{digest_of(first)}").expect(202)

        filler.unlink()
        (data,) = self.place.rglob(f"{digest_of(first).partition(':')[2]}/data")
        data.unlink()                       # as collection does
        repository.put(session, digest_of(second), second[2 * MIB :]).expect(201)
        repository.check_blob(digest_of(second), second)
        self.assertEqual([line for line in self.ours.daemon.output if "Traceback" in line], [])


class SyncTests(SynchronousTestCase):
    """A disk that takes bytes, and cannot say that they are safe (C5)."""

    timeout = 120

    def setUp(self) -> None:
        need(("strace", "strace"))
        if subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode:
            raise SkipTest("processes cannot be traced here: ptrace is not permitted")
        self.inbox = Inbox(careless=True)
        self.addCleanup(self.inbox.close)
        self.ours = Ours(Path(self.mktemp()).absolute(), email_exceptions={
            "smtp_host": "127.0.0.1", "smtp_port": self.inbox.port, "from_addr": "us@example.com",
            "to_addr": ["ops@example.com"],
        })
        self.addCleanup(self.ours.stop)
        self.wire = Wire(f"http://{self.ours.host}")
        self.addCleanup(self.wire.close)
        self.repository = Repository(self.wire, "shortage/sync")

    def failing(self) -> Process:
        """From now on no fsync succeeds, until it is stopped."""
        pid = self.ours.daemon.process.pid
        tracer = Process([
            "strace", "-f", "-p", str(pid), "-e", "trace=fsync", "-e", "inject=fsync:error=EIO", "-o", os.devnull,
        ])
        tracer.wait_for(f"{pid} attached")
        return tracer

    def test_mail(self) -> None:
        """The push is refused, an operator is told with the file and the reason, and the next push succeeds."""
        layer = os.urandom(100_000)
        self.repository.push(digest_of(b"before"), b"before", "put")        # the threads are there
        tracer = self.failing()
        try:
            self.repository.push_post(digest_of(layer), layer).expect(500)
            self.assertTrue(until(lambda: self.inbox.arrived), self.ours.daemon.output[-20:])
        finally:
            tracer.stop(signal.SIGINT)
        (mail,) = self.inbox.arrived
        self.assertRegex(mail["Subject"], ": docker_registry.errors.StorageFailed$")
        body = mail.get_content()
        self.assertIn("Input/output error", body)
        self.assertIn("docker/registry/v2/repositories/shortage/sync/_uploads/", body)
        self.ours.daemon.wait_for("Input/output error")
        self.repository.call("HEAD", f"blobs/{digest_of(layer)}").expect(404)
        self.repository.push(digest_of(layer), layer, "put")
        self.repository.check_blob(digest_of(layer), layer)
