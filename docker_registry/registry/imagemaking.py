"""The manifest that an image of protocol v1 makes with its ancestors, from what the store has of them."""

from __future__ import annotations

from typing import Any

from docker_registry import strictjson
from docker_registry.errors import LayerInvalid
from docker_registry.names import ImageId
from docker_registry.registry import bridge
from docker_registry.registry.bridge import Made
from docker_registry.registry.images import Image, Images
from docker_registry.storage import layout
from docker_registry.storage.interface import IStorage


async def make(storage: IStorage, images: Images, image: ImageId) -> Made:
    """Its configuration is stored, and which image the manifest is of.

    :raises LayerInvalid: none can describe it.
    :raises ImageInProgress: it, or an ancestor, is not whole; the text is the id of that.
    :raises ImageUnknown: or is not there.
    :raises ImageInvalid: it has too many ancestors.
    """
    top: dict[str, Any] = {}
    history, layers = [], []
    for each in reversed(await images.ancestry(image)):
        found = await images.get(each)
        layers.append(await images.layer(found))
        top = _members(found)
        history.append(bridge.entry_of(top, layers[-1]))
    made = bridge.manifest_of(top, history, layers)
    await storage.put(layout.blob(made.config_digest), made.config)
    await storage.put(layout.image_manifest(image), str(made.digest).encode())
    return made


def _members(image: Image) -> dict[str, Any]:
    """What is said of an image. An old store may have what not everybody would read alike: v1 passes that on.

    :raises LayerInvalid: that.
    """
    try:
        members = strictjson.loads(image.content)
    except ValueError as error:
        raise LayerInvalid(f"the JSON of {image.id} cannot be used: {error}") from None
    if not isinstance(members, dict):
        raise LayerInvalid(f"the JSON of {image.id} is no object")
    return members
