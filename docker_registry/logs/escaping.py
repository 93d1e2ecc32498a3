"""Text of strangers in a line: nothing in it ends the line, moves the cursor, or turns the reading direction (T46)."""

from __future__ import annotations

LONGEST = 64 << 10
"""Characters of one text; what is beyond is cut."""


def one_line(text: str, longest: int = LONGEST) -> str:
    """``text`` with everything that does not print as itself written as Python would: ``\\n``, ``\\x1b``, ``\\u202e``.

    What is not printable is what Unicode says of other, private and unassigned characters, and of separators: controls,
    bidi marks, line separators, lone surrogates.
    """
    if len(text) > longest:
        text = f"{text[:longest]}… ({len(text) - longest} characters more)"
    if text.isprintable():
        return text
    return "".join([each if each.isprintable() else _escaped(each) for each in text])


def lines(text: str) -> list[str]:
    """A text of several lines, such as a traceback, each as `one_line` has it."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]}\n…\n{text[-LONGEST // 2 :]}"
    return [one_line(each) for each in text.rstrip("\n").split("\n")]


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
