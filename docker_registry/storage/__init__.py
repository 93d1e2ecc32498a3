"""Where bytes lie: a flat key space behind one interface."""
