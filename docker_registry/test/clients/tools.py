"""Programs that tests drive: where one is missing its tests are skipped, in CI they fail."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from unittest import SkipTest

LONG = 240.0
"""Seconds that one call of a client may take, with a layer of 300 MB on a busy machine."""


class Failed(AssertionError):
    """A program ended with an error; the text is what it said."""


def need(*programs: tuple[str, str]) -> None:
    """See to it that each of ``programs``, given with its Debian package, is installed.

    :raises SkipTest: one is not.
    :raises AssertionError: one is not, and this is CI.
    """
    for program, package in programs:
        if shutil.which(program) is None:
            problem = f"{program} is missing: apt-get install {package}"
            if os.environ.get("CI"):
                raise AssertionError(problem)
            raise SkipTest(problem)


def run(*command: str | Path, environ: Mapping[str, str] | None = None, timeout: float = LONG) -> str:
    """What ``command`` prints on standard output.

    :raises Failed: it ended with another status than 0.
    """
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **(environ or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace")
        raise Failed(f"{' '.join(map(str, command))}: status {done.returncode}: {said[-2000:]}")
    return done.stdout.decode()
