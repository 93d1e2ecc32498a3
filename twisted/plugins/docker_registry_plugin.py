"""Names the service for ``twistd``; every ``twistd`` of the machine loads this file, so it imports nothing of ours."""

from twisted.application.service import ServiceMaker

dockerRegistry = ServiceMaker(
    "Docker registry", "docker_registry.tap", "Container image registry", "docker-registry"
)
