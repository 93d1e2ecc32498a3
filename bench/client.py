"""A client in a process of its own: ``python -m bench.client FUNCTION PORT FILE=DIGEST...``"""

from __future__ import annotations

import sys
from pathlib import Path

from bench import load
from bench.servers import Server


class _Known(load.Blob):
    def __init__(self, path: Path, digest: str) -> None:
        self.path, self.digest, self.size = path, digest, path.stat().st_size


class _There(Server):
    def __init__(self, port: int) -> None:
        self.port, self.name = port, "server"


def main() -> None:
    function, port, *blobs = sys.argv[1:]
    act = {"docker": load.push_as_docker, "containerd": load.push_as_containerd, "pull": load.read_all}[function]
    for each in blobs:
        path, _, digest = each.partition("=")
        act(_There(int(port)), _Known(Path(path), digest))


if __name__ == "__main__":
    main()
