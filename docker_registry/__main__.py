"""The ``docker-registry`` program: what it is made of takes half a second to import, and signals may come meanwhile."""

from __future__ import annotations

import signal
import sys

from docker_registry.process import end_by_signals


def main() -> None:
    """Run what the arguments name."""
    before = end_by_signals()
    from docker_registry import cli

    if sys.argv[1:2] != ["serve"]:                      # which knows itself when there is something to stop
        for number, handler in before.items():
            signal.signal(number, handler)
    cli.main()


if __name__ == "__main__":
    main()
