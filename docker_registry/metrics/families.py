"""Every metric, and every value that a label takes. docs/running.md says what they are good for.

The names and labels of HTTP and storage are those of ``registry:2`` (docker/go-metrics), so that its dashboards go on.
"""

from __future__ import annotations

from docker_registry.metrics.table import Axis, Columns
from docker_registry.storage import timed
from docker_registry.web.request import REASONS

HANDLERS = ("base", "catalog", "tags", "manifest", "blob", "blob_upload", "blob_upload_chunk", "referrers")
PROTOCOLS = ("v1", "v2")
NO_ROUTE = ("none", "none")
"""Handler and protocol of what never came to a route."""

ROUTE = Axis(
    ("handler", "protocol"), (*((handler, protocol) for protocol in PROTOCOLS for handler in HANDLERS), NO_ROUTE)
)
METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
METHOD = Axis.of("method", METHODS)
GONE, OTHER = 499, 0
"""A client that went away before its answer; an answer that `REASONS` does not have."""
CODES = (*sorted(REASONS), GONE, OTHER)
CODE = Axis.of("code", [str(code) if code else "other" for code in CODES])

DRIVERS = ("local", "memory", "s3", "glance", "swift")
DRIVER = Axis.of("driver", DRIVERS)
ACTIONS = (*timed.ACTIONS, *timed.BEGINNINGS, *timed.WRITING)
ACTION = Axis.of("action", ACTIONS)

DURATIONS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0)
SIZES = tuple(float(1024 << power) for power in range(22))
NANOSECONDS = 10**9
MILLISECONDS = 1000

COLUMNS = Columns()

REQUESTS = COLUMNS.counter(
    "registry_http_requests_total", "Requests that were answered, or whose client went away (499).",
    ROUTE, METHOD, CODE,
)
DURATION = COLUMNS.histogram(
    "registry_http_request_duration_seconds", "From the end of a request's head to the end of its answer.",
    ROUTE, METHOD, bounds=DURATIONS, scale=NANOSECONDS,
)
REQUEST_SIZE = COLUMNS.histogram(
    "registry_http_request_size_bytes", "Bytes of bodies that clients sent.", ROUTE, bounds=SIZES
)
RESPONSE_SIZE = COLUMNS.histogram(
    "registry_http_response_size_bytes", "Bytes of bodies that clients were sent.", ROUTE, bounds=SIZES
)
IN_FLIGHT = COLUMNS.gauge("registry_http_in_flight_requests", "Requests that are read or answered.", ROUTE)
CONNECTIONS = COLUMNS.gauge("registry_http_connections", "Open connections.")
ACTION_SECONDS = COLUMNS.histogram(
    "registry_storage_action_seconds", "What the store took.", DRIVER, ACTION, bounds=DURATIONS, scale=NANOSECONDS
)
ACTION_ERRORS = COLUMNS.counter(
    "registry_storage_errors_total", "Actions of the store that failed, other than by finding nothing.", DRIVER, ACTION
)
UPLOADS = COLUMNS.common("registry_uploads_open", "Upload sessions that are known to be open.")
CHANGES = ("blob_pushed", "blob_mounted", "blob_deleted", "manifest_pushed", "manifest_made", "manifest_deleted",
           "tag_set", "tag_deleted", "repository_deleted", "access_changed")
CHANGED = COLUMNS.counter("registry_changes_total", "What was changed in the registry.", Axis.of("change", CHANGES))
MAIL = ("sent", "failed", "dropped")
MAILS = COLUMNS.counter(
    "registry_mails_total",
    "Mails on exceptions that the server took, attempts that failed, mails that are lost.", Axis.of("outcome", MAIL),
)
NOTIFIED = ("Events", "Successes", "Failures", "Dropped")
NOTIFICATIONS = COLUMNS.counter(
    "registry_notifications_events_total",
    "Events for webhooks, those that were taken, attempts that failed, events that are lost.",
    Axis.of("type", NOTIFIED),
)
PENDING = COLUMNS.gauge("registry_notifications_pending", "Events that webhooks have not taken yet.")
DIVERTING = COLUMNS.common(
    "registry_storage_diverting", "Whether pushes go to storage_alternate, because Glance fails."
)
WAITING = COLUMNS.common("registry_storage_waiting", "Objects in storage_alternate that are to be moved to Glance.")
DIVERTED = COLUMNS.counter(
    "registry_storage_diverted_total", "Objects that were written to storage_alternate, because Glance failed."
)
MOVED = COLUMNS.counter("registry_storage_moved_total", "Objects of those that were moved to Glance.")
REACTOR_LAG = COLUMNS.histogram(
    "registry_reactor_lag_seconds", "How late a call came that was due every second.",
    bounds=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0), scale=NANOSECONDS,
)

# Of each process by itself; what they come to is said by docker_registry.admin.

PID = COLUMNS.gauge("", "Of the process that has the row.")
STATE = COLUMNS.gauge("", "An index into `STATES`.")
BEAT = COLUMNS.gauge("", "When its reactor turned last, in milliseconds of the monotonic clock.")
CHECKED = COLUMNS.gauge("", "When its store was tried last.")
WORKS = COLUMNS.gauge("", "Whether the store worked then.")
ASKED = COLUMNS.gauge("", "When somebody wanted to know whether the store works.")

STATES = ("starting", "ready", "draining")

