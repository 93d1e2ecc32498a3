"""What the tests of the OCI rules have in common.

They run against a daemon of their own, or against any registry that is named in the environment::

    REGISTRY_URL=http://127.0.0.1:5000 python -m twisted.trial docker_registry.test.clients.test_conformance_blobs
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Mapping
from functools import cache, wraps
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from docker_registry.test.clients.daemon import Ours
from docker_registry.test.clients.pushing import Repository
from docker_registry.test.clients.wire import Wire
from docker_registry.test.servers.projects import Project
from docker_registry.test.servers.stores import STORES


@cache
def base(storage: str) -> str:
    """The registry under test; ours is started for the first test over a kind of store, and ends with the run."""
    if named := os.environ.get("REGISTRY_URL"):
        return named.rstrip("/")
    work = Path(tempfile.mkdtemp(prefix="conformance-"))
    atexit.register(shutil.rmtree, work, ignore_errors=True)
    registry = Ours(work / "registry", **_options(storage))
    atexit.register(registry.stop)
    return f"http://{registry.host}"


def _options(storage: str) -> dict[str, Any]:
    if storage == "glance":
        return Project().options()
    return STORES[storage]().options() if storage in STORES else {}


def rows(table: Mapping[str, Any] | list[str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make one test of each row of ``table``: its name ends that of the test, its value (or the name itself) is the
    argument. The class has to be a `Conformance`."""

    def remember(function: Callable[..., None]) -> Callable[..., None]:
        function.rows = dict(table) if isinstance(table, Mapping) else {name: name for name in table}  # type: ignore[attr-defined]
        return function

    return remember


def _row(function: Callable[..., None], value: Any) -> Callable[..., None]:
    @wraps(function)
    def test(self: Any) -> None:
        function(self, value)

    return test


class Conformance(SynchronousTestCase):
    """:ivar repository: a fresh one for each test.
    :ivar storage: where our own registry keeps what is pushed: ``local``, ``glance``, or one of `STORES`.
    """

    storage = "local"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, function in list(vars(cls).items()):
            for row, value in getattr(function, "rows", {}).items():
                setattr(cls, f"test_{name}_{row}", _row(function, value))

    def setUp(self) -> None:
        # What the specification leaves open is asked of our own registry only.
        self.ours = "REGISTRY_URL" not in os.environ
        self.wire = Wire(base(self.storage), strict=self.ours)
        self.addCleanup(self.wire.close)
        self.repository = self.fresh()

    def fresh(self) -> Repository:
        """A repository that nobody has used, in a few components."""
        return Repository(self.wire, f"conformance/{uuid.uuid4().hex}/a")
