"""A table as Prometheus wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.metadata import version
from itertools import accumulate
from typing import Any

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from docker_registry.metrics.families import COLUMNS, PID
from docker_registry.metrics.table import Family, Table


class TableCollector(Collector):
    """What all processes have counted; combinations of labels of which there was nothing are left out."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def collect(self) -> Iterator[Metric]:
        sums = self._table.sums()
        for family in COLUMNS.families:
            if family.is_common:
                sums[family.first] = max(self._table.of(row)[family.first] for row in range(self._table.rows))
            if family.name:
                yield _KINDS[family.kind](family, sums)

    def describe(self) -> Iterable[Metric]:
        """Nothing is asked of the table when it is registered."""
        return []


class VersionCollector(Collector):
    def collect(self) -> Iterator[Metric]:
        says = "The version that runs, which is the label; the number says nothing."
        metric = GaugeMetricFamily("registry_build_info", says, labels=["version"])
        metric.add_metric([version("docker-registry")], 1)
        yield metric

    def describe(self) -> Iterable[Metric]:
        return []


class WorkerCollector(Collector):
    """What the system says of each process that has a row: ``registry_worker_`` and what Prometheus has for one."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def collect(self) -> Iterator[Metric]:
        found: dict[str, Metric] = {}
        for row in range(self._table.rows):
            pid = self._table.of(row)[PID.first]
            if pid:
                for metric in ProcessCollector(pid=partial(int, pid), registry=None).collect():
                    name = metric.name.replace("process_", "registry_worker_", 1)
                    into = found.setdefault(name, Metric(name, f"Of a worker. {metric.documentation}", metric.type))
                    for sample in metric.samples:
                        called = sample.name.replace("process_", "registry_worker_", 1)
                        into.add_sample(called, {"worker": str(row)}, sample.value)
        yield from found.values()

    def describe(self) -> Iterable[Metric]:
        return []


def _plain(made: Callable[..., Any], family: Family, sums: list[int]) -> Metric:
    """A counter or a gauge."""
    metric: Metric = made(family.name, family.says, labels=family.labels)
    for column, labels in family.combinations():
        if sums[column] or not labels:
            metric.add_metric(labels, _scaled(family, sums[column]))  # type: ignore[attr-defined]
    return metric


def _histogram(family: Family, sums: list[int]) -> Metric:
    metric = HistogramMetricFamily(family.name, family.says, labels=family.labels)
    bounds = [f"{bound:g}" if bound < 1e6 else f"{bound:.0f}" for bound in family.bounds] + ["+Inf"]
    for column, labels in family.combinations():
        counts = list(accumulate(sums[column : column + len(bounds)]))
        if counts[-1] or not labels:
            buckets = [(bound, float(count)) for bound, count in zip(bounds, counts, strict=True)]
            metric.add_metric(labels, buckets, _scaled(family, sums[column + len(bounds)]))
    return metric


def _scaled(family: Family, number: int) -> float:
    return number / family.scale if family.scale > 1 else number


_KINDS: dict[str, Callable[[Family, list[int]], Metric]] = {
    "counter": partial(_plain, CounterMetricFamily),
    "gauge": partial(_plain, GaugeMetricFamily),
    "histogram": _histogram,
}
