"""Logging in at OpenStack: at a real Keystone, and at one that has bad days."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import Clock, deferLater
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.config.openstack import OpenStack
from docker_registry.errors import StorageFailed, StoreUnavailable, Transient
from docker_registry.storage.clouds import cloud
from docker_registry.storage.flows import Flow
from docker_registry.storage.http import Http, Patience
from docker_registry.storage.keystone import Keystone, Wanted, endpoint
from docker_registry.storage.retries import TRIES, Retries
from docker_registry.storage.tokens import AHEAD, PAUSE, LoginRefused, Service
from docker_registry.test.reactor_case import ReactorCase
from docker_registry.test.servers.faults import FaultProxy
from docker_registry.test.servers.stores import glance

reactor: Any = _reactor

LOGIN = "/v3/auth/tokens"
IDENTITY = Wanted("identity", "RegionOne")


class KeystoneCase(ReactorCase):
    """:ivar proxy: between us and Keystone.
    :ivar clock: by which tokens end.
    """

    def setUp(self) -> None:
        self.environ = glance()
        self.proxy = FaultProxy(reactor, int(self.environ["OS_AUTH_URL"].split(":")[2].split("/")[0])).start()
        self.addCleanup(self.proxy.stop)
        self.http = Http(reactor, patience=Patience(connect=2, first_byte=20))
        self.addCleanup(self.close)
        self.clock = Clock()
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self.note)
        self.addCleanup(globalLogPublisher.removeObserver, self.note)

    def note(self, event: Any) -> None:
        self.logged.append(f"{event.get('log_format')} {event}")

    async def close(self) -> None:
        await deferLater(reactor, 0)
        await self.http.close()

    def service(self, wanted: Wanted = IDENTITY, **options: str) -> Service:
        """As the variables say, but for ``options``; Keystone itself is the service that is asked."""
        given = {"auth_url": f"http://127.0.0.1:{self.proxy.port}/v3", **options}
        environ = {} if "application_credential_secret" in options or "token" in options else self.environ
        found = cloud(given, environ, [])
        retries = Retries(reactor, lambda low, high: 0.0)
        return Service(self.http, Keystone(self.http, found.login, wanted, retries), self.clock)

    async def ask(self, service: Service, path: str = "/auth/projects", method: str = "GET", **more: Any) -> Any:
        headers = {"Content-Type": "application/json", **more.pop("headers", {})}
        answer = await service.request(method, path, headers, **more)
        content = await answer.content(1 << 20)
        return answer.status, json.loads(content) if content else None

    async def fails(self, work: Awaitable[Any], error: type[Exception]) -> str:
        """The text of that error."""
        return str(await super().fails(work, error))

    def logins(self) -> int:
        return sum(each.target == LOGIN and each.method == "POST" for each in self.proxy.asked)

    async def revoke(self, service: Service) -> None:
        token = (await service.access()).token
        status, _ = await self.ask(service, "/auth/tokens", "DELETE", headers={"X-Subject-Token": token})
        self.assertEqual(status, 204)


class LoginTests(KeystoneCase):
    async def test_password(self) -> None:
        """The catalogue leads to the service, and it takes the token."""
        service = self.service(Wanted("image"))
        access = await service.access()
        self.assertEqual(access.url, self.environ["OS_GLANCE_URL"])
        self.assertGreater(access.seconds, 3000)
        self.assertNotIn(access.token, repr(access))
        answer = await service.request("GET", "/v2/images", {})
        self.assertEqual((answer.status, b"images" in await answer.content(1 << 20)), (200, True))
        self.assertEqual(self.logins(), 1)

    async def test_fixed_url(self) -> None:
        service = self.service(Wanted("nothing of this type", url="http://127.0.0.1:9/x/"))
        self.assertEqual((await service.access()).url, "http://127.0.0.1:9/x")

    async def test_versions_in_urls(self) -> None:
        """Some catalogues have one at the end, some have none."""
        for url, expected in (
            ("http://h:9292", "http://h:9292"), ("http://h/image/v2/", "http://h/image"), ("http://h/v2.1", "http://h"),
            ("http://h/v2/x", "http://h/v2/x"), ("http://h/av2", "http://h/av2"),
        ):
            service = self.service(Wanted("image", url=url, unversioned=True))
            self.assertEqual((await service.access()).url, expected)
        self.assertEqual((await self.service(Wanted("image", url="http://h/v2")).access()).url, "http://h/v2")

    async def test_application_credential(self) -> None:
        service = self.service()
        _, said = await self.ask(service, "/auth/projects")
        _, token = await self.ask(service, "/auth/tokens", headers={"X-Subject-Token": (await service.access()).token})
        user = token["token"]["user"]["id"]
        body = json.dumps({"application_credential": {"name": f"c{id(self)}"}}).encode()
        status, made = await self.ask(service, f"/users/{user}/application_credentials", "POST", body=[body])
        self.assertEqual(status, 201, made)
        credential = made["application_credential"]
        for who in (
            {"application_credential_id": credential["id"]},
            {"application_credential_name": credential["name"], "user_id": user},
            {"application_credential_name": credential["name"], "username": "registry"},
        ):
            other = self.service(application_credential_secret=credential["secret"], **who)
            self.assertEqual(await self.ask(other), (200, said))

    async def test_token(self) -> None:
        """It is exchanged for one of the project."""
        token = (await self.service().access()).token
        other = self.service(token=token, project_name="registry")
        self.assertEqual((await self.ask(other))[0], 200)

    async def test_refused(self) -> None:
        """Nothing secret is said, an operator is told once, and Keystone is left alone for a while."""
        service = self.service(password="wrong-and-secret")
        for _ in range(3):
            text = await self.fails(self.ask(service), LoginRefused)
            self.assertIn("refuses the login: 401", text)
        self.assertEqual(self.logins(), 1)
        self.clock.advance(PAUSE)
        await self.fails(self.ask(service), LoginRefused)
        self.assertEqual(self.logins(), 2)
        (told,) = [each for each in self.logged if "'alert': 'login refused'" in each]
        self.assertNotIn("log_failure", told)
        self.assertNotIn("wrong-and-secret", text + "".join(self.logged))

    async def test_wrong_project(self) -> None:
        text = await self.fails(self.service(project_name="none").access(), LoginRefused)
        self.assertIn("refuses the login", text)

    async def test_wrong_credential(self) -> None:
        """Keystone says 404 to an application credential that it does not have."""
        service = self.service(application_credential_id="0" * 32, application_credential_secret="wrong")
        self.assertIn("refuses the login: 404 Could not find", await self.fails(service.access(), LoginRefused))

    async def test_no_such_service(self) -> None:
        text = await self.fails(self.service(Wanted("object-store")).access(), StoreUnavailable)
        self.assertIn("no public endpoint of object-store; services there: identity, image", text)
        text = await self.fails(self.service(Wanted("image", "RegionTwo")).access(), StoreUnavailable)
        self.assertIn("has image in RegionOne: set os_region_name", text)

    async def test_not_keystone(self) -> None:
        """Another server, and another path."""
        glance_url = self.environ["OS_GLANCE_URL"]
        text = await self.fails(self.service(auth_url=glance_url).access(), StoreUnavailable)
        self.assertIn("has no Identity API v3 at", text)
        self.proxy.rules = []
        self.proxy.add(times=1, status=301, headers={"Location": "https://new.example.org:5000/v3/auth/tokens"})
        text = await self.fails(self.service().access(), StoreUnavailable)
        self.assertIn("is elsewhere: https://new.example.org:5000; set os_auth_url if that is right", text)
        self.proxy.server = 0
        self.proxy.rules = []
        self.proxy.add(status=201, headers={"X-Subject-Token": "x"}, body=b'{"token": {"catalog": 3}}')
        text = await self.fails(self.service().access(), StorageFailed)
        self.assertIn("is none of Identity API v3", text)


class TokenTests(KeystoneCase):
    """F14."""

    async def test_revoked(self) -> None:
        """All who have the dead token wait for one new login, and nobody notices."""
        service = self.service()
        await self.revoke(service)
        answers = await DeferredList([Deferred.fromCoroutine(self.ask(service)) for _ in range(8)])
        self.assertEqual([answer[0] for _, answer in answers], [200] * 8)
        self.assertEqual(self.logins(), 2)

    async def test_body_that_can_be_sent_once(self) -> None:
        """Whoever has its bytes begins anew, with another token."""
        service = self.service()
        await self.revoke(service)

        async def read() -> list[bytes]:
            return []

        await self.fails(service.request("GET", "/auth/projects", {}, Flow(read, 0)), Transient)
        self.assertEqual((await self.ask(service))[0], 200)
        self.assertEqual(self.logins(), 2)

    async def test_never_taken(self) -> None:
        """A service that takes no token at all is asked twice."""
        other = FaultProxy(reactor).start()
        self.addCleanup(other.stop)
        other.add(status=401)
        service = self.service(Wanted("image", url=f"http://127.0.0.1:{other.port}"))
        text = await self.fails(service.request("GET", "/", {}), StoreUnavailable)
        self.assertIn("does not take the token", text)
        self.assertEqual((len(other.asked), self.logins()), (2, 2))

    async def test_renewed_before_it_ends(self) -> None:
        """Nobody waits for that; and at its end everybody does."""
        service = self.service()
        first = await service.access()
        self.clock.advance(first.seconds - AHEAD - 1)
        self.assertIs(await service.access(), first)
        self.clock.advance(2)
        self.assertIs(await service.access(), first)
        await service._renewed()                    # the one that is on its way
        second = await service.access()
        self.assertIsNot(second, first)
        self.clock.advance(second.seconds)
        self.assertIsNot(await service.access(), second)
        self.assertEqual(self.logins(), 3)

    async def test_closed_meanwhile(self) -> None:
        """Nobody waits for the new one, and nobody is told that it does not come."""
        service = self.service()
        first = await service.access()
        self.clock.advance(first.seconds - AHEAD + 1)
        self.proxy.add(hang=True)
        self.assertIs(await service.access(), first)
        while self.logins() < 2:
            await deferLater(reactor, 0)
        del self.logged[:]
        await self.http.close()
        self.assertEqual([each for each in self.logged if "token" in each], [])

    async def test_keystone_is_down(self) -> None:
        """A token that holds is used to its end, and a login is tried now and then; after that there is none."""
        service = self.service()
        first = await service.access()
        self.clock.advance(first.seconds - 100)
        self.proxy.add(method="POST", status=503)
        for _ in range(3):
            self.assertIs(await service.access(), first)
        await self.fails(service._renewed(), Transient)     # the one that is on its way
        self.assertEqual((await self.ask(service))[0], 200)
        self.assertEqual(self.logins(), 1 + TRIES)
        self.assertIn("the token is still good for", "".join(self.logged))
        self.clock.advance(100)
        text = await self.fails(service.access(), Transient)
        self.assertIn("is busy: 503", text)
        self.proxy.rules.clear()
        self.assertEqual((await self.ask(service))[0], 200)

    async def test_nothing_secret_is_logged(self) -> None:
        service = self.service()
        access = await service.access()
        await self.revoke(service)
        await self.ask(service)
        self.proxy.add(refuse=True)
        self.clock.advance(access.seconds)
        text = await self.fails(self.ask(service), Transient)
        said = text + "".join(self.logged)
        for secret in (access.token, "password"):
            self.assertNotIn(secret, said)


class EndpointTests(SynchronousTestCase):
    def catalogue(self, *endpoints: tuple[str, str, str]) -> list[Any]:
        made = [{"interface": kind, "region": region, "url": url} for kind, region, url in endpoints]
        return [{"type": "image", "endpoints": made}]

    def test_region_and_interface(self) -> None:
        catalogue = self.catalogue(
            ("public", "a", "http://a"), ("public", "b", "http://b"), ("internal", "a", "http://ia")
        )
        self.assertEqual(endpoint(catalogue, Wanted("image", "b")), "http://b")
        self.assertEqual(endpoint(catalogue, Wanted("image", interface="internal")), "http://ia")
        with self.assertRaisesRegex(StoreUnavailable, "in a, b: set os_region_name"):
            endpoint(catalogue, Wanted("image"))

    def test_what_is_no_endpoint(self) -> None:
        for url in ("file:///etc/passwd", "http://user:word@host/", "http://host/%(tenant)s?x", "ftp://host"):
            with self.assertRaisesRegex(StoreUnavailable, "the catalogue's URL of image is none"):
                endpoint(self.catalogue(("public", "a", url)), Wanted("image"))
        with self.assertRaisesRegex(StoreUnavailable, "set os_project_name"):
            endpoint([], Wanted("image"))


CLOUDS = """
clouds:
  one:
    auth: {auth_url: https://one/identity, username: u, project_name: p, user_domain_id: default}
    region_name: R1
    interface: internal
    verify: false
    cacert: /ca.pem
  two: {auth: {auth_url: https://two, application_credential_id: i, application_credential_secret: s}}
  three: {profile: vexxhost}
  five: {profile: vexxhost, auth: {auth_url: https://five, username: u, password: hidden}}
  six: {profile: ours, auth: {username: u, password: hidden}, region_name: R2}
"""

PROFILES = """
public-clouds:
  ours: {auth: {auth_url: https://ours, user_domain_name: people}, region_name: R1, interface: internal}
"""


class CloudTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        (self.folder / "clouds.yaml").write_text(CLOUDS)

    def cloud(self, given: dict[str, str], **environ: str) -> Any:
        return cloud(given, environ, [self.folder])

    def fails(self, given: dict[str, str], said: str, **environ: str) -> None:
        with self.assertRaisesRegex(StorageFailed, said) as caught:
            self.cloud(given, **environ)
        self.assertNotIn("hidden", str(caught.exception))

    def test_variables(self) -> None:
        """The old names too, and what is an option comes first."""
        found = self.cloud(
            {"project_name": "q"}, OS_AUTH_URL="http://h:5000/v2.0/", OS_USERNAME="u", OS_PASSWORD="w",
            OS_TENANT_NAME="t", OS_REGION_NAME="r", OS_ENDPOINT_TYPE="internalURL", OS_PROJECT_DOMAIN_NAME="d",
        )
        self.assertEqual((found.region, found.interface, found.ca, found.insecure), ("r", "internal", None, False))
        self.assertEqual(found.login.tokens_url, "http://h:5000/v3/auth/tokens")
        self.assertEqual(found.login.body()["auth"]["scope"]["project"], {"name": "q", "domain": {"name": "d"}})
        self.assertNotIn("password='w'", repr(found))

    def test_another_way(self) -> None:
        """An option with a secret stands for itself: a file with a password may have been sourced before."""
        options = {"application_credential_id": "i", "application_credential_secret": "s"}
        sourced = {"OS_AUTH_URL": "https://x", "OS_USERNAME": "u", "OS_PASSWORD": "w", "OS_PROJECT_NAME": "p"}
        found = self.cloud(options, **sourced)
        wanted = {"methods": ["application_credential"], "application_credential": {"id": "i", "secret": "s"}}
        self.assertEqual(found.login.body(), {"auth": {"identity": wanted}})
        self.assertEqual(self.cloud({"token": "t"}, **sourced).login.body()["auth"]["identity"]["methods"], ["token"])
        (self.folder / "secure.yaml").write_text("clouds: {one: {auth: {password: hidden}}}")
        self.assertEqual(self.cloud({"cloud": "one", **options}).login.body(), found.login.body())

    def test_clouds_yaml(self) -> None:
        (self.folder / "secure.yaml").write_text("clouds: {one: {auth: {password: hidden}}}")
        found = self.cloud({}, OS_CLOUD="one", OS_USERNAME="of the environment")
        self.assertEqual((found.login.username, found.login.password), ("u", "hidden"))
        self.assertEqual((found.region, found.interface, found.ca, found.insecure),
                         ("R1", "internal", Path("/ca.pem"), True))
        self.assertEqual(found.login.tokens_url, "https://one/identity/v3/auth/tokens")
        found = self.cloud({"cloud": "two"})
        self.assertEqual(list(found.login.body()["auth"]), ["identity"])
        elsewhere = self.folder / "other"
        elsewhere.write_text("clouds: {x: {auth: {auth_url: https://x, token: t}}}")
        self.assertEqual(self.cloud({"cloud": "x"}, OS_CLIENT_CONFIG_FILE=str(elsewhere)).login.token, "t")

    def test_profiles(self) -> None:
        """Of a vendor that nobody has described here an entry may say itself what it needs."""
        self.assertEqual(self.cloud({"cloud": "five"}).login.auth_url, "https://five")
        self.fails({"cloud": "six"}, "profile ours of a vendor, which clouds-public.yaml does not have: write")
        (self.folder / "clouds-public.yaml").write_text(PROFILES)
        found = self.cloud({"cloud": "six"})
        self.assertEqual((found.login.auth_url, found.login.user_domain), ("https://ours", "people"))
        self.assertEqual((found.region, found.interface), ("R2", "internal"))
        self.fails({"cloud": "three"}, "profile vexxhost of a vendor")

    def test_files_of_other_names(self) -> None:
        (self.folder / "clouds.yaml").rename(self.folder / "clouds.yml")
        (self.folder / "mine").write_text("clouds: {one: {auth: {password: hidden}}}")
        found = self.cloud({"cloud": "one"}, OS_CLIENT_SECURE_FILE=str(self.folder / "mine"))
        self.assertEqual((found.login.username, found.login.password), ("u", "hidden"))

    def test_several_and_nobody_says_which(self) -> None:
        self.fails({}, "nobody says where Keystone is: set os_auth_url, OS_AUTH_URL, or OS_CLOUD, "
                       "which may be one, two, three, five, six")
        (self.folder / "clouds.yaml").write_text("no clouds")
        self.fails({}, "or OS_CLOUD$")

    def test_what_is_missing(self) -> None:
        self.fails({}, "set os_auth_url, OS_AUTH_URL, or OS_CLOUD")
        self.fails({"auth_url": "ftp://x"}, "os_auth_url is not https://HOST")
        self.fails({"auth_url": "https://u:hidden@x"}, "os_auth_url is not https://HOST")
        self.fails({"auth_url": "https://x"}, "os_token is needed; none of them is set")
        self.fails({"auth_url": "https://x", "password": "hidden", "token": "hidden"}, "os_password and os_token is")
        self.fails({"auth_url": "https://x", "password": "hidden"}, "os_username is not")
        self.fails({"auth_url": "https://x", "application_credential_secret": "hidden"}, "credential_id is not")
        self.fails({"auth_url": "https://x", "token": "hidden", "interface": "secret"}, "public, internal or admin")
        self.fails({"cloud": "four"}, "clouds.yaml has no cloud four")
        for text in ("- hidden: [", "clouds: {one: {auth: {password: 2026-13-45}}}"):      # that is no day
            (self.folder / "clouds.yaml").write_text(text)
            self.fails({"cloud": "one"}, "is no file of clouds")
        self.fails({"cloud": "one"}, "cannot be read: No such file", OS_CLIENT_CONFIG_FILE="/nowhere/clouds.yaml")

    def test_options(self) -> None:
        """They come to what the variables would."""
        options = OpenStack(os_auth_url="https://x", os_username="u", os_password="w", os_insecure=True)
        found = cloud(options.openstack, {}, [])
        self.assertEqual((found.login.password, found.insecure), ("w", True))
        self.assertEqual(OpenStack().openstack, {})
