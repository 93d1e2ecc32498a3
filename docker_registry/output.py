"""What commands write for whoever typed them."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import NoReturn

import click

NOT_WRITTEN = 74
"""The status of a command whose result nobody can read: EX_IOERR of sysexits.h."""


def say(text: str) -> None:
    """A line of the result.

    :raises SystemExit: it cannot be written.
    """
    try:
        click.echo(text)
    except OSError as error:
        leave_unheard(error)


def complain(text: str) -> None:
    """A line about how it goes. When that cannot be written there is nobody to tell."""
    with suppress(OSError):
        click.echo(text, err=True)


def leave(status: int, reason: str) -> NoReturn:
    """End the command, and say why."""
    complain(reason)
    raise SystemExit(status)


def leave_unheard(error: OSError) -> NoReturn:
    """End the command, as the standard output cannot be written: it is on a full disk, or whoever read it has gone."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())      # what it still holds goes there at the end
    if error.errno == errno.EPIPE:
        raise SystemExit(1)                 # as programs in a pipe do, without a word
    leave(NOT_WRITTEN, f"the standard output cannot be written: {error.strerror}")
