"""Behind nginx, with the configuration that docs/running.md has."""

from __future__ import annotations

import getpass
import hashlib
import http.client
import json
import os
import re
import select
import shutil
import ssl
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import docker_registry
from docker_registry.test.clients import images
from docker_registry.test.clients.daemon import Ours, Process, free_port, wait_for_port
from docker_registry.test.clients.tools import need, run

DOCS = Path(docker_registry.__file__).parent.parent / "docs"

MAIN = """
daemon off;
worker_processes 1;
pid {home}/pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
{site}
}}
"""


def site(page: str, **changes: str) -> str:
    """The block of a page of the documentation, with this machine's places in it."""
    found = re.search(r"```nginx\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert found is not None
    text = found[1]
    for documented, here in changes.items():
        assert text.count(documented) == 1, documented
        text = text.replace(documented, here)
    return text


def certificate(home: Path) -> tuple[str, str]:
    """Two files: it, and its key."""
    made, key = home / "registry.crt", home / "registry.key"
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-subj", "/CN=registry.example.com", "-keyout", key, "-out", made)
    return str(made), str(key)


def started(home: Path, port: int, text: str) -> Process:
    """nginx with a `site`, that listens; whoever called ends it.

    :param home: which anybody may enter.
    """
    config = home / "nginx.conf"
    config.write_text(MAIN.format(home=home, site=text))
    nginx = Process(["nginx", "-p", str(home), "-c", str(config), "-g", f"user {getpass.getuser()};"])
    try:
        wait_for_port(port)
    except AssertionError:
        nginx.stop()
        raise AssertionError("\n".join(nginx.output)) from None
    return nginx


class NginxTests(SynchronousTestCase):
    def setUp(self) -> None:
        need(("nginx", "nginx-light"), ("skopeo", "skopeo"), ("openssl", "openssl"))
        self.home = Path(tempfile.mkdtemp())
        self.home.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.home)
        self.admin = free_port()
        admin = f"tcp:{self.admin}:interface=127.0.0.1"
        self.ours = Ours(self.home / "store", limits={"per_address": 0}, admin_listen=[admin])
        self.addCleanup(self.ours.stop)
        self.port = free_port()
        self.log = self.home / "access.log"
        made, key = certificate(self.home)
        nginx = started(self.home, self.port, site("running.md", **{
            "127.0.0.1:5000": f"127.0.0.1:{self.ours.port}",
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "/etc/nginx/registry.crt": made,
            "/etc/nginx/registry.key": key,
            "/var/log/nginx/registry.log": str(self.log),
        }))
        self.addCleanup(nginx.stop)

    def connect(self) -> http.client.HTTPSConnection:
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)
        self.addCleanup(connection.close)
        return connection

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = self.connect()
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def test_skopeo_pushes_and_pulls(self) -> None:
        """An image with a layer of 100 MB, by way of TLS; and back it is the same."""
        layout = images.make(self.home / "layout", 100_000_000)
        name = f"docker://127.0.0.1:{self.port}/library/image:1"
        policy = "--insecure-policy"
        run("skopeo", policy, "copy", "--dest-tls-verify=false", f"oci:{layout.root}:image", name)
        back = self.home / "back"
        run("skopeo", policy, "copy", "--src-tls-verify=false", name, f"oci:{back}:image")
        blobs = {path.name for path in (back / "blobs" / "sha256").iterdir()}
        self.assertEqual(len(blobs), 5)
        for blob in blobs:
            content = (back / "blobs" / "sha256" / blob).read_bytes()
            self.assertEqual(hashlib.sha256(content).hexdigest(), blob)
            self.assertTrue((layout.root / "blobs" / "sha256" / blob).exists())
        self.assertEqual([*(self.home / "body").iterdir()], [], "nothing was laid down on the disk of nginx")

    def test_layer_goes_on_while_it_comes(self) -> None:
        """And a location that the client is sent to is one of nginx, in chunks."""
        status, headers, _ = self.ask("POST", "/v2/a/blobs/uploads/")
        self.assertEqual(status, 202)
        location = headers["Location"]
        self.assertTrue(location.startswith("/v2/a/blobs/uploads/"), location)
        piece = os.urandom(1 << 20)
        connection = self.connect()
        connection.putrequest("PATCH", location)
        connection.putheader("Transfer-Encoding", "chunked")
        connection.putheader("Content-Type", "application/octet-stream")
        connection.endheaders()
        for _ in range(8):
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.until(lambda: self.held() >= 4 << 20)              # it has not ended, and half of it is here
        connection.send(b"0\r\n\r\n")
        answer = connection.getresponse()
        answer.read()
        self.assertEqual((answer.status, answer.headers["Range"]), (202, f"0-{8 * len(piece) - 1}"))
        digest = hashlib.sha256(piece * 8).hexdigest()
        joint = "&" if "?" in answer.headers["Location"] else "?"
        status, _, _ = self.ask("PUT", f"{answer.headers['Location']}{joint}digest=sha256:{digest}")
        self.assertEqual(status, 201)
        status, headers, content = self.ask("GET", f"/v2/a/blobs/sha256:{digest}", Range="bytes=1048575-1048577")
        self.assertEqual((status, content), (206, (piece * 2)[(1 << 20) - 1 : (1 << 20) + 2]))

    def test_refused_while_it_comes(self) -> None:
        """The registry's answer, and not one of nginx about it."""
        nowhere = "/v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000"
        status, headers, content = self.ask("PATCH", nowhere, bytes(4 << 20))
        self.assertEqual(status, 404)
        self.assertEqual(json.loads(content)["errors"][0]["code"], "BLOB_UPLOAD_UNKNOWN")
        self.assertEqual(headers["Content-Type"], "application/json")

    def test_errors_are_for_machines(self) -> None:
        for method, path, status in [
            ("GET", "/v2/a/manifests/nowhere", 404), ("GET", "/v2/A/tags/list", 400), ("DELETE", "/v2/", 405),
            ("GET", "/v1/images/x/json", 404), ("GET", f"/v2/{'a' * 300}/tags/list", 400),
        ]:
            found, headers, content = self.ask(method, path)
            self.assertEqual((found, headers["Content-Type"]), (status, "application/json"), path)
            self.assertTrue(json.loads(content))

    def test_one_id_in_both_logs(self) -> None:
        _, headers, _ = self.ask("GET", "/v2/")
        request = headers["X-Request-Id"]
        self.assertRegex(request, r"^[0-9a-f]{16}$")
        self.until(lambda: self.log.exists() and request in self.log.read_text())
        self.ours.daemon.wait_for(request)

    def test_metrics_are_not_handed_on(self) -> None:
        for path in ("/metrics", "/readyz", "/debug/health"):
            self.assertEqual(self.ask("GET", path)[0], 404)

    def test_connections_are_used_again(self) -> None:
        """nginx opens few, however many clients there are."""
        for _ in range(20):
            self.ask("GET", "/v2/")

        def connections() -> int:
            admin = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=60)
            self.addCleanup(admin.close)
            admin.request("GET", "/metrics")
            found = re.search(rb"^registry_http_connections (\d+)", admin.getresponse().read(), re.MULTILINE)
            assert found is not None
            return int(found[1])

        self.until(lambda: connections() > 0)                   # it is counted every second
        self.assertLess(connections(), 5)

    def held(self) -> int:
        """Bytes of the upload that the registry has."""
        found = [path.stat().st_size for path in (self.home / "store").rglob("data") if "_uploads" in path.parts]
        return max(found, default=0)

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not true():
            self.assertLess(time.monotonic(), deadline)
            select.select([], [], [], 0.05)                     # no event tells of a file that grows
