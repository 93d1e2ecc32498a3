"""A directory with a configuration file, for the tests that load one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from docker_registry.config.load import Loaded, load
from docker_registry.config.problems import ConfigError

MARKER = "hunter2"
"""A password: it stands in many of the broken files, and in no message."""


class ConfigCase(SynchronousTestCase):
    """Files are written into a directory of the test, which is the working directory meanwhile."""

    def setUp(self) -> None:
        directory = tempfile.mkdtemp()      # not below trial's, which is for its owner alone
        self.addCleanup(shutil.rmtree, directory)
        os.chmod(directory, 0o755)
        before = os.getcwd()
        os.chdir(directory)
        self.addCleanup(os.chdir, before)

    def load(
        self, text: str, flavor: str = "x", environ: Mapping[str, str] | None = None, listen: Sequence[str] = ()
    ) -> Loaded:
        Path("c.yml").write_text(text)
        return load("c.yml", flavor, environ or {}, listen)

    def be_nobody(self) -> None:
        """root may read and write everything: be somebody else, as far as the kernel is concerned."""
        if os.geteuid() == 0:
            os.seteuid(65534)
            self.addCleanup(os.seteuid, 0)

    def problems(self, text: str, flavor: str = "x", **others: object) -> str:
        message = str(self.assertRaises(ConfigError, self.load, text, flavor, **others))
        self.assertNotIn(MARKER, message)
        return message
