"""Webhooks: what happens in the registry is told to others.

::

    registry.events ──hear──> Notifications ──0.1 s, in a thread──> Outbox ──> Sender ──POST──> endpoint
                              (memory)                              (disk)     (one process of the daemon)

No request waits for any of it.
"""
