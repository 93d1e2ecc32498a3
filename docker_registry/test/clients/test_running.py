"""What docs/running.md tells operators to type, and to have Prometheus watch, does what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any
from unittest import SkipTest

import yaml
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

import docker_registry
from docker_registry.metrics.families import COLUMNS
from docker_registry.test.clients.daemon import Ours, free_port, until
from docker_registry.test.clients.tools import need, run

CHECKOUT = Path(docker_registry.__file__).parent.parent
RUNNING = CHECKOUT / "docs" / "running.md"


def block(beginning: str) -> str:
    """The code of the documentation that begins so."""
    if not RUNNING.exists():
        raise SkipTest("not a checkout")
    found = re.search(rf"```\w*\n({re.escape(beginning)}.*?)```", RUNNING.read_text(), re.DOTALL)
    assert found is not None, beginning
    return found[1]



SERIES = 'registry_http_requests_total{handler="manifest",method="get",code="%s",protocol="v2"}'
ALERTS: dict[str, list[tuple[dict[str, str], bool]]] = {
    # Series for each minute of an hour, and whether there is an alert at its end.
    "RegistryDown": [({'up{job="registry"}': "0x60"}, True), ({'up{job="registry"}': "1x60"}, False)],
    "RegistryFails": [
        ({SERIES % 200: "0+900x60", SERIES % 500: "0+100x60"}, True),
        ({SERIES % 200: "0+900x60", SERIES % 500: "0+1x60"}, False),
        ({SERIES % 200: "0+900x60", SERIES % 404: "0+900x60"}, False),
    ],
    "RegistryStoreFails": [
        ({'registry_storage_errors_total{driver="local",action="get"}': "0+1x60"}, True),
        ({'registry_storage_errors_total{driver="local",action="get"}': "7x60"}, False),
    ],
    "RegistryIsSlow": [
        ({'registry_http_request_duration_seconds_bucket{handler="manifest",le="1.0"}': "0+5x60",
          'registry_http_request_duration_seconds_bucket{handler="manifest",le="5.0"}': "0+100x60",
          'registry_http_request_duration_seconds_bucket{handler="manifest",le="+Inf"}': "0+100x60"}, True),
        ({'registry_http_request_duration_seconds_bucket{handler="manifest",le="0.005"}': "0+100x60",
          'registry_http_request_duration_seconds_bucket{handler="manifest",le="+Inf"}': "0+100x60"}, False),
    ],
    "RegistryReactorHangs": [
        ({'registry_reactor_lag_seconds_bucket{le="0.25"}': "0+10x60",
          'registry_reactor_lag_seconds_bucket{le="1.0"}': "0+60x60",
          'registry_reactor_lag_seconds_bucket{le="+Inf"}': "0+60x60"}, True),
        ({'registry_reactor_lag_seconds_bucket{le="0.001"}': "0+60x60",
          'registry_reactor_lag_seconds_bucket{le="+Inf"}': "0+60x60"}, False),
    ],
    "RegistryFilesRunOut": [
        ({'process_open_fds{job="registry"}': "900x60", 'process_max_fds{job="registry"}': "1000x60"}, True),
        ({'registry_worker_open_fds{worker="2"}': "900x60", 'registry_worker_max_fds{worker="2"}': "1000x60"}, True),
        ({'registry_worker_open_fds{worker="2"}': "90x60", 'registry_worker_max_fds{worker="2"}': "1000x60"}, False),
    ],
}


class MonitoringTests(SynchronousTestCase):
    def setUp(self) -> None:
        need(("promtool", "prometheus"))
        self.home = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.home)

    def test_prometheus_takes_it(self) -> None:
        for kind, beginning in (("config", "scrape_configs:"), ("rules", "groups:")):
            path = self.home / f"{kind}.yml"
            path.write_text(block(beginning))
            run("promtool", "check", kind, path)

    def test_alerts(self) -> None:
        """Each comes when it should, and not otherwise."""
        rules = block("groups:")
        (self.home / "rules.yml").write_text(rules)
        named = {rule["alert"] for rule in yaml.safe_load(rules)["groups"][0]["rules"]}
        self.assertEqual(named, ALERTS.keys())
        for alert, cases in ALERTS.items():
            for series, comes in cases:
                (self.home / "test.yml").write_text(yaml.safe_dump({
                    "rule_files": ["rules.yml"],
                    "tests": [{
                        "interval": "1m",
                        "input_series": [{"series": name, "values": values} for name, values in series.items()],
                        "promql_expr_test": [{
                            "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)',
                            "eval_time": "1h", "exp_samples": [{"labels": "{}", "value": int(comes)}],
                        }],
                    }],
                }))
                with self.subTest(alert, comes=comes):
                    run("promtool", "test", "rules", self.home / "test.yml")

    def test_what_is_watched_is_told(self) -> None:
        """By one process, and by several: each metric that a rule names, and Prometheus finds no fault with any."""
        rules = yaml.safe_load(block("groups:"))["groups"][0]["rules"]
        watched = {name for rule in rules for name in re.findall(r"\b(?:registry|process)_\w+", rule["expr"])}
        told = {family.name for family in COLUMNS.families}
        self.assertEqual({name for name in watched if name.startswith("registry_")} - told,
                         {name for name in watched if name.startswith("registry_worker_") or name.endswith("_bucket")})
        names: set[str] = set()
        for workers in (1, 2):
            admin = free_port()
            ours = Ours(self.home / f"store{workers}", access_log="off", workers=workers, secret_key="s",
                        admin_listen=[f"tcp:{admin}:interface=127.0.0.1"])
            self.addCleanup(ours.stop)
            ours.request("GET", "/v2/a/manifests/latest")
            text = until(partial(self.metrics, admin))
            checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True,
                                     check=False)
            self.assertEqual((checked.returncode, checked.stdout + checked.stderr), (0, ""))
            names |= {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
        self.assertEqual(watched - names - {"registry_storage_errors_total"}, set())

    def metrics(self, port: int) -> str:
        """As soon as the request has been counted."""
        text = run("curl", "--silent", f"http://127.0.0.1:{port}/metrics")
        return text if 'handler="manifest"' in text else ""


class CommandTests(SynchronousTestCase):
    """The function `registry` of the documentation, with this machine's places in it."""

    def setUp(self) -> None:
        need(("setpriv", "util-linux"))
        if os.geteuid():
            raise SkipTest("only root becomes another user")
        self.home = Path(tempfile.mkdtemp())
        self.home.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.home)
        self.program = self.home / "docker-registry"
        self.secrets = self.home / "environment"
        shutil.copy(CHECKOUT / "config_sample.yml", self.home / "config.yml")
        self.secrets.write_text(f"STORAGE_PATH={self.home}/store\nSECRET_KEY=s3cret\n")
        self.secrets.chmod(0o600)

    def registry(self, *arguments: str, user: str = "root") -> subprocess.CompletedProcess[str]:
        text = block("registry() (").partition("\n$ ")[0]
        for documented, here in {
            "/etc/docker-registry/environment": str(self.secrets),
            "--reuid=docker-registry --regid=docker-registry": f"--reuid={user} --regid={user}",
            "/opt/docker-registry/bin/docker-registry": str(self.program),
            "/etc/docker-registry/config.yml": str(self.home / "config.yml"),
        }.items():
            self.assertEqual(text.count(documented), 1, documented)
            text = text.replace(documented, here)
        command = f"{text}\nregistry {' '.join(arguments)}"
        return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)

    def use_ours(self) -> None:
        """Instead of an installed one, which root alone may read here."""
        program = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); from docker_registry.cli import main; main()"
        self.program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{program}" "$@"\n')
        self.program.chmod(0o755)

    def test_as_whom_and_with_what(self) -> None:
        self.program.write_text('#!/bin/sh\necho $(id -un) $(id -Gn) $SECRET_KEY "$@"\n')
        self.program.chmod(0o755)
        self.assertEqual(self.registry("status", user="daemon").stdout,
                         f"daemon daemon s3cret status --config {self.home}/config.yml --flavor prod\n")

    def test_check_config(self) -> None:
        self.use_ours()
        done = self.registry("check-config")
        self.assertEqual((done.returncode, done.stdout, done.stderr),
                         (0, f"ok: flavor prod of {self.home}/config.yml\n", ""))

    def test_status(self) -> None:
        self.use_ours()
        self.assertEqual(self.registry("status", "--json").returncode, 3)

    def test_without_its_secret(self) -> None:
        """It is from there that it comes."""
        self.use_ours()
        self.secrets.write_text(f"STORAGE_PATH={self.home}/store\n")
        done = self.registry("check-config")
        self.assertEqual(done.returncode, 78)
        self.assertIn("prod.secret_key: $SECRET_KEY: missing", done.stderr)


