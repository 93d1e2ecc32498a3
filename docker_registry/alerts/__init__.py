"""From log events to mail. Nothing else knows that mail exists.

- An exception becomes mail by being logged: ``log.failure(...)``.
- What is no exception, and nevertheless an operator's business, becomes mail by a field of the event that says so:
  ``log.warn("{key}: no space left", key=key, alert="storage full")``. The value is the same for all events of the kind,
  and there is one mail for all of them.
- What lasts is told when it begins and when it is over: ``log.error(..., alert="Glance fails", alert_state="begun")``,
  then ``log.info(..., alert="Glance fails", alert_state="over")``. Several processes may say both.
"""
