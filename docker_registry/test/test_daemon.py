"""The real process: what it says, what it listens on, and how it ends (H1, H4, H5, C11, D11)."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from twisted.internet.error import ConnectionRefusedError

from docker_registry.deferreds import deferred
from docker_registry.test.clients.daemon import free_port
from docker_registry.test.process_case import (
    LISTENING,
    SERVE,
    TWISTD,
    Daemon,
    ProcessCase,
    Systemd,
    UploadCase,
    reactor,
)


class StartTests(ProcessCase):
    @deferred
    async def test_answers(self) -> None:
        daemon, port = await self.started()
        images = Path(self.directory, "images")
        self.assertIn(f"storing below {images}; try: docker push 127.0.0.1:{port}/NAME:TAG\n", daemon.said.seen)
        self.assertTrue((await self.ask(port)).startswith("HTTP/1.1 200 OK\r\n"))
        await self.stop(daemon)
        self.assertNotIn("Traceback", daemon.said.seen)
        self.assertEqual(daemon.complained.seen, "")

    @deferred
    async def test_command(self) -> None:
        daemon = self.run_program(SERVE, ["serve", "--config", "c.yml", "--flavor", "x"])
        port = int((await daemon.said.until(LISTENING))[1].rpartition(":")[2])
        self.assertTrue((await self.ask(port)).startswith("HTTP/1.1 200 OK\r\n"))
        await self.stop(daemon)

    @deferred
    async def test_systemd_is_told(self) -> None:
        """READY when the port is open, STOPPING when it is about to be closed."""
        systemd = Systemd()
        hears = reactor.listenUNIXDatagram(f"{self.directory}/notify", systemd)
        self.addCleanup(hears.stopListening)
        port = free_port()
        daemon = self.twistd(
            f"--listen=tcp:{port}:interface=127.0.0.1", environ={"NOTIFY_SOCKET": f"{self.directory}/notify"}
        )
        await systemd.told.until("READY=1")
        self.assertTrue((await self.ask(port)).startswith("HTTP/1.1 200 OK\r\n"))
        daemon.kill(signal.SIGTERM)
        await systemd.told.until("STOPPING=1")
        self.assertEqual(await daemon.ended, 0)
        self.assertEqual(systemd.told.seen, "READY=1\nSTOPPING=1\n")

    @deferred
    async def test_socket_of_systemd(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        activated = (
            "import os; os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='registry');"
            + TWISTD
        )
        arguments = ["--nodaemon", "--pidfile=", "docker-registry", "--config=c.yml", "--flavor=x",
                     "--listen=systemd:domain=INET:index=0"]
        daemon = self.run_program(activated, arguments, fds={0: "w", 1: "r", 2: "r", 3: listener.fileno()})
        port = listener.getsockname()[1]
        self.assertTrue((await self.ask(port)).startswith("HTTP/1.1 200 OK\r\n"))
        await self.stop(daemon)

    @deferred
    async def test_several_endpoints(self) -> None:
        unix = f"{self.directory}/http"
        daemon = self.twistd("-l", "tcp:0:interface=127.0.0.1", "-l", f"unix:{unix}:mode=600",
                             "-l", "haproxy:tcp:0:interface=127.0.0.1")
        line = await daemon.said.until(r"listening on 127.0.0.1:(\d+), unix:(\S+), 127.0.0.1:(\d+), storing")
        self.assertTrue((await self.ask(int(line[1]))).startswith("HTTP/1.1 200 OK\r\n"))
        self.assertTrue((await self.ask(f"unix:{unix}")).startswith("HTTP/1.1 200 OK\r\n"))
        behind = await self.connect(int(line[3]))
        behind.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\nGET /v2/ HTTP/1.0\r\nHost: r\r\n\r\n")
        await behind.closed
        self.assertTrue(behind.answer.seen.startswith("HTTP/1.1 200 OK\r\n"), behind.answer.seen)
        await self.stop(daemon)
        self.assertFalse(os.path.exists(unix))

    @deferred
    async def test_log_level(self) -> None:
        self.write("x: {storage: memory, listen: ['tcp:0:interface=127.0.0.1'], loglevel: error}")
        systemd = Systemd()
        hears = reactor.listenUNIXDatagram(f"{self.directory}/notify", systemd)
        self.addCleanup(hears.stopListening)
        daemon = self.twistd(environ={"NOTIFY_SOCKET": f"{self.directory}/notify"})
        await systemd.told.until("READY=1")
        await self.stop(daemon)
        self.assertEqual(daemon.said.seen, "")


ON_ITS_WAY = """
import os, signal, sys

