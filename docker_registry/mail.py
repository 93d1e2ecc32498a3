"""Mail on exceptions, as it is configured."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from docker_registry.alerts.alerts import Alerts, mailed
from docker_registry.alerts.forwarding import Forwarder
from docker_registry.alerts.message import Envelope, message
from docker_registry.alerts.smtp import Server, deliver
from docker_registry.alerts.texts import Origin, Texts
from docker_registry.config.load import Loaded
from docker_registry.config.mail import Mail
from docker_registry.config.secrets import secrets
from docker_registry.logs.redaction import Redactor


def alerts(reactor: Any, loaded: Loaded, counted: Callable[[str], None]) -> Alerts | None:
    """What mails exceptions; ``None`` if there is no ``smtp_host``.

    :param counted: told what becomes of each mail.
    """
    options = loaded.config.email_exceptions
    if not options.smtp_host:
        return None
    return mailed(reactor, _server(options), _envelope(options), _texts(loaded), time.time, counted)


def forwarder(reactor: Any, loaded: Loaded, say: Callable[[bytes], None]) -> Forwarder | None:
    """The same for a worker, whose parent mails.

    :param say: takes a line, without its end, to the parent.
    """
    return Forwarder(reactor, _texts(loaded), say) if loaded.config.email_exceptions.smtp_host else None


async def test(reactor: Any, loaded: Loaded, said: Callable[[str], None]) -> None:
    """Send a mail now.

    :param said: told of each step.
    :raises NotSent: see `deliver`.
    """
    options = loaded.config.email_exceptions
    redact = Redactor(secrets(loaded.config))
    mail = message(_texts(loaded).of_test(), _envelope(options))
    await deliver(reactor, _server(options), _envelope(options), mail, lambda step: said(redact(step)))


def _server(options: Mail) -> Server:
    password = options.smtp_password.get_secret_value()
    identity = re.sub("[^A-Za-z0-9.-]", "", socket.gethostname()) or "localhost"
    return Server(
        options.smtp_host, options.smtp_port, options.smtp_secure, options.smtp_login, password, identity
    )


def _envelope(options: Mail) -> Envelope:
    return Envelope(options.from_addr, options.to_addr)


def _texts(loaded: Loaded) -> Texts:
    origin = Origin(socket.gethostname(), loaded.flavor, version("docker-registry"))
    return Texts(origin, Redactor(secrets(loaded.config)))
