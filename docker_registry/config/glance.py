"""Options of ``storage: glance``: those of docker-registry 0.x, and what is needed beside them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from docker_registry.config.section import Section
from docker_registry.config.values import Allowed, is_url, unsuitable


class Glance(Section):
    """Who logs in is said by the ``os_`` options."""

    storage_alternate: Literal["local", "s3", "swift"] = Field(
        default="local",
        description="The store beside `glance`: for all that is small or not finished, and for blobs while Glance "
        "fails. It has its own options, `storage_path` among them. docker-registry 0.x kept tags there.",
    )
    os_glance_url: Annotated[str | None, Allowed("https://HOST:PORT/PATH, or the same with http")] = Field(
        default=None, description="Where Glance is, in place of what the catalogue says. Unset, "
        "`OS_GLANCE_URL` is taken."
    )
    glance_names: bool = Field(
        default=False,
        description="Whether images in Glance are called what tags are, `ns/name:tag`, as docker-registry 0.x did. It "
        "is done behind pushes, and costs some requests for each tag that is set.",
    )

    @field_validator("os_glance_url")
    @classmethod
    def _glance_url(cls, value: str | None) -> str | None:
        if value is not None and not is_url(value):
            raise unsuitable("not https://HOST:PORT/PATH, without a password")
        return value
