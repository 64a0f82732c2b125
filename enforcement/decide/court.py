"""The court: admitted entries go in; who is cut off, and why, comes out.

One for each node. It reads reports, proofs and operators' acts out of the
feeds, keeps a case for each subject, and says what changed. It signs nothing
and sends nothing: own evidence becomes an entry by way of the engine, like
everybody else's.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import attrs

from enforcement.decide.case import (
    HALF_LIFE_MS,
    Case,
    Conviction,
    Level,
    Release,
    Rules,
    Standing,
    Voice,
)
from enforcement.decide.quarantine import Enforced, enforce
from gossip.errors import PeerError
from gossip.ledger.entries import (
    Entry,
    EntryKind,
    Proof,
    ProofKind,
    Report,
    Subject,
    SubjectKind,
    read_policy_untrusted,
    read_report_untrusted,
)
from gossip.ledger.equivocation import read_equivocation_untrusted
from gossip.ledger.feed import FeedId
from gossip.membership.acts import Act, read_act_untrusted
from gossip.membership.founders import ActKind
from gossip.membership.roster import Roster
from gossip.suite import Suite
from gossip.units import ID_BYTES, NodeId, UnixMs
from gossip.wire import Value, take_bytes, take_int, take_list, take_str

FOUNDER_WEIGHT_PPM: Final = 900_000
"""A founder's share of good over all, from a prior of 9 good and 1 bad."""
ISOLATION_SEVERITY: Final = 7
ISOLATION_MS: Final = 5 * 60_000
CASES_MAX: Final = 100_000
REASON_CHARS_MAX: Final = 500
RECENT_MAX: Final = 1_000


@attrs.frozen(kw_only=True)
class Offence:
    """What a proof proved, once verified.

    Attributes:
        convicts: The request's agent and its node.
        request_id: The same however often, and by whomever, it is reported.
        committed_at_ms: The request's stamp, signed by the offender.
    """

    convicts: tuple[Subject, ...]
    request_id: bytes = attrs.field(repr=bytes.hex)
    rule: str
    severity: int
    committed_at_ms: UnixMs


ReadProof: TypeAlias = Callable[[bytes], Offence | None]
"""Verify a denied request's proof. None: we lack its policy bundle, so it proves nothing
to us and counts as a witness's word. Raises ``PeerError`` if it is no proof."""


@attrs.frozen
class StandingChanged:
    """A subject's standing is another than it was."""

    subject: Subject
    before: Standing
    after: Standing


@attrs.frozen
class Deny:
    """From now on refuse calls from and to the subject."""

    subject: Subject
    standing: Standing


@attrs.frozen
class Allow:
    """Stop refusing the subject's calls."""

    subject: Subject


@attrs.frozen
class RefuseLink:
    """Close the link to the node, and let it make no new one."""

    node: NodeId = attrs.field(repr=bytes.hex)
    why: str


@attrs.frozen
class AcceptLink:
    """The node may link again."""

    node: NodeId = attrs.field(repr=bytes.hex)


@attrs.frozen
class HeldBack:
    """Alert: decided, but not enforced, because of the valve or observe mode."""

    subject: Subject


@attrs.frozen
class Disbelieved:
    """An entry that claims what does not hold: a forged proof, a false act."""

    entry: Entry
    why: str


@attrs.frozen
class LookAgain:
    """Call `Court.tick` at this time: a standing will change by itself."""

    at_ms: UnixMs


Ruling: TypeAlias = (
    StandingChanged
    | Deny
    | Allow
    | RefuseLink
    | AcceptLink
    | HeldBack
    | Disbelieved
    | LookAgain
)


@attrs.frozen(kw_only=True)
class Heard:
    """One report as `picket reports` shows it."""

    entry: Entry
    report: Report
    proven: bool


