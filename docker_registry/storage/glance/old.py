"""An image that docker-registry 0.x left in Glance, as the API of today shows it.

The layer was its data. The small files beside the layer were its properties, ``meta_`` and the name of the file, sent
as headers: so they lost blanks at their ends, have no line ends, and were cut when they were long. Docker's id was the
property ``id``, which Image API v2 hides behind the image's own: it has to be read out of the others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from docker_registry.errors import ImageIdInvalid
from docker_registry.names import ImageId
from docker_registry.storage.glance.images import ACTIVE, Image

FORMATS = {"container_format": "docker", "disk_format": "raw"}
"""Of all that it left, and of what we make."""

LAYER = "layer"

PREFIX = "meta_"

FILES = frozenset({"json", "ancestry", "_checksum", "_inprogress", "_files", "_diff"})
"""What it kept as properties. Nothing else is read: what we keep beside an image was never put there."""

_FIRST = re.compile(r'\s*\[\s*"([^"]*)"')


@dataclass(frozen=True, slots=True, order=True)
class Found:
    """Where an image of Docker's is. Of several that have one id the greatest is it.

    :ivar is_whole: with a layer, not in progress, and with a JSON that can be read.
    :ivar created: seconds since the epoch.
    :ivar id: of Glance.
    """

    is_whole: bool
    created: float
    id: str


def find(image: Image) -> tuple[ImageId, Found] | None:
    """Which image of Docker's it is; ``None`` for one that 0.x did not make, or of which nobody can tell.

    Of what was cut one can tell as long as the JSON is whole, or the list of ancestors begins.
    """
    members = _members(image.properties.get(f"{PREFIX}json"))
    first = _FIRST.match(image.properties.get(f"{PREFIX}ancestry", ""))
    for name in (members.get("id"), first[1] if first else None):
        try:
            docker_id = ImageId.parse_old(str(name or ""))
        except ImageIdInvalid:
            continue
        is_whole = bool(members) and image.status == ACTIVE and f"{PREFIX}_inprogress" not in image.properties
        return docker_id, Found(is_whole, image.created, image.id)
    return None


def files_of(image: Image) -> dict[str, bytes]:
    """What it had beside its layer."""
    values = {name: image.properties.get(f"{PREFIX}{name}") for name in FILES}
    return {name: value.encode("utf-8", "replace") for name, value in values.items() if value is not None}


def _members(content: str | None) -> Mapping[str, Any]:
    try:
        members = json.loads(content or "null")
    except (ValueError, RecursionError):
        return {}
    return members if isinstance(members, dict) else {}
