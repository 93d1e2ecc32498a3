"""A configuration is checked whole: each problem is a line that says where it is, and none shows a secret (H5, T44)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pydantic import ValidationError

import docker_registry
from docker_registry.config.load import SAMPLE, load
from docker_registry.config.model import FLAT, SAMPLE_SECRET, Config
from docker_registry.config.problems import ConfigError
from docker_registry.test.config_case import MARKER, ConfigCase

MANIFEST = "bytes, or with a unit: 512KiB, 4MiB, 1GiB; from 4MiB to 16MiB"
SECONDS = "seconds, or with a unit: 30s, 15m, 12h, 7d"
ENDPOINTS = "a list of Twisted's endpoint strings, such as tcp:5000:interface=127.0.0.1"
WORKERS = "a whole number from 1 to 64, or auto"
PATHS = "an absolute path, or one that begins with ./, from the working directory"
MISSING = f"missing, and storage is local (allowed: {PATHS})"
NO_MAPPING = "not a mapping (allowed: options, one in a line, indented below the flavor)"
NAMELESS = "_env: without the name of a variable (allowed: _env:NAME, _env:NAME:default)"
NOT_HERE = (
    "an index of docker-registry 0.x is not supported; remove the line, and let a proxy before the registry decide "
    "who may do what"
)
STILL_THE_SAMPLES = (
    "still the sample's, which everybody knows; set one of your own, such as `openssl rand -hex 32` prints, or remove "
    "the line"
)

KNOWN = ", ".join([*Config.model_fields, *FLAT])
ONE_LINE = [
    # an option of a flavor that is otherwise in order, and what is said about it after "c.yml:2:"
    ("storge: local", "3: x.storge: unknown option; the nearest is storage"),
    ("xyzzy: x", f"3: x.xyzzy: unknown option (allowed: {KNOWN})"),
    (f"'::{MARKER}': 1", f"3: x: unknown option (allowed: {KNOWN})"),
    ("limits: {conections: 5}", "12: x.limits.conections: unknown option; the nearest is connections"),
    ('standalone: "yes"', '15: x.standalone: wrong value "yes" (allowed: true)'),
    ("standalone: 1", "15: x.standalone: wrong value 1 (allowed: true)"),
    ("standalone: false", f"15: x.standalone: {NOT_HERE} (allowed: true)"),
    ("sync: on and off", '9: x.sync: wrong value "on and off" (allowed: true, false)'),
    ("sync:", "8: x.sync: wrong value null (allowed: true, false)"),
    ("threads: abc", '12: x.threads: wrong value "abc" (allowed: a whole number; from 2 to 256)'),
    ('threads: "5"', '12: x.threads: wrong value "5" (allowed: a whole number; from 2 to 256)'),
    ("threads: 5.0", "12: x.threads: wrong value 5.0 (allowed: a whole number; from 2 to 256)"),
    ("threads: true", "12: x.threads: wrong value true (allowed: a whole number; from 2 to 256)"),
    ("threads: 1", "12: x.threads: wrong value 1 (allowed: a whole number; from 2 to 256)"),
    ("threads: [5]", "12: x.threads: wrong value: a list (allowed: a whole number; from 2 to 256)"),
    ("threads: {a: 5}", "12: x.threads: wrong value: a mapping (allowed: a whole number; from 2 to 256)"),
    ("loglevel: loud", '13: x.loglevel: wrong value "loud" (allowed: debug, info, warn, error, critical)'),
    (f"loglevel: {'x' * 61}", "13: x.loglevel: wrong value (allowed: debug, info, warn, error, critical)"),
    (f"loglevel: http://me:{MARKER}@x/", "13: x.loglevel: wrong value (allowed: debug, info, warn, error, critical)"),
    ("storage: tape", '12: x.storage: wrong value "tape" (allowed: local, memory, s3, swift, glance)'),
    ("storage_path: registry", f"17: x.storage_path: neither absolute nor beginning with ./ (allowed: {PATHS})"),
    ("storage_path: ../up", f"17: x.storage_path: neither absolute nor beginning with ./ (allowed: {PATHS})"),
    ("storage_path: ~/reg", f"17: x.storage_path: neither absolute nor beginning with ./ (allowed: {PATHS})"),
    ('storage_path: "/\\0"', f"17: x.storage_path: neither absolute nor beginning with ./ (allowed: {PATHS})"),
    ("storage_path: 5", f"17: x.storage_path: wrong value 5 (allowed: {PATHS})"),
    ("workers: 0", f"12: x.workers: out of range (allowed: {WORKERS})"),
    ("workers: 65", f"12: x.workers: out of range (allowed: {WORKERS})"),
    ("workers: many", f'12: x.workers: wrong value "many" (allowed: {WORKERS})'),
    ("workers: true", f"12: x.workers: wrong value true (allowed: {WORKERS})"),
    ("workers: _env:SECRET", f"12: x.workers: wrong value in $SECRET (allowed: {WORKERS})"),
    (f"secret_key: [{MARKER}]", "15: x.secret_key: wrong value: a list (allowed: text)"),
    ("secret_key: 31337", "15: x.secret_key: wrong value (allowed: text)"),
    ('secret_key: ""', "15: x.secret_key: empty (allowed: text)"),
    (f"secret_key: {SAMPLE_SECRET}", f"15: x.secret_key: {STILL_THE_SAMPLES} (allowed: text)"),
    ("max_manifest_bytes: 1MiB", f'23: x.max_manifest_bytes: wrong value "1MiB" (allowed: {MANIFEST})'),
    ("max_manifest_bytes: 5MB", f'23: x.max_manifest_bytes: wrong value "5MB" (allowed: {MANIFEST})'),
    ("max_uploads: 0", "16: x.max_uploads: wrong value 0 (allowed: a whole number; at least 1)"),
    ("shutdown_grace: -1", f"19: x.shutdown_grace: wrong value -1 (allowed: {SECONDS}; from 0 to 1h)"),
    ("shutdown_grace: .nan", f"19: x.shutdown_grace: wrong value NaN (allowed: {SECONDS}; from 0 to 1h)"),
    ("shutdown_grace: 30 s s", f'19: x.shutdown_grace: wrong value "30 s s" (allowed: {SECONDS}; from 0 to 1h)'),
    ("upload_purge_age: .inf", f"21: x.upload_purge_age: wrong value Infinity (allowed: {SECONDS}; at least 1m)"),
    ("limits: 5", "11: x.limits: wrong value 5 (allowed: options, one in a line)"),
    ("limits: {header_timeout: 0}", f"28: x.limits.header_timeout: wrong value 0 (allowed: {SECONDS}; from 1s to 1h)"),
    ("listen: tcp:5000", f'11: x.listen: wrong value "tcp:5000" (allowed: {ENDPOINTS})'),
    ("listen: []", f"11: x.listen: empty (allowed: {ENDPOINTS})"),
    ("listen: [5000]", f"12: x.listen: wrong value 5000 (allowed: {ENDPOINTS})"),
    ("listen: ['5000']", f"12: x.listen: not an endpoint (allowed: {ENDPOINTS})"),
    ("listen: ['']", f"12: x.listen: not an endpoint (allowed: {ENDPOINTS})"),
    ("listen: ['127.0.0.1:5000']", f"12: x.listen: not an endpoint (allowed: {ENDPOINTS})"),
    ("listen: ['tcp:99999']", f"12: x.listen: the port is no number from 0 to 65535 (allowed: {ENDPOINTS})"),
    ("listen: ['haproxy:tcp:x']", f"12: x.listen: the port is no number from 0 to 65535 (allowed: {ENDPOINTS})"),
    ("listen: ['tcp:5:colour=red']", f"12: x.listen: not an endpoint (allowed: {ENDPOINTS})"),
    ("listen: ['ssl:5:privateKey=/none']", f"12: x.listen: certKey cannot be read: No such file or directory "
                                           f"(allowed: {ENDPOINTS})"),
    ("listen: ['systemd:domain=INET']", "12: x.listen: a systemd endpoint has a domain (INET, INET6, UNIX) and an "
                                        f"index or a name (allowed: {ENDPOINTS})"),
    ("loglevel: _env:NONE", "13: x.loglevel: $NONE is not set, and has no default here"),
    ("loglevel: '_env:'", f"13: x.loglevel: {NAMELESS}"),
    ("loglevel: _env:A B", f"13: x.loglevel: {NAMELESS}"),
    ("storage_path: _env:NONE", "17: x.storage_path: $NONE is not set, and has no default here"),
    ("threads: _env:SECRET", "12: x.threads: wrong value in $SECRET (allowed: a whole number; from 2 to 256)"),
    ("loglevel: _env:SECRET", "13: x.loglevel: wrong value in $SECRET (allowed: debug, info, warn, error, critical)"),
    ("storage_path: _env:SECRET", f"17: x.storage_path: $SECRET: neither absolute nor beginning with ./ "
                                  f"(allowed: {PATHS})"),
    ("sync: _env:NONE:maybe", "9: x.sync: wrong value in $NONE (allowed: true, false)"),
    ("listen: _env:SECRET", f"11: x.listen: $SECRET: not an endpoint (allowed: {ENDPOINTS})"),
    ("limits: {connections: _env:NONE}", "25: x.limits.connections: $NONE is not set, and has no default here"),
]

WHOLE_FILES = [
    ("tab", "x:\n\tstorage: memory", "c.yml:2:1: not YAML: a tab; indent with spaces"),
    ("not YAML", "x: {storage: memory", "c.yml:1:20: not YAML: expected ',' or '}', but got '<stream end>'"),
    ("duplicate", "x:\n  sync: true\n  sync: true", "c.yml:3:3: x.sync: duplicate key 'sync', first in line 2"),
    ("duplicate elsewhere", "x: {storage: memory}\ny: {a: 1, a: 2}", "c.yml:2:11: y.a: duplicate key 'a', first in "
                                                                   "line 2"),
    ("no flavors", "[]", "c.yml:1:1: not a mapping (allowed: a mapping of flavors)"),
    ("flavor missing", "dev: {}\nprod: {}\ncommon: {}", "c.yml:1:1: x: no such flavor in this file "
                                                         "(allowed: dev, prod)"),
    ("flavor no mapping", f"common: {{storage: memory}}\nx: {MARKER}", f"c.yml:2:4: x: {NO_MAPPING}"),
    ("common no mapping", "common: []\nx: {storage: memory}", f"c.yml:1:9: common: {NO_MAPPING}"),
    ("storage_path missing", "y: {}\nx: {}", f"c.yml:2:1: x.storage_path: {MISSING}"),
    ("both", "common: 5\nx: 5", f"c.yml:1:9: common: {NO_MAPPING}\nc.yml:2:1: x.storage_path: {MISSING}\n"
                               f"c.yml:2:4: x: {NO_MAPPING}"),
    ("in common", "common: {threads: 0}\nx: {storage: memory}",
     "c.yml:1:19: x.threads: wrong value 0 (allowed: a whole number; from 2 to 256)"),
]


class ProblemTests(ConfigCase):
    def test_options(self) -> None:
        for line, expected in ONE_LINE:
            with self.subTest(line):
                others = "  storage: memory\n" if "storage" not in line else ""
                said = self.problems(f"x:\n  {line}\n{others}", environ={"SECRET": MARKER})
                self.assertEqual(said, f"c.yml:2:{expected}")

    def test_whole_files(self) -> None:
        for name, text, expected in WHOLE_FILES:
            with self.subTest(name):
                self.assertEqual(sorted(self.problems(text).splitlines()), sorted(expected.splitlines()))

    def test_all_at_once_in_the_order_of_the_file(self) -> None:
        said = self.problems(
            "common:\n  loglevel: loud\nx:\n  stroage: local\n  threads: none\n  secret_key: [a]\n"
            "  limits:\n    connections: 0\n    colour: red\n  listen: ['tcp:5', nowhere]\n",
            listen=["tcp:6", "elsewhere"],
        )
        self.assertEqual(
            [line.split(": ")[:2] for line in said.splitlines()],
            [
                ["--listen", "elsewhere"],
                ["c.yml:2:13", "x.loglevel"],
                ["c.yml:3:1", "x.storage_path"],
                ["c.yml:4:3", "x.stroage"],
                ["c.yml:5:12", "x.threads"],
                ["c.yml:6:15", "x.secret_key"],
                ["c.yml:8:18", "x.limits.connections"],
                ["c.yml:9:5", "x.limits.colour"],
                ["c.yml:10:21", "x.listen"],
            ],
        )

    def test_file_missing(self) -> None:
        error = self.assertRaises(ConfigError, load, "none.yml", "x", {})
        self.assertEqual(str(error), "none.yml:1:1: cannot be read: No such file or directory")

    def test_file_is_a_directory(self) -> None:
        os.mkdir("c.yml")
        error = self.assertRaises(ConfigError, load, "c.yml", "x", {})
        self.assertEqual(str(error), "c.yml:1:1: cannot be read: Is a directory")

    def test_file_not_readable(self) -> None:
        Path("c.yml").touch(mode=0o000)
        self.be_nobody()
        error = self.assertRaises(ConfigError, load, "c.yml", "x", {})
        self.assertEqual(str(error), "c.yml:1:1: cannot be read: Permission denied")

    def test_file_too_long(self) -> None:
        error = self.assertRaises(ConfigError, load, "/dev/zero", "x", {})
        self.assertEqual(str(error), "/dev/zero:1:1: longer than 262144 bytes")

    def test_storage_path_is_a_file(self) -> None:
        Path("file").touch()
        here = os.getcwd()
        said = self.problems("x: {storage_path: ./file}")
        self.assertEqual(said, f"c.yml:1:19: x.storage_path: not a directory (allowed: {PATHS})")
        said = self.problems("x: {storage_path: ./file/a/b}")
        self.assertEqual(said, f"c.yml:1:19: x.storage_path: {here}/file is not a directory (allowed: {PATHS})")

    def test_storage_path_not_writable(self) -> None:
        os.mkdir("shut", 0o555)
        os.mkdir("hidden", 0o700)
        os.mkdir("hidden/in")
        Path("c.yml").write_text(
            "x: {storage_path: ./shut}\ny: {storage_path: ./shut/a/b}\nz: {storage_path: ./hidden/in}"
        )
        self.be_nobody()
        self.assertIn("x.storage_path: not writable for ", str(self.assertRaises(ConfigError, load, "c.yml", "x", {})))
        self.assertIn("shut is not writable for ", str(self.assertRaises(ConfigError, load, "c.yml", "y", {})))
        self.assertIn("hidden is not writable for ", str(self.assertRaises(ConfigError, load, "c.yml", "z", {})))

    def test_listen_of_the_command_line(self) -> None:
        said = self.problems("x: {storage: memory}", listen=["tcp:5000", "tcp:99999"])
        self.assertEqual(
            said, f"--listen: tcp:99999: the port is no number from 0 to 65535 (allowed: {ENDPOINTS})"
        )

    def test_pydantic_does_not_say_the_value(self) -> None:
        """Should an error of the model ever be shown as it is."""
        error = self.assertRaises(ValidationError, Config.model_validate, {"secret_key": [MARKER], "storage": MARKER})
        self.assertNotIn(MARKER, str(error))

    def test_several_workers_have_one_secret(self) -> None:
        for workers in ("2", "auto"):
            problems = self.problems(f"x:\n  storage_path: ./r\n  workers: {workers}\n")
            self.assertEqual(
                problems,
                "c.yml:1:1: x.secret_key: missing, and several workers must have the same; set one such as "
                "`openssl rand -hex 32` prints, or workers: 1 (allowed: text)",
            )
        self.load("x: {storage_path: ./r, workers: 1}")

    def test_several_workers_see_the_same_store(self) -> None:
        self.assertEqual(
            self.problems("x: {storage: memory, workers: 2, secret_key: s}"),
            "c.yml:1:31: x.workers: several processes do not see the same memory; with storage: memory there is one "
            f"(allowed: {WORKERS})",
        )

    def test_automatic_workers(self) -> None:
        """One for each processor that this process may use; also from the environment."""
        processors = len(os.sched_getaffinity(0))
        config = self.load("x: {storage_path: ./r, workers: '_env:W', secret_key: s}", environ={"W": "auto"}).config
        self.assertEqual(config.processes, min(processors, 16))
        config = self.load("x: {storage_path: ./r, workers: '_env:W', secret_key: s}", environ={"W": "3"}).config
        self.assertEqual(config.processes, 3)
        self.assertEqual(self.load("x: {storage: memory, workers: auto, secret_key: s}").config.processes, 1)

    def test_secret_does_not_show(self) -> None:
        loaded = self.load(f"x: {{storage: memory, secret_key: {MARKER}}}")
        self.assertNotIn(MARKER, f"{loaded!r} {loaded.config}")
        assert loaded.config.secret_key is not None
        self.assertEqual(loaded.config.secret_key.get_secret_value(), MARKER)


class LoadTests(ConfigCase):
    def test_common_lies_under_the_flavor(self) -> None:
        config = self.load(
            "common: {threads: 5, max_page: 7, limits: {connections: 8, per_address: 9}}\n"
            "x: {storage: memory, threads: 6, limits: {connections: 10}}"
        ).config
        self.assertEqual((config.threads, config.max_page), (6, 7))
        self.assertEqual((config.limits.connections, config.limits.per_address), (10, 9))

    def test_other_flavors_do_not_count(self) -> None:
        self.assertEqual(self.load("x: {storage: memory}\ny: {storage: tape, colour: red}").config.storage, "memory")

    def test_empty_flavor_and_empty_group(self) -> None:
        config = self.load("common: {storage: memory, limits: {connections: 8}}\nx:\n").config
        self.assertEqual(config.limits.connections, 8)
        config = self.load("common: {storage: memory, limits: {connections: 8}}\nx:\n  limits:\n").config
        self.assertEqual(config.limits.connections, 8)
        self.assertEqual(self.load("x:\n  storage: memory\n  limits:\n").config.limits.connections, 1000)

    def test_anchors_of_the_old_sample(self) -> None:
        config = self.load("common: &common\n  storage: memory\nx: &x\n  <<: *common\n  threads: 7\n").config
        self.assertEqual((config.storage, config.threads), ("memory", 7))

    def test_units(self) -> None:
        config = self.load(
            "x: {storage: memory, shutdown_grace: 90, upload_purge_age: 168h, max_manifest_bytes: 5 MiB,"
            " limits: {keepalive_timeout: 1.5, body_memory: 1GiB, drain_timeout: 1m, header_bytes: 5000}}"
        ).config
        self.assertEqual((config.shutdown_grace, config.upload_purge_age), (90.0, 7 * 86400.0))
        self.assertEqual(config.max_manifest_bytes, 5 << 20)
        self.assertEqual((config.limits.keepalive_timeout, config.limits.drain_timeout), (1.5, 60.0))
        self.assertEqual((config.limits.body_memory, config.limits.header_bytes), (1 << 30, 5000))

    def test_environment(self) -> None:
        text = (
            "x:\n  storage: _env:STORE:memory\n  threads: _env:THREADS\n  sync: _env:SYNC:yes\n"
            "  shutdown_grace: _env:GRACE:30s\n  secret_key: _env:KEY\n  listen: _env:WHERE\n"
            "  storage_path: _env:ROOT:/a:b\n"
        )
        environ = {"THREADS": "5", "SYNC": "false", "KEY": "12345", "WHERE": "tcp:5001  unix:/run/x", "GRACE": "7"}
        config = self.load(text, environ=environ).config
        self.assertEqual((config.threads, config.sync, config.shutdown_grace), (5, False, 7.0))
        self.assertEqual(config.listen, ("tcp:5001", "unix:/run/x"))
        self.assertEqual(config.storage_path, Path("/a:b"))
        assert config.secret_key is not None
        self.assertEqual(config.secret_key.get_secret_value(), "12345")

    def test_environment_in_a_list(self) -> None:
        text = "x: {storage: memory, listen: ['_env:A', '_env:B:tcp:7', '_env:C:']}"
        self.assertEqual(self.load(text, environ={"A": "tcp:6"}).config.listen, ("tcp:6", "tcp:7"))

    def test_empty_in_the_environment_is_not_there(self) -> None:
        text = "x: {storage: memory, secret_key: '_env:KEY:', threads: '_env:THREADS'}"
        config = self.load(text, environ={"THREADS": ""}).config
        self.assertEqual((config.secret_key, config.threads), (None, 16))

    def test_storage_path(self) -> None:
        here = Path(os.getcwd())
        self.assertEqual(self.load("x: {storage_path: ./a/../b}").config.storage_path, here / "b")
        self.assertEqual(self.load(f"x: {{storage_path: {here}/c/}}").config.storage_path, here / "c")
        self.assertFalse((here / "b").exists(), "looking is not making")

    def test_samples_secret_is_for_dev(self) -> None:
        config = self.load(f"dev: {{storage: memory, secret_key: {SAMPLE_SECRET}}}", "dev").config
        assert config.secret_key is not None
        self.assertEqual(config.secret_key.get_secret_value(), SAMPLE_SECRET)

    def test_listen_of_the_command_line(self) -> None:
        config = self.load("x: {storage: memory, listen: ['tcp:5']}", listen=["tcp:6", "tcp:7"]).config
        self.assertEqual(config.listen, ("tcp:6", "tcp:7"))

    def test_frozen(self) -> None:
        config = self.load("x: {storage: memory}").config
        self.assertRaises(ValidationError, setattr, config, "storage", "local")

    def test_flavor_from_the_environment(self) -> None:
        text = "a: {storage: memory, threads: 5}\nb: {storage: memory, threads: 6}\ndev: {storage: memory, threads: 7}"
        Path("c.yml").write_text(text)
        self.assertEqual(load("c.yml", None, {"SETTINGS_FLAVOR": "b"}).config.threads, 6)
        self.assertEqual(load("c.yml", "a", {"SETTINGS_FLAVOR": "b"}).config.threads, 5)
        self.assertEqual(load("c.yml", None, {}).config.threads, 7)

    def test_file_from_the_environment(self) -> None:
        Path("c.yml").write_text("dev: {storage: memory, threads: 5}")
        absolute = load(None, None, {"DOCKER_REGISTRY_CONFIG": os.path.abspath("c.yml")})
        self.assertEqual(absolute.config.threads, 5)
        source = Path(docker_registry.__file__).parent.parent
        relative = load(None, None, {"DOCKER_REGISTRY_CONFIG": os.path.relpath("c.yml", source)})
        self.assertEqual(relative.config.threads, 5)
        error = self.assertRaises(ConfigError, load, None, None, {"DOCKER_REGISTRY_CONFIG": "none.yml"})
        self.assertEqual(str(error), f"{source}/none.yml:1:1: cannot be read: No such file or directory")

    def test_without_a_file(self) -> None:
        loaded = load(None, None, {})
        self.assertEqual((loaded.file, loaded.flavor), (SAMPLE, "dev"))
        self.assertEqual(loaded.config.storage_path, Path(os.getcwd()) / "registry-data")
        self.assertEqual(loaded.config.listen, ("tcp:5000:interface=127.0.0.1",))

    def test_reactor_stays_free_to_choose(self) -> None:
        """What is imported before twistd has chosen a reactor must not install one."""
        program = "import sys, docker_registry.tap; print('twisted.internet.reactor' in sys.modules)"
        said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/")
        self.assertEqual(said.stdout, "False\n")
