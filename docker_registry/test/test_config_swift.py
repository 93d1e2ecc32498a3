"""Options of ``storage: swift``, the old names and registry:2's among them, and what comes of them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from docker_registry.assembly import cache_directory, registry_settings
from docker_registry.storage.accounts import openstack
from docker_registry.storage.choose import choose
from docker_registry.storage.interface import IRedirects
from docker_registry.storage.keystone import Keystone
from docker_registry.storage.retries import Retries
from docker_registry.storage.swift.login import V1
from docker_registry.storage.swift.storage import SwiftStorage
from docker_registry.storage.tokens import LogIn, LoginRefused
from docker_registry.test.config_case import MARKER, ConfigCase
from docker_registry.test.registry_case import Direct

V1_AUTH = "swift_authurl: 'http://h:8080/auth/v1.0'"
WHOLE = f"swift_container: c, {V1_AUTH}, swift_user: 'a:u', swift_password: k"

PROBLEMS = [
    # options beside storage: swift, and what is said of them
    ("", "x.storage: swift_container is missing, and storage is swift (allowed: local, memory, s3, swift, glance)"),
    ("swift_container: a/b", "x.swift_container: no name of a container (allowed: text)"),
    ("swift_container: ''", "x.swift_container: no name of a container"),
    (f"swift_container: c, {V1_AUTH}", "x.storage: swift_user is missing"),
    (f"swift_container: c, {V1_AUTH}, swift_user: u", "x.storage: swift_password is missing"),
    ("swift_container: c, swift_auth_version: 1", "x.storage: swift_authurl is missing"),
    ("swift_container: c, swift_auth_version: 4", "x.swift_auth_version: wrong value 4 (allowed: a whole"),
    (f"swift_container: c, swift_authurl: 'http://u:{MARKER}@h/v3'", "x.swift_authurl: not https://HOST:PORT/PATH"),
    ("swift_container: c, swift_storage_url: h", "x.swift_storage_url: not https://HOST:PORT/PATH"),
    ("swift_container: c, swift_cacert: /dev/null", "x.swift_cacert: no certificate in PEM"),
    ("swift_container: c, swift_segment_size: 1KiB", 'x.swift_segment_size: wrong value "1KiB"'),
    ("swift_container: c, swift_segment_size: 64MiB, swift_memory: 100MiB",
     "x.swift_memory: less than two segments of swift_segment_size"),
    ("swift_container: c, swift_temp_url_key: ''", "x.swift_temp_url_key: empty"),
    (f"swift_container: c, swift_pasword: {MARKER}", "x.swift_pasword: unknown option; the nearest is swift_password"),
    ("swift_container: c, storage_path: /../etc", "x.storage_path: not a prefix of keys, such as /prod"),
    ("swift: {container: a/b}", "x.swift.container: no name of a container"),
    ("swift: {container: c, trustid: t}", "x.swift.trustid: unknown option"),
    ("swift: {container: c, endpointtype: publicURL}", "x.swift.endpointtype: wrong value"),
    (f"swift: {{container: c, password: [{MARKER}]}}", "x.swift.password: wrong value"),
]


class OptionTests(ConfigCase):
    def store(self, options: str, **environ: str) -> SwiftStorage:
        config = self.load(f"x: {{storage: swift, {options}}}", environ=environ).config
        storage = choose(config, Direct(), Clock())
        assert isinstance(storage, SwiftStorage)
        return storage

    def settings(self, options: str) -> Any:
        return self.store(options)._settings

    def log_in(self, options: str, **environ: str) -> Any:
        return self.store(options, **environ).container.client._service._log_in

    def test_problems(self) -> None:
        for options, expected in PROBLEMS:
            with self.subTest(options):
                self.assertIn(expected, self.problems(f"x: {{storage: swift, {options}}}"))

    def test_as_in_docker_registry_0x(self) -> None:
        """Its flavor ``swift``, with Keystone 2.0 then and 3 now."""
        log_in = self.log_in(
            "storage_path: _env:STORAGE_PATH:/registry, swift_authurl: _env:OS_AUTH_URL, "
            "swift_container: _env:CONTAINER, swift_user: _env:OS_USERNAME, swift_password: _env:OS_PASSWORD, "
            "swift_tenant_name: _env:OS_TENANT_NAME, swift_region_name: _env:OS_REGION_NAME",
            OS_AUTH_URL="http://k:5000/v2.0/", CONTAINER="c", OS_USERNAME="u", OS_PASSWORD=MARKER, OS_TENANT_NAME="t",
            OS_REGION_NAME="r",
        )
        assert isinstance(log_in, Keystone)
        login = log_in._login
        self.assertEqual((login.tokens_url, login.username, login.password, login.project),
                         ("http://k:5000/v3/auth/tokens", "u", MARKER, "t"))
        self.assertEqual((log_in._wanted.type, log_in._wanted.region), ("object-store", "r"))

    def test_version_1(self) -> None:
        for options in (WHOLE, WHOLE.replace("/auth/v1.0", "/login") + ", swift_auth_version: 1"):
            log_in = self.log_in(options)
            assert isinstance(log_in, V1)
            self.assertEqual((log_in._login.user, log_in._login.key), ("a:u", "k"))
            self.assertNotIn("'k'", repr(log_in._login))

    def test_as_in_registry_2(self) -> None:
        """The section as it is: the keys are where it has them."""
        section = (
            f"swift: {{authurl: 'https://k/v3', username: u, password: {MARKER}, container: c, tenant: t, domain: d, "
            f"tenantdomain: e, region: r, endpointtype: internal, chunksize: 20971520, secretkey: s, prefix: /p/q, "
            f"insecureskipverify: true}}"
        )
        store = self.store(f"{section}, storage_redirect: true")
        settings = store._settings
        self.assertEqual((settings.container, settings.prefix, settings.segment_size, settings.temp_url_key),
                         ("c", "p/q/files/", 20 << 20, "s"))
        log_in = store.container.client._service._log_in
        assert isinstance(log_in, Keystone)
        login = log_in._login
        self.assertEqual((login.username, login.password, login.project, login.user_domain, login.project_domain),
                         ("u", MARKER, "t", "d", "e"))
        self.assertEqual((log_in._wanted.region, log_in._wanted.interface), ("r", "internal"))
        self.assertEqual(self.settings("swift: {container: c}").prefix, "files/")
        own = self.settings(f"{section}, swift_container: other, swift_segment_size: 1MiB, storage_path: /")
        self.assertEqual((own.container, own.prefix, own.segment_size), ("other", "", 1 << 20))

    def test_options_of_openstack(self) -> None:
        log_in = self.log_in(
            "swift_container: c, os_auth_url: 'https://k/v3', os_username: u, os_password: w, os_project_name: p, "
            "swift_region_name: r, os_region_name: other, swift_storage_url: 'https://s/v1/AUTH_x/'"
        )
        self.assertEqual((log_in._login.project, log_in._wanted.region, log_in._wanted.url),
                         ("p", "r", "https://s/v1/AUTH_x"))

    def test_nobody_can_log_in(self) -> None:
        """It is said when the store is started, in place of what would be wrong for that reason."""
        variables = {"OS_AUTH_URL": "https://k", "OS_TOKEN": "t", "OS_CACERT": "/nowhere/ca.pem"}
        for environ, said in (
            ({}, "set os_auth_url, OS_AUTH_URL, or OS_CLOUD"),
            (variables, "/nowhere/ca.pem cannot be read: No such file or directory"),
        ):
            _, log_in = openstack({}, environ, Clock(), Retries(Clock()), "object-store")

            async def work(log_in: LogIn = log_in) -> None:
                await log_in()

            failure = self.failureResultOf(Deferred.fromCoroutine(work()), LoginRefused)
            self.assertIn(said, str(failure.value))

    def test_memory_prefix_and_redirects(self) -> None:
        settings = self.settings(f"{WHOLE}, workers: 4, secret_key: s, swift_memory: 256MiB, storage_path: /prod")
        self.assertEqual((settings.memory, settings.prefix, settings.check), (64 << 20, "prod/", True))
        self.assertFalse(self.settings(f"{WHOLE}, storage_check: off").check)
        for options, expected in (
            ("", False), (", storage_redirect: true", False), (", swift_temp_url_key: k", False),
            (", storage_redirect: true, swift_temp_url_key: k", True),
        ):
            self.assertEqual(IRedirects.providedBy(self.store(WHOLE + options)), expected, options)

    def test_what_depends_on_the_store(self) -> None:
        """Links that are believed for a while, and the place of the catalogue."""
        config = self.load(f"x: {{storage: swift, {WHOLE}, swift_link_cache: 7s, cache_path: ./cache}}").config
        other = self.load(f"x: {{storage: swift, {WHOLE}, storage_path: /b, cache_path: ./cache}}").config
        self.assertEqual((registry_settings(config).link_belief, registry_settings(other).link_belief), (7.0, 5.0))
        self.assertNotEqual(cache_directory(config), cache_directory(other))
