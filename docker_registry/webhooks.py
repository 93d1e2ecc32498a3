"""Webhooks, as they are configured."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from docker_registry.config.model import Config
from docker_registry.config.notifications import Endpoint as Options
from docker_registry.notifications.notifications import Notifications
from docker_registry.notifications.outbox import Outbox
from docker_registry.notifications.sender import Endpoint
from docker_registry.notifications.wire import Source
from docker_registry.registry.registry import Registry
from docker_registry.storage.http import Http, Patience
from docker_registry.threads import Runner

DIRECTORY = ".notifications"
"""In the directory of a local store, which hides such names."""


def notifications(
    reactor: Any, config: Config, runner: Runner, registry: Registry, counted: Callable[[str, int], None]
) -> Notifications | None:
    """What tells the endpoints, already listening to ``registry``; ``None`` if there are none.

    Where several processes serve, all write to one outbox, and the outbox sees to it that one sends.

    :param counted: told what becomes of events.
    """
    endpoints = [_endpoint(each) for each in config.notifications.endpoints if not each.disabled]
    if not endpoints:
        return None
    told = Notifications(
        reactor,
        runner,
        Http(reactor, connections=len(endpoints), patience=Patience(connect=max(each.timeout for each in endpoints))),
        Outbox(_directory(config), runner, config.notifications.queue),
        endpoints,
        Source(socket.gethostname(), str(uuid4())),
        time.time,
        config.notifications.events.includereferences,
        counted,
    )
    registry.events.subscribe(told.hear, pulls=told.hears_pulls)
    return told


def _endpoint(options: Options) -> Endpoint:
    headers = {name: ", ".join(each.get_secret_value() for each in values) for name, values in options.headers.items()}
    ignored = {*options.ignoredmediatypes, *options.ignore.mediatypes, *options.ignore.actions}
    return Endpoint(
        options.name, options.url.get_secret_value(), headers, options.timeout, options.threshold, options.backoff,
        frozenset(ignored),
    )


def _directory(config: Config) -> Path | None:
    if config.notifications.outbox is not None:
        return config.notifications.outbox
    return config.storage_path / DIRECTORY if config.beneath == "local" and config.storage_path else None