class Signal:
    def find_spec(self, name, *_):
        if name == {module!r}:
            try:
                os.kill(os.getpid(), signal.{number})
            except KeyboardInterrupt:
                os._exit(3)

sys.meta_path.insert(0, Signal())
"""
"""A signal in the middle of the imports, where an exception is caught that has nowhere to go."""


class OnItsWayTests(ProcessCase):
    """A signal that comes while it starts ends it, silently, and nothing is left; but for a reload, which waits."""

    def begin(self, program: str, arguments: Sequence[str], module: str, number: signal.Signals) -> Daemon:
        return self.run_program(ON_ITS_WAY.format(module=module, number=number.name) + program, arguments)

    async def ended(self, program: str, arguments: Sequence[str], module: str, number: signal.Signals) -> None:
        daemon = self.begin(program, arguments, module, number)
        self.assertEqual(await daemon.ended, -number, daemon.said.seen)
        self.assertEqual((daemon.said.seen, daemon.complained.seen), ("", ""))
        self.assertEqual(os.listdir(self.directory), ["c.yml"])

    @deferred
    async def test_of_twistd(self) -> None:
        arguments = ["--nodaemon", "docker-registry", "--config=c.yml", "--flavor=x"]
        await self.ended(TWISTD, arguments, "docker_registry.config.load", signal.SIGINT)
        await self.ended(TWISTD, arguments, "docker_registry.service", signal.SIGINT)
        await self.ended(TWISTD, arguments, "docker_registry.service", signal.SIGTERM)

    @deferred
    async def test_of_the_command(self) -> None:
        """twistd's looking for plugins is included."""
        arguments = ["serve", "--config=c.yml", "--flavor=x"]
        await self.ended(SERVE, arguments, "docker_registry.commands.serve", signal.SIGINT)
        await self.ended(SERVE, arguments, "twisted.plugins.docker_registry_plugin", signal.SIGINT)

    @deferred
    async def test_reload(self) -> None:
        arguments = ["serve", "--config=c.yml", "--flavor=x"]
        daemon = self.begin(SERVE, arguments, "docker_registry.commands.serve", signal.SIGHUP)
        await daemon.said.until(r"listening on .*\n.* reloaded: ")
        await self.stop(daemon)


