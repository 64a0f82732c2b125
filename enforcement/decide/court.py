"""The court: admitted entries go in; who is cut off, and why, comes out.

One for each node. It reads reports, proofs and operators' acts out of the
feeds, keeps a case for each subject, and says what changed. It signs nothing
and sends nothing: own evidence becomes an entry by way of the engine, like
everybody else's.
"""

import heapq
from collections.abc import Mapping
from typing import Final

import attrs

from enforcement.decide.acts import Mercy
from enforcement.decide.acts import write_release as write_release
from enforcement.decide.appeals import Appeals, Plea
from enforcement.decide.case import Case, Level, Standing
from enforcement.decide.docket import Docket, Subjects
from enforcement.decide.hearing import Heard as Heard
from enforcement.decide.hearing import Hearing
from enforcement.decide.hearing import Offence as Offence
from enforcement.decide.hearing import ReadProof as ReadProof
from enforcement.decide.quarantine import Change, Enforcement, Withheld
from enforcement.decide.retelling import Retelling
from enforcement.decide.rulings import AcceptLink as AcceptLink
from enforcement.decide.rulings import Allow as Allow
from enforcement.decide.rulings import Answered as Answered
from enforcement.decide.rulings import Appealed as Appealed
from enforcement.decide.rulings import Deny as Deny
from enforcement.decide.rulings import Disbelieved as Disbelieved
from enforcement.decide.rulings import Found as Found
from enforcement.decide.rulings import HeldBack as HeldBack
from enforcement.decide.rulings import LookAgain as LookAgain
from enforcement.decide.rulings import RefuseLink as RefuseLink
from enforcement.decide.rulings import Retell as Retell
from enforcement.decide.rulings import Ruling as Ruling
from enforcement.decide.rulings import Spared as Spared
from enforcement.decide.rulings import StandingChanged as StandingChanged
from enforcement.decide.thresholds import Census, Thresholds
from enforcement.decide.weights import Weights
from gossip.errors import PeerError
from gossip.ledger.entries import Entry, Report, Subject, SubjectKind
from gossip.membership.roster import Roster
from gossip.suite import Suite
from gossip.units import NodeId, UnixMs

ISOLATION_SEVERITY: Final = 7
ISOLATION_MS: Final = 5 * 60_000
FADING_MS: Final = 60_000
"""How often a standing that only fades is looked at."""
LOOKS_PER_TICK_MAX: Final = 512


