"""A container registry on Twisted."""
