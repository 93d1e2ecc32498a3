"""A container of OpenStack Swift, by its own API."""
