"""Names the service for ``twistd``; every ``twistd`` of the machine loads this file, so it imports nothing of ours."""

from typing import Any

from twisted.application.service import ServiceMaker


class _Chosen(ServiceMaker):
    @property
    def options(self) -> Any:
        """Asked for when it is this service that is to run, and before anything of it is there to be stopped."""
        from docker_registry.process import end_by_signals

        end_by_signals()
        return super().options


dockerRegistry = _Chosen("Docker registry", "docker_registry.tap", "Container image registry", "docker-registry")
