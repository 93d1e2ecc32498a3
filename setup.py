"""Installs the package, the ``twistd`` plugin and the ``docker-registry`` command; metadata is in pyproject.toml.

``twisted.plugins`` is named here, and never given an ``__init__.py``: with one, installing would overwrite Twisted's
own file and uninstalling would break ``twistd``.

``package_dir`` says what is so anyway: with it an editable install puts the checkout on the path, where ``twistd``
finds the plugin; without it setuptools would show the package alone.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["docker_registry", "docker_registry.*"]), "twisted.plugins"],
    package_dir={"": "."},
)
