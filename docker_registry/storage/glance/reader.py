"""The data of an image, open for reading."""

from __future__ import annotations

from docker_registry.errors import NotFound, StorageFailed
from docker_registry.storage.glance.diversion import Asked, itself
from docker_registry.storage.glance.images import Image, Images
from docker_registry.storage.http import Answer
from docker_registry.storage.resuming import ResumingReader


async def open_image(images: Images, image: Image, offset: int = 0, asked: Asked = itself) -> ResumingReader:
    """:param offset: may be beyond the end.
    :param asked: what asking Glance comes to; also when its answer was cut off, and is gone on with.
    :raises NotFound: there is no such image any more, or it has no data.
    :raises Deactivated: it may not be read.
    """
    size = image.size or 0

    async def ask(at: int) -> Answer:
        download = await asked(images.download(image.id, at))
        if download is None:
            raise NotFound(f"data of image {image.id}")
        if download.size != size:
            download.answer.close()
            raise StorageFailed(f"image {image.id} has {download.size} bytes, and Glance says {size}")
        return download.answer

    answer = await ask(offset) if offset < size else None
    return ResumingReader(f"image {image.id}", size, image.updated, answer, offset, ask)
