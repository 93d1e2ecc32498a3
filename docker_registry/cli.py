"""The ``docker-registry`` command."""

from __future__ import annotations

import os
import sys

import click
from twisted.scripts import twistd

from docker_registry.config.load import load
from docker_registry.config.problems import EXIT_STATUS, ConfigError

_CONFIG = click.option(
    "--config", "-c", metavar="FILE", help="YAML file of flavors [$DOCKER_REGISTRY_CONFIG, or the sample]."
)
_FLAVOR = click.option("--flavor", "-f", metavar="NAME", help="Flavor to run [$SETTINGS_FLAVOR, or dev].")


@click.group(epilog="Example: docker-registry serve --config config.yml --flavor prod")
@click.version_option(package_name="docker-registry", prog_name="docker-registry")
def main() -> None:
    """A container registry that docker, podman, skopeo and containerd push to and pull from."""


@main.command()
@_CONFIG
@_FLAVOR
@click.option("--listen", "-l", metavar="ENDPOINT", multiple=True, help="Where to listen instead; may be repeated.")
def serve(config: str | None, flavor: str | None, listen: tuple[str, ...]) -> None:
    """Run the registry in the foreground, as `twistd --nodaemon docker-registry` does.

    Example: docker-registry serve --listen tcp:5000:interface=127.0.0.1
    """
    given = [("--config", config), ("--flavor", flavor), *(("--listen", endpoint) for endpoint in listen)]
    sys.argv[1:] = ["--nodaemon", "--pidfile=", "docker-registry", *(f"{name}={text}" for name, text in given if text)]
    twistd.run()


@main.command()
@_CONFIG
@_FLAVOR
def check_config(config: str | None, flavor: str | None) -> None:
    """Read a configuration, say everything that is wrong with it, and start nothing.

    Example: docker-registry check-config --config config.yml --flavor prod
    """
    try:
        loaded = load(config, flavor, os.environ)
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(EXIT_STATUS) from None
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"ok: flavor {loaded.flavor} of {loaded.file}")
