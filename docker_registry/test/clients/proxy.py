"""A TCP proxy on loopback that loses one connection."""

from __future__ import annotations

import socket
import threading
from types import TracebackType


class CuttingProxy:
    """Passes bytes on, and cuts the first connection that has brought ``after`` bytes from the server.

    :ivar port: where it listens.
    :ivar has_cut: whether it has.
    """

    def __init__(self, target: int, after: int) -> None:
        self._target = target
        self._after = after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.has_cut = False
        self._lock = threading.Lock()

    def __enter__(self) -> CuttingProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return                          # closed: the test is over
            server = socket.create_connection(("127.0.0.1", self._target))
            threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        passed = 0
        try:
            while data := source.recv(1 << 16):
                passed += len(data)
                with self._lock:
                    cut = is_answer and not self.has_cut and passed > self._after
                    self.has_cut = self.has_cut or cut
                if cut:
                    break
                target.sendall(data)
        except OSError:
            pass_on = False                     # one side has gone: the other is told below
        else:
            pass_on = True
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR if not pass_on or is_answer else socket.SHUT_WR)
            except OSError:
                end.close()
