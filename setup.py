"""Installs the package, the ``twistd`` plugin and the ``docker-registry`` command; metadata is in pyproject.toml.

``twisted.plugins`` is named here, and never given an ``__init__.py``: with one, installing would overwrite Twisted's
own file and uninstalling would break ``twistd``.
"""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["docker_registry", "docker_registry.*"]), "twisted.plugins"])
