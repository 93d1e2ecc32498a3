"""Where keys live: the tree that registry:2 writes, and nobody else joins strings.

::

    docker/registry/v2/
      blobs/<alg>/<first two hex>/<hex>/data                      content, immutable
      repositories/<name>/
        _layers/<alg>/<hex>/link                                  this repository holds this blob; its age is its lease
        _manifests/revisions/<alg>/<hex>/link                     this repository holds this manifest
        _manifests/tags/<tag>/current/link                        the one truth about a tag
        _manifests/tags/<tag>/index/<alg>/<hex>/link              what the tag has been
        _manifests/referrers/<alg>/<hex>/<alg>/<hex>/link         subject, then what refers to it; ours
        _uploads/<uuid>/data, state                               sessions; the state is ours

A link's content is a digest as text. Components of a repository's name cannot begin with ``_``, so names and the parts
above never meet.
"""

from __future__ import annotations

from docker_registry.digest import Digest
from docker_registry.names import Repository, Tag, UploadId

ROOT = "docker/registry/v2"
REPOSITORIES = f"{ROOT}/repositories"


def blob(digest: Digest) -> str:
    """The bytes of a blob or a manifest."""
    return f"{ROOT}/blobs/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}/data"


def repository(name: Repository) -> str:
    return f"{REPOSITORIES}/{name}"


def layers(name: Repository) -> str:
    return f"{REPOSITORIES}/{name}/_layers"


def layer_link(name: Repository, digest: Digest) -> str:
    return f"{REPOSITORIES}/{name}/_layers/{digest.algorithm}/{digest.hex}/link"


def manifests(name: Repository) -> str:
    return f"{REPOSITORIES}/{name}/_manifests"


def revisions(name: Repository, algorithm: str) -> str:
    return f"{REPOSITORIES}/{name}/_manifests/revisions/{algorithm}"


def revision_link(name: Repository, digest: Digest) -> str:
    return f"{REPOSITORIES}/{name}/_manifests/revisions/{digest.algorithm}/{digest.hex}/link"


def tags(name: Repository) -> str:
    return f"{REPOSITORIES}/{name}/_manifests/tags"


def tag(name: Repository, tag: Tag) -> str:
    """Everything about a tag."""
    return f"{REPOSITORIES}/{name}/_manifests/tags/{tag}"


def tag_link(name: Repository, tag: Tag) -> str:
    return f"{REPOSITORIES}/{name}/_manifests/tags/{tag}/current/link"


def tag_index_link(name: Repository, tag: Tag, digest: Digest) -> str:
    return f"{REPOSITORIES}/{name}/_manifests/tags/{tag}/index/{digest.algorithm}/{digest.hex}/link"


def referrers(name: Repository, subject: Digest) -> str:
    """What refers to ``subject``: below it an algorithm, below that the digests."""
    return f"{REPOSITORIES}/{name}/_manifests/referrers/{subject.algorithm}/{subject.hex}"


def referrer_link(name: Repository, subject: Digest, referrer: Digest) -> str:
    return f"{referrers(name, subject)}/{referrer.algorithm}/{referrer.hex}/link"


def uploads(name: Repository) -> str:
    return f"{REPOSITORIES}/{name}/_uploads"


def upload(name: Repository, upload: UploadId) -> str:
    """Everything about a session."""
    return f"{REPOSITORIES}/{name}/_uploads/{upload}"


def upload_data(name: Repository, upload: UploadId) -> str:
    return f"{REPOSITORIES}/{name}/_uploads/{upload}/data"


def upload_state(name: Repository, upload: UploadId) -> str:
    return f"{REPOSITORIES}/{name}/_uploads/{upload}/state"
