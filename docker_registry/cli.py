"""The ``docker-registry`` command."""

from __future__ import annotations

from typing import Any

import click

from docker_registry.commands.config import check_config, config_schema
from docker_registry.commands.leftovers import leftovers
from docker_registry.commands.mail_test import mail_test
from docker_registry.commands.recover import recover
from docker_registry.commands.serve import serve
from docker_registry.commands.status import status
from docker_registry.commands.warm import warm
from docker_registry.output import leave_unheard


class Program(click.Group):
    """The commands together."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """What click itself writes, such as ``--help``, may meet a full disk, too."""
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if error.filename is not None:
                raise
            leave_unheard(error)


@click.group(cls=Program, epilog="Example: docker-registry serve --config config.yml --flavor prod")
@click.version_option(package_name="docker-registry", prog_name="docker-registry")
def main() -> None:
    """A container registry that docker, podman, skopeo and containerd push to and pull from."""


for command in (serve, check_config, config_schema, status, mail_test, warm, leftovers, recover):
    main.add_command(command)
