"""Measures this registry beside Debian's docker-registry, on the same machine, with the same files."""
