"""A daemon over a bucket: how it starts, how it does not, and that it never says its keys."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import urllib.request
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

from twisted.internet.threads import deferToThread

from docker_registry.test.clients.pushing import Repository
from docker_registry.test.clients.wire import Wire, digest_of
from docker_registry.test.mail_servers import Inbox
from docker_registry.test.process_case import LISTENING, SERVE, TWISTD, ProcessCase, reactor
from docker_registry.test.servers.faults import FaultProxy
from docker_registry.test.servers.stores import moto, swift
from docker_registry.test.storage_contract import content
from docker_registry.test.test_storage_s3_faults import error

SECRET = "marker/of+a=secret"


class StartTests(ProcessCase):
    def configure(self, **options: Any) -> None:
        listen = ["tcp:0:interface=127.0.0.1"]
        self.write(json.dumps({"x": {**swift().options(), "listen": listen, "loglevel": "debug", **options}}))

    async def test_starts(self) -> None:
        self.configure()
        daemon, port = await self.started()
        self.assertIn("storing in bucket registry below /", daemon.said.seen)
        self.assertIn("200 OK", await self.ask(port, "GET /v2/"))
        await self.stop(daemon)

    async def test_no_bucket(self) -> None:
        self.configure(s3_bucket="absent")
        self.assertIn("bucket absent does not exist", await self.does_not_start(78))

    async def test_wrong_keys(self) -> None:
        self.configure(s3_secret_key=SECRET)
        line = await self.does_not_start(78)
        self.assertIn("SignatureDoesNotMatch", line)
        self.assertNotIn(SECRET, line)

    async def test_nobody_there(self) -> None:
        """Another attempt may succeed."""
        proxy = FaultProxy(reactor).start()
        await proxy.stop()
        self.configure(s3_endpoint=f"http://127.0.0.1:{proxy.port}")
        self.assertIn("cannot be reached", await self.does_not_start(1))

    async def test_no_tls_there(self) -> None:
        self.configure(s3_endpoint=swift().endpoint.replace("http:", "https:"))
        self.assertIn("does not speak TLS as it should: wrong version number", await self.does_not_start(78))

    async def test_without_looking(self) -> None:
        """It starts whatever is the matter, and says so to who asks for something."""
        self.configure(s3_secret_key=SECRET, storage_check=False)
        daemon, port = await self.started()
        self.assertIn("200 OK", await self.ask(port, "GET /v2/"))
        self.assertIn("200 OK", await self.ask(port, "GET /v1/_ping"))
        for _ in range(2):
            answer = await self.ask(port, "GET /v2/a/manifests/1")
            self.assertIn("503 Service Unavailable", answer)
            self.assertIn("Retry-After: 30", answer)
        await self.stop(daemon)
        self.assertEqual(daemon.said.seen.count("does not let this registry in"), 1)
        self.assertNotIn(SECRET, daemon.said.seen)


class ClockTests(ProcessCase):
    """A daemon whose clock is off, and a store that looks at the time (F3)."""

    async def test_off_by_20_minutes(self) -> None:
        """It starts, takes pushes, and signs URLs that hold, by the store's clock."""
        for seconds in (1200, -1200):
            self.write(json.dumps({"x": {
                **swift().options(storage_redirect=True), "listen": ["tcp:0:interface=127.0.0.1"],
            }}))
            moved = f"import time; real = time.time; time.time = lambda: real() + {seconds}; {TWISTD}"
            daemon = self.run_program(
                moved, ["--nodaemon", "--pidfile=", "docker-registry", "--config=c.yml", "--flavor=x"]
            )
            address = (await daemon.said.until(LISTENING))[1]
            await deferToThread(self.push_and_pull, f"http://{address.removeprefix('tcp:')}")
            await self.stop(daemon)
            said = re.findall(r"this machine's clock is (-?\d+) s off the store's", daemon.said.seen)
            self.assertEqual(len(said), 1, daemon.said.seen)
            self.assertLess(abs(int(said[0]) - seconds), 60)

    def push_and_pull(self, base: str) -> None:
        wire = Wire(base)
        repository, layer = Repository(wire, "a"), content(11 << 20)
        for number, push in enumerate((repository.push_stream, repository.push_put)):
            layer = b"%d" % number + layer
            push(digest_of(layer), layer).expect(201)
            repository.call("HEAD", f"blobs/{digest_of(layer)}").expect(200)
            place = repository.call("GET", f"blobs/{digest_of(layer)}").expect(307)["Location"]
            with urllib.request.urlopen(place) as answer:
                self.assertEqual(digest_of(answer.read()), digest_of(layer))
        wire.close()


