"""Where keys live: the tree that registry:2 writes, beside it that of docker-registry 0.x; nobody else joins strings.

::

    docker/registry/v2/
      blobs/<alg>/<first two hex>/<hex>/data                      content, immutable
      blobs/<alg>/<first two hex>/<hex>/at                        the key where the bytes lie instead; ours
      repositories/<name>/
        _layers/<alg>/<hex>/link                                  this repository holds this blob; its age is its lease
        _manifests/revisions/<alg>/<hex>/link                     this repository holds this manifest
        _manifests/tags/<tag>/current/link                        the one truth about a tag
        _manifests/tags/<tag>/index/<alg>/<hex>/link              what the tag has been
        _manifests/referrers/<alg>/<hex>/<alg>/<hex>/link         subject, then what refers to it; ours
        _manifests/awaited/<tag>                                  the image that a tag of protocol v1 waits for; ours
        _uploads/<uuid>.state                                     sessions; ours
        _uploads/<uuid>/data                                      the bytes of those that have more than a few
    images/<id>/
      json, ancestry, _checksum, _inprogress                      of protocol v1, as docker-registry 0.x kept them
      layer                                                       only in stores that it left; we write layers as blobs
      _layer                                                      digest, size, diff id, sums of the layer; ours
      _pushed/<digest>                                            the same of a layer that nobody has confirmed; ours
      _manifest                                                   what a tag on the image stands for; ours
      _awaited/<hash>                                             a tag that waits until the image is whole; ours
      _files                                                      the names in the layer, as 0.6.1 and later kept them
    images/_uploads/<uuid>                                        layers while they are pushed; ours
    images/_probe/<uuid>                                          written to see whether writing works; ours
    repositories/<ns>/<name>/tag_<tag>, _index_images, ...        of docker-registry 0.x; a ``tag_`` file counts only
                                                                  while the link above is absent
    glance/                                                       beside a store whose content is in Glance; ours
      images/<key>                                                which image holds what is at the key
      diverted/<hash>                                             a key whose content is to go to Glance, and is not yet
      quarantine/<time>                                           which image held what was taken out of service
      given-up/<image>                                            an image that holds nothing any more
      store                                                       tells our images from those of others
      old                                                         how many docker-registry 0.x left there, until when

A link's content is a digest as text. Components of a repository's name cannot begin with ``_``, so names and the parts
above never meet.
"""

from __future__ import annotations

import hashlib

from docker_registry.digest import Digest
from docker_registry.errors import DigestInvalid
from docker_registry.names import ImageId, Repository, Tag, UploadId

ROOT = "docker/registry/v2"
IMAGES = "images"
OLD_REPOSITORIES = "repositories"
OLD_TAG, OLD_METADATA = "tag_", "_json"
REPOSITORIES = f"{ROOT}/repositories"
CONTENT = f"{ROOT}/blobs/"
GLANCE = "glance"
_STATE = ".state"


def blob(digest: Digest) -> str:
    """The bytes of a blob or a manifest."""
    return f"{CONTENT}{digest.algorithm}/{digest.hex[:2]}/{digest.hex}/data"


def blob_at(digest: Digest) -> str:
    """Says at which key the bytes of a blob lie, if not at `blob`."""
    return f"{CONTENT}{digest.algorithm}/{digest.hex[:2]}/{digest.hex}/at"


def repository(name: Repository) -> str:
    return f"{REPOSITORIES}/{name}"


def layers(name: Repository) -> str:
    return f"{REPOSITORIES}/{name}/_layers"


def layer_link(name: Repository, digest: Digest) -> str:
    return f"{REPOSITORIES}/{name.name}/_layers/{digest.algorithm}/{digest.hex}/link"


def manifests(name: Repository) -> str:
    return f"{REPOSITORIES}/{name}/_manifests"


def revisions(name: Repository, algorithm: str) -> str:
    return f"{REPOSITORIES}/{name}/_manifests/revisions/{algorithm}"


