"""SIGHUP: what can change underneath is read again, in every process, and nobody notices (H3)."""

from __future__ import annotations

import errno
import os
import signal
import ssl
import sys
from pathlib import Path

from cryptography import x509
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.deferreds import deferred
from docker_registry.logs.destination import RotatedFile
from docker_registry.reloading import CannotReload, Reloads
from docker_registry.test.certificates import make_certificate
from docker_registry.test.process_case import CHECKOUT, TWISTD, Conversation, Daemon, ProcessCase, reactor
from docker_registry.test.worker_case import WorkerCase


class ReloadsTests(SynchronousTestCase):
    def test_what_fails_keeps_nothing_from_the_rest(self) -> None:
        done: list[str] = []
        reloads = Reloads()

        def refuse() -> None:
            raise CannotReload("users: line 3 is no user")

        async def later() -> None:
            done.append("coroutine")

        reloads.add("users", refuse)
        reloads.add("a fault", lambda: [][0])
        reloads.add("the log", lambda: done.append("function"))
        reloads.add("another", later)
        self.successResultOf(deferred(reloads.reload)())
        self.assertEqual(done, ["function", "coroutine"])
        self.assertEqual(len(self.flushLoggedErrors(IndexError)), 1)


class OnAFullDisk(RotatedFile):
    is_full = False

    def _openFile(self) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super()._openFile()


class RotatedTests(SynchronousTestCase):
    def test_no_room_for_a_new_one(self) -> None:
        """What is open goes on, until a reload finds that there is room again."""
        path = self.mktemp()
        file = OnAFullDisk.fromFullPath(path, rotateLength=10, defaultMode=0o640)
        file.write("a" * 10)
        file.is_full = True
        file.write("b")
        file.write("c")
        self.assertRaises(CannotReload, file.reopen)
        file.write("d")
        file.is_full = False
        file.reopen()
        file.write("e")
        self.addCleanup(file.close)
        self.assertEqual(Path(f"{path}.1").read_text(), "aaaaaaaaaabcd")
        self.assertEqual(Path(path).read_text(), "e")

    def test_begins_anew(self) -> None:
        path = self.mktemp()
        file = RotatedFile.fromFullPath(path, rotateLength=10, defaultMode=0o640)
        self.addCleanup(file.close)
        for text in ("a" * 10, "b" * 10, "c"):
            file.write(text)
        found = {each.name.removeprefix(Path(path).name): each.read_text() for each in Path(path).parent.iterdir()}
        self.assertEqual(found, {"": "c", ".1": "b" * 10, ".2": "a" * 10})
        self.assertEqual(Path(path).stat().st_mode & 0o777, 0o640)


