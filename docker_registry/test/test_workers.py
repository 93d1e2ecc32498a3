"""Several real processes on one port: killed, hung, stopped, replaced (C2, C11, D3, D11, H1, H2, H4, T52)."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
from hashlib import sha256
from pathlib import Path

from docker_registry.deferreds import deferred
from docker_registry.test.process_case import SERVE, TWISTD, Systemd, reactor
from docker_registry.test.worker_case import ALL, WorkerCase, is_running

FAILING = """
import docker_registry.workers.hand as hand
hand.PROGRAM = "import sys; print('no such luck', file=sys.stderr); sys.exit(%d)"
"""
"""Before `TWISTD`: workers that end with this status as soon as they are started."""

NEWBORN = """
import os, signal
from docker_registry.workers.hand import Hand

start = Hand.start

def start_one(self, *rest):
    Hand.start = start
    start(self, *rest)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        os.kill(self.pid, number)

Hand.start = start_one
"""
"""Before `TWISTD`: the first worker gets what is sent to all processes before it has run a line."""


class ServeTests(WorkerCase):
    @deferred
    async def test_all_serve(self) -> None:
        daemon, port = await self.all_ready()
        first, second = self.pids(daemon).values()
        for other in (first, second):
            with self.only(other):
                self.assertTrue((await self.ask(port)).startswith("HTTP/1.1 200 OK\r\n"))
        await self.stop(daemon)
        self.assertNotIn("Traceback", daemon.said.seen)
        self.assertEqual(daemon.complained.seen, "")

    @deferred
    async def test_command(self) -> None:
        daemon = self.run_program(SERVE, ["serve", "--config", "c.yml", "--flavor", "x"])
        port = int((await daemon.said.until(ALL))[1].rpartition(":")[2])
        self.assertTrue((await self.ask(port)).startswith("HTTP/1.1 200 OK\r\n"))
        await self.stop(daemon)

    @deferred
    async def test_several_endpoints(self) -> None:
        """The file of a UNIX socket is as it was configured, and goes when the daemon does, not with a worker."""
        unix = f"{self.directory}/http"
        self.configure(f"'unix:{unix}:mode=600', 'haproxy:tcp:0:interface=127.0.0.1'")
        daemon, port = await self.all_ready()
        for killed in (None, signal.SIGTERM, signal.SIGKILL):
            before = self.pids(daemon)[1]
            if killed is not None:
                os.kill(before, killed)
                await self.another(daemon, 1, before)
            self.assertEqual(stat.S_IMODE(os.stat(unix).st_mode), 0o600)
            with self.only(self.pids(daemon)[2]):
                self.assertTrue((await self.ask(f"unix:{unix}")).startswith("HTTP/1.1 200 OK\r\n"))
                behind = await self.connect(port)
                behind.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\nGET /v2/ HTTP/1.0\r\nHost: r\r\n\r\n")
                await behind.closed
            self.assertTrue(behind.answer.seen.startswith("HTTP/1.1 200 OK\r\n"), behind.answer.seen)
        await self.stop(daemon)
        self.assertFalse(os.path.exists(unix))

    @deferred
    async def test_log_file(self) -> None:
        """All write to one file, in lines that are whole."""
        daemon = self.twistd(options=("--pidfile=", "--logfile=log"))
        systemd = self.directory + "/log"
        await self.appears(systemd, "with 2 workers")
        daemon.kill(signal.SIGTERM)
        self.assertEqual(await daemon.ended, 0)
        lines = Path(systemd).read_text().splitlines()
        self.assertEqual(len([line for line in lines if line.endswith("#info] stopped")]), 3)
        for line in lines:
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\S+ \[")


class KillTests(WorkerCase):
    @deferred
    async def test_in_the_middle_of_an_upload(self) -> None:
        """What was acknowledged is there, the other worker goes on, and the killed one is replaced."""
        daemon, port = await self.all_ready()
        first, second = self.pids(daemon).values()
        content = self.content()
        with self.only(second):
            location = await self.session(port)
            upload = await self.begin_second(port, location, content)
        os.kill(first, signal.SIGKILL)
        await upload.closed
        offset = await self.status(port, location)
        self.assertGreaterEqual(offset, self.FIRST)
        await self.another(daemon, 1, first)
        with self.only(second):
            await self.finish(port, location, content, offset)
        self.assertEqual(os.listdir(f"{self.directory}/images/.tmp"), [])
        self.assertIn("was killed by signal 9", daemon.said.seen)
        await self.stop(daemon)

    async def finish(self, port: int, location: str, content: bytes, offset: int) -> None:
        digest = f"sha256:{sha256(content).hexdigest()}"
        answer = await self.ask(port, f"PUT {location}?digest={digest}", body=content[offset:])
        self.assertTrue(answer.startswith("HTTP/1.1 201 Created\r\n"), answer)
        answer = await self.ask(port, f"GET /v2/busybox/blobs/{digest}")
        self.assertEqual(answer.partition("\r\n\r\n")[2].encode("latin-1"), content)

    @deferred
    async def test_session_goes_on_elsewhere(self) -> None:
        """Begun by one worker, written to by the other, ended by the first."""
        daemon, port = await self.all_ready()
        first, second = self.pids(daemon).values()
        content = self.content()
        with self.only(second):
            location = await self.session(port)
            part = await self.begin(port, location, content[:1000], 1000)
            await part.answer.until("202 Accepted")
        with self.only(first):
            part = await self.begin(port, location, content[1000:2000], 1000)
            await part.answer.until("202 Accepted")
            self.assertEqual(await self.status(port, location), 2000)
        with self.only(second):
            await self.finish(port, location, content, 2000)
        await self.stop(daemon)

    @deferred
    async def test_two_writers(self) -> None:
        """D3: exactly one is served."""
        daemon, port = await self.all_ready()
        first, second = self.pids(daemon).values()
        content = self.content()
        with self.only(second):
            location = await self.session(port)
            upload = await self.begin(port, location, content[:-1], len(content))
        with self.only(first):
            answer = await self.ask(port, f"PATCH {location}", body=b"b" * 1000)
            self.assertTrue(answer.startswith("HTTP/1.1 416 "), answer)
        upload.send(content[-1:])
        await upload.answer.until("202 Accepted")
        await self.finish(port, location, content, len(content))
        await self.stop(daemon)

    @deferred
    async def test_parent(self) -> None:
        """C11: its workers stop by themselves, at once, and the next daemon waits for that."""
        await self.succeeded(signal.SIGKILL)

    @deferred
    async def test_parent_that_was_stopping(self) -> None:
        """Its workers let requests come to their end when nobody is left who could have them hurry."""
        await self.succeeded(signal.SIGTERM, signal.SIGKILL)

    async def succeeded(self, *numbers: int) -> None:
        """A parent with a request on its way gets these signals; what another daemon finds."""
        self.configure(grace=3600)
        daemon, port = await self.all_ready()
        pids = self.pids(daemon).values()
        location, content = await self.session(port), self.content()
        upload = await self.begin_second(port, location, content)
        for number in numbers:
            daemon.kill(number)
            if number == signal.SIGTERM:
                await daemon.said.until("requests in flight: 1")
        following, port = await self.all_ready()
        self.assertEqual([pid for pid in pids if is_running(pid)], [])
        await upload.closed
        await self.finish(port, location, content, await self.status(port, location))
        await self.stop(following)
        self.assertNotIn("Traceback", daemon.said.seen + following.said.seen)

    @deferred
    async def test_second_on_the_same_root(self) -> None:
        first, port = await self.all_ready()
        second = self.twistd("--listen=tcp:0:interface=127.0.0.1")
        self.assertEqual(await second.ended, 78)
        pid = first.transport.pid           # type: ignore[union-attr]
        self.assertIn(f"is used by another registry, process {pid}: stop", second.said.seen)
        self.assertTrue((await self.ask(port)).startswith("HTTP/1.1 200 OK\r\n"), "the first one goes on")
        await self.stop(first)

    @deferred
    async def test_again_and_again(self) -> None:
        """Workers that cannot even start: the parent gives up, and says so."""
        daemon = self.run_program(FAILING % 3 + TWISTD, self.arguments())
        self.assertEqual(await daemon.ended, 1, daemon.said.seen)
        self.assertIn("the workers end again and again, the last one with status 3", daemon.said.seen)
        self.assertIn("no such luck", daemon.complained.seen)
        self.assertNotIn("listening on", daemon.said.seen)
        self.assertNotIn("Traceback", daemon.said.seen)

    @deferred
    async def test_what_no_restart_would_mend(self) -> None:
        daemon = self.run_program(FAILING % 78 + TWISTD, self.arguments())
        self.assertEqual(await daemon.ended, 78, daemon.said.seen)

    def arguments(self) -> list[str]:
        return ["--nodaemon", "--pidfile=", "docker-registry", "--config=c.yml", "--flavor=x"]


class StopTests(WorkerCase):
    @deferred
    async def test_idle(self) -> None:
        """With a connection that waits for its next request, and is not waited for."""
        self.configure(grace=3600)
        daemon, port = await self.all_ready()
        waiting = await self.connect(port)
        waiting.send(b"GET /v2/ HTTP/1.1\r\nHost: r\r\n\r\n")
        await waiting.answer.until("{}")
        await self.stop(daemon)
        await waiting.closed
        self.assertEqual([pid for pid in self.pids(daemon).values() if is_running(pid)], [])

    @deferred
    async def test_requests_come_to_their_end(self) -> None:
        """In every worker, though all processes get the signal."""
        daemon, port = await self.all_ready()
        location, content = await self.session(port), self.content()
        upload = await self.begin(port, location, content[:-1], len(content))
        daemon.kill(signal.SIGTERM)
        for pid in self.pids(daemon).values():
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGINT)
        await daemon.said.until("requests in flight: 1")
        upload.send(content[-1:])
        await upload.closed
        self.assertIn("\r\n\r\nHTTP/1.1 202 Accepted\r\n", upload.answer.seen)
        self.assertEqual(await daemon.ended, 0)

    @deferred
    async def test_second_signal(self) -> None:
        self.configure(grace=3600)
        daemon, port = await self.all_ready()
        location, content = await self.session(port), self.content()
        upload = await self.begin_second(port, location, content)
        daemon.kill(signal.SIGTERM)
        await daemon.said.until("requests in flight: 1")
        daemon.kill(signal.SIGTERM)
        self.assertEqual(await daemon.ended, 0)
        await upload.closed
        following, port = await self.all_ready()
        self.assertGreaterEqual(await self.status(port, location), self.FIRST)
        await self.stop(following)

    @deferred
    async def test_one_worker(self) -> None:
        """A SIGTERM to a worker ends that one, when it is done, and another takes its place."""
        daemon, port = await self.all_ready()
        first = self.pids(daemon)[1]
        os.kill(first, signal.SIGTERM)
        await self.another(daemon, 1, first)
        self.assertTrue((await self.ask(port)).startswith("HTTP/1.1 200 OK\r\n"))
        await self.stop(daemon)

    @deferred
    async def test_signals_that_are_the_parents(self) -> None:
        """A terminal sends ^C to all of them, and many a script SIGHUP: a worker hears from its parent what to do."""
        daemon, port = await self.all_ready()
        first, second = self.pids(daemon).values()
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            os.kill(first, number)
            with self.only(second):
                self.assertTrue((await self.ask(port)).startswith("HTTP/1.1 200 OK\r\n"))
        self.assertEqual([*self.pids(daemon).values()], [first, second])
        self.assertNotIn(f"process {first}, ", daemon.said.seen)
        await self.stop(daemon)

    @deferred
    async def test_signals_that_are_the_parents_from_birth(self) -> None:
        """While it imports its modules as well."""
        arguments = ["--nodaemon", "--pidfile=", "docker-registry", "--config=c.yml", "--flavor=x"]
        daemon = self.run_program(NEWBORN + TWISTD, arguments)
        await daemon.said.until(ALL)
        await self.stop(daemon)
        self.assertNotIn("was killed by signal", daemon.said.seen)
        self.assertEqual(daemon.complained.seen, "")


class SystemdTests(WorkerCase):
    def listen(self) -> Systemd:
        systemd = Systemd()
        hears = reactor.listenUNIXDatagram(f"{self.directory}/notify", systemd)
        self.addCleanup(hears.stopListening)
        return systemd

    @deferred
    async def test_life(self) -> None:
        """READY when all accept, RELOADING and READY again, STOPPING."""
        systemd = self.listen()
        daemon, _ = await self.all_ready(environ={"NOTIFY_SOCKET": f"{self.directory}/notify"})
        await systemd.told.until("READY=1\n")
        daemon.kill(signal.SIGHUP)
        await systemd.told.until(r"RELOADING=1\nMONOTONIC_USEC=\d+\nREADY=1\n")
        await self.stop(daemon)
        self.assertRegex(
            systemd.told.seen, r"\AREADY=1\nRELOADING=1\nMONOTONIC_USEC=\d+\nREADY=1\nSTOPPING=1\n\Z"
        )

    @deferred
    async def test_nobody_listens(self) -> None:
        daemon, port = await self.all_ready(environ={"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "8000000"})
        self.assertTrue((await self.ask(port)).startswith("HTTP/1.1 200 OK\r\n"))
        await self.stop(daemon)
        self.assertIn("systemd was not told READY=1: No such file or directory", daemon.said.seen)

    @deferred
    async def test_hung_worker(self) -> None:
        """It is killed and replaced; meanwhile systemd is not told that all is well."""
        systemd = self.listen()
        environ = {"NOTIFY_SOCKET": f"{self.directory}/notify", "WATCHDOG_USEC": "4000000"}
        daemon, port = await self.all_ready(environ=environ)
        await systemd.told.until("READY=1\nWATCHDOG=1\n")
        first = self.pids(daemon)[1]
        os.kill(first, signal.SIGSTOP)
        told = len(systemd.told.seen)
        await daemon.said.until(rf"worker 1, process {first}, does not answer: it is killed")
        self.assertLessEqual(systemd.told.seen.count("WATCHDOG", told), 2)
        await self.another(daemon, 1, first)
        told = len(systemd.told.seen)
        await systemd.told.until(re.compile(rf"(?s)\A.{{{told}}}.*WATCHDOG=1\n"))
        self.assertTrue((await self.ask(port)).startswith("HTTP/1.1 200 OK\r\n"))
        await self.stop(daemon)

    @deferred
    async def test_socket(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        port = listener.getsockname()[1]
        activated = (
            "import os; os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='registry');"
            + TWISTD
        )
        arguments = ["--nodaemon", "--pidfile=", "docker-registry", "--config=c.yml", "--flavor=x",
                     "--listen=systemd:domain=INET:index=0"]
        daemon = self.run_program(activated, arguments, fds={0: "w", 1: "r", 2: "r", 3: listener.fileno()})
        await daemon.said.until(ALL)
        for other in self.pids(daemon).values():
            with self.only(other):
                self.assertTrue((await self.ask(port)).startswith("HTTP/1.1 200 OK\r\n"))
        await self.stop(daemon)
        waiting = await self.connect(port)      # systemd's socket is still there
        waiting.transport.abortConnection()     # type: ignore[union-attr]
