"""Projects of Glance as docker-registry 0.x left them, seen through the Image API of today.

There `storage: glance` put each image into one image of Glance: the layer was its data, and the small files beside it
its properties, sent as headers of HTTP by version 1 of the API. Tags stayed in `storage_alternate`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from docker_registry.test.clients.old_stores import OldTree
from docker_registry.test.servers.projects import Project

FORMATS = {"container_format": "docker", "disk_format": "raw"}


def header(content: bytes) -> str | None:
    """What came of a file that was sent as a header: no line ends, no blanks around it (12.5, trap 2)."""
    try:
        return content.decode().replace("\n", "").strip()
    except UnicodeDecodeError:
        return None


class OldProject:
    """:param files_aside: whether ``_files`` is in the alternate store, as from 0.6.6 on.
    :ivar ids: of Glance, by the images of Docker.
    """

    def __init__(self, project: Project, files_aside: bool) -> None:
        self.project = project
        self.ids: dict[str, str] = {}
        self._files_aside = files_aside

    def move(self, tree: OldTree) -> None:
        """Take the images of a tree out of its directory, which becomes the alternate store."""
        names = {id: f"{name}:{tag}" for name, tags in tree.tags.items() for tag, id in tags.items()}
        for directory in sorted((tree.root / "images").iterdir()):
            self.ids[directory.name] = self._move(directory, names.get(directory.name))
        for directory in sorted((tree.root / "images").iterdir()):
            for path in directory.iterdir():
                if path.name != "_files" or not self._files_aside:
                    path.unlink()
            if not list(directory.iterdir()):
                directory.rmdir()
        if not list((tree.root / "images").iterdir()):
            shutil.rmtree(tree.root / "images")

    def _move(self, directory: Path, name: str | None) -> str:
        properties: dict[str, Any] = {}
        for path in directory.iterdir():
            value = header(path.read_bytes()) if path.name != "layer" else None
            if value is not None and not (path.name == "_files" and self._files_aside):
                properties[f"meta_{path.name}"] = value
        layer = directory / "layer"
        data = layer.read_bytes() if layer.exists() else None
        return self.project.image(data, name=name, **FORMATS, **properties)

    def clutter(self, tree: OldTree, elsewhere: Project) -> None:
        """What else lies in projects: what clients left that came back, what is of others, what is no image of ours."""
        served = sorted(tree.images)
        for number, id in enumerate(served):
            document = json.dumps({"id": id, "container_config": {"Cmd": ["evil"]}})
            evil = {"meta_json": document, "meta_ancestry": json.dumps([id])}
            if number % 3 == 0:
                # Of another project, for everybody to see, and newer.
                elsewhere.image(b"evil", name=f"evil{number}", visibility="public", **FORMATS, **evil)
            elif number % 3 == 1:
                # Begun again, and never finished.
                self.project.image(None, **FORMATS, meta__inprogress="true", **evil)
            else:
                # No image of Docker's.
                self.project.image(b"evil", container_format="bare", disk_format="raw", **evil)
        for properties in ({}, {"meta_json": "{}"}, {"meta_json": "[", "meta_ancestry": "["}, {"meta_json": "3"},
                           {"meta_json": '{"id": "../../etc"}', "meta_ancestry": '["../x"]'}):
            self.project.image(b"clutter", name="latest", **FORMATS, **properties)
        self.project.image(b"a disk", name="team/app:latest", container_format="bare", disk_format="raw")

    def state(self) -> dict[str, tuple[object, ...]]:
        """All that Glance says of each image that was left."""
        return {f"glance/{each['id']}": (json.dumps(each, sort_keys=True),)
                for hidden in ("false", "true") for each in self.project.images(os_hidden=hidden)
                if any(name.startswith("meta_") for name in each) or each["container_format"] != "docker"}
