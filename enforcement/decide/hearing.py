"""Reading what is said in court: which entry touches which cases, and how.

Believes nothing that it did not verify: proofs are judged again, acts need their
quorum, appeals their signature. What does not hold is a `PeerError`, and then
nothing is kept of it but that somebody said so.
"""

import contextlib
from collections.abc import Callable
from typing import Final, TypeAlias

import attrs

from enforcement.decide.acts import (
    Mercy,
    read_allow_untrusted,
    read_confirmation_untrusted,
    read_false_positive_untrusted,
    read_release_untrusted,
    read_stand_down_untrusted,
)
from enforcement.decide.appeals import Appeals
from enforcement.decide.case import Conviction, Release, Voice
from enforcement.decide.deeds import PROOF_LIFE_MS, Deed, deed
from enforcement.decide.docket import Docket, Subjects
from enforcement.decide.early import Early
from enforcement.decide.retelling import Retelling
from enforcement.decide.rulings import Found, Ruling
from gossip.errors import PeerError
from gossip.ledger.appeals import read_retraction_untrusted
from gossip.ledger.entries import (
    Entry,
    EntryKind,
    Place,
    Proof,
    ProofKind,
    Report,
    Subject,
    SubjectKind,
    read_policy_untrusted,
    read_report_untrusted,
)
from gossip.ledger.equivocation import read_equivocation_untrusted
from gossip.ledger.manifests import (
    offence_of,
    read_manifest_untrusted,
    read_two_faces_untrusted,
    verify_manifest_untrusted,
    write_two_faces,
)
from gossip.limits import FUTURE_MS_MAX
from gossip.membership.acts import Act, read_act_untrusted
from gossip.membership.admittance import read_card_untrusted
from gossip.membership.founders import ActKind
from gossip.membership.roster import Roster
from gossip.suite import Suite
from gossip.units import UNIX_MS_MAX, Incarnation, KeyId, NodeId, UnixMs

RECENT_MAX: Final = 1_000
MANIFESTS_MAX: Final = 10_000
SHOWN_MAX: Final = 65_536
TWO_FACED: Final = "two-faced-manifest"


_BY_THEMSELVES: Final = (EntryKind.REPORT, EntryKind.ACT, EntryKind.APPEAL)
"""What may hold, whoever carries it, behind a fork too: of reports only proofs."""


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
    dated: bool = True
    """Whether an honest node checked that stamp when it was made."""
    key_ends_ms: int = UNIX_MS_MAX
    """Of two stories: until when the keys that signed them were alive."""


ReadProof: TypeAlias = Callable[[bytes], Offence | None]
"""Verify a denied request's proof. None: we lack its policy bundle, so it proves nothing
to us and counts as a witness's word. Raises ``PeerError`` if it is no proof."""


@attrs.frozen(kw_only=True)
class Heard:
    """One report as `picket reports` shows it."""

    entry: Entry
    report: Report
    proven: bool


@attrs.frozen
class Touched:
    """What an entry did.

    Attributes:
        subjects: Whose standing may be another now.
        everybody: What operators hold back may be another now.
        recount: The cluster has another size.
    """

    subjects: Subjects = attrs.field(factory=dict)
    everybody: bool = False
    recount: bool = False
    rulings: tuple[Ruling, ...] = ()


