"""Files that say too much, or that do not fit together: certificates and their keys (T42, T52)."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from docker_registry.config.load import load
from docker_registry.test.config_case import MARKER, ConfigCase


class WarningTests(ConfigCase):
    def test_file_that_everybody_writes(self) -> None:
        Path("c.yml").write_text("x: {storage: memory}")
        os.chmod("c.yml", 0o644)
        self.assertEqual(load("c.yml", "x", {}).warnings, ())
        os.chmod("c.yml", 0o646)
        self.assertEqual(load("c.yml", "x", {}).warnings, ("c.yml: everybody may write to it",))


def certificate(name: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    built = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), now, now)
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def private(key: ec.EllipticCurvePrivateKey, passphrase: bytes = b"") -> bytes:
    encryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


class TLSTests(ConfigCase):
    MISMATCH = "the key does not match the certificate, or has a passphrase, or is no PEM"

    def setUp(self) -> None:
        super().setUp()
        key = ec.generate_private_key(ec.SECP256R1())
        Path("cert.pem").write_bytes(certificate("registry", key))
        Path("key.pem").write_bytes(private(key))
        os.chmod("key.pem", 0o600)

    def endpoint(self, key: str, cert: str = "cert.pem") -> str:
        return f"x: {{storage: memory, listen: ['ssl:5443:privateKey={key}:certKey={cert}']}}"

    def test_match(self) -> None:
        self.assertEqual(self.load(self.endpoint("key.pem")).warnings, ())

    def test_key_of_another(self) -> None:
        Path("other.pem").write_bytes(private(ec.generate_private_key(ec.SECP256R1())))
        self.assertIn(self.MISMATCH, self.problems(self.endpoint("other.pem")))

    def test_key_with_a_passphrase(self) -> None:
        """Nobody is asked at the terminal."""
        Path("locked.pem").write_bytes(private(ec.generate_private_key(ec.SECP256R1()), MARKER.encode()))
        self.assertIn(self.MISMATCH, self.problems(self.endpoint("locked.pem")))

    def test_no_certificate(self) -> None:
        Path("empty.pem").touch()
        self.assertIn("certKey is no certificate in PEM", self.problems(self.endpoint("key.pem", "empty.pem")))

    def test_key_missing(self) -> None:
        self.assertIn("privateKey cannot be read: No such file", self.problems(self.endpoint("none.pem")))

    def test_key_that_others_can_read(self) -> None:
        """Whichever listener it is for."""
        warning = "key.pem: a private key that others than its owner can read"
        for mode in (0o604, 0o640):
            os.chmod("key.pem", mode)
            for endpoint in (self.endpoint("key.pem"), self.endpoint("key.pem").replace("listen", "admin_listen")):
                self.assertEqual(self.load(endpoint).warnings, (warning,))
