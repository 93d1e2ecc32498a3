"""The ``docker-registry`` command."""

from __future__ import annotations

import os
import sys
from typing import Any

import click
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.scripts import twistd

from docker_registry import mail
from docker_registry.alerts.smtp import NotSent
from docker_registry.config.load import Loaded, load
from docker_registry.config.problems import EXIT_STATUS, ConfigError
from docker_registry.config.values import TIME
from docker_registry.leftovers import leftovers
from docker_registry.warm import warm

_CONFIG = click.option(
    "--config", "-c", metavar="FILE", help="YAML file of flavors [$DOCKER_REGISTRY_CONFIG, or the sample]."
)
_FLAVOR = click.option("--flavor", "-f", metavar="NAME", help="Flavor to run [$SETTINGS_FLAVOR, or dev].")


@click.group(epilog="Example: docker-registry serve --config config.yml --flavor prod")
@click.version_option(package_name="docker-registry", prog_name="docker-registry")
def main() -> None:
    """A container registry that docker, podman, skopeo and containerd push to and pull from."""


def _loaded(config: str | None, flavor: str | None) -> Loaded:
    """The configuration; everything that is wrong with it ends the command."""
    try:
        loaded = load(config, flavor, os.environ)
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(EXIT_STATUS) from None
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    return loaded


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


@main.command("warm")
@_CONFIG
@_FLAVOR
def warm_command(config: str | None, flavor: str | None) -> None:
    """Make the images that docker-registry 0.x left ready for today's clients.

    Reads every layer once; it may be stopped, and goes on where it was. Without it each image is made ready when it is
    pulled first. The registry must not be running.

    Status 0: every tag is ready. 1: it did not come to its end; run it again. 3: all is done, and some tags cannot be
    served by v2; each is named, with the reason.

    Example: docker-registry warm --config config.yml --flavor prod
    """
    loaded = _loaded(config, flavor)
    task.react(lambda reactor: warm(reactor, loaded.config))


@main.command("leftovers")
@_CONFIG
@_FLAVOR
@click.option("--older-than", metavar="TIME", help="Since the last byte, such as 2h or 7d [upload_purge_age].")
@click.option("--remove", is_flag=True, help="Remove them.")
def leftovers_command(config: str | None, flavor: str | None, older_than: str | None, remove: bool) -> None:
    """Name the halves of objects that pushes left in the store when a registry crashed.

    They cost room, and no key leads to them. A registry that runs removes those that are older than upload_purge_age
    once an hour. Parts of pushes that still go on are young: leave them some hours.

    Example: docker-registry leftovers --config config.yml --flavor prod --older-than 2d --remove
    """
    loaded = _loaded(config, flavor)
    age = loaded.config.upload_purge_age if older_than is None else TIME.parse(older_than)
    if not isinstance(age, int | float):
        raise click.BadParameter(f"{older_than} is no time such as 30m, 2h or 7d", param_hint="--older-than")
    task.react(lambda reactor: Deferred.fromCoroutine(leftovers(reactor, loaded.config, age, remove)))


@main.command()
@_CONFIG
@_FLAVOR
def mail_test(config: str | None, flavor: str | None) -> None:
    """Send one mail, as an exception would, and say step by step how it went.

    Status 0: the mail server took it. 1: it did not. 78: no mail is configured.

    Example: docker-registry mail-test --config config.yml --flavor prod
    """
    loaded = _loaded(config, flavor)
    options = loaded.config.email_exceptions
    if not options.smtp_host:
        click.echo(f"{loaded.file}: flavor {loaded.flavor} has no smtp_host: there is no mail", err=True)
        raise SystemExit(EXIT_STATUS)
    click.echo(f"mail server {options.smtp_host}, port {options.smtp_port}, smtp_secure {options.smtp_secure}")
    task.react(lambda reactor: Deferred.fromCoroutine(_mail_test(reactor, loaded)))


async def _mail_test(reactor: Any, loaded: Loaded) -> None:
    try:
        await mail.test(reactor, loaded, click.echo)
    except NotSent as error:
        click.echo(f"not sent: {error}", err=True)
        raise SystemExit(1) from None
    click.echo("sent")


@main.command()
@_CONFIG
@_FLAVOR
def check_config(config: str | None, flavor: str | None) -> None:
    """Read a configuration, say everything that is wrong with it, and start nothing.

    Example: docker-registry check-config --config config.yml --flavor prod
    """
    loaded = _loaded(config, flavor)
    click.echo(f"ok: flavor {loaded.flavor} of {loaded.file}")
