"""Servers that the tests talk to, real ones and one that misbehaves on demand."""
