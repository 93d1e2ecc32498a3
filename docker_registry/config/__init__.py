"""Flavors and environment, read once, checked whole, frozen."""
