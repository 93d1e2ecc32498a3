"""What systemd is told (sd_notify(3))."""

from __future__ import annotations

import os
import socket

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.systemd import Notifier


class NotifierTests(SynchronousTestCase):
    def test_watchdog_of_another(self) -> None:
        self.assertIsNone(Notifier({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"}).interval)
        self.assertIsNone(Notifier({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "soon"}).interval)
        self.assertIsNone(Notifier({"WATCHDOG_USEC": "4000000"}).interval)

    def test_abstract_name(self) -> None:
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.addCleanup(receiver.close)
        name = f"docker-registry-test-{os.getpid()}"
        receiver.bind(f"\0{name}")
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
        self.assertEqual(receiver.recv(100), b"READY=1")

    def test_never_fails(self) -> None:
        Notifier({}).ready()
        for name, reason in (("/nowhere/at/all", "No such file or directory"), ("@nobody-listens-here", "refused"),
                             ("x" * 200, "too long")):
            with capturedLogs() as said:
                Notifier({"NOTIFY_SOCKET": name}).stopping()
            self.assertIn(reason, formatEvent(said[0]))

    def test_complains_once(self) -> None:
        """Until systemd hears again: a ping is due twice in each time that it waits."""
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.addCleanup(receiver.close)
        name = f"docker-registry-test-deaf-{os.getpid()}"
        notifier = Notifier({"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": "4000000"})
        with capturedLogs() as said:
            notifier.ready()
            notifier.ping()
            notifier.ping()
            self.assertEqual([formatEvent(each) for each in said], ["systemd was not told READY=1: Connection refused"])
            receiver.bind(f"\0{name}")
            notifier.ping()
            receiver.close()
            notifier.ping()
            notifier.ping()
        self.assertEqual([formatEvent(each) for each in said[1:]],
                         ["systemd was not told WATCHDOG=1: Connection refused"])
