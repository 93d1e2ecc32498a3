"""The daemon's log, as it is configured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.logger import FilteringLogObserver, ILogObserver, LogLevel, LogLevelFilterPredicate

from docker_registry.config.model import Config
from docker_registry.config.secrets import secrets
from docker_registry.logs import events
from docker_registry.logs.destination import destination
from docker_registry.logs.redaction import Redactor
from docker_registry.reloading import Reloads


def log_observer(
    reactor: Any, twistd: Mapping[str, Any], config: Config, reloads: Reloads
) -> ILogObserver:
    """What logs a process of the daemon; its file is added to what can be read again."""
    chosen = destination(reactor, twistd, shared=config.processes > 1)
    if chosen.reopen is not None:
        reloads.add("the log", chosen.reopen)
    wanted = LogLevel.levelWithName(config.loglevel)
    level = LogLevelFilterPredicate(wanted)
    # It tells of each connection to a store that begins, and that ends.
    level.setLogLevelForNamespace("twisted.web.client", max(wanted, LogLevel.warn))
    observer = events.safe(chosen.observer, config.log_format, Redactor(secrets(config)))
    return FilteringLogObserver(observer, [level])