@attrs.define
class Court:
    """One node's judgement of everybody.

    Args:
        observe: Decide and show voice quarantines, but do not enforce them.
        isolates: Whether own evidence cuts off at once, or is only observed.
        read_proof: See `ReadProof`.
    """

    me: NodeId = attrs.field(repr=bytes.hex)
    roster: Roster
    suite: Suite
    read_proof: ReadProof
    observe: bool = False
    isolates: bool = True
    thresholds: Thresholds = attrs.field(init=False)
    mercy: Mercy = attrs.field(init=False, factory=Mercy)
    _docket: Docket = attrs.field(init=False)
    _hearing: Hearing = attrs.field(init=False)
    _enforcement: Enforcement = attrs.field(init=False)
    _standings: dict[Subject, Standing] = attrs.field(init=False, factory=dict)
    _denying: set[Subject] = attrs.field(init=False, factory=set)
    _isolated: dict[NodeId, int] = attrs.field(init=False, factory=dict)
    _refused: frozenset[NodeId] = attrs.field(init=False, default=frozenset())
    _due: dict[Subject, int] = attrs.field(init=False, factory=dict)
    _agenda: list[tuple[int, Subject]] = attrs.field(init=False, factory=list)
    """When to look at whom again; what `_due` does not confirm is outdated."""
    _told_ms: int | None = attrs.field(init=False, default=None)
    _mercy_ms: int | None = attrs.field(init=False, default=None)
    """When something that operators hold back, or allow, begins or ends."""

    def __attrs_post_init__(self) -> None:
        self.thresholds, census = self._count()
        self._docket = Docket(census, Weights(self.roster.joined_ms), self.mercy)
        self._hearing = Hearing(
            self.roster,
            self.suite,
            self.read_proof,
            self._docket,
            self.mercy,
            Appeals(self.roster, self.suite),
            Retelling(self.me, self.roster),
        )
        self._enforcement = Enforcement(self.thresholds, self.mercy, self.observe)

    # --- what goes in ---------------------------------------------------------

    def hear(self, entry: Entry, now: UnixMs) -> list[Ruling]:
        """Act on one admitted entry. Entries of other kinds do nothing."""
        self._docket.now_ms = self._hearing.appeals.now_ms = now
        try:
            touched = self._hearing.hear(entry)
        except PeerError as wrong:
            return [Disbelieved(entry, str(wrong))]
        if touched.recount:
            self.thresholds, census = self._count()
            if census != self._docket.census:  # else nobody's case is another
                self._enforcement.thresholds = self.thresholds
                touched.subjects.update(self._docket.recount(census))
        rulings = [r for r in touched.rulings if not self._is_known(r)]
        return rulings + self._settle(touched.subjects, now, touched.everybody)

    def saw(
        self, report: Report, now: UnixMs, since: UnixMs | None = None
    ) -> list[Ruling]:
        """Own evidence, before it is even signed: isolate a hostile node at once.

        No vote and no cap; only our own link and our own gates. ``since`` is when it
        was seen, if before ``now``.
        """
        subject = report.subject
        if (
            subject.kind is not SubjectKind.NODE
            or subject.id == self.me
            or report.severity < ISOLATION_SEVERITY
        ):
            return []
        if not self.isolates:
            return [Spared(NodeId(subject.id), report.category)]
        end = (now if since is None else since) + ISOLATION_MS
        node = NodeId(subject.id)
        self._isolated[node] = max(end, self._isolated.get(node, 0))
        return self._settle({}, now)

    def tick(self, now: UnixMs) -> list[Ruling]:
        """Let time pass: terms end and voices fade."""
        due: Subjects = {}
        while self._agenda and self._agenda[0][0] <= now:
            if len(due) >= LOOKS_PER_TICK_MAX:
                break
            at, subject = heapq.heappop(self._agenda)
            if self._due.get(subject) == at:
                due[subject] = None
        self._told_ms = None
        changed = self._enforcement.observe is not self.observe
        self._enforcement.observe = self.observe
        ended = self._mercy_ms is not None and now >= self._mercy_ms
        again = [Retell(place) for place in self._hearing.retelling.take(now)]
        return again + self._settle(due, now, everybody=changed or ended)

    # --- what can be asked ----------------------------------------------------

    def denial(self, subject: Subject) -> Standing | None:
        """Why the subject's calls are refused now, or None. Two look-ups."""
        return self._enforcement.denial(subject)

    def denies_anyone(self) -> bool:
        """Whether anybody's calls are refused now, for whatever cause: mostly not."""
        return bool(self._isolated) or self._enforcement.denies_anyone

    def denies_artefacts(self) -> bool:
        """Whether anything is cut off by its content now."""
        return self._enforcement.denies_artefacts

    def denied_nodes(self) -> Mapping[Subject, Standing]:
        """The nodes whose calls are refused now."""
        return self._enforcement.denied_nodes

    def isolated(self, node: NodeId, now: UnixMs) -> bool:
        """Whether our own evidence cut this node off, whatever other nodes say."""
        return self.isolated_until(node, now) is not None

    def isolated_until(self, node: NodeId, now: UnixMs) -> UnixMs | None:
        """Until when our own evidence cuts this node off, if it does."""
        until = self._isolated.get(node, 0) if self.isolates else 0
        subject = Subject(SubjectKind.NODE, node)
        if until <= now or self.mercy.allowed_until(subject, now) is not None:
            return None
        return UnixMs(until)

    def standing(self, subject: Subject, now: UnixMs) -> Standing:
        """Where a subject stands."""
        case = self._docket.cases.get(subject)
        return case.standing(now) if case else Standing(level=Level.CLEAR)

    def standings(self) -> dict[Subject, Standing]:
        """Everyone who is not clear, as of the last event."""
        return dict(self._standings)

    def held_back(self, subject: Subject) -> Withheld | None:
        """Why a quarantine is decided but not enforced, if that is so."""
        return self._enforcement.withheld(subject)

    def held_back_until(self, subject: Subject) -> UnixMs | None:
        """When the valve lets through whom it holds back; None if no place is free."""
        if self.held_back(subject) is not Withheld.VALVE:
            return None
        at = self._enforcement.placed_ms(subject)
        return None if at is None else UnixMs(at)

    def case(self, subject: Subject) -> Case | None:
        """Everything held about a subject, for `why`."""
        return self._docket.cases.get(subject)

    def weight_ppm(self, reporter: NodeId, now: UnixMs) -> int:
        """What the reporter's word weighs today, in millionths."""
        return self._docket.weights.weight_ppm(reporter, now)

    def find(self, prefix: str) -> list[Subject]:
        """Subjects by name of a node, or by ``kind:hex`` or hex prefix."""
        node = self.roster.by_name(prefix)
        if node is not None:
            return [Subject(SubjectKind.NODE, node)]
        return sorted(
            s
            for s in self._docket.cases
            if str(s).startswith(prefix) or s.id.hex().startswith(prefix)
        )

    def recent(self) -> tuple[Heard, ...]:
        """The last reports heard, oldest first."""
        return tuple(self._hearing.recent.values())

    def pleas(self) -> tuple[Plea, ...]:
        """The appeals of the last day, oldest first."""
        return tuple(self._hearing.appeals.pleas.values())

    @property
    def policies(self) -> Mapping[NodeId, tuple[UnixMs, bytes]]:
        """The policy digest each member last said it enforces."""
        return self._hearing.policies

    # --- what follows ---------------------------------------------------------

    def _count(self) -> tuple[Thresholds, Census]:
        roster, told = self.roster, self.roster.founders.colluders
        thresholds = Thresholds(members=roster.size, colluders=told)
        return thresholds, Census.grown(thresholds, roster.confirmed(), told)

    def _settle(
        self, touched: Subjects, now: UnixMs, everybody: bool = False
    ) -> list[Ruling]:
        """Compare what is with what was, for the subjects touched."""
        rulings: list[Ruling] = []
        changes: list[Change] = []
        for subject in touched:
            before = self._standings.get(subject, _CLEAR)
            after = self.standing(subject, now)
            self._keep(subject, after, now)
            if (before.level, before.basis) != (after.level, after.basis):
                rulings.append(StandingChanged(subject, before, after))
            changes += self._enforcement.place(subject, after, now)
            if after.level is not Level.QUARANTINED and not after.sum_micro:
                self._forgive_isolation(subject)
        if everybody:
            changes += self._enforcement.review(now)
        else:
            changes += self._enforcement.let_through(now)
        rulings += self._say(changes)
        if changes or self._isolated or self._refused:
            rulings += self._links(now)
        return rulings + self._look_again(now)

    def _keep(self, subject: Subject, standing: Standing, now: UnixMs) -> None:
        if standing.level is Level.CLEAR:
            self._standings.pop(subject, None)
            self._due.pop(subject, None)
            return
        self._standings[subject] = standing
        due = standing.until_ms or now - now % FADING_MS + FADING_MS
        if self._due.get(subject) != due:
            self._due[subject] = due
            heapq.heappush(self._agenda, (due, subject))

    def _forgive_isolation(self, subject: Subject) -> None:
        """Operators' release leaves nothing of what was said, here neither."""
        if subject.kind is SubjectKind.NODE:
            self._isolated.pop(NodeId(subject.id), None)

    def _say(self, changes: list[Change]) -> list[Ruling]:
        rulings: list[Ruling] = []
        for subject, what in changes:
            if isinstance(what, Standing):
                self._denying.add(subject)
                rulings.append(Deny(subject, what))
                continue
            if subject in self._denying:
                self._denying.discard(subject)
                rulings.append(Allow(subject))
            if what is not None:
                rulings.append(HeldBack(subject, what))
        return rulings

    def _links(self, now: UnixMs) -> list[Ruling]:
        self._isolated = {n: end for n, end in self._isolated.items() if end > now}
        isolated = {node for node in self._isolated if self.isolated(node, now)}
        refused = (self._enforcement.refused_links | isolated) - {self.me}
        if refused == self._refused:
            return []
        was, self._refused = self._refused, refused
        return [
            *(
                RefuseLink(node, f"{self.roster.name(node)} is cut off")
                for node in sorted(refused - was)
            ),
            *(AcceptLink(node) for node in sorted(was - refused)),
        ]

    def _look_again(self, now: UnixMs) -> list[Ruling]:
        while self._agenda and self._due.get(self._agenda[0][1]) != self._agenda[0][0]:
            heapq.heappop(self._agenda)
        self._mercy_ms = self.mercy.next_change(now)
        times = [
            self._agenda[0][0] if self._agenda else None,
            self._enforcement.next_ms,
            self._mercy_ms,
            self._hearing.retelling.next_ms,
            min(self._isolated.values(), default=None),
        ]
        upcoming = min((at for at in times if at is not None), default=None)
        if upcoming is None or upcoming == self._told_ms:
            return []
        self._told_ms = upcoming
        return [LookAgain(UnixMs(max(upcoming, now + 1)))]

    def _is_known(self, ruling: Ruling) -> bool:
        """Whether what would be reported is proven already."""
        if not isinstance(ruling, Found):
            return False
        case = self.case(ruling.report.subject)
        return case is not None and case.knows(ruling.offence)


_CLEAR: Final = Standing(level=Level.CLEAR)
