"""The ``docker-registry`` command."""

from __future__ import annotations

import click

from docker_registry.commands.config import check_config, config_schema
from docker_registry.commands.mail_test import mail_test
from docker_registry.commands.recover import recover
from docker_registry.commands.serve import serve
from docker_registry.commands.status import status
from docker_registry.commands.warm import leftovers, warm


@click.group(epilog="Example: docker-registry serve --config config.yml --flavor prod")
@click.version_option(package_name="docker-registry", prog_name="docker-registry")
def main() -> None:
    """A container registry that docker, podman, skopeo and containerd push to and pull from."""


for command in (serve, check_config, config_schema, status, mail_test, warm, leftovers, recover):
    main.add_command(command)