def revision(name: Repository, digest: Digest) -> str:
    """Everything about the repository holding a manifest."""
    return f"{REPOSITORIES}/{name}/_manifests/revisions/{digest.algorithm}/{digest.hex}"


def revision_link(name: Repository, digest: Digest) -> str:
    return f"{REPOSITORIES}/{name.name}/_manifests/revisions/{digest.algorithm}/{digest.hex}/link"


def tags(name: Repository) -> str:
    return f"{REPOSITORIES}/{name}/_manifests/tags"


def tag(name: Repository, tag: Tag) -> str:
    """Everything about a tag."""
    return f"{REPOSITORIES}/{name}/_manifests/tags/{tag}"


def tag_link(name: Repository, tag: Tag) -> str:
    return f"{REPOSITORIES}/{name.name}/_manifests/tags/{tag.name}/current/link"


def tag_index_link(name: Repository, tag: Tag, digest: Digest) -> str:
    return f"{REPOSITORIES}/{name}/_manifests/tags/{tag}/index/{digest.algorithm}/{digest.hex}/link"


def referrers(name: Repository, subject: Digest) -> str:
    """What refers to ``subject``: below it an algorithm, below that the digests."""
    return f"{REPOSITORIES}/{name}/_manifests/referrers/{subject.algorithm}/{subject.hex}"


def referrer(name: Repository, subject: Digest, digest: Digest) -> str:
    """Everything about ``digest`` referring to ``subject``."""
    return f"{referrers(name, subject)}/{digest.algorithm}/{digest.hex}"


def referrer_link(name: Repository, subject: Digest, digest: Digest) -> str:
    return f"{referrer(name, subject, digest)}/link"


def awaited_by_tag(name: Repository, tag: Tag) -> str:
    """Names an image: nobody was told yet that the tag was pushed, since the image is not whole."""
    return f"{REPOSITORIES}/{name}/_manifests/awaited/{tag}"


def uploads(name: Repository) -> str:
    return f"{REPOSITORIES}/{name}/_uploads"


def upload(name: Repository, upload: UploadId) -> str:
    """Everything about a session but its state."""
    return f"{REPOSITORIES}/{name}/_uploads/{upload}"


def upload_data(name: Repository, upload: UploadId) -> str:
    return f"{REPOSITORIES}/{name}/_uploads/{upload}/data"


def upload_state(name: Repository, upload: UploadId) -> str:
    """There as long as the session is. It has no directory of its own: that would have to be made, synced and removed
    for each."""
    return f"{REPOSITORIES}/{name}/_uploads/{upload}{_STATE}"


def upload_called(name: str) -> UploadId:
    """The session that something directly below `uploads` belongs to.

    :raises UploadUnknown: none.
    """
    return UploadId.parse(name.removesuffix(_STATE))


def image(image: ImageId) -> str:
    """Everything about an image of protocol v1."""
    return f"{IMAGES}/{image}"


def image_json(image: ImageId) -> str:
    return f"{IMAGES}/{image}/json"


def image_ancestry(image: ImageId) -> str:
    return f"{IMAGES}/{image}/ancestry"


def image_checksum(image: ImageId) -> str:
    return f"{IMAGES}/{image}/_checksum"


def image_in_progress(image: ImageId) -> str:
    return f"{IMAGES}/{image}/_inprogress"


def image_old_layer(image: ImageId) -> str:
    """Where docker-registry 0.x put the bytes of the layer."""
    return f"{IMAGES}/{image}/layer"


def image_layer(image: ImageId) -> str:
    """What is known of the layer."""
    return f"{IMAGES}/{image}/_layer"


def image_files(image: ImageId) -> str:
    """The names in the layer, as docker-registry 0.6.1 and later remembered them."""
    return f"{IMAGES}/{image}/_files"


def image_pushed(image: ImageId) -> str:
    """Layers that were pushed, none of them confirmed."""
    return f"{IMAGES}/{image}/_pushed"


def image_pushed_layer(image: ImageId, digest: Digest) -> str:
    return f"{IMAGES}/{image}/_pushed/{digest.hex}"


