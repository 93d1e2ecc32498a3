"""Options into a service: what ``twistd docker-registry`` runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from twisted.application.service import IService, MultiService
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.components import Componentized

from docker_registry.config.load import Loaded, load
from docker_registry.config.model import Config
from docker_registry.config.problems import EXIT_STATUS, ConfigError
from docker_registry.daemon import Daemon
from docker_registry.journal import log_observer
from docker_registry.reloading import Reloads


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
    from docker_registry.workers.supervisor import build as build_supervisor

    twistd: Mapping[str, Any] = options.parent or {}
    config = options.loaded.config
    registry: Daemon
    try:
        if config.processes == 1:
            registry = build(reactor, options.loaded, os.environ)
        else:
            registry = build_supervisor(reactor, options.loaded, os.environ, twistd)
    except ConfigError as error:
        _leave(error)
    service = _Logged(reactor, twistd, config, registry.reloads)
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
    """

    def __init__(self, reactor: Any, twistd: Mapping[str, Any], config: Config, reloads: Reloads) -> None:
        super().__init__()
        self._reactor = reactor
        self._twistd = twistd
        self._config = config
        self._reloads = reloads

    def setServiceParent(self, parent: Any) -> None:
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, log_observer(self._reactor, self._twistd, self._config, self._reloads))
        super().setServiceParent(parent)
