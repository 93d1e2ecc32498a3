"""``docker-registry serve``"""

from __future__ import annotations

import sys

import click
from twisted.scripts import twistd

from docker_registry.commands.options import CONFIG, FLAVOR


@click.command()
@CONFIG
@FLAVOR
@click.option("--listen", "-l", metavar="ENDPOINT", multiple=True, help="Where to listen instead; may be repeated.")
def serve(config: str | None, flavor: str | None, listen: tuple[str, ...]) -> None:
    """Run the registry in the foreground, as `twistd --nodaemon docker-registry` does.

    Example: docker-registry serve --listen tcp:5000:interface=127.0.0.1
    """
    given = [("--config", config), ("--flavor", flavor), *(("--listen", endpoint) for endpoint in listen)]
    sys.argv[1:] = ["--nodaemon", "--pidfile=", "docker-registry", *(f"{name}={text}" for name, text in given if text)]
    twistd.run()
