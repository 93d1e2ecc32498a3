"""Lines that operators read."""
