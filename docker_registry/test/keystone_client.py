"""What an administrator does at Keystone, without our own client."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

DEFAULT = {"id": "default"}


class Keystone:
    """Logged in by a password."""

    def __init__(self, url: str, user: str, password: str, project: str) -> None:
        self._url = url
        who = {"name": user, "password": password, "domain": DEFAULT}
        self._token = ""
        headers, said = self._ask("POST", "/auth/tokens", {"auth": {
            "identity": {"methods": ["password"], "password": {"user": who}},
            "scope": {"project": {"name": project, "domain": DEFAULT}},
        }})
        self._token = headers["X-Subject-Token"]
        self._user = said["token"]["user"]["id"]

    def _ask(self, method: str, path: str, body: Any = None) -> tuple[Any, Any]:
        headers = {"Content-Type": "application/json", "X-Auth-Token": self._token}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}{path}", data, headers, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            content = answer.read()
            return answer.headers, json.loads(content) if content else None

    def offer(self, type: str, url: str) -> str:
        """Put a service into the catalogue; its id."""
        _, said = self._ask("POST", "/services", {"service": {"type": type, "name": type}})
        id: str = said["service"]["id"]
        self._ask("POST", "/endpoints", {"endpoint": {
            "service_id": id, "interface": "public", "region_id": "RegionOne", "url": url,
        }})
        return id

    def withdraw(self, service: str) -> None:
        self._ask("DELETE", f"/services/{service}")

    def role(self, name: str) -> None:
        """Let there be one."""
        if not self._ask("GET", f"/roles?name={name}")[1]["roles"]:
            self._ask("POST", "/roles", {"role": {"name": name}})

    def user(self, name: str, project: str, role: str) -> None:
        """Make one with a role, whose password is the name."""
        try:
            _, said = self._ask("POST", "/users", {"user": {"name": name, "password": name}})
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise
            return                              # made before
        user = said["user"]["id"]
        project_id = self._ask("GET", f"/projects?name={project}")[1]["projects"][0]["id"]
        role_id = self._ask("GET", f"/roles?name={role}")[1]["roles"][0]["id"]
        self._ask("PUT", f"/projects/{project_id}/users/{user}/roles/{role_id}")

    def credential(self, name: str) -> tuple[str, str]:
        """Id and secret of an application credential."""
        _, said = self._ask(
            "POST", f"/users/{self._user}/application_credentials", {"application_credential": {"name": name}}
        )
        made = said["application_credential"]
        return made["id"], made["secret"]
