"""Logging in at Keystone (Identity API v3), and finding a service in its catalogue."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from docker_registry.config.values import is_url
from docker_registry.errors import StorageFailed, StoreUnavailable, Transient
from docker_registry.storage.http import Answer, Http, clean
from docker_registry.storage.redirects import whereto
from docker_registry.storage.retries import Retries
from docker_registry.storage.tokens import Access, LoginRefused, asked

LIMIT = 4 << 20
"""Bytes of an answer; most of it is the catalogue."""

_VERSION = re.compile(r"/v[0-9]+(?:[.][0-9]+)?/*\Z")


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in, how, and for what. Of the three ways the one is taken whose secret is there.

    :ivar auth_url: of Keystone, with ``/v3`` or without.
    :ivar project: its name; ``project_id`` takes its place.
    :ivar user_domain, project_domain: the name or the id of the domain that they are in.
    """

    auth_url: str
    username: str = ""
    user_id: str = ""
    password: str = field(default="", repr=False)
    user_domain: str = "default"
    application_credential_id: str = ""
    application_credential_name: str = ""
    application_credential_secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    project: str = ""
    project_id: str = ""
    project_domain: str = "default"

    @property
    def tokens_url(self) -> str:
        """Where tokens are had. Older files name v2.0, which is gone."""
        return f"{re.sub(r'/v(2[.]0|3)$', '', self.auth_url.rstrip('/'))}/v3/auth/tokens"

    def body(self) -> dict[str, Any]:
        """As Keystone wants it."""
        if self.application_credential_secret:
            credential: dict[str, Any] = {"secret": self.application_credential_secret}
            if self.application_credential_id:
                credential["id"] = self.application_credential_id
            else:
                credential |= {"name": self.application_credential_name, "user": self._user()}
            method, identity = "application_credential", credential
        elif self.token:
            method, identity = "token", {"id": self.token}
        else:
            method, identity = "password", {"user": {**self._user(), "password": self.password}}
        auth: dict[str, Any] = {"identity": {"methods": [method], method: identity}}
        if method != "application_credential":  # which has its project itself
            auth |= self._scope()
        return {"auth": auth}

    def _user(self) -> dict[str, Any]:
        if self.user_id:
            return {"id": self.user_id}
        return {"name": self.username, "domain": _domain(self.user_domain)}

    def _scope(self) -> dict[str, Any]:
        if self.project_id:
            return {"scope": {"project": {"id": self.project_id}}}
        if self.project:
            return {"scope": {"project": {"name": self.project, "domain": _domain(self.project_domain)}}}
        return {}


def _domain(text: str) -> dict[str, str]:
    """Ids are 32 hexadecimal digits; but that of the first domain is ``default``, and its name is ``Default``."""
    is_id = text == "default" or re.fullmatch("[0-9a-f]{32}", text)
    return {"id": text} if is_id else {"name": text}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A service in the catalogue.

    :ivar type: such as ``image``, ``object-store``.
    :ivar region: empty if there is one only.
    :ivar url: fixed, in place of the catalogue's.
    :ivar unversioned: whether a version at the end of the URL, which some catalogues have there, is left out.
    """

    type: str
    region: str = ""
    interface: str = "public"
    url: str = ""
    unversioned: bool = False


class Keystone:
    """Called, it logs in, and finds the service.

    :param http: for Keystone; nothing but the login is sent there.
    """

    def __init__(self, http: Http, login: Login, wanted: Wanted, retries: Retries) -> None:
        self._http = http
        self._login = login
        self._wanted = wanted
        self._retries = retries
        self._host = urlsplit(login.auth_url).netloc

    async def __call__(self) -> Access:
        """:raises LoginRefused: Keystone does not accept it.
        :raises StoreUnavailable: it does not answer, or its catalogue has no such service.
        """
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        body = [json.dumps(self._login.body()).encode()]
        return await asked(self._http, self._retries, "POST", self._login.tokens_url, headers, body, self._read)

    async def _read(self, answer: Answer) -> Access:
        content = await answer.content(LIMIT)
        location = answer.header("location")
        if 300 <= answer.status < 400 and location:
            where = whereto(location)
            raise StoreUnavailable(f"Keystone {self._host} is elsewhere: {where}; set os_auth_url if that is right")
        if answer.status != 201:
            raise self._meaning(answer.status, content)
        token = answer.header("x-subject-token")
        try:
            said = json.loads(content)["token"]
            seconds = _time(said["expires_at"]) - _time(said["issued_at"])      # whatever this machine's clock says
            catalogue = said.get("catalog") or []
            url = self._wanted.url or endpoint(catalogue, self._wanted)
            project = str(said["project"]["id"]) if "project" in said else ""
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise StorageFailed(f"Keystone {self._host}: the answer is none of Identity API v3") from None
        if not token:
            raise StorageFailed(f"Keystone {self._host}: the answer has no token")
        if self._wanted.unversioned:
            url = _VERSION.sub("", url)
        return Access(url.rstrip("/"), token, seconds, project)

    def _meaning(self, status: int, content: bytes) -> StoreUnavailable:
        where = f"Keystone {self._host}"
        if status in (429, 500, 502, 503, 504):
            return Transient(f"{where} is busy: {status}")
        said = _message(content)
        if status in (400, 401, 403):
            return LoginRefused(f"{where} refuses the login: {status} {said}; see the os_ options")
        if status == 404 and said.startswith("Could not find"):     # a project, an application credential
            return LoginRefused(f"{where} refuses the login: {status} {said}; see the os_ options")
        return StoreUnavailable(f"{where} has no Identity API v3 at {self._login.tokens_url}: it answers {status}")


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _message(content: bytes) -> str:
    """What the error says, as it may stand in a log (T43)."""
    try:
        return clean(str(json.loads(content)["error"]["message"]))[:200]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def endpoint(catalogue: list[Mapping[str, Any]], wanted: Wanted) -> str:
    """The URL of a service.

    :raises StoreUnavailable: there is none, or it is not clear which one; the text says what to set.
    """
    if not catalogue:
        raise StoreUnavailable("the login is for no project, so that it has no catalogue: set os_project_name")
    services = [each for each in catalogue if each.get("type") == wanted.type]
    found = [
        (str(each.get("region") or each.get("region_id") or ""), str(each["url"]))
        for service in services for each in service["endpoints"] if each["interface"] == wanted.interface
    ]
    if not found:
        kinds = ", ".join(sorted({clean(str(each.get("type")))[:40] for each in catalogue})[:20])
        raise StoreUnavailable(
            f"the catalogue has no {wanted.interface} endpoint of {wanted.type}; services there: {kinds}"
        )
    regions = sorted({clean(region)[:40] for region, _ in found})
    if wanted.region:
        found = [each for each in found if each[0] == wanted.region]
    if not found or (not wanted.region and len(regions) > 1):
        raise StoreUnavailable(f"the catalogue has {wanted.type} in {', '.join(regions)}: set os_region_name")
    if not is_url(found[0][1]):
        raise StoreUnavailable(f"the catalogue's URL of {wanted.type} is none")
    return found[0][1]