def image_manifest(image: ImageId) -> str:
    """The digest of the manifest that the image and its ancestors make."""
    return f"{IMAGES}/{image}/_manifest"


def image_awaited(image: ImageId) -> str:
    """Tags that wait until it is whole."""
    return f"{IMAGES}/{image}/_awaited"


def image_awaited_by(image: ImageId, name: Repository, tag: Tag) -> str:
    return f"{image_awaited(image)}/{hashlib.sha256(f'{name}:{tag}'.encode()).hexdigest()}"


def layer_uploads() -> str:
    """Layers of images while they are pushed."""
    return f"{IMAGES}/_uploads"


def layer_upload(upload: UploadId) -> str:
    return f"{IMAGES}/_uploads/{upload}"


def old_repository(directory: str) -> str:
    """:param directory: namespace and name, quoted as they were found."""
    return f"{OLD_REPOSITORIES}/{directory}"


def old_tag(directory: str, tag: str) -> str:
    """Names an image. All keys of this kind stand together in byte order, beginning with `OLD_TAG`."""
    return f"{OLD_REPOSITORIES}/{directory}/{OLD_TAG}{tag}"


def old_metadata(directory: str, tag: Tag) -> str:
    """What the client that pushed a tag said of itself. Without a ``_`` before the tag: only that of ``_x`` has the key
    of a tag ``x_json``."""
    return f"{OLD_REPOSITORIES}/{directory}/tag{tag}{OLD_METADATA}"


def old_latest_metadata(directory: str) -> str:
    """The same of the tag ``latest``, from 0.6.3 to 0.6.5."""
    return f"{OLD_REPOSITORIES}/{directory}/json"


def old_images_list(directory: str) -> str:
    """What clients said that they pushed."""
    return f"{OLD_REPOSITORIES}/{directory}/_index_images"


def old_private(directory: str) -> str:
    """There if the repository is private."""
    return f"{OLD_REPOSITORIES}/{directory}/_private"


def probe(name: UploadId) -> str:
    """What is written to see whether writing works."""
    return f"{IMAGES}/_probe/{name}"


def content_digest(key: str) -> Digest | None:
    """Of the blob or manifest at ``key``; ``None`` if none can be there."""
    try:
        _, algorithm, _, digits, _ = key.rsplit("/", 4)
        digest = Digest.parse(f"{algorithm}:{digits}")
    except (ValueError, DigestInvalid):
        return None
    return digest if key == blob(digest) else None


def is_content(key: str) -> bool:
    """Whether a blob or a manifest can be there: large, and never changed."""
    return key.startswith(CONTENT) and content_digest(key) is not None


def leads_to_content(prefix: str) -> bool:
    """Whether it is a key of that kind, or what one begins with."""
    shorter, longer = sorted((f"{prefix}/" if prefix else "", CONTENT), key=len)
    return longer.startswith(shorter)


def glance_image(key: str) -> str:
    """Which image holds what is at ``key``."""
    return f"{GLANCE}/images/{key}"


def glance_images(prefix: str) -> str:
    """The same of all keys below a prefix."""
    return f"{GLANCE}/images/{prefix}" if prefix else f"{GLANCE}/images"


def glance_diverted(key: str) -> str:
    """There if what is at ``key`` is to be moved to Glance."""
    return f"{GLANCE}/diverted/{hashlib.sha256(key.encode()).hexdigest()}"


def glance_all_diverted() -> str:
    return f"{GLANCE}/diverted"


def glance_quarantine(name: str = "") -> str:
    """Which image held what was taken out of service; without a name, where all of them are."""
    return f"{GLANCE}/quarantine/{name}" if name else f"{GLANCE}/quarantine"


def glance_given_up(image: str = "") -> str:
    """There if an image holds nothing any more, or never did; without one, where all of them are."""
    return f"{GLANCE}/given-up/{image}" if image else f"{GLANCE}/given-up"


def glance_store() -> str:
    """What tells our images from those of other registries in the same project."""
    return f"{GLANCE}/store"


def glance_old() -> str:
    """What was found there that docker-registry 0.x left."""
    return f"{GLANCE}/old"
