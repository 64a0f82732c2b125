"""What a reporter's word weighs: w = min(1, age / 7 days) · good / (good + bad).

*Good* counts what was borne out, *bad* what was refuted (each five times), from
a prior of 9 and 1; what was learnt fades by 2 % a day. A weight is that of the
last midnight, UTC, so that nobody's words of today change what today's words weigh. Only proofs and
operators move it: a voice never does, or liars could silence honest witnesses.

All of it is a function of the set of marks, whatever their order of arrival.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import attrs

from enforcement.decide.case import Conviction, Release, Remark
from enforcement.decide.pardons import Pardons
from enforcement.decide.terms import DAY_MS, UNENDING_MS, Backoff
from enforcement.decide.thresholds import MICRO
from gossip.ledger.entries import Place, Subject
from gossip.units import NodeId, UnixMs

PRIOR_GOOD: Final = 9
PRIOR_BAD: Final = 1
REFUTED: Final = 5
RAMP_MS: Final = 7 * DAY_MS
PROBATION_MS: Final = DAY_MS
DAYS_MAX: Final = 365
"""What was learnt longer ago is forgotten: less than a thousandth is left of it."""


def _fading() -> tuple[int, ...]:
    """What is left of 1 after each day, in millionths."""
    left = [MICRO]
    for _ in range(DAYS_MAX):
        left.append(left[-1] * 98 // 100)
    return tuple(left)


_FADING: Final = _fading()
Span = tuple[int, int]


@attrs.define
class Weights:
    """Every reporter's weight.

    Args:
        joined: Since when a member that is no founder is one; None of founders.
    """

    joined: Callable[[NodeId], UnixMs | None] = lambda _founder: None
    _good: dict[NodeId, dict[int, set[Subject]]] = attrs.field(init=False, factory=dict)
    _bad: dict[NodeId, dict[int, set[Place]]] = attrs.field(init=False, factory=dict)
    _of_subject: dict[Subject, frozenset[tuple[NodeId, int]]] = attrs.field(
        init=False, factory=dict
    )
    _silent: dict[NodeId, tuple[Span, ...]] = attrs.field(init=False, factory=dict)
    _known: dict[tuple[NodeId, int], int] = attrs.field(init=False, factory=dict)
    """Good over all, at each midnight that was asked for."""

    def weight_ppm(self, reporter: NodeId, at_ms: int) -> int:
        """What the reporter's word of ``at_ms`` weighs, in millionths."""
        for begin, end in self._silent.get(reporter, ()):
            if begin <= at_ms < end:
                return 0
        day = at_ms // DAY_MS
        share = self._known.get((reporter, day))
        if share is None:
            share = self._known[reporter, day] = self._share(reporter, day)
            if len(self._known) > 65_536:
                self._known.clear()
        joined = self.joined(reporter)
        if joined is None:
            return share
        if at_ms < joined + PROBATION_MS:
            return 0
        age_ms = max(0, day * DAY_MS - joined)
        return share * min(age_ms, RAMP_MS) // RAMP_MS

    # Each says from when on whose weights may have changed.

    def bear_out(
        self, subject: Subject, marks: frozenset[tuple[NodeId, int]]
    ) -> dict[NodeId, int]:
        """Who, on which days, accused ``subject`` before it was proven. Replaces
        what was said about this subject before."""
        before = self._of_subject.get(subject, frozenset())
        if marks == before:
            return {}
        self._of_subject[subject] = marks
        changed: dict[NodeId, int] = {}
        for reporter, day in before ^ marks:
            days = self._good.setdefault(reporter, {}).setdefault(day, set())
            days ^= {subject}
            self._change(changed, reporter, day)
        return changed

    def refute(self, place: Place, at_ms: int) -> dict[NodeId, int]:
        """Operators say that what stands at ``place`` is false."""
        reporter, day = NodeId(place[0]), at_ms // DAY_MS
        refuted = self._bad.setdefault(reporter, {})
        earlier = next((d for d, places in refuted.items() if place in places), None)
        changed: dict[NodeId, int] = {}
        if earlier is not None:
            if earlier <= day:
                return changed
            refuted[earlier].discard(place)
        refuted.setdefault(day, set()).add(place)
        self._change(changed, reporter, day)
        return changed

    def silence(self, reporter: NodeId, spans: tuple[Span, ...]) -> dict[NodeId, int]:
        """When the reporter's word weighs nothing; replaces what was said before."""
        before = self._silent.get(reporter, ())
        if spans == before:
            return {}
        self._silent[reporter] = spans
        return {reporter: min(begin for begin, _ in (*before, *spans))}

    def _change(self, changed: dict[NodeId, int], reporter: NodeId, day: int) -> None:
        for key in [k for k in self._known if k[0] == reporter and k[1] > day]:
            del self._known[key]
        begin = (day + 1) * DAY_MS
        changed[reporter] = min(begin, changed.get(reporter, begin))

    def _share(self, reporter: NodeId, day: int) -> int:
        good = PRIOR_GOOD * MICRO + _left(self._good.get(reporter, {}), day)
        bad = PRIOR_BAD * MICRO + REFUTED * _left(self._bad.get(reporter, {}), day)
        return good * MICRO // (good + bad)


def _left(
    marks: Mapping[int, set[Subject]] | Mapping[int, set[Place]], day: int
) -> int:
    """What is left at midnight before ``day`` of the marks made until then."""
    return sum(
        len(made) * _FADING[day - 1 - at]
        for at, made in marks.items()
        if 0 <= day - 1 - at <= DAYS_MAX
    )


def borne_out(
    voices: Iterable[tuple[NodeId, int]], proven_ms: Iterable[int]
) -> frozenset[tuple[NodeId, int]]:
    """Who said it within a day before it was proven, once for each day of proof.

    Whoever says it afterwards only repeats what everybody knows.
    """
    proofs = sorted(proven_ms)
    return frozenset(
        (reporter, at // DAY_MS)
        for reporter, said in voices
        for at in proofs
        if at - DAY_MS <= said < at
    )


def silences(
    subject: Subject,
    remarks: Iterable[Remark],
    counts: Callable[[Remark], bool],
) -> tuple[Span, ...]:
    """When a node's word weighs nothing: from a proof until a day after the term.

    Reckoned from proofs and operators' releases alone, so that what voices do to
    a node never decides what its own voice is worth.
    """
    spans: list[Span] = []
    terms, pardons = Backoff(subject), Pardons()
    for remark in remarks:
        at = remark.order[0]
        if isinstance(remark, Release):
            terms.cut(at)
            if pardons.grant(remark) is not None:
                terms.extend(UNENDING_MS)  # it is out for another story still
                continue
            if spans and at < spans[-1][1]:
                spans[-1] = (spans[-1][0], max(spans[-1][0], at))
        elif isinstance(remark, Conviction) and counts(remark):
            if pardons.covers(remark):
                continue
            terms.add(at)
            if not remark.dated:
                terms.extend(UNENDING_MS)
            begin = at
            if spans and at <= spans[-1][1]:
                begin = spans.pop()[0]
            spans.append((begin, terms.until_ms + PROBATION_MS))
    return tuple(span for span in spans if span[0] < span[1])
