"""A second chance for what may have one (F1)."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from docker_registry.errors import Transient

R = TypeVar("R")

TRIES = 5

SECONDS = 30.0
"""For all tries of one call together. One that goes on moving bytes is not cut by it."""

FIRST = 0.5
"""Seconds that are waited before the second try at most; before each further one it is twice as long."""


class Retries:
    """Exponential back-off with full jitter: clients that failed together do not come back together.

    :param uniform: a number between two others.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._clock = clock
        self._uniform = uniform

    async def __call__(self, attempt: Callable[[float], Awaitable[R]], once: bool = False) -> R:
        """What ``attempt`` comes to; it is made again while it raises `Transient`.

        :param attempt: told how many seconds it has until the store must have begun to answer.
        :param once: its body cannot be sent again: it has one try.
        :raises Transient: the last try failed as well.
        """
        end = self._clock.seconds() + SECONDS
        number = 0
        while True:
            number += 1
            try:
                return await attempt(end - self._clock.seconds())
            except Transient as error:
                pause = self._uniform(0.0, FIRST * 2 ** (number - 1))
                if once or error.is_last or number == TRIES or self._clock.seconds() + pause >= end:
                    error.is_last = error.is_last or not once
                    raise
                self.log.debug("try {number} failed: {error}", number=number, error=error)
            await deferLater(self._clock, pause)
