"""What is said of images, for those who look for them: the description of a repository, and the size of a tag."""

from __future__ import annotations

import json
from typing import Any

from twisted.logger import Logger

from docker_registry.digest import Digest
from docker_registry.errors import ImageIdInvalid, ImageUnknown, NotFound, StorageError
from docker_registry.names import ImageId, Repository, Tag
from docker_registry.registry.bridge import CONFIG_BYTES, CONFIGS
from docker_registry.registry.documents import Document
from docker_registry.registry.images import Images
from docker_registry.registry.imagetags import PLATFORM
from docker_registry.registry.manifests import HASTY, Manifests
from docker_registry.registry.old import OldStore
from docker_registry.registry.tags import Tags
from docker_registry.storage import layout
from docker_registry.storage.interface import IStorage
from docker_registry.threads import Runner

KEY = "org.opencontainers.image.description"
"""The annotation, and the label (image-spec 1.1, "Pre-Defined Annotation Keys")."""

LATEST = Tag("latest")
"""The tag whose image speaks for its repository."""

LENGTH = 1000
"""Characters of a description."""

CHILDREN = 100
"""Images in an index of which the size is looked up."""

_MAX = 2**63 - 1


class Descriptions:
    """Nothing here fails because of what clients pushed: what cannot be read says nothing."""

    log = Logger()

    def __init__(
        self, storage: IStorage, runner: Runner, manifests: Manifests, images: Images, tags: Tags, old: OldStore
    ) -> None:
        self._storage = storage
        self._runner = runner
        self._manifests = manifests
        self._images = images
        self._tags = tags
        self._old = old

    async def of(self, repository: Repository) -> str:
        """What `LATEST` says of ``repository``; ``""`` is nothing."""
        try:
            target: Digest | ImageId = await self._tags.linked(repository, LATEST)
        except NotFound:
            try:
                target = ImageId.parse(await self._old.tag(repository, LATEST))
            except (StorageError, ImageIdInvalid):
                return ""
        except StorageError as error:
            self._log_unread(repository, error)
            return ""
        return await self.said_by(repository, target)

    async def said_by(self, repository: Repository, target: Digest | ImageId) -> str:
        """As `of`, while `LATEST` stands for ``target``."""
        try:
            if isinstance(target, ImageId):
                return _label(await self._images.json(target))
            return await self._said_by(target)
        except (NotFound, ImageUnknown):
            return ""
        except StorageError as error:
            self._log_unread(repository, error)
            return ""

    async def _said_by(self, digest: Digest) -> str:
        document = (await self._manifests.glance(digest)).document
        if KEY not in document.annotations and document.children:
            child = document.child_for(PLATFORM) or document.children[0].digest
            document = (await self._manifests.glance(child)).document
        if KEY in document.annotations:
            return _cleaned(document.annotations[KEY])
        return await self._labelled(document)

    async def _labelled(self, document: Document) -> str:
        config = document.blobs[0] if document.blobs else None
        if config is None or config.media_type not in CONFIGS or config.size > CONFIG_BYTES:
            return ""
        content = await self._storage.get(layout.blob(config.digest))
        parsed = _parse(content) if len(content) <= HASTY else await self._runner.slow(_parse, content)
        return _label(parsed)

    async def size_of(self, digest: Digest) -> int | None:
        """As `size`, of a manifest that is in the store, or should be."""
        try:
            return await self.size((await self._manifests.glance(digest)).document)
        except NotFound:
            return None

    async def size(self, document: Document) -> int | None:
        """Bytes of all that a client fetches who wants everything that ``document`` names.

        :returns: ``None`` if that is not known.
        """
        if len(document.children) > CHILDREN:
            return None
        blobs = dict.fromkeys(document.blobs)
        for each in document.children:
            try:
                blobs |= dict.fromkeys((await self._manifests.glance(each.digest)).document.blobs)
            except NotFound:                # a sparse index
                continue
            except StorageError:
                return None
        return min(sum(each.size for each in blobs), _MAX)

    def _log_unread(self, repository: Repository, error: StorageError) -> None:
        self.log.warn("the description of {repository} cannot be read: {kind} {error}",
                      repository=repository.name, kind=type(error).__name__, error=str(error))


def _parse(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _label(image: Any) -> str:
    """Of an image's configuration, or of the JSON of an image of protocol v1: they are alike here."""
    config = image.get("config") if isinstance(image, dict) else None
    labels = config.get("Labels") if isinstance(config, dict) else None
    said = labels.get(KEY) if isinstance(labels, dict) else None
    return _cleaned(said) if isinstance(said, str) else ""


def _cleaned(text: str) -> str:
    """One line that a terminal can be shown: what clients print may not move the cursor, or turn the line around."""
    start = text[: 8 * LENGTH]
    return " ".join("".join(each if each.isprintable() else " " for each in start).split())[:LENGTH].rstrip()
