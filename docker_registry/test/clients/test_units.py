"""The units of systemd/, run by a real systemd with the commands of docs/running.md.

It is process 1 of a container: this machine's own system below a layer that is thrown away, with a network of its own.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from functools import cache
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

import docker_registry
from docker_registry.test.clients.daemon import Process, until
from docker_registry.test.clients.images import Layout
from docker_registry.test.clients.test_running import block
from docker_registry.test.clients.tools import Failed, need, run

CHECKOUT = Path(docker_registry.__file__).parent.parent
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
UNITS = "docker-registry.socket docker-registry.service"
IN_FLIGHT = r"^registry_http_in_flight_requests{handler=\"blob_upload_chunk\",protocol=\"v2\"} 1\.0$"
TWISTD = "#!/opt/docker-registry/bin/python3\nfrom twisted.scripts.twistd import run\nrun()\n"
COMMAND = "#!/opt/docker-registry/bin/python3\nfrom docker_registry.__main__ import main\nmain()\n"


def typed(beginning: str) -> str:
    """The commands of the documentation that begin so, without prompts."""
    return re.sub(r"^\$ ", "", block(f"$ {beginning}"), flags=re.MULTILINE)


class Machine:
    """What pip would have put into /opt/docker-registry is bound there."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(dir="/tmp", prefix="units-"))
        atexit.register(self.leave)
        self.root = self.home / "root"
        try:
            run("mount", "-t", "tmpfs", "-o", "size=2g", "units", self.home)
            for name in ("root", "layer", "work"):
                (self.home / name).mkdir()
            layers = f"lowerdir=/,upperdir={self.home}/layer,workdir={self.home}/work"
            run("mount", "-t", "overlay", "-o", layers, "units", self.root)
        except Failed as error:
            raise SkipTest(str(error)) from None
        self.install()
        self.leader = self.boot()
        self.sh("\n".join(line for line in typed("useradd").splitlines() if "/opt/docker-registry/bin/" not in line))
        self.sh(f"systemctl stop {UNITS}; sed -i 's/workers: auto/workers: 1/' /etc/docker-registry/config.yml")

    def install(self) -> None:
        """With this machine's Python, and without the network."""
        subprocess.run(["userdel", "--root", self.root, "docker-registry"], check=False, stderr=subprocess.DEVNULL)
        for place in ("lib", "log", "cache"):
            shutil.rmtree(self.root / "var" / place / "docker-registry", ignore_errors=True)
        shutil.rmtree(self.root / "etc" / "docker-registry", ignore_errors=True)
        there = self.root / "opt" / "docker-registry"
        site = there / "lib" / PYTHON / "site-packages"
        site.mkdir(parents=True)
        (site / "here.pth").write_text("/opt/source\n/opt/packages\n")
        (there / "bin").mkdir()
        (there / "bin" / "python3").symlink_to(f"/opt/python/bin/{PYTHON}")
        (there / "pyvenv.cfg").write_text("home = /opt/python/bin\n")
        for library in Path(sys.base_prefix, "lib").glob("libpython*.so.*"):
            shutil.copy(library, self.root / "usr" / "local" / "lib")
        run("ldconfig", "-r", self.root)
        for name, text in (("twistd", TWISTD), ("docker-registry", COMMAND)):
            (there / "bin" / name).write_text(text)
            (there / "bin" / name).chmod(0o755)

    def boot(self) -> int:
        """As far as is common to all machines: none of this one's own services."""
        self.process = Process([
            "systemd-nspawn", "--quiet", f"--directory={self.root}", "--register=no", "--keep-unit", "--boot",
            "--console=pipe", "--private-network", "--tmpfs=/tmp:mode=1777", "--tmpfs=/etc/systemd/system",
            f"--bind-ro={sys.base_prefix}:/opt/python", f"--bind-ro={CHECKOUT}:/opt/source",
            f"--bind-ro={sysconfig.get_paths()['purelib']}:/opt/packages",
            "systemd.unit=basic.target", "systemd.firstboot=no",
        ])
        nspawn = self.process.process
        leader = until(lambda: self.child(nspawn.pid) or nspawn.poll() is not None)
        if nspawn.poll() is not None:
            raise SkipTest("systemd-nspawn: " + " ".join(self.process.output))
        self.leader = int(leader)
        until(lambda: self.ask("systemctl is-active basic.target") == "active" or nspawn.poll() is not None)
        return self.leader

    def child(self, pid: int) -> int:
        """Of ``pid``, the one that is systemd; 0 until there is one."""
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        is_there = found and Path(f"/proc/{found[0]}/comm").read_text() == "systemd\n"
        return int(found[0]) if is_there else 0

    def there(self, *command: str) -> list[str]:
        """A command, run in the container from the source's directory."""
        return ["nsenter", f"--target={self.leader}", "--all", "--wdns=/opt/source", "env", "-i", "HOME=/root",
                "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", *command]

    def sh(self, script: str) -> str:
        """What root's shell prints there.

        :raises Failed: it ended with another status than 0.
        """
        return run(*self.there("bash", "-c", script)).strip()

    def ask(self, script: str) -> str:
        """The same, whatever its status."""
        return self.sh(f"{{ {script}\n}} 2>&1 || :")

    def leave(self) -> None:
        if hasattr(self, "process"):
            self.process.stop()
        for place in (self.root, self.home):
            subprocess.run(["umount", "--lazy", place], check=False, stderr=subprocess.DEVNULL)
        self.home.rmdir()


