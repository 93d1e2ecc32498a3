"""Installs the package, the ``twistd`` plugin and the ``docker-registry`` command; metadata is in pyproject.toml.

``twisted.plugins`` is named here, and never given an ``__init__.py``: with one, installing would overwrite Twisted's
own file and uninstalling would break ``twistd``.

What an earlier version left in ``build/`` of the same checkout is not installed with this one.

``package_dir`` says what is so anyway: with it an editable install puts the checkout on the path, where ``twistd``
finds the plugin; without it setuptools would show the package alone.
"""

import shutil

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py


class BuildAnew(build_py):
    """setuptools would add to what is in ``build/lib``, and the package is made of all that is there."""

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


setup(
    cmdclass={"build_py": BuildAnew},
    packages=[*find_packages(include=["docker_registry", "docker_registry.*"]), "twisted.plugins"],
    package_dir={"": "."},
)
