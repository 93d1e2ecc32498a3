"""Tags as protocol v1 sees them: they stand for images, while a tag of the registry stands for a manifest.

v1 sets a tag as docker-registry 0.x did: a file that names the image. That is the truth while the tag has no link. The
manifest of the image's chain is made soon afterwards, or when v2 asks for the tag: as soon as the image and all its
ancestors are complete, and if a manifest can describe them. Then the tag gets its link, and is as any other. So are the
tags of a store that 0.x left.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger, LogLevel

from docker_registry import strictjson
from docker_registry.complaints import log_failed
from docker_registry.deferreds import Shared, Shield, outcomes, together
from docker_registry.digest import Digest
from docker_registry.errors import (
    Damaged,
    ImageIdInvalid,
    ImageInProgress,
    ImageInvalid,
    ImageUnknown,
    LayerInvalid,
    ManifestUnknown,
    NotFound,
    RepositoryUnknown,
    StorageError,
    TagUnknown,
)
from docker_registry.names import ImageId, Repository, Tag
from docker_registry.registry import bridge
from docker_registry.registry.blobs import Blobs
from docker_registry.registry.catalogue import Catalogue
from docker_registry.registry.events import Events, ManifestMade, TagDeleted, TagSet
from docker_registry.registry.imagemaking import make
from docker_registry.registry.imagepushes import ImagePushes
from docker_registry.registry.images import Images
from docker_registry.registry.locks import Locks
from docker_registry.registry.manifests import Manifest, Manifests
from docker_registry.registry.old import OldStore
from docker_registry.registry.recent import Recent
from docker_registry.registry.tags import Tags
from docker_registry.registry.untold import Untold
from docker_registry.storage import layout
from docker_registry.storage.interface import IStorage

PLATFORM = "linux/amd64"
"""What an index is for a client of v1, which knows no other."""

ATTEMPTS = 3
"""Ids that are tried for the images that a manifest comes to."""

REMEMBERED = 100_000
"""Manifests of which is remembered what image they are."""

SLICE = 50
"""Tags looked at in one turn of the reactor."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """:ivar image: what a manifest is for v1, if it is anything.
    :ivar child: of an index, the manifest that stands for it: the repository has to hold that too.
    """

    image: ImageId | None
    child: Digest | None = None


class _Unfinished(NotFound):
    """:ivar image: that is still in progress."""

    def __init__(self, error: ImageInProgress) -> None:
        super().__init__(_reason(error))
        self.image = ImageId(str(error))


class ImageTags:
    log = Logger()

    def __init__(
        self,
        storage: IStorage,
        images: Images,
        pushes: ImagePushes,
        manifests: Manifests,
        tags: Tags,
        blobs: Blobs,
        old: OldStore,
        catalogue: Catalogue,
        locks: Locks,
        shield: Shield,
        events: Events,
        untold: Untold,
    ) -> None:
        self._storage = storage
        self._images = images
        self._pushes = pushes
        self._manifests = manifests
        self._tags = tags
        self._blobs = blobs
        self._old = old
        self._catalogue = catalogue
        self._locks = locks
        self._shield = shield
        self._events = events
        self._untold = untold
        self._known: Recent[Digest, _Seen] = Recent(REMEMBERED)
        self._preparing: Shared[tuple[Repository, Tag], Digest | None] = Shared()

    # Reading

    async def get(self, repository: Repository, tag: Tag) -> ImageId:
        """:raises TagUnknown: no such tag, or one that no image of v1 can stand for."""
        try:
            image = await self._image_of(repository, await self._tags.linked(repository, tag))
        except NotFound:
            image = await self._old_image(repository, tag)
        if image is None:
            raise TagUnknown(str(tag))
        return image

    async def manifest(self, repository: Repository, tag: Tag) -> Manifest | None:
        """What a tag stands for in v2; ``None`` if that was not made yet."""
        try:
            return await self._manifests.get(repository, await self._tags.linked(repository, tag))
        except (NotFound, ManifestUnknown):
            return None

    async def all(self, repository: Repository) -> dict[str, ImageId]:
        """Every tag that an image of v1 can stand for.

        :raises RepositoryUnknown: nothing was ever pushed to it.
        """
        found: dict[str, ImageId] = {}
        after = ""
        while names := await self._tags.page(repository, after, SLICE):
            asked = [Deferred.fromCoroutine(self.get(repository, Tag(name))) for name in names]
            for name, image in zip(names, await outcomes(*asked), strict=True):
                if isinstance(image, ImageId):
                    found[name] = image
                elif not isinstance(image, TagUnknown):
                    raise image
            after = names[-1]
        found |= await self.odd(repository)
        if not found and not await self.is_known(repository):
            raise RepositoryUnknown(str(repository))
        return found

    async def odd(self, repository: Repository) -> dict[str, ImageId]:
        """Tags of an old store with names that nobody may give today: they can be read."""
        found: dict[str, ImageId] = {}
        for tag, image in (await self._old.odd_tags(repository)).items():
            with suppress(ImageIdInvalid):
                found[tag] = ImageId.parse_old(image)
        return found

    async def is_known(self, repository: Repository) -> bool:
        """Whether something was ever pushed to it."""
        return await self._catalogue.holds_anything(repository) or await self._old.knows(repository)

    async def _old_image(self, repository: Repository, tag: Tag) -> ImageId | None:
        try:
            return ImageId.parse_old(await self._old.tag(repository, tag))
        except (NotFound, ImageIdInvalid):
            return None

    async def _image_of(self, repository: Repository, digest: Digest) -> ImageId | None:
        """The image of v1 that a manifest is; it is made if it was pushed through v2."""
        try:
            seen = await self._seen(digest)
            if seen.child is not None:
                await self._storage.stat(layout.revision_link(repository, seen.child))
        except (NotFound, Damaged):
            return None
        return seen.image

    async def _seen(self, digest: Digest) -> _Seen:
        seen = self._known.get(digest)
        if seen is None:
            seen = await self._shield(self._look_at(digest))
            self._known.keep(digest, seen)
        return seen

    async def _look_at(self, digest: Digest) -> _Seen:
        manifest = await self._manifests.read(digest)
        if not manifest.document.children:
            return _Seen(await self._find_image(manifest))
        child = manifest.document.child_for(PLATFORM)
        if child is None:
            return _Seen(None)
        return _Seen(await self._find_image(await self._manifests.read(child)), child)

    async def _find_image(self, manifest: Manifest) -> ImageId | None:
        if not bridge.is_expressible(manifest.document):
            return None
        try:
            config = strictjson.loads(await self._storage.get(layout.blob(manifest.document.blobs[0].digest)))
        except ValueError:
            return None
        if not isinstance(config, dict):
            return None
        return await self._confirmed(manifest, config) or await self._keep(manifest, config)

    async def _confirmed(self, manifest: Manifest, config: dict[str, Any]) -> ImageId | None:
        """The image that the manifest was made of, if it says so itself."""
        try:
            image = ImageId.parse_old(bridge.claimed(config))
            made = await self._storage.get(layout.image_manifest(image))
        except (ImageIdInvalid, NotFound, Damaged):
            return None
        return image if made == str(manifest.digest).encode() else None

    async def _keep(self, manifest: Manifest, config: dict[str, Any]) -> ImageId | None:
        for attempt in range(ATTEMPTS):
            made = bridge.images_of(manifest.document, config, attempt)
            ids = [each.id for each in made]
            kept = await together(*(
                Deferred.fromCoroutine(self._pushes.keep(each.id, each.content, ids[:number][::-1], each.layer))
                for number, each in enumerate(made)
            ))
            if all(kept):
                return ids[-1]
        self.log.warn("{digest} is not shown to clients of v1: other images were pushed under its ids",
                      digest=str(manifest.digest))
        return None

    # Setting

    async def set(self, repository: Repository, tag: Tag, image: ImageId) -> None:
        """Let ``tag`` stand for an image, which may be in progress.

        :raises ImageUnknown: its JSON was not pushed.
        """
        await self._images.json(image)
        await self._shield(self._set(repository, tag, image))

    async def _set(self, repository: Repository, tag: Tag, image: ImageId) -> None:
        async with self._locks.held(repository):
            await self._old.put_tag(repository, tag, str(image))
            await self._tags.release(repository, tag)
            await self._events.tell(TagSet(repository, tag, image))
        self._shield(self._prepare_soon(repository, tag, image))

    async def _prepare_soon(self, repository: Repository, tag: Tag, image: ImageId) -> None:
        """Nobody waits for this: what fails is tried again when somebody does."""
        try:
            await self._prepare_pushed(repository, tag, image)
        except (NotFound, CancelledError):
            self.log.debug("{repository}:{tag} is not for v2 yet", repository=str(repository), tag=str(tag))
        except StorageError:
            log_failed(self.log, "{repository}:{tag} could not be prepared for v2; its first pull tries again",
                       repository=str(repository), tag=str(tag))

    async def _prepare_pushed(self, repository: Repository, tag: Tag, image: ImageId) -> None:
        """As `_prepare`, of a tag that was set just now; it waits for what is missing."""
        missing: ImageId | None = None
        while True:
            try:
                await self._prepare(repository, tag, image, is_pushed=missing is None)
                return
            except _Unfinished as error:
                if error.image == missing:
                    raise
                # It is noted, and then looked at again: it may have become whole between the two.
                missing = error.image
                await self._wait_for(repository, tag, image, missing)

    async def _wait_for(self, repository: Repository, tag: Tag, image: ImageId, missing: ImageId) -> None:
        async with self._locks.held(repository):
            if await self._old_image(repository, tag) == image:
                await self._untold.note(repository, tag, missing)

    def completed(self, image: ImageId) -> None:
        """Make the manifests of those tags that waited for an image which is whole now; nobody waits for this."""
        self._shield(self._prepare_waiting(image))

    async def _prepare_waiting(self, image: ImageId) -> None:
        try:
            async for repository, tag in self._untold.take(image):
                top = await self._old_image(repository, tag)
                if top is not None and await self._untold.has(repository, tag):
                    await self._prepare_soon(repository, tag, top)
        except StorageError:
            log_failed(self.log, "tags that waited for {image} could not be prepared for v2; their first pulls try "
                       "again", image=str(image))

    async def prepare(self, repository: Repository, tag: Tag) -> Digest:
        """Give a tag that names an image its link. What docker-registry 0.x left is not changed.

        :raises NotFound: there is none, or no manifest can describe what it stands for; the text is for an operator.
        """
        image = await self._old_image(repository, tag)
        if image is None:
            raise NotFound("it names no image")
        prepared = await self._preparing(
            (repository, tag), lambda: self._shield(self._prepare(repository, tag, image, is_pushed=False))
        )
        return prepared or await self._tags.resolve(repository, tag)

    async def _prepare(self, repository: Repository, tag: Tag, image: ImageId, is_pushed: bool) -> Digest | None:
        """``None`` if the tag was set or deleted meanwhile: then nothing is done to the repository.

        :param is_pushed: whether it was set just now; it may have been set before, and wait.
        """
        try:
            made = await make(self._storage, self._images, image)
        except (LayerInvalid, ImageUnknown, ImageInProgress, ImageInvalid) as error:
            level = LogLevel.debug if isinstance(error, ImageInProgress) else LogLevel.warn
            self.log.emit(level, "{repository}:{tag} cannot be served by v2: {reason}",
                          repository=str(repository), tag=str(tag), reason=_reason(error))
            raise (_Unfinished(error) if isinstance(error, ImageInProgress) else NotFound(_reason(error))) from None
        async with self._locks.held(repository):
            waits = await self._untold.has(repository, tag)
            is_pushed = is_pushed or waits
            if not await self._is_wanted(repository, tag, image, made.digest if is_pushed else None):
                return None
            blobs = {made.config_digest, *made.layers}
            await together(*(Deferred.fromCoroutine(self._blobs.link(repository, digest)) for digest in blobs))
            manifest = await self._manifests.put_made(repository, made.manifest)
            await self._tags.adopt(repository, [tag], made.digest)
            await self._events.tell(ManifestMade(
                repository, made.digest, len(manifest.content), manifest.document, tag, is_pushed
            ))
            if waits:
                await self._untold.forget(repository, tag)
        return made.digest

    async def _is_wanted(self, repository: Repository, tag: Tag, image: ImageId, pushed: Digest | None) -> bool:
        """Whether a tag still names an image, and has no link.

        :param pushed: the manifest of a tag of which nobody has been told yet that it was pushed: a pull may have been
            faster, and given it its link.
        """
        try:
            return await self._tags.linked(repository, tag) == pushed
        except NotFound:
            return await self._old_image(repository, tag) == image

    # Deleting

    async def delete(self, repository: Repository, tag: Tag) -> None:
        """:raises TagUnknown: no such tag."""
        try:
            await self._manifests.untag(repository, tag)
        except ManifestUnknown:
            raise TagUnknown(str(tag)) from None

    async def delete_odd(self, repository: Repository, tag: str) -> None:
        """Remove one of those that `odd` tells of.

        :raises TagUnknown: there is no such tag.
        :raises DeletionDisabled: deleting is switched off.
        """
        self._manifests.check_deletion()
        await self._shield(self._delete_odd(repository, tag))

    async def _delete_odd(self, repository: Repository, tag: str) -> None:
        async with self._locks.held(repository):
            if not await self._old.remove_odd_tag(repository, tag):
                raise TagUnknown(tag)
            await self._events.tell(TagDeleted(repository, Tag(tag)))
        self.log.info("deleted {repository}:{tag}", repository=str(repository), tag=tag)

    async def delete_all(self, repository: Repository) -> None:
        """Remove a repository: its tags and what protocol v1 knows of it, never the images.

        :raises RepositoryUnknown: there is nothing.
        """
        if not await self.is_known(repository):
            raise RepositoryUnknown(str(repository))
        await self._manifests.delete_all(repository)


def _reason(error: Exception) -> str:
    if isinstance(error, ImageInProgress):
        return f"image {error} was not pushed to its end"
    if isinstance(error, ImageUnknown):
        return f"image {error} is not there, or has no layer, or no JSON that can be read"
    return str(error)
