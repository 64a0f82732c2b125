"""The docket: all cases, what each reporter said in them, and what it weighs.

A proof, a retraction or an act can change the weight of what was said long ago,
in other cases. The docket finds those, so that whoever heard the same set of
entries, in whatever order, has the same cases.
"""

from collections import Counter, deque
from collections.abc import Iterable
from itertools import islice
from typing import Final

import attrs

from enforcement.decide.acts import Mercy
from enforcement.decide.case import Case, Conviction, Level, Release, Shares, Voice
from enforcement.decide.thresholds import Census
from enforcement.decide.weights import Weights, borne_out, silences
from gossip.errors import PeerError
from gossip.ledger.entries import Place, Subject, SubjectKind
from gossip.units import UNIX_MS_MAX, NodeId

CASES_MAX: Final = 100_000
"""Cases held open by words, shared among the members; as many again by proofs."""
CASES_PER_REPORTER_MIN: Final = 32
"""In however large a cluster; and all that words open which weigh nothing."""
LOOKS_MAX: Final = 256
"""So many cases that must stay are passed over in search of one that may go."""

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
    mercy: Mercy = attrs.field(factory=Mercy)
    now_ms: int = attrs.field(init=False, default=0)
    """By our clock: who is out now makes room for nobody."""
    cases: dict[Subject, Case] = attrs.field(init=False, factory=dict)
    _accused_by: dict[NodeId, Subjects] = attrs.field(init=False, factory=dict)
    _open_by: dict[NodeId, Subjects] = attrs.field(init=False, factory=dict)
    """Of those, who is no node; the one it spoke of last is the last."""
    _said: dict[NodeId, deque[Subject]] = attrs.field(init=False, factory=dict)
    """About whom each reporter spoke, voice by voice, as far as they are held."""
    _latest_ms: dict[NodeId, int] = attrs.field(init=False, factory=dict)
    _proven: Subjects = attrs.field(init=False, factory=dict)

    def voice(self, subject: Subject, voice: Voice) -> Subjects:
        """Somebody said something about a subject."""
        reporter = voice.reporter
        touched = self._accuse(reporter, subject, bool(voice.weight_ppm))
        if voice.at_ms > self._latest_ms.get(reporter, -1):
            self._latest_ms[reporter] = voice.at_ms
        self._case(subject).hear(voice)
        self._make_room(reporter, subject)
        return touched | {subject: None} | self._bear_out(subject)

    def convict(self, subject: Subject, conviction: Conviction) -> Subjects:
        """A proof names a subject.

        Nothing follows when more agents are out by proof than we can hold: the same
        proof convicts their node.
        """
        if subject not in self._proven and not self._has_room_for_proof(subject):
            return {}
        self._case(subject).hear(conviction)
        self._proven[subject] = None
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
                touched |= self._accuse(NodeId(by[0]), subject)
            self._case(subject).withdraw(place, by)
            touched |= {subject: None} | self._bear_out(subject)
            touched |= self._silence(subject)
        return touched

    def excuse(self) -> Subjects:
        """Operators say that some deeds prove nothing: of a node, and of its agents."""
        touched: Subjects = {}
        for subject in [*self._proven]:
            case = self.cases.get(subject)
            if case is None or all(case.counts(each) for each in case.remarks()):
                continue
            case.excuse()
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

    def _accuse(
        self, reporter: NodeId, subject: Subject, weighs: bool = True
    ) -> Subjects:
        """Bound how many cases one member's words hold open; its own make room.

        Of nodes there are no more than members. Each speaks in the order of its feed,
        so what goes is the same wherever it is heard.
        """
        self._accused_by.setdefault(reporter, {})[subject] = None
        if subject.kind is SubjectKind.NODE:
            return {}
        opened, touched = self._open_by.setdefault(reporter, {}), Subjects()
        share = CASES_MAX // self.census.at(UNIX_MS_MAX).members if weighs else 0
        if subject in opened:
            del opened[subject]
        elif len(opened) >= max(CASES_PER_REPORTER_MIN, share):
            touched = self._give_up_one(reporter, opened, subject)
        opened[subject] = None
        return touched

    def _give_up_one(
        self, reporter: NodeId, opened: Subjects, instead: Subject
    ) -> Subjects:
        """Unhear what a reporter said of the one whom it accused first, and is not
        out. What others said of it remains."""
        accused = self._accused_by[reporter]
        for subject in [*islice(opened, LOOKS_MAX)]:
            del opened[subject]
            case = self.cases.get(subject)
            if case is not None and self._is_out(case):
                opened[subject] = None
                continue
            del accused[subject]
            if case is None:
                return {}
            case.forget(reporter, 0)
            touched = {subject: None} | self._bear_out(subject)
            if not case.remarks():
                del self.cases[subject]
                self._proven.pop(subject, None)
            return touched
        del accused[instead]
        raise PeerError("it accuses more subjects than it can have seen")

    def _has_room_for_proof(self, subject: Subject) -> bool:
        """Whether a first proof can be held; whom none holds out any more makes room."""
        if len(self._proven) < CASES_MAX or subject.kind is SubjectKind.NODE:
            return True
        for proven in [*islice(self._proven, LOOKS_MAX)]:
            del self._proven[proven]
            case = self.cases.get(proven)
            if proven.kind is SubjectKind.NODE or (case and self._is_out(case)):
                self._proven[proven] = None
                continue
            self._drop(proven)
            return True
        return False

    def _is_out(self, case: Case) -> bool:
        return case.standing(self.now_ms).level is Level.QUARANTINED

    def _drop(self, subject: Subject) -> None:
        self.cases.pop(subject, None)
        self._proven.pop(subject, None)
        for held in (*self._accused_by.values(), *self._open_by.values()):
            held.pop(subject, None)

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
            case = self.cases[subject] = Case(subject, self.census, self.mercy.excuses)
        return case
