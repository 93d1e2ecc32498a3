"""What spoils a measurement."""

from __future__ import annotations


class LoadFailed(Exception):
    """A load did not come to what it should: the text says how, in one line, and the row has no figure."""
