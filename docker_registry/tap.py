"""Options into a service: what ``twistd docker-registry`` runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from twisted.application.service import IService
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
    LogLevel,
    LogLevelFilterPredicate,
)
from twisted.python import usage
from twisted.scripts._twistd_unix import UnixAppLogger

from docker_registry.config.load import Loaded, load
from docker_registry.config.problems import EXIT_STATUS, ConfigError


class Options(usage.Options):
    """:ivar loaded: the configuration, once the options are parsed."""

    synopsis = "[--config FILE] [--flavor NAME] [--listen ENDPOINT]..."
    longdesc = "A container registry. Example: twistd --nodaemon docker-registry --config config.yml --flavor prod"
    optParameters = [
        ["config", "c", None, "YAML file of flavors [default: $DOCKER_REGISTRY_CONFIG, or the sample]"],
        ["flavor", "f", None, "flavor to run [default: $SETTINGS_FLAVOR, or dev]"],
    ]
    loaded: Loaded

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []

    def opt_listen(self, endpoint: str) -> None:
        """Where to listen instead of what the configuration says, such as tcp:5000:interface=127.0.0.1; may be
        repeated."""
        self["listen"].append(endpoint)

    opt_l = opt_listen

    def postOptions(self) -> None:
        """Load the configuration; problems end the process before anything is opened."""
        try:
            self.loaded = load(self["config"], self["flavor"], os.environ, self["listen"])
        except ConfigError as error:
            _leave(error)
        if self.parent is not None:
            self.parent["logger"] = _leveled(self.parent, self.loaded.config.loglevel)


def makeService(options: Options) -> IService:
    """The registry as a service of twistd."""
    # Here, not at import: twistd installs the reactor first.
    from twisted.internet import reactor

    from docker_registry.service import build

    try:
        return build(reactor, options.loaded, os.environ)
    except ConfigError as error:
        _leave(error)


def _leave(error: ConfigError) -> NoReturn:
    print(error, file=sys.stderr)
    raise SystemExit(EXIT_STATUS)


def _leveled(twistd: Any, level: str) -> Callable[[], ILogObserver]:
    """What makes twistd's log: its own choice (--logger, --logfile, --syslog), without what is below ``level``."""
    given = twistd.get("logger")

    def observer() -> ILogObserver:
        chosen = given() if given else UnixAppLogger(twistd)._getLogObserver()
        if not ILogObserver.providedBy(chosen):
            chosen = LegacyLogObserverWrapper(chosen)
        return FilteringLogObserver(chosen, [LogLevelFilterPredicate(LogLevel.levelWithName(level))])

    return observer
