"""``docker-registry status``"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import click

from docker_registry.commands.asking import Answer, NoAnswer, ask, holder
from docker_registry.commands.options import CONFIG, FLAVOR, JSON, loaded, print_json
from docker_registry.config.load import Loaded
from docker_registry.output import say

NOT_READY, NOT_RUNNING = 1, 3
"""The latter as init scripts have it (LSB, "program is not running")."""


@click.command()
@CONFIG
@FLAVOR
@JSON
def status(config: str | None, flavor: str | None, as_json: bool) -> None:
    """Say how the daemon with this configuration is.

    It is asked through `admin_listen`; without that, no more can be said than which process has the store.

    Status 0: it serves. 1: it runs, and does not serve. 3: it does not run. 78: the configuration is wrong.

    Example: docker-registry status --config config.yml --flavor prod
    """
    found = loaded(config, flavor)
    failures: list[NoAnswer] = []
    for endpoint in found.config.admin_listen:
        try:
            answer = ask(endpoint)
        except NoAnswer as error:
            failures.append(error)
            continue
        _tell(answer, as_json)
        raise SystemExit(0 if answer.is_ready else NOT_READY)
    _tell_by_store(found, failures, as_json)


def _tell(answer: Answer, as_json: bool) -> None:
    if as_json:
        print_json({
            "running": True, "ready": answer.is_ready, "reason": answer.standing.get("reason"),
            "asked": answer.where, "workers": answer.standing["workers"], **dict(_numbers(answer.figures)),
        })
        return
    say(f"{'ready' if answer.is_ready else 'not ready: ' + str(answer.standing.get('reason'))}")
    for worker in answer.standing["workers"]:
        say(f"  process {worker['pid']}: {worker['state']}, its store {_store(worker['store'])}")
    for name, number in _numbers(answer.figures):
        if number or name not in _UNUSUAL:
            say(f"  {_SAID[name]:22}{_shown(name, number)}")
    say(f"  {'asked':22}{answer.where}")


def _store(said: str) -> str:
    return {"works": "works", "fails": "does not work"}.get(said, "was not tried lately")


def _numbers(figures: dict[str, float]) -> Iterator[tuple[str, int]]:
    for name, metric in _METRICS.items():
        value = figures.get(metric, figures.get(metric.replace("process_", "registry_worker_"), 0.0))
        yield name, int(time.time() - value) if name == "uptime_seconds" and value else int(value)


_METRICS = {
    "uptime_seconds": "process_start_time_seconds",
    "requests": "registry_http_requests_total",
    "failed_requests": "failed_requests",
    "in_flight": "registry_http_in_flight_requests",
    "connections": "registry_http_connections",
    "uploads": "registry_uploads_open",
    "memory_bytes": "process_resident_memory_bytes",
    "diverting": "registry_storage_diverting",
    "to_be_moved": "registry_storage_waiting",
}
_UNUSUAL = frozenset({"diverting", "to_be_moved"})
"""What is not spoken of while it is nothing."""
_SAID = {
    "uptime_seconds": "runs since",
    "requests": "requests",
    "failed_requests": "of them failed (5xx)",
    "in_flight": "requests in flight",
    "connections": "connections",
    "uploads": "open uploads",
    "memory_bytes": "memory",
    "diverting": "Glance fails",
    "to_be_moved": "to be moved there",
}


def _shown(name: str, number: int) -> str:
    if name == "memory_bytes":
        return f"{number / 1e6:.0f} MB"
    if name == "uptime_seconds":
        hours, rest = divmod(number, 3600)
        return f"{hours} h {rest // 60} min {rest % 60} s"
    if name == "diverting":
        return "pushes go to storage_alternate"
    return str(number)


def _tell_by_store(found: Loaded, failures: Sequence[NoAnswer], as_json: bool) -> None:
    """What can be said when nobody answers."""
    path = found.config.storage_path if found.config.beneath == "local" else None
    pid = holder(path) if path is not None else None
    runs = pid is not None or any(each.hangs for each in failures)
    reasons = [str(each) for each in failures]
    if not found.config.admin_listen:
        reasons.append("admin_listen is empty: nobody can be asked")
    if as_json:
        print_json({"running": runs, "ready": None, "reason": "; ".join(reasons), "pid": pid})
    else:
        say(f"running: process {pid} has {path}" if pid is not None else
                   f"{'running, and hangs' if runs else 'not running'}, as far as can be told")
        for reason in reasons:
            say(f"  {reason}")
    if not runs:
        raise SystemExit(NOT_RUNNING)
    raise SystemExit(NOT_READY if found.config.admin_listen else 0)