@attrs.define
class Court:
    """One node's judgement of everybody.

    Args:
        observe: Decide and show voice quarantines, but do not enforce them.
        read_proof: See `ReadProof`.
    """

    me: NodeId = attrs.field(repr=bytes.hex)
    roster: Roster
    suite: Suite
    read_proof: ReadProof
    observe: bool = False
    rules: Rules = attrs.field(init=False)
    _cases: dict[Subject, Case] = attrs.field(init=False, factory=dict)
    _standings: dict[Subject, Standing] = attrs.field(init=False, factory=dict)
    _out: dict[Subject, Standing] = attrs.field(init=False, factory=dict)
    """The quarantined among them, so that deciding costs no walk over all."""
    _acts: set[bytes] = attrs.field(init=False, factory=set)
    _voided: dict[FeedId, int] = attrs.field(init=False, factory=dict)
    _isolated: dict[NodeId, int] = attrs.field(init=False, factory=dict)
    _enforced: Enforced = attrs.field(init=False)
    _refused: frozenset[NodeId] = attrs.field(init=False, default=frozenset())
    _recent: dict[bytes, Heard] = attrs.field(init=False, factory=dict)
    policies: dict[NodeId, tuple[UnixMs, bytes]] = attrs.field(init=False, factory=dict)
    """The policy digest each member last said it enforces."""

    def __attrs_post_init__(self) -> None:
        self.rules = Rules(
            members=self.roster.size, colluders=self.roster.founders.colluders
        )
        self._enforced = enforce({}, self.rules, observe=self.observe)

    # --- what goes in ---------------------------------------------------------

    def hear(self, entry: Entry, now: UnixMs) -> list[Ruling]:
        """Act on one admitted entry. Entries of other kinds do nothing."""
        if entry.number >= self._voided.get(entry.feed, entry.number + 1):
            return []
        voided = len(self._voided)
        try:
            match entry.kind:
                case EntryKind.REPORT:
                    touched = self._hear_report(entry)
                case EntryKind.ACT:
                    touched = self._hear_act(entry)
                case EntryKind.POLICY:
                    self._hear_policy(entry)
                    touched = ()
                case _:
                    touched = ()
        except PeerError as wrong:
            return [Disbelieved(entry, str(wrong))]
        if len(self._voided) != voided:
            touched = tuple(dict.fromkeys((*touched, *self._cases)))
        return self._settle(touched, now)

    def saw(self, report: Report, now: UnixMs) -> list[Ruling]:
        """Own evidence, before it is even signed: isolate a hostile node at once.

        No vote and no cap; only our own link and our own gates.
        """
        if (
            report.subject.kind is SubjectKind.NODE
            and report.subject.id != self.me
            and report.severity >= ISOLATION_SEVERITY
        ):
            self._isolated[NodeId(report.subject.id)] = now + ISOLATION_MS
        return self._settle((), now)

    def tick(self, now: UnixMs) -> list[Ruling]:
        """Let time pass: terms end and voices fade."""
        return self._settle(tuple(self._standings), now)

    # --- what can be asked ----------------------------------------------------

    def denial(self, subject: Subject) -> Standing | None:
        """Why the subject's calls are refused now, or None. A dictionary look-up."""
        return self._enforced.denied.get(subject)

    def isolated(self, node: NodeId, now: UnixMs) -> bool:
        """Whether our own evidence cut this node off, whatever others say."""
        return self._isolated.get(node, 0) > now

    def standing(self, subject: Subject, now: UnixMs) -> Standing:
        """Where a subject stands."""
        case = self._cases.get(subject)
        return case.standing(now) if case else Standing(level=Level.CLEAR)

    def standings(self) -> dict[Subject, Standing]:
        """Everyone who is not clear, as of the last event."""
        return dict(self._standings)

    def held_back(self, subject: Subject) -> bool:
        """Whether a quarantine is decided but not enforced."""
        return subject in self._enforced.held_back

    def case(self, subject: Subject) -> Case | None:
        """Everything held about a subject, for `why`."""
        return self._cases.get(subject)

    def find(self, prefix: str) -> list[Subject]:
        """Subjects by name of a node, or by ``kind:hex`` or hex prefix."""
        node = self.roster.by_name(prefix)
        if node is not None:
            return [Subject(SubjectKind.NODE, node)]
        return sorted(
            s
            for s in self._cases
            if str(s).startswith(prefix) or s.id.hex().startswith(prefix)
        )

    def recent(self) -> tuple[Heard, ...]:
        """The last reports heard, oldest first."""
        return tuple(self._recent.values())

    # --- reading entries ------------------------------------------------------

    def _hear_report(self, entry: Entry) -> tuple[Subject, ...]:
        said = entry.said
        report = said if isinstance(said, Report) else read_report_untrusted(entry.body)
        if report.subject.id == entry.author:
            raise PeerError("a node reports itself")
        offence = self._offence(report)
        self._remember(Heard(entry=entry, report=report, proven=offence is not None))
        if offence is None:
            voice = Voice(
                order=entry.order,
                reporter=entry.author,
                category=report.category,
                severity=report.severity,
                weight_ppm=FOUNDER_WEIGHT_PPM,
            )
            self._case(report.subject).hear(voice)
            return (report.subject,)
        conviction = Conviction(
            order=entry.order,
            reporter=entry.author,
            offence=offence.request_id,
            rule=offence.rule,
            severity=offence.severity,
            committed_at_ms=offence.committed_at_ms,
        )
        for subject in offence.convicts:
            self._case(subject).hear(conviction)
        return offence.convicts

    def _offence(self, report: Report) -> Offence | None:
        """What the report proves, if it proves anything to us."""
        evidence = report.evidence
        if not isinstance(evidence, Proof):
            return None
        if evidence.kind is ProofKind.DENIED_REQUEST:
            return self.read_proof(evidence.data)
        proven = read_equivocation_untrusted(evidence.data, self.roster, self.suite)
        self._void(proven.feed, proven.number)
        return Offence(
            convicts=(Subject(SubjectKind.NODE, proven.feed[0]),),
            request_id=proven.offence,
            rule="equivocation",
            severity=report.severity,
            committed_at_ms=proven.issued_at_ms,
        )

    def _void(self, feed: FeedId, number: int) -> None:
        """Unhear what a forked feed said from the fork on, so that nodes that
        heard different sides of it agree again."""
        if number >= self._voided.get(feed, number + 1):
            return
        self._voided[feed] = number
        for case in self._cases.values():
            case.void(feed, number)

    def _hear_act(self, entry: Entry) -> tuple[Subject, ...]:
        act = read_act_untrusted(entry.body, self.roster.founders, self.suite)
        if act.id in self._acts:
            return ()
        if entry.issued_at_ms > act.expires_at_ms:
            raise PeerError("an operators' act published after its expiry")
        self._acts.add(act.id)
        if act.kind is not ActKind.RELEASE:
            return ()
        subject, reason = read_release_untrusted(act)
        # At the operators' own stamp, so that it matters not who carried it when.
        order = (act.issued_at_ms, act.id, b"", 0, 0)
        self._case(subject).hear(
            Release(order=order, act=act.id, signers=act.signers, reason=reason)
        )
        if subject.kind is SubjectKind.NODE:
            self._isolated.pop(NodeId(subject.id), None)
        return (subject,)

    def _hear_policy(self, entry: Entry) -> None:
        digest = read_policy_untrusted(entry.body)
        known = self.policies.get(entry.author)
        if known is None or known[0] <= entry.issued_at_ms:
            self.policies[entry.author] = (entry.issued_at_ms, digest)

    def _case(self, subject: Subject) -> Case:
        case = self._cases.get(subject)
        if case is None:
            if len(self._cases) >= CASES_MAX:
                self._drop_a_clear_case()
            case = self._cases[subject] = Case(subject, self.rules)
        return case

    def _drop_a_clear_case(self) -> None:
        for subject in self._cases:
            if subject not in self._standings:
                del self._cases[subject]
                return
        raise PeerError("more open cases than we can hold")

    def _remember(self, heard: Heard) -> None:
        self._recent[heard.entry.id] = heard
        if len(self._recent) > RECENT_MAX:
            del self._recent[next(iter(self._recent))]

    # --- what follows ---------------------------------------------------------

    def _settle(self, touched: tuple[Subject, ...], now: UnixMs) -> list[Ruling]:
        """Compare what is with what was, for the subjects touched."""
        rulings: list[Ruling] = []
        for subject in touched:
            before = self._standings.get(subject, Standing(level=Level.CLEAR))
            after = self.standing(subject, now)
            if after.level is Level.CLEAR:
                self._standings.pop(subject, None)
            else:
                self._standings[subject] = after
            if after.level is Level.QUARANTINED:
                self._out[subject] = after
            else:
                self._out.pop(subject, None)
            if (before.level, before.basis) != (after.level, after.basis):
                rulings.append(StandingChanged(subject, before, after))
        rulings += self._enforce(now)
        upcoming = self._next_change(now)
        if upcoming is not None:
            rulings.append(LookAgain(upcoming))
        return rulings

    def _enforce(self, now: UnixMs) -> list[Ruling]:
        was = self._enforced
        self._enforced = enforce(self._out, self.rules, observe=self.observe)
        self._isolated = {n: end for n, end in self._isolated.items() if end > now}
        denied = self._enforced.denied
        rulings: list[Ruling] = [
            *(Deny(s, denied[s]) for s in denied if s not in was.denied),
            *(Allow(s) for s in was.denied if s not in denied),
            *(HeldBack(s) for s in sorted(self._enforced.held_back - was.held_back)),
        ]
        refused = self._enforced.refused_links | self._isolated.keys()
        refused -= {self.me}
        rulings += [
            RefuseLink(node, f"{self.roster.name(node)} is cut off")
            for node in sorted(refused - self._refused)
        ]
        rulings += [AcceptLink(node) for node in sorted(self._refused - refused)]
        self._refused = refused
        return rulings

    def _next_change(self, now: UnixMs) -> UnixMs | None:
        ends = [s.until_ms for s in self._out.values() if s.until_ms is not None]
        ends += [UnixMs(end) for end in self._isolated.values()]
        if ends:
            return max(min(ends), UnixMs(now + 1))
        # Voices fade by themselves; no need to watch them by the second.
        return UnixMs(now + HALF_LIFE_MS // 15) if self._standings else None


def write_release(subject: Subject, reason: str) -> list[Value]:
    """The payload of a release act."""
    return [int(subject.kind), subject.id, reason[:REASON_CHARS_MAX]]


def read_release_untrusted(act: Act) -> tuple[Subject, str]:
    """Whom a release act lets go, and why.

    Raises:
        PeerError: malformed.
    """
    fields = take_list(act.payload, 3, 3)
    kind = SubjectKind(take_int(fields[0], 1, max(SubjectKind)))
    return (
        Subject(kind, take_bytes(fields[1], ID_BYTES, ID_BYTES)),
        take_str(fields[2], 0, REASON_CHARS_MAX),
    )