class LeftoversTests(ProcessCase):
    """The command, as an operator types it (F5)."""

    async def test_names_and_removes(self) -> None:
        """What is below the prefix; another's is his own."""
        options = moto().options()
        self.write(json.dumps({"x": {**options, "listen": ["tcp:0:interface=127.0.0.1"]}}))
        client, bucket = moto().client(), moto().bucket
        key, other = f"{options['storage_path'].strip('/')}/blobs/data", f"{uuid.uuid4().hex}/blobs/data"
        for each in (key, other):
            await deferToThread(client.create_multipart_upload, Bucket=bucket, Key=each)
        name = r"blobs/data 2010-11-10 20:48 \S+\n"            # when moto says that all were begun
        for more, said in (
            ([], rf"found {name}1 found; --remove would remove them\n"), (["--remove"], rf"removed {name}1 removed\n"),
            ([], r"0 found.*\n"),
        ):
            asked = self.run_program(SERVE, ["leftovers", "-c", "c.yml", "-f", "x", "--older-than", "1d", *more])
            self.assertEqual(await asked.ended, 0, asked.complained.seen)
            self.assertRegex(asked.said.seen, rf"^{said}$")
        left = await deferToThread(client.list_multipart_uploads, Bucket=bucket)
        keys = [each["Key"] for each in left["Uploads"]]
        self.assertEqual((keys.count(key), keys.count(other)), (0, 1))

    async def test_store_that_refuses(self) -> None:
        """One line, without a secret."""
        self.write(json.dumps({"x": swift().options(s3_secret_key=SECRET)}))
        asked = self.run_program(SERVE, ["leftovers", "-c", "c.yml", "-f", "x"])
        self.assertEqual(await asked.ended, 1)
        self.assertIn("SignatureDoesNotMatch", asked.complained.seen)
        for secret in (SECRET, "Traceback"):
            self.assertNotIn(secret, asked.said.seen + asked.complained.seen)


class SecretTests(ProcessCase):
    """T44: nothing that was said to the store, or by it, is said to anybody else."""

    async def test_keys_and_signatures(self) -> None:
        proxy, inbox = FaultProxy(reactor, moto().port).start(), Inbox()
        self.addCleanup(proxy.stop)
        self.addCleanup(inbox.close)
        options = moto().options(
            s3_access_key="AKIAMARKER", s3_secret_key=SECRET, s3_endpoint=f"http://127.0.0.1:{proxy.port}",
            storage_redirect=True,
        )
        mail = {"smtp_host": "127.0.0.1", "smtp_port": inbox.port, "smtp_secure": "never",
                "from_addr": "registry@example.com", "to_addr": "ops@example.com"}
        self.write(json.dumps({"x": {
            **options, "listen": ["tcp:0:interface=127.0.0.1"], "admin_listen": ["unix:admin.sock"],
            "loglevel": "debug", "email_exceptions": mail,
        }}))
        daemon, port = await self.started()
        digest = f"sha256:{hashlib.sha256(b'layer').hexdigest()}"
        answers = [
            await self.ask(port, f"POST /v2/a/blobs/uploads/?digest={digest}", body=b"layer"),
            await self.ask(port, f"GET /v2/a/blobs/{digest}"),
        ]
        self.assertIn("201 Created", answers[0])
        self.assertIn("307 Temporary Redirect", answers[1])
        said = (
            f"<StringToSign>{SECRET}</StringToSign><SignatureProvided>{SECRET}</SignatureProvided>"
            f"<AWSAccessKeyId>AKIAMARKER</AWSAccessKeyId>"
        )
        for code in ("SignatureDoesNotMatch", "InternalError", "SlowDown", "Odd"):
            status = 403 if code == "SignatureDoesNotMatch" else 400
            rule = proxy.add(status=status, body=error(code, f"no {SECRET}", said))
            answers.append(await self.ask(port, "GET /v2/a/manifests/1"))
            rule.times = 0
        for fault in ({"refuse": True}, {"status": 200, "body": b"<half"}):
            rule = proxy.add(**fault)
            answers.append(await self.ask(port, "GET /v2/_catalog"))
            rule.times = 0
        socket = f"unix:{self.directory}/admin.sock"
        answers += [await self.ask(socket, f"GET {path}") for path in ("/metrics", "/debug/health", "/readyz")]
        asking = self.run_program(SERVE, ["status", "-c", "c.yml", "-f", "x", "--json"])
        self.assertEqual(await asking.ended, 0)
        process = Path(f"/proc/{daemon.transport.pid}/cmdline").read_text()     # type: ignore[union-attr]
        await inbox.until(1)
        await self.stop(daemon)
        told = "".join([
            daemon.said.seen, daemon.complained.seen, asking.said.seen, asking.complained.seen, process,
            *answers[:1], *answers[2:], *(mail.as_string() for mail in inbox.arrived),
            *(str(mail.get_content()) for mail in inbox.arrived),
        ])
        self.assertIn("SignatureDoesNotMatch", told)
        for marker in (SECRET, quote(SECRET, safe=""), base64.b64encode(SECRET.encode()).decode(), "AKIAMARKER",
                       "X-Amz-Signature", "AWS4-HMAC"):
            self.assertNotIn(marker, told)
        self.assertIn("X-Amz-Signature", answers[1])            # that one is for the client
