"""Options into a service: what ``twistd docker-registry`` runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from twisted.application.service import IService, MultiService
from twisted.logger import FilteringLogObserver, ILogObserver, LogLevel, LogLevelFilterPredicate
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.scripts._twistd_unix import UnixAppLogger

from docker_registry.config.load import Loaded, load
from docker_registry.config.problems import EXIT_STATUS, ConfigError
from docker_registry.config.secrets import secrets
from docker_registry.logs import events
from docker_registry.logs.redaction import Redactor


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
        """Where to listen instead, such as tcp:5000:interface=127.0.0.1; may be repeated."""
        self["listen"].append(endpoint)

    opt_l = opt_listen

    def postOptions(self) -> None:
        """Load the configuration; problems end the process before anything is opened."""
        try:
            self.loaded = load(self["config"], self["flavor"], os.environ, self["listen"])
        except ConfigError as error:
            _leave(error)


def makeService(options: Options) -> IService:
    """The registry as a service of twistd."""
    # Here, not at import: twistd installs the reactor first.
    from twisted.internet import reactor

    from docker_registry.service import build

    try:
        registry = build(reactor, options.loaded, os.environ)
    except ConfigError as error:
        _leave(error)
    config = options.loaded.config
    level, redact = LogLevel.levelWithName(config.loglevel), Redactor(secrets(config))
    service = _Logged(options.parent or {}, level, config.log_format, redact)
    registry.setServiceParent(service)
    return service


def _leave(error: ConfigError) -> NoReturn:
    print(error, file=sys.stderr)
    raise SystemExit(EXIT_STATUS)


class _Logged(MultiService):
    """What stands between twistd and the registry, to have a say in what is logged.

    An application may bring its own log observer. Ours is the one that twistd would have made by its own options
    (``--logfile``, ``--syslog``), without what is below the level, and with lines that are safe to read. With
    ``--logger`` twistd does not ask.

    :param twistd: its options.
    :param form: of the events, ``text`` or ``json``.
    :param redact: takes the secrets of the configuration out of what goes wrong.
    """

    def __init__(self, twistd: Mapping[str, Any], level: Any, form: str, redact: Redactor) -> None:
        super().__init__()
        self._twistd = twistd
        self._level = level
        self._form = form
        self._redact = redact

    def setServiceParent(self, parent: Any) -> None:
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer())
        super().setServiceParent(parent)

    def _observer(self) -> ILogObserver:
        chosen = UnixAppLogger(self._twistd)._getLogObserver()     # there is no public way to ask for it
        observer = events.safe(chosen, self._form, self._redact)
        return FilteringLogObserver(observer, [LogLevelFilterPredicate(self._level)])
