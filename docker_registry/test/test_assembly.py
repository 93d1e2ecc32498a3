"""From a configuration to the parts that it configures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.assembly import cache_directory, registry_settings, web_limits
from docker_registry.config.load import Loaded
from docker_registry.config.model import Config
from docker_registry.config.problems import ConfigError
from docker_registry.polling import Poller
from docker_registry.registry.settings import Settings
from docker_registry.service import RegistryService, build
from docker_registry.web.limits import Limits


class BuildTests(SynchronousTestCase):
    def loaded(self, **options: Any) -> Loaded:
        return Loaded(Config.model_validate({"storage": "memory", **options}), "x", "c.yml", ())

    def test_defaults_are_the_same_everywhere(self) -> None:
        config = self.loaded().config
        self.assertEqual(registry_settings(config), Settings())
        self.assertEqual(web_limits(config), Limits())

    def test_every_option_arrives(self) -> None:
        """Each limit and setting, set to something else, is something else where it is used."""
        limits = {name: value * 2 for name, value in dataclasses.asdict(Limits()).items()}
        self.assertEqual(web_limits(self.loaded(limits=limits).config), Limits(**limits))
        options = {
            "max_manifest_bytes": 8 << 20, "max_manifest_references": 101, "max_page": 102, "max_uploads": 103,
            "upload_purge_age": 104.0, "delete_enabled": False, "allow_missing_children": True,
        }
        self.assertEqual(
            dataclasses.astuple(registry_settings(self.loaded(**options).config)),
            (8 << 20, 101, 102, 103, 104.0, False, True, 0.0, 0.0),
        )

    def test_several_share_limits(self) -> None:
        """What all take together is what is configured; of one address each takes some (E8)."""
        limits = {"connections": 1001, "body_memory": 100 << 20, "per_address": 60}
        store = {"storage": "local", "storage_path": Path(self.mktemp()).absolute(), "secret_key": "s" * 32}
        for workers, expected in ((2, (501, 50 << 20, 30)), (16, (63, 100 << 16, 10))):
            found = web_limits(self.loaded(limits=limits, workers=workers, **store).config)
            self.assertEqual((found.connections, found.body_memory, found.per_address), expected)

    def test_links(self) -> None:
        """Asked for each time where another process may remove them."""
        s3 = {"storage": "s3", "s3_bucket": "images", "s3_link_cache": 7.0}
        for options, seconds in ((s3, 7.0), ({**s3, "workers": 2, "secret_key": "s"}, 0.0), ({}, 0.0)):
            self.assertEqual(registry_settings(self.loaded(**options).config).link_belief, seconds)

    def test_catalogue(self) -> None:
        """Beside a local store; elsewhere each store has its own; read again where others may write."""
        cache = str(Path(self.mktemp()).absolute())
        local, s3 = {"storage": "local", "storage_path": "/srv"}, {"storage": "s3", "s3_bucket": "images"}
        self.assertEqual(cache_directory(self.loaded(**local).config), Path("/srv/.cache"))
        self.assertIsNone(cache_directory(self.loaded(**s3, storage_path="/srv").config))
        self.assertIsNone(cache_directory(self.loaded(cache_path=cache).config))
        stores = [
            local, {**local, "storage_path": "/srv2"}, s3, {**s3, "storage_path": "/srv"},
            {**s3, "s3_bucket": "others"}, {**s3, "s3_endpoint": "http://127.0.0.1:9000"},
        ]
        places = [cache_directory(self.loaded(**each, cache_path=cache).config) for each in stores]
        self.assertEqual(len(set(places)), len(stores))
        self.assertEqual({str(each.parent) for each in places if each}, {cache})
        refreshes = [
            registry_settings(self.loaded(**each, catalogue_refresh=120.0).config).catalogue_refresh
            for each in ({}, local, s3)
        ]
        self.assertEqual(refreshes, [0.0, 0.0, 120.0])

    def test_assembled(self) -> None:
        """The real parts, but for the reactor."""
        reactor = MemoryReactorClock()
        root = Path(self.mktemp()).absolute()
        for options in ({}, {"storage": "local", "storage_path": str(root)}, {"loglevel": "debug"}):
            self.assertIsInstance(build(reactor, self.loaded(**options), {}), RegistryService)
        self.assertFalse(root.exists(), "nothing is opened before the service starts")
        self.assertEqual(reactor.tcpServers, [])

    def test_takes_turns(self) -> None:
        reactor: Any = EPollReactor()
        self.addCleanup(reactor._poller.close)
        service: Any = build(reactor, self.loaded(), {})
        self.assertIsInstance(reactor._poller, Poller)
        self.assertIs(reactor._poller._turn, service._site.turn)

    def test_no_socket_of_systemd(self) -> None:
        loaded = self.loaded(listen=("systemd:domain=INET:index=0",))
        error = self.assertRaises(ConfigError, build, MemoryReactorClock(), loaded, {})
        self.assertEqual(
            str(error), "c.yml: x.listen: systemd:domain=INET:index=0: systemd has not handed over such a socket"
        )
