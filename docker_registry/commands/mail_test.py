"""``docker-registry mail-test``"""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from docker_registry import mail
from docker_registry.alerts.smtp import NotSent
from docker_registry.commands.options import CONFIG, FLAVOR, loaded, run
from docker_registry.config.load import Loaded
from docker_registry.config.problems import EXIT_STATUS
from docker_registry.output import leave, say


@click.command()
@CONFIG
@FLAVOR
def mail_test(config: str | None, flavor: str | None) -> None:
    """Send one mail, as an exception would, and say step by step how it went.

    Status 0: the mail server took it. 1: it did not. 78: no mail is configured.

    Example: docker-registry mail-test --config config.yml --flavor prod
    """
    found = loaded(config, flavor)
    options = found.config.email_exceptions
    if not options.smtp_host:
        leave(EXIT_STATUS, f"{found.file}: flavor {found.flavor} has no smtp_host: there is no mail")
    say(f"mail server {options.smtp_host}, port {options.smtp_port}, smtp_secure {options.smtp_secure}")
    run(partial(_mail_test, found))


async def _mail_test(found: Loaded, reactor: Any) -> None:
    try:
        await mail.test(reactor, found, say)
    except NotSent as error:
        leave(1, f"not sent: {error}")
    say("sent")
