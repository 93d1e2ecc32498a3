"""``docker-registry warm``"""

from __future__ import annotations

import click
from twisted.internet import task

from docker_registry import warm as warming
from docker_registry.commands.options import CONFIG, FLAVOR, JSON, loaded


@click.command()
@CONFIG
@FLAVOR
@JSON
def warm(config: str | None, flavor: str | None, as_json: bool) -> None:
    """Make the images that docker-registry 0.x left ready for today's clients.

    Reads every layer once; it may be stopped, and goes on where it was. Without it each image is made ready when it is
    pulled first. The registry must not be running.

    Status 0: every tag is ready. 1: it did not come to its end; run it again. 3: all is done, and some tags cannot be
    served by v2; each is named, with the reason.

    Example: docker-registry warm --config config.yml --flavor prod
    """
    found = loaded(config, flavor)
    task.react(lambda reactor: warming.warm(reactor, found.config, as_json))
