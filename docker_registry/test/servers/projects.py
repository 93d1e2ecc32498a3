"""Projects of the real Keystone and Glance, each of one test's own, and a plain client of what is in them."""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from docker_registry.test.servers.stores import glance

PATCH = "application/openstack-images-v2.1-json-patch"


class Project:
    """Fresh, with a user who is a member of it, and no images.

    :ivar id: Keystone's.
    :ivar environ: the variables with which the user logs in.
    """

    def __init__(self, role: str = "member") -> None:
        admin = Login(glance(), "admin")
        name = f"p{uuid.uuid4().hex[:12]}"
        project = {"project": {"name": name, "domain_id": "default"}}
        self.id: str = admin.asked("POST", "/projects", project)["project"]["id"]
        user = {"user": {"name": name, "password": name, "domain_id": "default"}}
        member = admin.asked("POST", "/users", user)["user"]["id"]
        (found,) = admin.asked("GET", f"/roles?name={role}")["roles"]
        admin.asked("PUT", f"/projects/{self.id}/users/{member}/roles/{found['id']}")
        self.environ = {**glance(), "OS_USERNAME": name, "OS_PASSWORD": name, "OS_PROJECT_NAME": name}
        self._login = Login(self.environ, name)

    def options(self, **more: Any) -> dict[str, Any]:
        """A daemon's, that keeps blobs here."""
        names = ("OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD", "OS_PROJECT_NAME")
        return {"storage": "glance", **{name.lower(): self.environ[name] for name in names}, **more}

    @property
    def token(self) -> str:
        """Of its user, for clients that do not log in themselves."""
        return self._login.token

    def ask(
        self, method: str, path: str = "", body: Any = None, kind: str = "application/json"
    ) -> tuple[int, bytes]:
        """Status and body of an answer of the Image API.

        :param path: behind ``/v2/images``.
        :param body: bytes, or what is sent as JSON.
        """
        return self._login.ask(method, f"{self.environ['OS_GLANCE_URL']}/v2/images{path}", body, kind)

    def image(self, data: bytes | None, **properties: Any) -> str:
        """Make one; without ``data`` it stays queued."""
        status, said = self.ask("POST", "", properties)
        assert status == 201, said
        id: str = json.loads(said)["id"]
        if data is not None:
            status, said = self.ask("PUT", f"/{id}/file", data, "application/octet-stream")
            assert status == 204, said
        return id

    def change(self, id: str, *changes: Mapping[str, Any]) -> None:
        status, said = self.ask("PATCH", f"/{id}", list(changes), PATCH)
        assert status == 200, said

    def show(self, id: str) -> dict[str, Any]:
        """All that is said of an image; nothing if it is not there."""
        status, said = self.ask("GET", f"/{id}")
        found: dict[str, Any] = json.loads(said) if status == 200 else {}
        return found

    def images(self, **filters: str) -> Iterator[dict[str, Any]]:
        """All of the project's, or those that match."""
        path = f"?{urlencode({'owner': self.id, 'limit': '100', **filters})}"
        while path:
            status, said = self.ask("GET", path)
            assert status == 200, said
            page = json.loads(said)
            yield from page["images"]
            path = page.get("next", "").removeprefix("/v2/images")


def foreign() -> Project:
    """Another one, whose user is an administrator: what is public there everybody sees."""
    return Project("admin")


class Login:
    """Of a user whose password is his name.

    :param scope: what for, as Keystone has it; empty for the project of his name.
    """

    def __init__(self, environ: Mapping[str, str], user: str, scope: Mapping[str, Any] | None = None) -> None:
        self._url = environ["OS_AUTH_URL"]
        self.token = ""
        domain = {"id": "default"}
        status, self.token, said = self._request("POST", f"{self._url}/auth/tokens", {"auth": {
            "identity": {"methods": ["password"], "password": {
                "user": {"name": user, "password": user, "domain": domain},
            }},
            "scope": scope or {"project": {"name": user, "domain": domain}},
        }})
        assert status == 201, said

    def asked(self, method: str, path: str, body: Any = None) -> Any:
        """What Keystone answers."""
        status, said = self.ask(method, f"{self._url}{path}", body)
        assert status < 300, said
        return json.loads(said) if said else None

    def ask(self, method: str, url: str, body: Any = None, kind: str = "application/json") -> tuple[int, bytes]:
        status, _, said = self._request(method, url, body, kind)
        return status, said

    def _request(
        self, method: str, url: str, body: Any = None, kind: str = "application/json"
    ) -> tuple[int, str, bytes]:
        where = urlsplit(url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
        try:
            content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            headers = {"X-Auth-Token": self.token, **({"Content-Type": kind} if body is not None else {})}
            connection.request(method, f"{where.path}?{where.query}", content, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers.get("X-Subject-Token", ""), answer.read()
        finally:
            connection.close()
