"""Credentials that botocore's chain finds, and what comes of it when whoever hands them out is silent or wrong."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from botocore.credentials import RefreshableCredentials
from botocore.utils import ContainerMetadataFetcher

from docker_registry.errors import StoreUnavailable
from docker_registry.storage.s3 import credentials
from docker_registry.storage.s3.settings import Settings
from docker_registry.test.s3_case import MIB, S3FaultCase
from docker_registry.test.servers.faults import Fault, FaultProxy
from docker_registry.test.storage_contract import content
from docker_registry.test.test_storage_s3_faults import error

SECRET = "marker/of+a=role"
SOON = 300
"""Seconds to the end of what is handed out: so near that the chain asks for more whenever it is asked."""


class CredentialCase(S3FaultCase):
    """:ivar place: of whoever hands out credentials; it answers on this reactor: nobody may wait for it there."""

    def setUp(self) -> None:
        super().setUp()
        self.place = FaultProxy(self.proxy.reactor).start()
        self.addCleanup(self.place.stop)
        for name in [*(name for name in os.environ if name.startswith("AWS_")), "AWS_PROFILE"]:
            self.patch_environ(name, None)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            self.patch_environ(name, "/none")
        self.patch_environ("AWS_EC2_METADATA_DISABLED", "true")
        self.patch(ContainerMetadataFetcher, "TIMEOUT_SECONDS", 0.2)
        self.patch(ContainerMetadataFetcher, "SLEEP_TIME", 0)
        self.found = self.make(settings=Settings(self.settings.place, self.settings.prefix, part_size=5 * MIB))

    def hand_out(self, name: str, seconds: float = SOON, **more: Any) -> Fault:
        """:param seconds: until they expire."""
        body = {
            "AccessKeyId": name, "SecretAccessKey": SECRET, "Token": f"token/of+{name}=",
            "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds)), **more,
        }
        return self.place.add(status=200, body=json.dumps(body).encode(), headers={"Content-Type": "application/json"})

    def signers(self) -> list[tuple[str, str | None]]:
        """Of the requests since the last call, each with its token."""
        asked, self.proxy.asked[:] = list(self.proxy.asked), []
        return [
            (each.headers["authorization"].partition("Credential=")[2].partition("/")[0],
             each.headers.get("x-amz-security-token"))
            for each in asked
        ]


class ContainerTests(CredentialCase):
    """The role of a container."""

    def setUp(self) -> None:
        super().setUp()
        self.patch_environ("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{self.place.port}/role")
        self.patch_environ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "who/asks")

    async def test_renewed(self) -> None:
        """Long before they expire, and no request waits for it."""
        first = self.hand_out("one")
        await self.found.put("k", b"x")
        self.assertEqual(self.signers(), [("one", "token/of+one=")])
        self.assertEqual(self.place.asked[0].headers["authorization"], "who/asks")
        first.times = 0
        self.hand_out("two")
        self.patch(credentials, "FRESH", 0.0)
        writer = await self.found.create_direct("u", "b", None)
        for _ in range(12):
            await writer.write([content(MIB)])
        await writer.commit("b")
        found = self.signers()
        self.assertEqual(found[-1], ("two", "token/of+two="))
        self.assertEqual({name for name, _ in found}, {"one", "two"})
        self.assertEqual(await self.content("b"), content(MIB) * 12)

    async def test_expired(self) -> None:
        """The store says so: the request waits for new ones."""
        first = self.hand_out("one", seconds=86400)
        await self.found.put("k", b"x")
        first.times = 0
        self.hand_out("two")
        self.signers()
        self.proxy.add(times=1, status=400, body=error("ExpiredToken"))
        await self.found.put("k", b"x")
        self.assertEqual([name for name, _ in self.signers()], ["one", "two"])

    async def test_silent_meanwhile(self) -> None:
        """Requests go on with what is known."""
        first = self.hand_out("one")
        await self.found.put("k", b"x")
        first.times = 0
        self.place.add(hang=True)
        self.patch(credentials, "FRESH", 0.0)
        for _ in range(3):
            await self.found.put("k", b"x")
        self.assertEqual({name for name, _ in self.signers()}, {"one"})
        await self.fails(credentials.Keys(None, None, self.runner, self.proxy.reactor).get(), StoreUnavailable)

    async def test_silent(self) -> None:
        """A byte at a time keeps the chain waiting for ever, and nobody else."""
        self.patch(credentials, "PATIENCE", 0.2)
        self.patch(ContainerMetadataFetcher, "TIMEOUT_SECONDS", 5)
        self.place.add(hang=True)
        began = time.monotonic()
        said = str(await self.fails(self.found.get("k"), StoreUnavailable))
        self.assertLess(time.monotonic() - began, 4)
        self.assertIn("nobody answers", said)
        self.assertEqual(self.proxy.asked, [])
        await self.place.stop()                 # so that the thread comes back

    async def test_wrong_answers(self) -> None:
        """Each is one error without a secret in it, and none is remembered."""
        good = {"AccessKeyId": "one", "SecretAccessKey": SECRET, "Token": "t", "Expiration": "2100-01-01T00:00:00Z"}
        wrong: list[dict[str, Any]] = [
            {"status": 500, "body": b"no"}, {"status": 404}, {"status": 200, "body": b"no JSON"},
            {"status": 200, "body": b"[]"}, {"status": 200, "body": b"\xff"}, {"refuse": True},
            *({"status": 200, "body": json.dumps({**good, **change}).encode()} for change in (
                {"AccessKeyId": None}, {"SecretAccessKey": ""}, {"Expiration": "never"}, {"Expiration": 5},
                {"Expiration": "2001-01-01T00:00:00Z"}, {"AccessKeyId": 5}, {"AccessKeyId": "a\r\nb"}, {"Token": 7},
            )),
        ]
        for left in ("AccessKeyId", "SecretAccessKey", "Expiration"):
            some = {name: value for name, value in good.items() if name != left}
            wrong.append({"status": 200, "body": json.dumps(some).encode()})
        for each in wrong:
            rule = self.place.add(**each)
            said = str(await self.fails(self.found.get("k"), StoreUnavailable))
            self.assertIn("credentials for S3", said, each)
            self.assertNotIn(SECRET, said)
            rule.times = 0
        self.assertEqual(self.proxy.asked, [])
        self.hand_out("right")
        await self.found.put("k", b"x")
        self.assertEqual([name for name, _ in self.signers()], ["right"])


class InstanceTests(CredentialCase):
    """The role of a machine (IMDSv2)."""

    def setUp(self) -> None:
        super().setUp()
        self.patch_environ("AWS_EC2_METADATA_DISABLED", None)
        self.patch_environ("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{self.place.port}/")

    async def test_renewed(self) -> None:
        self.place.add(method="PUT", target="/latest/api/token", status=200, body=b"session")
        self.place.add(target="security-credentials/$", status=200, body=b"the-role")
        first = self.hand_out("one", Code="Success", Type="AWS-HMAC")
        await self.found.put("k", b"x")
        self.assertEqual(self.signers(), [("one", "token/of+one=")])
        asked = [(each.method, each.target.rpartition("/")[2]) for each in self.place.asked]
        self.assertEqual(asked, [("PUT", "token"), ("GET", ""), ("GET", "the-role")])
        for each in self.place.asked[1:]:
            self.assertEqual(each.headers["x-aws-ec2-metadata-token"], "session")
        first.times = 0
        self.hand_out("two", Code="Success", Type="AWS-HMAC")
        self.patch(RefreshableCredentials, "_advisory_refresh_timeout", 86400)      # seconds before the end
        self.patch(credentials, "FRESH", 0.0)
        while self.signers()[-1:] != [("two", "token/of+two=")]:
            await self.found.put("k", b"x")

    async def test_silent(self) -> None:
        self.place.add(hang=True)
        began = time.monotonic()
        said = str(await self.fails(self.found.get("k"), StoreUnavailable))
        self.assertLess(time.monotonic() - began, 10)
        self.assertIn("there are no credentials for S3", said)

    async def test_no_role(self) -> None:
        self.place.add(status=404)
        await self.fails(self.found.get("k"), StoreUnavailable)
