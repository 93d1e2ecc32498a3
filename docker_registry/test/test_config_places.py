"""Where a configuration is wrong: line and column of each option that says how the registry is run (H5)."""

from __future__ import annotations

from docker_registry.test.config_case import MARKER, ConfigCase

URL = "url: 'https://b/'"
WRONG = [
    # what stands in a flavor, around it what is complained of, and as what
    ("smtp_host: «[a]»", "smtp_host"), ("smtp_port: «abc»", "smtp_port"), ("smtp_port: «70000»", "smtp_port"),
    ("smtp_login: «[x]»", "smtp_login"), (f"smtp_password: «[{MARKER}]»", "smtp_password"),
    ("smtp_secure:\n    «maybe»", "smtp_secure"),
    ("to_addr: [a@b, c@d]\n  from_addr: «nope»", "from_addr"),
    ("from_addr: a@b\n  to_addr:\n    - a@b\n    - «c@»", "to_addr"), ("to_addr: [«_env:NOBODY»]", "to_addr"),
    ("to_addr:\n    - a@b, c@d\n    - «e@»", "to_addr"), ("to_addr: [a@b, «5»]", "to_addr"),
    ("to_addr: [a@b c@d, e@f, «g@»]", "to_addr"),
    ("email_exceptions: «5»", "email_exceptions"), ("email_exceptions: {«smpt_host»: a}", "email_exceptions.smpt_host"),
    ("email_exceptions: {to_addr: [a@b, «c»]}", "email_exceptions.to_addr"),
    ("workers: «many»", "workers"), ("workers: «0»", "workers"), ("shutdown_grace: «-1»", "shutdown_grace"),
    ("loglevel: «loud»", "loglevel"), ("log_format: «xml»", "log_format"), ("access_log: «true»", "access_log"),
    ("access_log_file: «relative»", "access_log_file"), ("access_log_file: «/nonexistent/x»", "access_log_file"),
    ("admin_listen: «tcp:1»", "admin_listen"), ("admin_listen: [tcp:1, «bogus:1»]", "admin_listen"),
    ("admin_listen:\n    - «tcp:abc»", "admin_listen"), ("«admin_listn»: []", "admin_listn"),
    ("notifications: «5»", "notifications"), ("notifications: {«endpoint»: []}", "notifications.endpoint"),
    ("notifications: {queue: «5»}", "notifications.queue"), ("notifications: {outbox: «rel»}", "notifications.outbox"),
    ("notifications: {events: {includereferences: «5»}}", "notifications.events.includereferences"),
    (f"notifications: {{endpoints: «[{{name: a, {URL}}}, {{name: a, {URL}}}]»}}", "notifications.endpoints"),
    *((f"notifications:\n    endpoints:\n      - {{name: b, {URL}}}\n      - {text}", f"notifications.endpoints.{name}")
      for text, name in (
        ("«{name: a}»", "url"), ("{name: a, url: «'ftp://b/'»}", "url"), (f"{{name: «'a b'», {URL}}}", "name"),
        (f"{{name: a, {URL}, timeout: «0»}}", "timeout"), (f"{{name: a, {URL}, backoff: «10y»}}", "backoff"),
        (f"{{name: a, {URL}, threshold: «0»}}", "threshold"), (f"{{name: a, {URL}, disabled: «maybe»}}", "disabled"),
        (f"{{name: a, {URL}, headers: {{«a b»: c}}}}", "headers"),
        (f"name: a\n        {URL}\n        headers:\n          A: b\n          C: [d, «31337»]", "headers.C"),
        (f"name: a\n        {URL}\n        headers:\n          A: b\n          C: «'\u00e9'»", "headers.C"),
        (f"name: a\n        {URL}\n        headers:\n          «Content-Length»: '0'", "headers.Content-Length"),
        (f"{{name: a, {URL}, «urk»: 1}}", "urk"),
        (f"{{name: a, {URL}, ignoredmediatypes: «5»}}", "ignoredmediatypes"),
        (f"{{name: a, {URL}, ignore: {{actions: [push, «punch»]}}}}", "ignore.actions"),
    )),
]


class PlaceTests(ConfigCase):
    def test_each_option(self) -> None:
        for written, option in WRONG:
            with self.subTest(written):
                before, _, after = f"x:\n  storage: memory\n  {written}\n".partition("«")
                line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
                said = self.problems(before + after.replace("»", ""))
                self.assertEqual(said.split(" ")[:2], [f"c.yml:{line}:{column}:", f"x.{option}:"])
                self.assertNotIn("\n", said)
