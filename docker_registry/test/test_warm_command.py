"""``docker-registry warm`` as a process: on a terminal, in a log, stopped in the middle, beside a running registry."""

from __future__ import annotations

import hashlib
import json
import random
import re
import signal
import uuid
from pathlib import Path

from twisted.internet.threads import deferToThread

from docker_registry.deferreds import deferred
from docker_registry.test.clients import old_stores
from docker_registry.test.layer_case import member
from docker_registry.test.process_case import SERVE, Daemon, ProcessCase
from docker_registry.test.servers.stores import moto

BAR = "import pty, sys; sys.exit(pty.spawn([sys.executable, '-c', sys.argv[1], *sys.argv[2:]]) >> 8)"
"""Runs a program on a terminal of its own, and passes on what it writes there."""


class WarmTests(ProcessCase):
    def make(self, name: str = "0.9.1", large: int = 0) -> None:
        """:param large: bytes of a layer besides that cannot be compressed."""
        self.root = Path(self.directory, "images")
        self.tree = old_stores.TREES[name](self.root)
        if large:
            content = random.Random(0).randbytes(large)
            image = self.tree.image("large", None, member("large", content), pack=old_stores.as_it_is)
            self.tree.tag("library/large", "large", "latest", image.id)

    def warm(self, *options: str) -> Daemon:
        return self.run_program(SERVE, ["warm", "--config=c.yml", "--flavor=x", *options])

    def ready(self) -> str:
        return f"{sum(map(len, self.tree.tags.values()))} tags are ready"

    @deferred
    async def test_in_a_log(self) -> None:
        """What it told goes to stdout, and names the tags that are left; how it went goes to stderr."""
        self.make()
        warm = self.warm()
        self.assertEqual(await warm.ended, 3, warm.complained.seen)
        self.assertIn(f"{self.ready()}, 7 left\n", warm.said.seen)
        self.assertRegex(warm.said.seen, r"broken:cut cannot be served by v2: the layer of [0-9a-f]{64} is cut")
        self.assertRegex(warm.complained.seen, r"\d+ tags, \d+ layers to read, 0 MB\n")
        again = self.warm()
        self.assertEqual(await again.ended, 3)
        self.assertIn("7 tags, 0 layers to read", again.complained.seen)
        _, port = await self.started()
        for name, tags in self.tree.tags.items():
            for tag in tags:
                self.assertIn(" 200 ", await self.ask(port, f"GET /v2/{name}/manifests/{tag}"))

    @deferred
    async def test_for_programs(self) -> None:
        """One object on stdout; how it goes stays on stderr."""
        self.make()
        warm = self.warm("--json")
        self.assertEqual(await warm.ended, 3, warm.complained.seen)
        told = json.loads(warm.said.seen)
        self.assertEqual(told["ready"], sum(map(len, self.tree.tags.values())))
        self.assertEqual(len(told["left"]), 7)
        [cut] = [each for each in told["left"] if (each["repository"], each["tag"]) == ("broken", "cut")]
        self.assertRegex(cut["reason"], "the layer of [0-9a-f]{64} is cut")
        self.assertIn("layers to read", warm.complained.seen)

    @deferred
    async def test_leftovers_of_a_store_without_any(self) -> None:
        """A store that keeps none says so to programs as one that has none."""
        for options, expected in (([], "nothing: .*"), (["--json"], re.escape('{"removed": false, "leftovers": []}'))):
            asked = self.run_program(SERVE, ["leftovers", "--config=c.yml", "--flavor=x", *options])
            self.assertEqual(await asked.ended, 0, asked.complained.seen)
            self.assertRegex(asked.said.seen, rf"\A{expected}\n\Z")

    @deferred
    async def test_leftovers_that_are_young(self) -> None:
        """They may be of a push that goes on: they are shown, and not removed."""
        options = ["leftovers", "--config=c.yml", "--flavor=x", "--older-than=59m"]
        asked = self.run_program(SERVE, [*options, "--remove"])
        self.assertEqual(await asked.ended, 2)
        self.assertIn("59m is too little for --remove", asked.complained.seen)
        self.assertEqual(await self.run_program(SERVE, options).ended, 0)

    @deferred
    async def test_on_a_terminal(self) -> None:
        self.make(large=8_000_000)
        warm = self.run_program(BAR, [SERVE, "warm", "--config=c.yml", "--flavor=x"])
        self.assertEqual(await warm.ended, 3)
        self.assertRegex(warm.said.seen, r"reading +\[#+\] +100%")
        self.assertRegex(warm.said.seen, r"setting tags +\[#+\] +100%")
        self.assertIn(self.ready(), warm.said.seen)

    @deferred
    async def test_stopped_in_the_middle(self) -> None:
        """Whatever stops it, it goes on with what is left; nothing old has changed."""
        self.make(large=150_000_000)
        before = self.digests()
        for number, expected in ((signal.SIGTERM, 1), (signal.SIGINT, 1), (signal.SIGKILL, -signal.SIGKILL)):
            warm = self.warm()
            await warm.complained.until("layers to read")
            warm.kill(number)
            self.assertEqual(await warm.ended, expected, warm.complained.seen)
            if expected == 1:
                self.assertTrue(warm.complained.seen.endswith("stopped: run it again to go on\n"), warm.complained.seen)
            self.assertNotIn("Traceback", warm.complained.seen)
        warm = self.warm()
        self.assertEqual(await warm.ended, 3)
        self.assertIn(self.ready(), warm.said.seen)
        self.assertEqual({path: digest for path, digest in self.digests().items() if path in before}, before)

    @deferred
    async def test_of_a_bucket(self) -> None:
        self.make()
        store = moto()
        prefix = uuid.uuid4().hex
        await deferToThread(store.fill, prefix, self.root)
        self.write(json.dumps({"x": store.options(storage_path=f"/{prefix}")}))
        warm = self.warm()
        self.assertEqual(await warm.ended, 3, warm.complained.seen)
        self.assertIn(self.ready(), warm.said.seen)
        again = self.warm()
        await again.ended
        self.assertIn("7 tags, 0 layers to read", again.complained.seen)

    @deferred
    async def test_beside_a_running_registry(self) -> None:
        self.make()
        daemon, _ = await self.started()
        warm = self.warm()
        self.assertEqual(await warm.ended, 1)
        self.assertRegex(warm.complained.seen, r"is used by another registry, process \d+: stop that first\n")
        await self.stop(daemon)

    @deferred
    async def test_nothing_old(self) -> None:
        warm = self.warm()
        self.assertEqual(await warm.ended, 0)
        self.assertEqual(warm.said.seen, "0 tags are ready\n")

    @deferred
    async def test_wrong_configuration(self) -> None:
        self.write("x: {storage_pth: ./images}")
        warm = self.warm()
        self.assertEqual(await warm.ended, 78)
        self.assertIn("storage_pth", warm.complained.seen)

    def digests(self) -> dict[str, str]:
        """Of all files that are not ours."""
        return {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in self.root.rglob("*")
            if path.is_file() and not re.match(r"docker|\.", str(path.relative_to(self.root)))
        }