class RefusalTests(ProcessCase):
    async def refused(self, daemon: Daemon, line: str) -> None:
        self.assertEqual(await daemon.ended, 78, daemon.said.seen)
        self.assertIn(line, daemon.said.seen)
        self.assertNotIn("Traceback", daemon.said.seen + daemon.complained.seen)
        self.assertNotIn("listening on", daemon.said.seen)
        self.assertEqual([name for name in os.listdir(self.directory) if name.endswith(".pid")], [])

    @deferred
    async def test_configuration(self) -> None:
        """Every problem, and nothing else: no port, no directory, no pid file."""
        self.write("x: {storage_path: images, loglevel: loud, secret_key: [hunter2]}")
        daemon = self.twistd(options=())
        self.assertEqual(await daemon.ended, 78)
        self.assertEqual(
            [line.partition(" (allowed")[0] for line in daemon.complained.seen.splitlines()],
            [
                "c.yml:1:19: x.storage_path: neither absolute nor beginning with ./",
                'c.yml:1:37: x.loglevel: wrong value "loud"',
                "c.yml:1:55: x.secret_key: wrong value: a list",
            ],
        )
        self.assertEqual(daemon.said.seen, "")
        self.assertEqual(os.listdir(self.directory), ["c.yml"])

    @deferred
    async def test_port_in_use(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        endpoint = f"tcp:{listener.getsockname()[1]}:interface=127.0.0.1"
        daemon = self.twistd(f"--listen={endpoint}", options=())
        await self.refused(daemon, f"cannot start: cannot listen on {endpoint}: Address already in use\n")

    @deferred
    async def test_one_of_two_ports_in_use(self) -> None:
        """The one that could be opened is closed again."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        unix = f"{self.directory}/http"
        daemon = self.twistd(f"--listen=unix:{unix}", f"--listen=tcp:{listener.getsockname()[1]}:interface=127.0.0.1")
        await self.refused(daemon, "Address already in use")
        self.assertFalse(os.path.exists(unix))

    @deferred
    async def test_storage_path_unusable(self) -> None:
        """What only opening it shows."""
        Path(self.directory, "images").mkdir()
        Path(self.directory, "images", ".format").write_text("99\n")
        await self.refused(self.twistd(), "cannot start: storage_path")

    @deferred
    async def test_second_on_the_same_root(self) -> None:
        first, port = await self.started()
        second = self.twistd("--listen=tcp:0:interface=127.0.0.1", options=())
        pid = first.transport.pid  # type: ignore[union-attr]
        await self.refused(second, f"is used by another registry, process {pid}")
        self.assertTrue((await self.ask(port)).startswith("HTTP/1.1 200 OK\r\n"), "the first one goes on")
        first.kill(signal.SIGKILL)
        self.assertEqual(await first.ended, -signal.SIGKILL)
        third, port = await self.started()
        self.assertTrue((await self.ask(port)).startswith("HTTP/1.1 200 OK\r\n"), "a lock dies with its process")
        await self.stop(third)


class StopTests(UploadCase):
    @deferred
    async def test_idle(self) -> None:
        """With a connection that waits for its next request, and is not waited for."""
        self.write("x: {storage_path: ./images, listen: ['tcp:0:interface=127.0.0.1'], shutdown_grace: 3600}")
        daemon, port = await self.started()
        waiting = await self.connect(port)
        waiting.send(b"GET /v2/ HTTP/1.1\r\nHost: r\r\n\r\n")
        await waiting.answer.until("{}")
        await self.stop(daemon)
        await waiting.closed
        self.assertIn("stopped", daemon.said.seen)

    @deferred
    async def test_interrupt(self) -> None:
        daemon, _ = await self.started()
        daemon.kill(signal.SIGINT)
        self.assertEqual(await daemon.ended, 0)

    @deferred
    async def test_pid_file(self) -> None:
        daemon = self.twistd(options=())
        await daemon.said.until(LISTENING)
        self.assertTrue(Path(self.directory, "twistd.pid").exists())
        await self.stop(daemon)
        self.assertFalse(Path(self.directory, "twistd.pid").exists())

    @deferred
    async def test_requests_come_to_their_end(self) -> None:
        daemon, port = await self.started()
        location, content = await self.session(port), self.content()
        upload = await self.begin(port, location, content[:-1], len(content))
        daemon.kill(signal.SIGTERM)
        await daemon.said.until("requests in flight: 1")
        with self.assertRaises(ConnectionRefusedError):
            await self.connect(port)
        upload.send(content[-1:])
        await upload.closed
        answer = upload.answer.seen
        self.assertIn("\r\n\r\nHTTP/1.1 202 Accepted\r\n", answer)
        self.assertIn("\r\nConnection: close\r\n", answer)
        self.assertEqual(await daemon.ended, 0)
        await self.assert_can_be_finished(location, content, len(content))

    @deferred
    async def test_grace_is_over(self) -> None:
        self.write("x: {storage_path: ./images, listen: ['tcp:0:interface=127.0.0.1'], shutdown_grace: 0}")
        daemon, port = await self.started()
        location, content = await self.session(port), self.content()
        upload = await self.begin_second(port, location, content)
        await self.stop(daemon)
        await upload.closed
        self.assertNotIn("Traceback", daemon.said.seen)
        await self.assert_can_be_finished(location, content, self.FIRST)

    @deferred
    async def test_second_signal(self) -> None:
        daemon, port = await self.started()
        location, content = await self.session(port), self.content()
        await self.begin_second(port, location, content)
        daemon.kill(signal.SIGTERM)
        await daemon.said.until("requests in flight: 1")
        await self.stop(daemon)
        self.assertIn("asked again", daemon.said.seen)
        self.assertNotIn("Traceback", daemon.said.seen)
        await self.assert_can_be_finished(location, content, self.FIRST)

    @deferred
    async def test_killed(self) -> None:
        """What was acknowledged is there when the process is killed while the next chunk comes."""
        daemon, port = await self.started()
        location, content = await self.session(port), self.content()
        await self.begin_second(port, location, content)
        daemon.kill(signal.SIGKILL)
        await daemon.ended
        await self.assert_can_be_finished(location, content, self.FIRST)

    async def assert_can_be_finished(self, location: str, content: bytes, at_least: int = 0) -> None:
        """After a restart: where the session stands is true, and the upload goes on from there (D11)."""
        daemon, port = await self.started()
        offset = await self.status(port, location)
        self.assertGreaterEqual(offset, at_least)
        digest = f"sha256:{sha256(content).hexdigest()}"
        joint = "&" if "?" in location else "?"
        rest = content[offset:]
        answer = await self.ask(port, f"PUT {location}{joint}digest={digest}", body=rest)
        self.assertTrue(answer.startswith("HTTP/1.1 201 Created\r\n"), answer)
        answer = await self.ask(port, f"GET /v2/busybox/blobs/{digest}")
        self.assertEqual(answer.partition("\r\n\r\n")[2].encode("latin-1"), content)
        await self.stop(daemon)
