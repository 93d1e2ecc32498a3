"""Another proxy of the real Swift, as another operator has it."""

from __future__ import annotations

import atexit
import tempfile
from functools import cache
from pathlib import Path

from docker_registry.test.clients.daemon import Process, free_port, wait_for_port
from docker_registry.test.servers.process import RealServer
from docker_registry.test.servers.stores import container, swift_folder

BEHIND = 180
"""Seconds that its clock is behind that of the other one."""

MOST = 12
"""Segments that it takes in one list."""

CLOCK = f"""import time

now = time.time
time.time = lambda: now() - {BEHIND}
"""


@cache
def another() -> int:
    """The port of a proxy over the same objects, whose clock is `BEHIND`, and which takes `MOST` segments."""
    here = swift_folder()
    usual = RealServer(here, "swift-proxy-server", container().port)
    folder = Path(tempfile.mkdtemp(prefix="another-", dir=here))
    (folder / "sitecustomize.py").write_text(CLOCK)
    port = free_port()
    text = (here / "etc/proxy.conf").read_text()
    assert "max_manifest_segments = 10000" in text
    # Small segments are read one in a second otherwise, after the first ten.
    text = text.replace("max_manifest_segments = 10000", f"max_manifest_segments = {MOST}\nrate_limit_under_size = 0")
    (folder / "proxy.conf").write_text(text.replace(str(container().port), str(port)))
    command = [str(folder / "proxy.conf") if each.endswith("proxy.conf") else each for each in usual.command]
    path = f"{folder}:{usual.environ['PYTHONPATH']}"
    process = Process(command, {**usual.environ, "PYTHONPATH": path})
    atexit.register(process.stop)
    wait_for_port(port)
    return port
