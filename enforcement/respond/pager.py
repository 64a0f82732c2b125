"""Pages for people: one for each case, those of one attack together.

The first quarantine pages at once. What follows is gathered, and told after a
minute, then after a quarter of an hour, then each hour, for as long as anything
new happens; a quiet hour makes the next one the first again.
"""

from typing import Final

import attrs

from gossip.ledger.entries import Subject
from gossip.units import UnixMs

GATHER_MS: Final = (60_000, 15 * 60_000, 3_600_000)
QUIET_MS: Final = 3_600_000
NAMED_MAX: Final = 20


@attrs.frozen(kw_only=True)
class Page:
    """One message to whoever is on call.

    Attributes:
        subjects: Whom it is about, as they came; no more than `NAMED_MAX`.
        cases: How many cases it stands for.
        held_back: How many of them are decided but not enforced.
    """

    at_ms: UnixMs
    subjects: tuple[Subject, ...]
    cases: int
    held_back: int


@attrs.define
class Pager:
    """Groups what happens into pages."""

    _told: dict[Subject, UnixMs | None] = attrs.field(init=False, factory=dict)
    """Who is out, and since when: a case pages once for each quarantine."""
    _gathered: dict[Subject, bool] = attrs.field(init=False, factory=dict)
    _stage: int = attrs.field(init=False, default=0)
    _due_ms: int | None = attrs.field(init=False, default=None)
    _last_ms: int = attrs.field(init=False, default=-QUIET_MS)

    def quarantined(
        self, subject: Subject, since_ms: UnixMs | None, now: UnixMs, *, held_back: bool
    ) -> Page | None:
        """A subject was quarantined; the page to send at once, if any."""
        if subject in self._told and self._told[subject] == since_ms:
            return None
        self._told[subject] = since_ms
        self._gathered[subject] = held_back
        if self._due_ms is not None:
            return None
        if now - self._last_ms >= QUIET_MS:
            self._stage = 0
        page = self._page(now) if self._stage == 0 else None
        self._wait(now)
        return page

    def known(self, subject: Subject, since_ms: UnixMs | None) -> None:
        """A quarantine from before a restart: somebody was paged for it then."""
        self._told[subject] = since_ms

    def ended(self, subject: Subject) -> None:
        """A quarantine is over: the next one is a new case."""
        self._told.pop(subject, None)

    @property
    def due_ms(self) -> UnixMs | None:
        """When to call `tick`."""
        return None if self._due_ms is None else UnixMs(self._due_ms)

    def tick(self, now: UnixMs) -> Page | None:
        """The page with what was gathered, if it is time and there is anything."""
        if self._due_ms is None or now < self._due_ms:
            return None
        self._due_ms = None
        if not self._gathered:
            return None
        page = self._page(now)
        self._wait(now)
        return page

    def _wait(self, now: UnixMs) -> None:
        self._due_ms = now + GATHER_MS[min(self._stage, len(GATHER_MS) - 1)]
        self._stage += 1

    def _page(self, now: UnixMs) -> Page:
        gathered, self._gathered = self._gathered, {}
        self._last_ms = now
        return Page(
            at_ms=now,
            subjects=tuple(gathered)[:NAMED_MAX],
            cases=len(gathered),
            held_back=sum(gathered.values()),
        )
