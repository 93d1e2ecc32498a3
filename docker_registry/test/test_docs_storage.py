"""docs/storage.md, as an operator types it."""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from docker_registry.cli import main
from docker_registry.test.certificates import make_certificate
from docker_registry.test.config_case import ConfigCase
from docker_registry.test.process_case import CHECKOUT

PAGE = CHECKOUT / "docs" / "storage.md"

PLACE = "/etc/docker-registry/"


class SampleTests(ConfigCase):
    def test_every_one(self) -> None:
        """What stands below a flavor, and what is to be added to one."""
        directory = Path().absolute()
        make_certificate(directory)
        (directory / "cert.pem").rename(directory / "objects-ca.pem")
        key = rsa.generate_private_key(65537, 2048)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (directory / "cloudfront.pem").write_bytes(pem)
        blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
        environ = dict.fromkeys(re.findall(r"_env:(\w+)", "".join(blocks)), "x" * 32)
        flavor = ""
        for block in blocks:
            flavor = block if block.startswith("prod:") else flavor
            text = flavor if block is flavor else flavor + block
            (directory / "c.yml").write_text(text.replace(PLACE, f"{directory}/"))
            found = CliRunner().invoke(main, ["check-config", "--config", "c.yml", "--flavor", "prod"], env=environ)
            self.assertEqual((found.exit_code, found.output), (0, "ok: flavor prod of c.yml\n"), text)
        self.assertGreater(len(blocks), 5)