class ReloadTests(WorkerCase):
    """Of the log, the access log and the certificate."""

    def setUp(self) -> None:
        super().setUp()
        make_certificate(Path(self.directory))
        self.listen = (
            f"ssl:0:interface=127.0.0.1:privateKey={self.directory}/key.pem:certKey={self.directory}/cert.pem"
        )
        self.configure(f"'{self.listen}', 'tcp:0:interface=127.0.0.1'", access_log_file=f"{self.directory}/access",
                       admin_listen=f"['{self.listen}']")

    async def begun(self, log: str = "log") -> tuple[Daemon, int, int]:
        """A daemon that logs into a file, and its ports: with TLS and without."""
        daemon = self.twistd(options=("--pidfile=", f"--logfile={log}"))
        self.log = f"{self.directory}/{log}"
        found = await self.appears(self.log, r"listening on 127.0.0.1:(\d+), 127.0.0.1:(\d+)(?: with 2 workers)?, stor")
        return daemon, int(found[1]), int(found[2])

    async def serials(self, port: int) -> set[int]:
        """Of the certificates that all processes show."""
        shown = set()
        pids = list(self.pids_in(Path(self.log).read_text()).values())
        for other in [[pid for pid in pids if pid != each] for each in pids] or [[]]:
            with self.only(*other):
                shown.add(await self.serial(port))
        return shown

    async def serial(self, port: int) -> int:
        """Of the certificate that is shown."""
        pem = await deferToThread(ssl.get_server_certificate, ("127.0.0.1", port), timeout=30)
        return x509.load_pem_x509_certificate(pem.encode()).serial_number

    async def reload(self, daemon: Daemon) -> None:
        """Ask for it, and wait until every process has."""
        lines = Path(self.log).read_text().count("reloaded: ") if os.path.exists(self.log) else 0
        daemon.kill(signal.SIGHUP)
        every = self.workers + 1 if self.workers > 1 else 1
        await self.appears(self.log, rf"(?s)(reloaded: [^\n]*\n.*){{{lines + every}}}")

    @deferred
    async def test_certificate(self) -> None:
        daemon, secure, _ = await self.begun()
        self.assertEqual(await self.serials(secure), {1})
        admin = int((await self.appears(self.log, r"health and metrics on 127.0.0.1:(\d+)"))[1])
        self.assertEqual(await self.serial(admin), 1)
        make_certificate(Path(self.directory), serial=2)
        await self.reload(daemon)
        self.assertEqual(await self.serials(secure), {2})
        self.assertEqual(await self.serial(admin), 2)
        Path(self.directory, "cert.pem").write_text("none")
        await self.reload(daemon)
        self.assertEqual(await self.serials(secure), {2})
        said = Path(self.log).read_text()
        self.assertIn(f"the certificate of {self.listen} stays as it was: ", said)
        self.assertIn("certKey is no certificate in PEM", said)
        self.assertNotIn("Traceback", said)
        await self.stop(daemon)

    @deferred
    async def test_log_files(self) -> None:
        """Moved away as logrotate does; a request that is running goes on, and is logged in the new file."""
        daemon, _, port = await self.begun()
        location, content = await self.session(port), self.content()
        upload: Conversation = await self.begin(port, location, content[:-1], len(content))
        await self.ask(port, "GET /v2/?before")
        await self.appears(f"{self.directory}/access", "before")
        for name in ("log", "access"):
            os.rename(f"{self.directory}/{name}", f"{self.directory}/{name}.1")
        await self.reload(daemon)
        await self.ask(port, "GET /v2/?after")
        upload.send(content[-1:])
        await upload.answer.until("202 Accepted")
        await self.appears(f"{self.directory}/access", r"(?s)after.*PATCH|PATCH.*after")
        self.assertNotIn("after", Path(self.directory, "access.1").read_text())
        await self.stop(daemon)
        self.assertEqual(Path(self.log).read_text().count("#info] stopped"), self.workers + (self.workers > 1))
        self.assertNotIn("stopped", Path(self.directory, "log.1").read_text())
        for name in ("log", "log.1", "access", "access.1"):
            self.assertEqual(os.stat(f"{self.directory}/{name}").st_mode & 0o027, 0, f"{name} is for others (T52)")

    @deferred
    async def test_log_file_that_cannot_be_opened(self) -> None:
        """Its directory is gone: the old file goes on, and says so; when there is one again it is found."""
        logs = Path(self.directory, "logs")
        logs.mkdir()
        daemon, _, _ = await self.begun("logs/log")
        logs.rename(f"{logs}.1")
        daemon.kill(signal.SIGHUP)
        every = "(?s)" + ".*".join(["the log stays as it was: [^\n]*/logs/log: No such file or directory\n"] * (
            self.workers + (self.workers > 1)))
        await self.appears(f"{logs}.1/log", every)
        self.assertNotIn("Traceback", Path(f"{logs}.1/log").read_text())
        logs.mkdir()
        await self.reload(daemon)
        await self.stop(daemon)
        self.assertIn("#info] stopped", Path(self.log).read_text())


class OneProcessTests(ReloadTests):
    workers = 1


class TerminalTests(ProcessCase):
    @deferred
    async def test_closed(self) -> None:
        """A registry that was started at a terminal stops when that is closed: the signal is the same."""
        daemon = Daemon()
        arguments = [sys.executable, "-c", TWISTD, "--nodaemon", "--pidfile=", "--logfile=log", "docker-registry",
                     "--config=c.yml", "--flavor=x"]
        environ = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        transport = reactor.spawnProcess(daemon, sys.executable, arguments, environ, self.directory, usePTY=True)
        self.addCleanup(self.end, daemon)
        await self.appears(f"{self.directory}/log", "listening on")
        daemon.kill(signal.SIGHUP)
        await self.appears(f"{self.directory}/log", "reloaded: ")
        transport.loseConnection()
        self.assertEqual(await daemon.ended, 0)
        self.assertIn("stopped", Path(self.directory, "log").read_text())
