"""A project of a real Glance on loopback: for a registry, and for curl, which does nothing but the bare transfers."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.failures import LoadFailed
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
        began = time.perf_counter()
        self._curl(at_once, [
            [self._url(""), "-X", "POST", "-H", "Content-Type: application/json", "-d", each] for each in documents
        ])
        self._curl(at_once, [
            [self._url(f"/{image}/file"), "-T", file, "-H", "Content-Type: application/octet-stream"]
            for image, file in zip(images, files, strict=True)
        ])
        seconds = time.perf_counter() - began
        self._remove(*images)
        return seconds

    def pull(self, images: Sequence[str], at_once: int) -> float:
        """What it takes to read them and throw them away."""
        began = time.perf_counter()
        self._curl(at_once, [[self._url(f"/{image}/file")] for image in images])
        return time.perf_counter() - began

    def _url(self, path: str) -> str:
        return f"{self._project.environ['OS_GLANCE_URL']}/v2/images{path}"

    def _curl(self, at_once: int, requests: Sequence[Sequence[str]]) -> None:
        usual = ["-sS", "-f", "-o", "/dev/null", "-H", f"X-Auth-Token: {self._project.token}", "-H", "Expect:"]
        command = ["curl", "--noproxy", "*", "-Z", "--parallel-max", str(at_once)]
        for number, request in enumerate(requests):
            command += [*(["--next"] if number else []), *usual, *request]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LoadFailed(f"curl: {done.stderr.strip()[-200:]}")


def in_files(contents: Sequence[bytes], directory: Path) -> list[str]:
    """Their paths."""
    directory.mkdir(exist_ok=True)
    paths = [directory / f"small-{number}" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return list(map(str, paths))