@attrs.define
class Hearing:
    """Reads entries into the docket."""

    roster: Roster
    suite: Suite
    read_proof: ReadProof
    docket: Docket
    mercy: Mercy
    appeals: Appeals
    retelling: Retelling
    policies: dict[NodeId, tuple[UnixMs, bytes]] = attrs.field(init=False, factory=dict)
    recent: dict[bytes, Heard] = attrs.field(init=False, factory=dict)
    _early: Early = attrs.field(init=False, factory=Early)
    """Reports about nodes that are no members yet."""
    _acts: set[bytes] = attrs.field(init=False, factory=set)
    _struck: dict[Place, set[Subject]] = attrs.field(init=False, factory=dict)
    """Where operators found a false positive, about whom."""
    _shown: dict[Place, tuple[tuple[Subject, ...], Deed]] = attrs.field(
        init=False, factory=dict
    )
    """Whom the proof at each place convicts, and of what."""
    _manifests: dict[tuple[NodeId, KeyId, str, str, int], tuple[bytes, bytes]] = (
        attrs.field(init=False, factory=dict)
    )

    def hear(self, entry: Entry) -> Touched:
        """Act on one admitted entry. Entries of other kinds do nothing.

        Raises:
            PeerError: it claims what does not hold.
        """
        if entry.kind not in _BY_THEMSELVES and self._is_void(entry):
            return Touched()
        match entry.kind:
            case EntryKind.REPORT:
                return Touched(self._report(entry))
            case EntryKind.ACT:
                return self._act(entry)
            case EntryKind.POLICY:
                self._policy(entry)
            case EntryKind.RETRACTION:
                return Touched(self._retraction(entry))
            case EntryKind.MANIFEST:
                return Touched(rulings=self._manifest(entry))
            case EntryKind.APPEAL:
                return Touched(rulings=self.appeals.hear(entry))
            case EntryKind.ANSWER:
                return Touched(rulings=self.appeals.answer(entry))
            case EntryKind.ENDORSEMENT:
                return self._endorsement(entry)
        return Touched()

    # --- reports --------------------------------------------------------------

    def _report(self, entry: Entry) -> Subjects:
        said = entry.said
        report = said if isinstance(said, Report) else read_report_untrusted(entry.body)
        subject, void = report.subject, self._is_void(entry)
        if void and not isinstance(report.evidence, Proof):
            return {}  # a proof holds whoever shows it, and however
        if subject.id == entry.author:
            raise PeerError("a node reports itself")
        if subject.kind is SubjectKind.NODE and subject.id not in self.roster:
            self._early.keep(NodeId(subject.id), entry)
            raise PeerError("a report about a node that is no member")
        offence, voided = self._offence(report, entry.issued_at_ms)
        self._remember(Heard(entry=entry, report=report, proven=offence is not None))
        if offence is None:
            if (
                void
                or subject in self._struck.get(entry.place, ())
                or self.mercy.spares(subject, report.category, entry.issued_at_ms)
            ):
                return voided
            return voided | self.docket.voice(subject, self._voice(entry, report))
        at = offence.committed_at_ms
        # Nobody can have told of it before it was done: else whoever is convicted
        # tells it first, of a time long gone, and the term is over when it begins.
        order = (max(entry.issued_at_ms, at), *entry.order[1:])
        conviction = Conviction(
            order=order,
            reporter=entry.author,
            offence=offence.request_id,
            rule=offence.rule,
            severity=offence.severity,
            committed_at_ms=at,
            dated=offence.dated,
            key_ends_ms=offence.key_ends_ms,
            convicts=offence.convicts,
            void=self._is_void(entry),
        )
        what = deed(conviction)
        self._shown[entry.place] = (offence.convicts, what)
        if len(self._shown) > SHOWN_MAX:
            del self._shown[next(iter(self._shown))]
        touched = voided
        if entry.place in self._struck:
            self.mercy.strike(offence.convicts, what)
            touched |= self.docket.excuse()
        if not self.mercy.excuses(conviction):
            self.retelling.tell(what, entry, self.docket.now_ms)
        # What is excused is held too: what is held must not depend on what was heard
        # first, the proof or the act.
        for convict in offence.convicts:
            touched |= self.docket.convict(convict, conviction)
        return touched

    def _voice(self, entry: Entry, report: Report) -> Voice:
        weigh = self.docket.weights.weight_ppm
        return Voice(
            order=entry.order,
            reporter=entry.author,
            category=report.category,
            severity=report.severity,
            weight_ppm=weigh(entry.author, entry.issued_at_ms),
            shared=self.roster.shares_voice(entry.author, entry.issued_at_ms),
        )

    def _offence(self, report: Report, at_ms: int) -> tuple[Offence | None, Subjects]:
        """What the report proves, if it proves anything to us; whom that touches."""
        evidence = report.evidence
        if not isinstance(evidence, Proof):
            return None, {}
        if evidence.kind is ProofKind.DENIED_REQUEST:
            offence = self.read_proof(evidence.data)
            if offence and at_ms - offence.committed_at_ms > PROOF_LIFE_MS:
                raise PeerError("a proof of what was done more than a week before")
            return offence, {}
        if evidence.kind is ProofKind.TWO_FACES:
            faces = read_two_faces_untrusted(evidence.data, self.roster, self.suite)
            return Offence(
                convicts=(Subject(SubjectKind.NODE, faces.node),),
                request_id=faces.offence,
                rule=TWO_FACED,
                severity=report.severity,
                committed_at_ms=faces.issued_at_ms,
                dated=False,
                key_ends_ms=faces.key_ends_ms,
            ), {}
        forked = read_equivocation_untrusted(evidence.data, self.roster, self.suite)
        return Offence(
            convicts=(Subject(SubjectKind.NODE, forked.feed[0]),),
            request_id=forked.offence,
            rule="equivocation",
            severity=report.severity,
            committed_at_ms=forked.issued_at_ms,
            dated=False,
            key_ends_ms=forked.key_ends_ms,
        ), self._void(forked.feed, forked.number)

    def _void(self, feed: tuple[NodeId, Incarnation], number: int) -> Subjects:
        """Unhear what a forked feed said from the fork on, so that nodes that
        heard different sides of it agree again."""
        if self.retelling.is_void(feed, number):
            return {}
        self.retelling.void(feed, number, self.docket.now_ms)
        return self.docket.void(feed, number)

    def _is_void(self, entry: Entry) -> bool:
        """Whether it stands where its feed forked, or later."""
        return self.retelling.is_void(entry.feed, entry.number)

    def _retraction(self, entry: Entry) -> Subjects:
        said = read_retraction_untrusted(entry.body)
        place = (entry.author, said.incarnation, said.number, said.index)
        return self.docket.withdraw([said.subject], place, entry.place)

    def _manifest(self, entry: Entry) -> tuple[Ruling, ...]:
        """Compare what a provider signed with what it signed before."""
        told = read_manifest_untrusted(entry.body)
        held = self._manifests.get(told.slot)
        if held is not None and held[0] == told.content:
            return ()
        chain = self.roster.chain(told.node, told.key)
        if chain is None:
            return ()  # of keys never seen here: nobody can check it
        if entry.issued_at_ms > chain.not_after_ms + FUTURE_MS_MAX:
            return ()  # no news: whoever finds a key that is over could have signed it
        verify_manifest_untrusted(entry.body, chain, self.roster, self.suite)
        if held is None:
            self._manifests[told.slot] = (told.content, entry.body)
            if len(self._manifests) > MANIFESTS_MAX:
                del self._manifests[next(iter(self._manifests))]
            return ()
        report = Report(
            subject=Subject(SubjectKind.NODE, told.node),
            category=TWO_FACED,
            severity=9,
            evidence=Proof(
                kind=ProofKind.TWO_FACES,
                data=write_two_faces(held[1], entry.body, chain),
            ),
        )
        return (Found(report, offence_of(told)),)

    # --- newcomers ------------------------------------------------------------

    def _endorsement(self, entry: Entry) -> Touched:
        card = read_card_untrusted(entry.body)
        if not self.roster.endorse(card, entry.author, entry.issued_at_ms):
            return Touched()
        return self._rejoined(card.member.node)

    def _rejoined(self, node: NodeId) -> Touched:
        """Weigh again what a newcomer said; hear what was said of it too early."""
        touched = self.docket.rejoin(node, self.roster.shares_voice)
        for entry in self._early.take(node) if node in self.roster else ():
            with contextlib.suppress(PeerError):
                touched |= self._report(entry)
        return Touched(touched, recount=True)

    # --- operators ------------------------------------------------------------

    def _act(self, entry: Entry) -> Touched:
        act = read_act_untrusted(entry.body, self.roster.founders, self.suite)
        is_late = entry.issued_at_ms > act.expires_at_ms
        if not is_late and self.docket.now_ms < act.expires_at_ms:
            self.retelling.tell((-1, act.id), entry, self.docket.now_ms)
        if act.id in self._acts:
            return Touched()
        if is_late:
            raise PeerError("an operators' act published after its expiry")
        match act.kind:
            case ActKind.RELEASE:
                touched = Touched(self._release(act))
            case ActKind.ALLOW:
                self.mercy.allow(act, read_allow_untrusted(act))
                touched = Touched(everybody=True)
            case ActKind.STAND_DOWN:
                self.mercy.stand_down(act, read_stand_down_untrusted(act)[0])
                touched = Touched(everybody=True)
            case ActKind.FALSE_POSITIVE:
                touched = Touched(self._strike(act))
            case ActKind.ROSTER:
                node, _ = read_confirmation_untrusted(act)
                self.roster.confirm(node, act.issued_at_ms)
                touched = self._rejoined(node)
            case _:
                touched = Touched()
        self._acts.add(act.id)
        return touched

    def _release(self, act: Act) -> Subjects:
        said = read_release_untrusted(act)
        # At the operators' own stamp, so that it matters not who carried it when.
        order = (act.issued_at_ms, act.id, b"", 0, 0)
        release = Release(
            order=order,
            act=act.id,
            signers=act.signers,
            reason=said.reason,
            pardons=frozenset(said.pardons),
        )
        return self.docket.release(said.subject, release)

    def _strike(self, act: Act) -> Subjects:
        found = read_false_positive_untrusted(act)
        self.mercy.except_(act, found)
        self._struck.setdefault(found.place, set()).add(found.subject)
        if (shown := self._shown.get(found.place)) is not None:
            self.mercy.strike(*shown)
        case, about = self.docket.cases.get(found.subject), found.about
        voices = {found.place} | {
            remark.order[1:]
            for remark in (case.remarks() if case else ())
            if isinstance(remark, Voice)
            and remark.category == about
            and self.mercy.spares(found.subject, about, remark.at_ms)
        }
        touched = self.docket.excuse()
        for place in sorted(voices):
            touched |= self.docket.withdraw([found.subject], place, None)
        if found.refutes:
            touched |= self.docket.refute(found.place, act.issued_at_ms)
        return touched

    # --- the rest -------------------------------------------------------------

    def _policy(self, entry: Entry) -> None:
        digest = read_policy_untrusted(entry.body)
        known = self.policies.get(entry.author)
        if known is None or known[0] <= entry.issued_at_ms:
            self.policies[entry.author] = (entry.issued_at_ms, digest)

    def _remember(self, heard: Heard) -> None:
        self.recent[heard.entry.id] = heard
        if len(self.recent) > RECENT_MAX:
            del self.recent[next(iter(self.recent))]
