"""What operators and their programs ask, on a listener of its own."""