class RestoreTests(SynchronousTestCase):
    """What was lost comes back, with the commands as they are typed."""

    def setUp(self) -> None:
        need(("rsync", "rsync"))
        self.home = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.home)
        self.store, self.copy = self.home / "store", self.home / "copy"
        self.copy.mkdir()

    def typed(self, pattern: str, **places: Path) -> None:
        commands = re.findall(rf"^\$ (rsync .*{pattern}.*)$", RUNNING.read_text(), re.MULTILINE)
        self.assertTrue(commands)
        for command in commands:
            command = command.replace("backup:/srv/registry/", f"{places['backup']}/")
            command = command.replace("/var/lib/docker-registry/", f"{places['store']}/")
            run("bash", "-c", f"cd {self.store} && {command}")

    def test_lost_and_found(self) -> None:
        ours = Ours(self.store, access_log="off")
        self.addCleanup(lambda: ours.stop())
        for tag in ("a", "b", "c"):
            self.push(ours, tag)
        self.typed(r"backup:/srv/registry/$", backup=self.copy, store=self.store)
        self.push(ours, "later")
        ours.stop()
        shutil.rmtree(self.store / "docker" / "registry" / "v2" / "blobs" / "sha256")
        shutil.rmtree(self.store / "docker/registry/v2/repositories/shop/web/_manifests/tags/b")
        self.typed(r"backup:/srv/registry/ /var", backup=self.copy, store=self.store)
        ours.start()
        for tag in ("a", "b", "c"):
            status, _, content = ours.request("GET", f"/v2/shop/web/manifests/{tag}")
            self.assertEqual((status, tag.encode() in content), (200, True))
        self.assertEqual(ours.request("GET", "/v2/shop/web/manifests/later")[0], 404)
        self.assertEqual(ours.request("GET", "/v2/_catalog")[2], b'{"repositories": ["shop/web"]}')
        self.push(ours, "later")
        self.assertEqual(ours.request("GET", "/v2/shop/web/manifests/later")[0], 200)

    def push(self, ours: Ours, tag: str) -> None:
        manifest: dict[str, Any] = {
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [],
            "annotations": {"tag": tag},
        }
        status, *_ = ours.request(
            "PUT", f"/v2/shop/web/manifests/{tag}", json.dumps(manifest).encode(),
            {"Content-Type": manifest["mediaType"]},
        )
        self.assertEqual(status, 201)
