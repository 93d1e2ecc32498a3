"""Where a connection stands.

::

    IDLE -> HEAD -> BODY -> ANSWER -> IDLE
     |       |        |        |
     |       +--------+--------+--> LINGER   an answer ends the connection; what still comes is thrown away for a while
     |                |        |      |
     +----------------+--------+------+--> CLOSED   the connection ends when all has gone that was written
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    IDLE = "between requests"
    HEAD = "in a request's head"
    BODY = "in a request's body"
    ANSWER = "a whole request is being answered"
    LINGER = "the last answer is sent, and the client still sends"
    CLOSED = "nothing is read any more"