def machine() -> Machine:
    """The one of all tests; what kept it from being made is not tried again."""
    found = _attempt()
    if isinstance(found, Exception):
        raise found
    return found


@cache
def _attempt() -> Machine | Exception:
    try:
        return Machine()
    except Exception as error:
        return error


class UnitTests(SynchronousTestCase):
    timeout = 300

    def setUp(self) -> None:
        if os.geteuid():
            raise SkipTest("a container is for root")
        need(("systemd-nspawn", "systemd-container"), ("nsenter", "util-linux"), ("curl", "curl"), ("skopeo", "skopeo"))
        self.machine = machine()
        self.sh = self.machine.sh
        self.sh(f"systemctl reset-failed {UNITS} 2> /dev/null; systemctl start {UNITS}")

    def registry(self, command: str) -> str:
        """What operators are told to type."""
        function = block("registry() (").partition("\n$ ")[0]
        return self.machine.ask(f"{function}\nregistry {command}")

    def state(self, name: str) -> str:
        return self.sh(f"systemctl show --property={name} --value docker-registry.service")

    def curl(self, *arguments: str) -> str:
        return self.sh(f"curl --silent --show-error --max-time 30 {' '.join(arguments)}")

    def begun(self) -> str:
        """A place in the service's log: what `said` is to begin after."""
        return self.sh("journalctl --sync; journalctl --unit=docker-registry --lines=0 --show-cursor").split()[-1]

    def assertSaid(self, text: str, begun: str) -> None:
        """By the service since, as soon as the journal has taken it."""
        said = f"journalctl --sync; journalctl --unit=docker-registry --output=cat --after-cursor='{begun}'"
        self.assertTrue(until(lambda: text in self.sh(said)), text)

    def drop_in(self, kind: str, *lines: str) -> None:
        """As ``systemctl edit`` makes one, for this test."""
        there = f"/etc/systemd/system/docker-registry.{kind}.d"
        text = "\n".join(lines)
        self.sh(f"mkdir {there}; cat > {there}/override.conf <<'END'\n{text}\nEND\nsystemctl daemon-reload")
        self.addCleanup(self.sh, f"rm -r {there}; systemctl daemon-reload; systemctl stop {UNITS}")

    def change(self, file: str, command: str) -> None:
        """A file of the configuration, for this test."""
        self.sh(f"cd /etc/docker-registry; cp --preserve {file} /tmp; {command} {file}")
        self.addCleanup(self.sh, f"cp --preserve /tmp/{file} /etc/docker-registry/; systemctl stop {UNITS}")

    def test_serves_in_its_sandbox(self) -> None:
        """Of several processes: docker's kin push and pull, and the commands have what the service has."""
        self.change("config.yml", "sed -i 's/workers: 1/workers: 2/'")
        self.sh("systemctl restart docker-registry")
        layout = Layout(self.machine.root / "srv" / "layout")
        layout.name(image=layout.add_image(os.urandom(2_000_000)))
        self.sh("cd /srv; skopeo copy --dest-tls-verify=false oci:layout:image docker://127.0.0.1:5000/shop/web:1")
        self.sh("cd /srv; skopeo copy --src-tls-verify=false docker://127.0.0.1:5000/shop/web:1 dir:/tmp/pulled")
        self.assertEqual(self.registry("check-config"), "ok: flavor prod of /etc/docker-registry/config.yml")
        self.assertRegex(self.registry("status"), r"\Aready\n  process \d+: ready, .*\n  process \d+: ready, ")
        status = self.sh(f"cat /proc/{self.state('MainPID')}/status")
        self.assertRegex(status, r"Seccomp:\s2\n")
        self.assertRegex(status, r"CapBnd:\s0+\n")
        self.assertEqual(self.sh("stat --format=%U:%a /var/lib/docker-registry"), "docker-registry:750")

    def test_stopped_while_a_client_pushes(self) -> None:
        """The push comes to its end; the next client starts the registry again."""
        head = self.curl("-X POST -D - -o /dev/null 127.0.0.1:5000/v2/a/blobs/uploads/")
        upload = re.search(r"^location: (\S+)", head, re.MULTILINE | re.IGNORECASE)
        assert upload is not None, head
        begun = self.begun()
        command = ("curl", "--silent", "-X", "PATCH", "-T", "-", "-w", "%{http_code}", f"127.0.0.1:5000{upload[1]}")
        with subprocess.Popen(self.machine.there(*command), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as pusher:
            assert pusher.stdin is not None
            pusher.stdin.write(bytes(1_000_000))
            pusher.stdin.flush()
            self.assertTrue(until(lambda: re.search(IN_FLIGHT, self.curl("127.0.0.1:5001/metrics"), re.MULTILINE)))
            self.sh("systemctl stop --no-block docker-registry.service")
            self.assertSaid("requests in flight: 1", begun)
            output, _ = pusher.communicate(bytes(1_000_000))
        self.assertEqual(output, b"202")
        self.assertEqual(until(lambda: self.state("ActiveState") == "inactive" and self.state("Result")), "success")
        self.assertEqual(self.curl("127.0.0.1:5000/v2/"), "{}")

    def test_killed(self) -> None:
        """Nobody is refused while another one starts."""
        main = self.state("MainPID")
        self.sh(f"kill -KILL {main}")
        self.assertEqual(self.curl("127.0.0.1:5000/v2/"), "{}")
        self.assertNotEqual(self.state("MainPID"), main)

    def test_reload(self) -> None:
        """A log that was moved away is begun anew."""
        log = "/var/log/docker-registry/access.log"
        self.change("config.yml", f"sed -i 's|access_log_file: .*|access_log_file: {log}|'")
        self.sh("systemctl restart docker-registry")
        self.sh(f"mv {log} {log}.1; systemctl reload docker-registry")
        self.assertTrue(until(lambda: self.machine.ask(f"test -e {log} && echo it is") == "it is"))
        self.assertEqual(until(lambda: self.state("ActiveState") == "active" and self.state("NRestarts")), "0")

    def test_mistake(self) -> None:
        """It is tried again for clients only; when it is mended two commands are enough, be the port closed or not."""
        begun = self.begun()
        self.change("config.yml", "sed -i 's/^prod:/prod:\\n    loglevl: info/'")
        self.machine.ask("systemctl restart docker-registry")
        self.assertEqual((self.state("ExecMainStatus"), self.state("NRestarts")), ("78", "0"))
        self.assertSaid("prod.loglevl: unknown option; the nearest is loglevel", begun)
        self.machine.ask("curl --silent --max-time 3 127.0.0.1:5000/v2/")
        self.sh("cp --preserve /tmp/config.yml /etc/docker-registry/")
        self.sh(block("  $ systemctl reset-failed").replace("  $ ", ""))
        self.assertEqual(self.curl("127.0.0.1:5000/v2/"), "{}")

    def test_another_directory(self) -> None:
        """It has to be named in the unit, and what is wrong is said."""
        self.sh("install --directory --owner=docker-registry /srv/elsewhere")
        self.change("environment", "echo STORAGE_PATH=/srv/elsewhere >>")
        begun = self.begun()
        self.machine.ask("systemctl restart docker-registry")
        self.assertSaid("$STORAGE_PATH: not writable for docker-registry: its file system is read-only", begun)
        self.drop_in("service", "[Service]", "ReadWritePaths=/srv/elsewhere")
        self.sh("systemctl restart docker-registry")
        self.assertEqual(self.sh("ls /srv/elsewhere/.format"), "/srv/elsewhere/.format")

    def test_another_socket(self) -> None:
        """Of any kind, and the service is as it was."""
        path = "/run/docker-registry/http"
        self.drop_in("socket", "[Socket]", "ListenStream=", "ListenStream=[::1]:5002", f"ListenStream={path}")
        command = "/opt/docker-registry/bin/twistd --nodaemon --pidfile= docker-registry"
        self.drop_in("service", "[Service]", "ExecStart=",
                     f"ExecStart={command} --listen systemd:domain=INET:index=0 --listen systemd:domain=INET:index=1")
        self.sh(f"systemctl stop {UNITS}; systemctl start {UNITS}")
        self.assertEqual(self.curl("'[::1]:5002/v2/'"), "{}")
        self.assertEqual(self.curl(f"--unix-socket {path} http://registry/v2/"), "{}")
