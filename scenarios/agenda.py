"""The agenda: what happens when, in virtual time; the only clock of a simulation.

Equal moments keep the order in which they were put down, so a run has one
order of events and no other.
"""

import heapq
from collections.abc import Callable

import attrs

SECOND_US = 1_000_000


@attrs.define
class Agenda:
    """Microseconds since the beginning, and what is still to come."""

    now_us: int = attrs.field(init=False, default=0)
    done: int = attrs.field(init=False, default=0)
    """How many items were performed."""
    _heap: list[tuple[int, int, Callable[[], None]]] = attrs.field(
        init=False, factory=list
    )
    _count: int = attrs.field(init=False, default=0)

    def at(self, at_us: int, do: Callable[[], None]) -> None:
        """Put down what to do at a time; what is late is done at once."""
        self._count += 1
        heapq.heappush(self._heap, (max(at_us, self.now_us), self._count, do))

    def after(self, delay_us: int, do: Callable[[], None]) -> None:
        """Put down what to do ``delay_us`` from now."""
        self.at(self.now_us + delay_us, do)

    def run(self, until_us: int, items_max: int) -> bool:
        """Do what is due up to and including a time; then it is that time.

        Returns:
            False if ``items_max`` items did not suffice.
        """
        heap, last = self._heap, self.done + items_max
        while heap and heap[0][0] <= until_us:
            if self.done >= last:
                return False
            self.done += 1
            self.now_us, _, do = heapq.heappop(heap)
            do()
        self.now_us = max(self.now_us, until_us)
        return True
