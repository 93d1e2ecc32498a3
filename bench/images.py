"""A project of a real Glance on loopback: for a registry, and for curl, which does nothing but the bare transfers."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from bench.curl import curl
from docker_registry.storage import layout
from docker_registry.storage.glance.shelf import KEY
from docker_registry.test.servers.projects import Project

FORMATS = {"container_format": "docker", "disk_format": "raw"}


class Images:
    """See `bench.buckets.Place`."""

    @cached_property
    def _project(self) -> Project:
        """Made when it is needed: no server is started for rows that nobody has asked for."""
        return Project()

    @property
    def ours(self) -> Mapping[str, object]:
        return self._project.options()

    @property
    def others(self) -> Mapping[str, Any]:
        return {}

    def forget(self, digest: str) -> None:
        algorithm, _, value = digest.partition(":")
        key = f"{layout.CONTENT}{algorithm}/{value[:2]}/{value}/data"
        self._remove(*(image["id"] for image in self._project.images(**{KEY: key})))

    def _remove(self, *images: str) -> None:
        for image in images:
            self._project.ask("DELETE", f"/{image}")

    def make(self, data: bytes) -> str:
        """An image that is there from the start."""
        return self._project.image(data, **FORMATS)

    def push(self, files: Sequence[str], at_once: int) -> float:
        """What curl takes to make an image of each file, so many at a time, in seconds."""
        images = [str(uuid.uuid4()) for _ in files]
        documents = [json.dumps({"id": image, **FORMATS}) for image in images]
        token = self._project.token
        seconds = curl(token, at_once, [
            [self._url(""), "-X", "POST", "-H", "Content-Type: application/json", "-d", each] for each in documents
        ])
        seconds += curl(token, at_once, [
            [self._url(f"/{image}/file"), "-T", file, "-H", "Content-Type: application/octet-stream"]
            for image, file in zip(images, files, strict=True)
        ])
        self._remove(*images)
        return seconds

    def pull(self, images: Sequence[str], at_once: int) -> float:
        """What it takes to read them and throw them away."""
        return curl(self._project.token, at_once, [[self._url(f"/{image}/file")] for image in images])

    def _url(self, path: str) -> str:
        return f"{self._project.environ['OS_GLANCE_URL']}/v2/images{path}"
