"""What operators type: a module for each command."""
