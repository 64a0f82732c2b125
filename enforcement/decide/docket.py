"""The docket: all cases, what each reporter said in them, and what it weighs.

A proof, a retraction or an act can change the weight of what was said long ago,
in other cases. The docket finds those, so that whoever heard the same set of
entries, in whatever order, has the same cases.
"""

from collections import Counter, deque
from collections.abc import Iterable
from typing import Final

import attrs

from enforcement.decide.case import Case, Conviction, Release, Shares, Voice
from enforcement.decide.rules import Census
from enforcement.decide.weights import Weights, borne_out, silences
from gossip.errors import PeerError
from gossip.ledger.entries import Place, Subject, SubjectKind
from gossip.units import NodeId

CASES_MAX: Final = 100_000
CASES_PER_REPORTER_MAX: Final = 20_000
"""What one reporter alone can make us open; proofs always find room."""

VOICES_MAX: Final = 131_072
"""Voices held in all cases together, some 60 MB, shared among the reporters. Who says
more is remembered for its last words, and for the last about each subject."""
VOICES_PER_REPORTER_MIN: Final = 1_024

Subjects = dict[Subject, None]
"""A set of subjects in the order in which they were touched."""


@attrs.define
class Docket:
    """Every case this node holds. Each verb returns whose standing may be another."""

    census: Census
    weights: Weights = attrs.field(factory=Weights)
    cases: dict[Subject, Case] = attrs.field(init=False, factory=dict)
    _accused_by: dict[NodeId, Subjects] = attrs.field(init=False, factory=dict)
    _said: dict[NodeId, deque[Subject]] = attrs.field(init=False, factory=dict)
    """About whom each reporter spoke, voice by voice, as far as they are held."""
    _latest_ms: dict[NodeId, int] = attrs.field(init=False, factory=dict)
    _proven: set[Subject] = attrs.field(init=False, factory=set)

    def voice(self, subject: Subject, voice: Voice) -> Subjects:
        """Somebody said something about a subject."""
        reporter = voice.reporter
        self._count(reporter, subject)
        if voice.at_ms > self._latest_ms.get(reporter, -1):
            self._latest_ms[reporter] = voice.at_ms
        self._case(subject).hear(voice)
        self._make_room(reporter, subject)
        touched = {subject: None}
        if subject in self._proven:
            touched |= self._bear_out(subject)
        return touched

    def convict(self, subject: Subject, conviction: Conviction) -> Subjects:
        """A proof names a subject."""
        self._case(subject).hear(conviction)
        self._proven.add(subject)
        return {subject: None} | self._bear_out(subject) | self._silence(subject)

    def release(self, subject: Subject, release: Release) -> Subjects:
        """Operators let a subject go."""
        self._case(subject).hear(release)
        return {subject: None} | self._silence(subject)

    def withdraw(
        self, subjects: Iterable[Subject], place: Place, by: Place | None
    ) -> Subjects:
        """What stands at ``place`` counts no more; see `Case.withdraw`."""
        touched: Subjects = {}
        for subject in subjects:
            if by is not None:
                self._count(NodeId(by[0]), subject)
            self._case(subject).withdraw(place, by)
            touched |= {subject: None} | self._bear_out(subject)
            touched |= self._silence(subject)
        return touched

    def refute(self, place: Place, at_ms: int) -> Subjects:
        """Operators say that a report is false: its reporter weighs less."""
        return self._reweigh(self.weights.refute(place, at_ms))

    def rejoin(self, reporter: NodeId, shares: Shares) -> Subjects:
        """A newcomer is a member since another time, or has its own voice since."""
        touched: Subjects = {}
        for subject in self._accused_by.get(reporter, ()):
            case = self.cases.get(subject)
            if case is None:
                continue
            weighed = case.reweigh(reporter, 0, self.weights.weight_ppm)
            if case.regroup(reporter, shares) or weighed:
                touched[subject] = None
        return touched

    def recount(self, census: Census) -> Subjects:
        """The cluster has, or had, another size."""
        self.census = census
        for case in self.cases.values():
            case.recount(census)
        return dict.fromkeys(self.cases)

    def void(self, feed: tuple[bytes, bytes], number: int) -> Subjects:
        """Unhear what a forked feed said from ``number`` on."""
        touched: Subjects = dict.fromkeys(self.cases)
        for case in self.cases.values():
            case.void(feed, number)
        for subject in [*self._proven]:
            touched |= self._bear_out(subject) | self._silence(subject)
        return touched

    # --- what follows in other cases ------------------------------------------

    def _bear_out(self, subject: Subject) -> Subjects:
        if subject not in self._proven:
            return {}
        case = self.cases[subject]
        counted = [remark for remark in case.remarks() if case.counts(remark)]
        marks = borne_out(
            [(v.reporter, v.at_ms) for v in counted if isinstance(v, Voice)],
            {p.order[0] for p in counted if isinstance(p, Conviction)},
        )
        return self._reweigh(self.weights.bear_out(subject, marks))

    def _silence(self, subject: Subject) -> Subjects:
        if subject.kind is not SubjectKind.NODE:
            return {}
        case = self.cases[subject]
        spans = silences(subject, case.remarks(), case.counts)
        return self._reweigh(self.weights.silence(NodeId(subject.id), spans))

    def _reweigh(self, changed: dict[NodeId, int]) -> Subjects:
        touched: Subjects = {}
        for reporter, from_ms in changed.items():
            if self._latest_ms.get(reporter, -1) < from_ms:
                continue
            for subject in self._accused_by.get(reporter, ()):
                case = self.cases.get(subject)
                if case is not None and case.reweigh(
                    reporter, from_ms, self.weights.weight_ppm
                ):
                    touched[subject] = None
        return touched

    def _count(self, reporter: NodeId, subject: Subject) -> None:
        """Bound how many cases one member can make us open."""
        accused = self._accused_by.setdefault(reporter, {})
        if subject not in accused:
            if len(accused) >= CASES_PER_REPORTER_MAX:
                raise PeerError("it accuses more subjects than it can have seen")
            accused[subject] = None

    def _make_room(self, reporter: NodeId, subject: Subject) -> None:
        """Bound how many voices of a reporter are held; a quarter goes at once, since
        each case that loses some folds again."""
        said = self._said.setdefault(reporter, deque())
        said.append(subject)
        most = max(VOICES_PER_REPORTER_MIN, VOICES_MAX // len(self._said))
        if len(said) <= most:
            return
        gone = {said.popleft(): None for _ in range(len(said) - 3 * most // 4)}
        left = Counter(said)
        for accused in gone:
            case = self.cases.get(accused)
            if case is not None:
                case.forget(reporter, max(1, left[accused]))

    def _case(self, subject: Subject) -> Case:
        case = self.cases.get(subject)
        if case is None:
            if len(self.cases) >= CASES_MAX:
                self._forget_one()
            case = self.cases[subject] = Case(subject, self.census)
        return case

    def _forget_one(self) -> None:
        """Make room: the oldest case in which nothing was ever proven, else the
        oldest. Never a node's: there are no more of those than members, and whoever
        fills the docket is one."""
        others = [s for s in self.cases if s.kind is not SubjectKind.NODE]
        idle = (s for s in others if s not in self._proven)
        subject = next(idle, None) or next(iter(others), None)
        if subject is None:
            raise PeerError("more open cases than we can hold")
        del self.cases[subject]
        self._proven.discard(subject)
        for accused in self._accused_by.values():
            accused.pop(subject, None)
