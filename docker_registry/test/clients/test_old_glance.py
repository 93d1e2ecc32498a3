"""What docker-registry 0.x left in Glance and in a directory beside it, opened where it lies by a daemon."""

from __future__ import annotations

from docker_registry.test.clients import test_old_stores
from docker_registry.test.clients.daemon import Ours
from docker_registry.test.clients.old_glance import OldProject
from docker_registry.test.clients.test_old_stores import State, state_of
from docker_registry.test.servers.projects import Project, foreign


class OldGlanceCase(test_old_stores.OldStoreCase):
    """:cvar files_aside: see `OldProject`."""

    kept = (*test_old_stores.OldStoreCase.kept, "old")
    files_aside = True

    def prepare(self) -> None:
        self.old = OldProject(Project(), self.files_aside)
        self.old.move(self.tree)
        self.old.clutter(self.tree, foreign())

    def opened(self) -> Ours:
        return Ours(self.tree.root, **self.old.project.options(storage_alternate="local"))

    def state(self) -> State:
        """All files of the directory that are not ours, and all images that were there before."""
        files = {path: about for path, about in state_of(self.tree.root).items() if about[2]}
        return {path: about for path, about in files.items() if not path.startswith("glance/")} | self.old.state()


class SeedReadingTests(OldGlanceCase, test_old_stores.SeedReadingTests):
    files_aside = False


class SeedWritingTests(OldGlanceCase, test_old_stores.SeedWritingTests):
    files_aside = False


class V091ReadingTests(OldGlanceCase):
    """What depends on the store; ``_files`` is in the alternate one."""

    name = "0.9.1"
    only_reads = True
    test_pulled_by_v1 = test_old_stores.ReadingTests.test_pulled_by_v1
    test_pulled_by_v2 = test_old_stores.ReadingTests.test_pulled_by_v2
