"""The ``twistd`` of the interpreter that runs the tests."""

import sys

from twisted.scripts.twistd import run

sys.path.insert(0, ".")
sys.argv[0] = "twistd"
run()
