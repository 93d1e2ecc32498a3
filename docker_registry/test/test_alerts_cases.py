"""One mail for each kind of fault, and few in all (G2, T48): by a clock that can be moved (A8)."""

from __future__ import annotations

import tracemalloc

from twisted.trial.unittest import SynchronousTestCase

from docker_registry.alerts.cases import HOURLY, MOST, WINDOW, Cases, Untold
from docker_registry.alerts.faults import Kind

ONE = Kind("OSError", "storage/local.py:1 put", "/v2/")
FULL = Kind("storage full", "", "")


def kind(number: int) -> Kind:
    return Kind(f"E{number}", "x.py:1 f", "")


class CasesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cases = Cases()

    def test_first_at_once(self) -> None:
        self.assertEqual(self.cases.saw(ONE, 100.0), Untold(ONE, 0, 100.0, 100.0))

    def test_counted_within_the_window(self) -> None:
        """N more since: with the mail that the next one after ten minutes makes."""
        self.cases.saw(ONE, 0.0)
        for second in range(1, 600):
            self.assertIsNone(self.cases.saw(ONE, float(second)))
        self.assertEqual(self.cases.saw(ONE, 600.0), Untold(ONE, 599, 1.0, 600.0))

    def test_what_goes_on_is_told_less_and_less(self) -> None:
        told = [second for second in range(86400) if self.cases.saw(ONE, float(second)) is not None]
        self.assertEqual(told[:4], [0, 600, 1800, 4200])
        self.assertEqual(told[-1] - told[-2], 6 * 3600)

    def test_kinds_are_apart(self) -> None:
        self.cases.saw(ONE, 0.0)
        for other in (Kind("A", ONE.place, ONE.route), Kind(ONE.name, "x", ONE.route), Kind(ONE.name, ONE.place, "")):
            self.assertIsNotNone(self.cases.saw(other, 1.0))

    def test_ten_in_an_hour(self) -> None:
        """Whatever the number of kinds; an hour is any hour."""
        told = [second for second in range(2 * 3600) if self.cases.saw(kind(second), float(second)) is not None]
        self.assertEqual(told, [*range(10), *range(3600, 3610)])

    def test_ends_are_of_the_ten(self) -> None:
        """A mail is a mail, whatever it tells."""
        for number in (*range(HOURLY - 1), 0):
            self.cases.saw(kind(number), 0.0)
        self.assertEqual(self.cases.ended(WINDOW), [Untold(kind(0), 1, 0.0, 0.0)])
        self.assertIsNone(self.cases.saw(ONE, WINDOW))
        self.cases = Cases()
        self.cases.begun(FULL, 0.0)
        for number in range(HOURLY - 2):
            self.cases.saw(kind(number), 0.0)
        self.assertIsNotNone(self.cases.over(FULL, 1.0))
        self.assertIsNone(self.cases.saw(ONE, 1.0))

    def test_table_is_bounded(self) -> None:
        """And what is forgotten is counted."""
        for number in range(50):
            self.cases.saw(kind(number), 0.0)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for number in range(50, 20_000):
            self.cases.saw(kind(number), 1.0)
        self.assertLess(tracemalloc.get_traced_memory()[0], 2 << 20)
        self.assertEqual(len(self.cases), MOST)
        self.assertEqual(self.cases.forgotten(), 20_000 - MOST - HOURLY)
        self.assertEqual(self.cases.forgotten(), 0)

    def test_recovered(self) -> None:
        """Ten minutes after the last of them: how many there were since the mail."""
        self.cases.saw(ONE, 0.0)
        self.cases.saw(ONE, 5.0)
        self.cases.saw(ONE, 7.0)
        self.assertEqual(self.cases.ended(7.0 + WINDOW - 1), [])
        self.assertEqual(self.cases.ended(7.0 + WINDOW), [Untold(ONE, 2, 5.0, 7.0)])
        self.assertEqual(self.cases.ended(7.0 + 2 * WINDOW), [])
        self.assertEqual(len(self.cases), 0)

    def test_single_exception_needs_no_second_mail(self) -> None:
        self.cases.saw(ONE, 0.0)
        self.assertEqual(self.cases.ended(WINDOW), [])
        self.assertEqual(len(self.cases), 0)

    def test_end_of_a_state_is_told(self) -> None:
        self.cases.saw(FULL, 0.0)
        self.assertEqual(self.cases.ended(WINDOW), [Untold(FULL, 0, 0.0, 0.0)])

    def test_what_the_hour_had_no_room_for(self) -> None:
        """Is told together, in one mail, when there is."""
        for number in range(200):
            self.cases.saw(kind(number), 0.0)
        self.assertTrue(self.cases.is_last_mail(0.0))
        self.assertEqual(self.cases.ended(3599.0), [])
        self.assertEqual({untold.kind for untold in self.cases.ended(3600.0)}, {kind(n) for n in range(10, 200)})
        self.assertEqual(len(self.cases), 0)

    def test_lost_mail(self) -> None:
        """What it told of is told again, together with what came since."""
        self.cases.saw(ONE, 0.0)
        self.cases.saw(ONE, 1.0)
        self.cases.untell(Untold(ONE, 1, 0.0, 0.0))
        self.assertEqual(self.cases.saw(ONE, 2.0), Untold(ONE, 2, 0.0, 2.0))

    def test_clock_is_set_back(self) -> None:
        for number in range(20):
            self.cases.saw(kind(number), 1e9)
        self.assertIsNotNone(self.cases.saw(kind(5), 1e9 - 86400))

    def test_what_lasts(self) -> None:
        """Two mails, however long it takes and however many see it."""
        self.assertEqual(self.cases.begun(FULL, 0.0), Untold(FULL, 0, 0.0, 0.0))
        for second in range(1, 86400, 100):
            self.assertIsNone(self.cases.begun(FULL, float(second)))
            self.assertEqual(self.cases.ended(float(second)), [])
        self.assertEqual(self.cases.over(FULL, 90_000.0), Untold(FULL, 864, 0.0, 90_000.0))
        self.assertIsNone(self.cases.over(FULL, 90_000.0))
        self.assertEqual(self.cases.ended(200_000.0), [])
        self.assertIsNotNone(self.cases.begun(FULL, 200_000.0))

    def test_what_lasts_and_was_not_told(self) -> None:
        """Because the hour had no room for it: its end is told like that of others."""
        for number in range(HOURLY):
            self.cases.saw(kind(number), 0.0)
        self.assertIsNone(self.cases.begun(FULL, 1.0))
        self.assertEqual(self.cases.ended(5000.0), [])
        self.assertIsNone(self.cases.over(FULL, 5000.0))
        self.assertEqual(self.cases.ended(5000.0 + WINDOW), [Untold(FULL, 1, 1.0, 5000.0)])
