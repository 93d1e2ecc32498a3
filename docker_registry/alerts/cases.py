"""When a fault is mailed, and when it is only counted (G2, T48)."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from docker_registry.alerts.faults import Kind

WINDOW = 600.0
"""Seconds in which a kind of fault is told once; without one for so long it is taken to be over."""

LONGEST = 6 * 3600.0
"""What the window grows to, doubling with each mail, for a kind that goes on."""

HOURLY = 10
"""Mails in any hour, of all kinds together."""

MOST = 1000
"""Kinds that are remembered."""


@dataclass(frozen=True, slots=True)
class Untold:
    """Faults of a kind that no mail has told of yet.

    :ivar since: when the first of them was, ``last`` the last of them, by the clock that `Cases` is asked with.
    """

    kind: Kind
    count: int
    since: float
    last: float


@dataclass(slots=True)
class _Case:
    """:ivar told: when a mail was about it; before the beginning of time if none was.
    :ivar lasts: whether somebody says when it is over: until then nothing more is told of it.
    """

    last: float
    since: float
    untold: int = 0
    told: float = float("-inf")
    window: float = WINDOW
    lasts: bool = False


class Cases:
    """What has gone wrong lately, by kind.

    :param hourly: mails that may go out in any hour.
    """

    def __init__(self, hourly: int = HOURLY) -> None:
        self._hourly = hourly
        self._cases: OrderedDict[Kind, _Case] = OrderedDict()
        self._mails: deque[float] = deque(maxlen=hourly)
        self._forgotten = 0

    def __len__(self) -> int:
        return len(self._cases)

    def saw(self, kind: Kind, now: float, count: int = 1) -> Untold | None:
        """Count a fault, or several.

        :returns: others that the mail about it tells of as well, maybe none; ``None`` if there is no mail.
        """
        case = self._case(kind, now)
        case.last = now
        if 0 <= now - case.told < case.window or not self._may_mail(now):
            self._count(case, count, now)
            return None
        self._count(case, count - 1, now)
        if case.told > float("-inf"):
            case.window = min(2 * case.window, LONGEST)
        untold = Untold(kind, case.untold, case.since, now)
        case.told, case.untold = now, 0
        self._mails.append(now)
        return untold

    def begun(self, kind: Kind, now: float, count: int = 1) -> Untold | None:
        """As `saw`, of what lasts until it is `over`: it is told once, whoever else sees it."""
        case = self._case(kind, now)
        case.lasts = True
        if case.told > float("-inf"):
            case.last = now
            self._count(case, count, now)
            return None
        return self.saw(kind, now, count)

    def over(self, kind: Kind, now: float) -> Untold | None:
        """What lasted does no longer. Others that say so later are too late.

        :returns: what one mail tells of; ``None`` if none has told that it began, or there may be no mail: then it is
            like what nobody saw for a while.
        """
        case = self._cases.get(kind)
        if case is None:
            return None
        case.lasts, case.last = False, now
        if case.told == float("-inf") or not self._may_mail(now):
            return None
        del self._cases[kind]
        self._mails.append(now)
        return Untold(kind, case.untold, case.told, now)

    def ended(self, now: float) -> list[Untold]:
        """What one more mail tells: the kinds that no mail has said enough of, and of which there was none lately."""
        over = [
            (kind, case) for kind, case in self._cases.items() if now - case.last >= WINDOW and not case.lasts
        ]
        # An exception that was told when it was alone needs no other mail; that a state is over does.
        worth = [(kind, case) for kind, case in over if case.untold or not kind.place]
        if worth and not self._may_mail(now):
            return []
        for kind, _ in over:
            del self._cases[kind]
        if worth:
            self._mails.append(now)
        return [Untold(kind, case.untold, case.since, case.last) for kind, case in worth]

    def untell(self, lost: Untold) -> None:
        """A mail did not arrive: what it told of is still to be told."""
        case = self._case(lost.kind, lost.since)
        case.last = max(case.last, lost.last)
        case.told = float("-inf")
        self._count(case, lost.count, lost.since)

    def forgotten(self) -> int:
        """Faults that were counted and whose kind was forgotten, since this was asked last."""
        count, self._forgotten = self._forgotten, 0
        return count

    def is_last_mail(self, now: float) -> bool:
        """Whether there may be no more for a while."""
        return not self._may_mail(now)

    def _may_mail(self, now: float) -> bool:
        return len(self._mails) < self._hourly or not 0 <= now - self._mails[0] < 3600     # clocks are set back, too

    def _case(self, kind: Kind, now: float) -> _Case:
        case = self._cases.get(kind)
        if case is None:
            case = self._cases[kind] = _Case(last=now, since=now)
            if len(self._cases) > MOST:
                _, oldest = self._cases.popitem(last=False)
                self._forgotten += oldest.untold
        self._cases.move_to_end(kind)
        return case

    def _count(self, case: _Case, count: int, since: float) -> None:
        if count:
            case.since = min(case.since, since) if case.untold else since
            case.untold += count
