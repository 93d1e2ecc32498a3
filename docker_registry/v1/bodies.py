"""What clients of v1 send, read."""

from __future__ import annotations

from typing import Any

from docker_registry import strictjson
from docker_registry.errors import NameInvalid
from docker_registry.names import Repository
from docker_registry.v1.problems import Wrong
from docker_registry.web.request import Request


def repository(name: str) -> Repository:
    """Names of one component are in the namespace ``library``, which v2 does not know: both are the bare name.

    :raises NameInvalid: not in v2's grammar, so that v2 could not serve it.
    """
    namespace, _, rest = name.partition("/")
    return Repository.parse(rest if namespace == "library" and rest and "/" not in rest else name)


def readable(name: str) -> Repository | None:
    """As `repository`, ``None`` for a name that nothing can have been pushed to."""
    try:
        return repository(name)
    except NameInvalid:
        return None


async def read_json(request: Request, limit: int, text: str) -> Any:
    """The body, whatever its type is said to be.

    :param limit: bytes.
    :param text: of the error.
    :raises Wrong: no JSON.
    """
    try:
        return strictjson.loads(await request.body.read_all(limit))
    except ValueError:
        raise Wrong(400, text) from None
