"""Limits that Keystone keeps for projects ("unified limits"), and a Glance that keeps to them."""

from __future__ import annotations

import atexit
import re
import tempfile
from functools import cache
from pathlib import Path

from docker_registry.test.clients.daemon import Process, free_port, wait_for_port
from docker_registry.test.glance_case import port_of
from docker_registry.test.servers.process import RealServer
from docker_registry.test.servers.projects import Login, Project
from docker_registry.test.servers.stores import glance, glance_folder

NAMES = ("image_size_total", "image_stage_total", "image_count_total", "image_count_uploading")

UNLIMITED = -1

CONFIGURATION = """
[oslo_limit]
auth_url = {keystone}
auth_type = password
username = admin
password = admin
user_domain_id = default
system_scope = all
endpoint_id = {endpoint}
"""


class ProjectLimits:
    """What projects may have, by Keystone. Who is not told has as much as he likes."""

    def __init__(self) -> None:
        self._admin = Login(glance(), "admin", {"system": {"all": True}})
        (service,) = self._admin.asked("GET", "/services?type=image")["services"]
        self._of = {"service_id": service["id"], "region_id": "RegionOne"}
        (endpoint,) = self._admin.asked("GET", f"/endpoints?service_id={service['id']}&interface=public")["endpoints"]
        self.endpoint: str = endpoint["id"]
        new = [{**self._of, "resource_name": name, "default_limit": UNLIMITED} for name in NAMES]
        self._admin.asked("POST", "/registered_limits", {"registered_limits": new})

    def set(self, project: Project, **limits: int) -> None:
        """:param limits: `NAMES` with a number of images, or of MiB."""
        found = self._admin.asked("GET", f"/limits?project_id={project.id}")["limits"]
        known = {each["resource_name"]: each["id"] for each in found}
        for name, limit in limits.items():
            if name in known:
                self._admin.asked("PATCH", f"/limits/{known[name]}", {"limit": {"resource_limit": limit}})
            else:
                new = {**self._of, "resource_name": name, "project_id": project.id, "resource_limit": limit}
                self._admin.asked("POST", "/limits", {"limits": [new]})


@cache
def limits() -> ProjectLimits:
    return ProjectLimits()


@cache
def limited(largest: int) -> str:
    """The URL of another Glance over the same database and the same images, which keeps to `limits`.

    :param largest: bytes of an image.
    """
    here = glance_folder()
    usual = RealServer(here, "glance.wsgi", port_of(glance()["OS_GLANCE_URL"]))
    folder = Path(tempfile.mkdtemp(prefix="limited-", dir=here))
    text = (here / "etc/glance/glance-api.conf").read_text()
    head = f"[DEFAULT]\nuse_keystone_limits = true\nimage_size_cap = {largest}\n"
    tail = CONFIGURATION.format(keystone=glance()["OS_AUTH_URL"], endpoint=limits().endpoint)
    (folder / "glance-api.conf").write_text(text.replace("[DEFAULT]\n", head, 1) + tail)
    port = free_port()
    command = [re.sub(r"\A127\.0\.0\.1:[0-9]+\Z", f"127.0.0.1:{port}", each) for each in usual.command]
    process = Process(command, {**usual.environ, "OS_GLANCE_CONFIG_DIR": str(folder)})
    atexit.register(process.stop)
    wait_for_port(port)
    return f"http://127.0.0.1:{port}"
