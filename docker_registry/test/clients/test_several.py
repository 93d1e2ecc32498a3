"""Several registries over one bucket behind nginx, as docs/storage.md has them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from docker_registry.test.clients import images
from docker_registry.test.clients.daemon import Ours, free_port
from docker_registry.test.clients.test_nginx import certificate, site, started
from docker_registry.test.clients.tools import need, run
from docker_registry.test.servers.stores import moto


class SeveralTests(SynchronousTestCase):
    def setUp(self) -> None:
        need(("nginx", "nginx-light"), ("skopeo", "skopeo"), ("openssl", "openssl"))
        self.home = Path(tempfile.mkdtemp())
        self.home.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.home)
        options = moto().options(secret_key="the same in both of them", limits={"per_address": 0})
        self.registries = [
            Ours(self.home / name, **options, cache_path=str(self.home / f"{name}-cache")) for name in ("one", "two")
        ]
        for each in self.registries:
            self.addCleanup(each.stop)
        self.port = free_port()
        made, key = certificate(self.home)
        nginx = started(self.home, self.port, site("storage.md", **{
            "10.0.0.11:5000": f"127.0.0.1:{self.registries[0].port}",
            "10.0.0.12:5000": f"127.0.0.1:{self.registries[1].port}",
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "/etc/nginx/registry.pem": made,
            "/etc/nginx/registry.key": key,
        }))
        self.addCleanup(nginx.stop)

    def test_pushed_and_pulled(self) -> None:
        """The requests of one push go to one and the other; and when one is gone all goes on."""
        layout = images.make(self.home / "layout", 12_000_000)
        name = f"docker://127.0.0.1:{self.port}/library/image:1"
        run("skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", f"oci:{layout.root}:image", name)
        for each in self.registries:
            self.assertTrue({"POST", "PATCH", "PUT"} & {method for method, _, _ in each.requests()})
        for number in range(2):
            back = self.home / f"back-{number}"
            run("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", name, f"oci:{back}:image")
            pushed, pulled = ({path.name for path in root.glob("blobs/sha256/*")} for root in (layout.root, back))
            self.assertTrue(pulled and pulled <= pushed, "skopeo looks at what they are, we at their names")
            self.registries[0].stop()
        self.assertEqual([*(self.home / "body").iterdir()], [], "nothing was laid down on the disk of nginx")
