"""Tests that drive real clients and real servers over real sockets."""
