"""Commands about standings: drafts for operators, appeals, false positives.

docs/reference/control.md describes each. What needs operators is only drafted
here; what this node may say by itself waits until it is durable.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from enforcement.decide.acts import (
    PARDONS_MAX,
    Allowed,
    FalsePositive,
    write_allow,
    write_false_positive,
    write_release,
    write_stand_down,
)
from enforcement.decide.appeals import Plea
from enforcement.decide.case import Conviction, Level, Voice
from enforcement.decide.court import Heard
from gossip.errors import PeerError
from gossip.ledger.appeals import (
    APPEAL_BYTES_MAX,
    Answer,
    Retraction,
    peek_appeal_untrusted,
    read_appeal_untrusted,
    sign_appeal,
    write_answer,
    write_retraction,
)
from gossip.ledger.entries import EntryKind, Place, Subject, SubjectKind
from gossip.limits import DAY_MS
from gossip.membership.acts import draft_act
from gossip.membership.founders import ActKind
from gossip.units import ID_BYTES, AgentId, NodeId, UnixMs
from gossip.wire import Value
from node.control import Answer as Answered
from node.control import Args, int_arg, text_arg
from node.earshot import find_deafness, tell_unheard
from node.jsonlines import Json

if TYPE_CHECKING:
    from node.daemon import Daemon

ACT_LIFE_MS: Final = DAY_MS
ALLOW_MS_MAX: Final = 365 * DAY_MS
STAND_DOWN_MS: Final = 3_600_000

Table = dict[str, Callable[["Daemon", Args], Answered]]


def justice_commands() -> Table:
    """The part of the table that is about standings."""
    return {
        "release.draft": _release_draft,
        "allow.draft": _allow_draft,
        "stand-down.draft": _stand_down_draft,
        "false-positive": _false_positive,
        "appeal.send": _appeal_send,
        "appeal.carry": _appeal_carry,
        "appeal.list": _appeal_list,
        "appeal.answer": _appeal_answer,
        "observe.report": _observe_report,
    }


# --- drafts for operators -----------------------------------------------------


def _release_draft(daemon: "Daemon", args: Args) -> Json:
    subject = find_subject(daemon, text_arg(args, "subject"))
    reason = text_arg(args, "reason", "")
    elsewhere = find_deafness(daemon, subject)
    if elsewhere is not None:
        return {"elsewhere": elsewhere}
    sentence = f"release {_name(daemon, subject)}: {reason or '-'}"
    case = daemon.court.case(subject)
    stories = case.stories() if case else ()
    pardons = stories[:PARDONS_MAX]
    payload = write_release(subject, reason, pardons)
    drafted = draft_answer(daemon, ActKind.RELEASE, payload, sentence)
    notes = _release_notes(daemon, subject)
    if pardons:
        more = len(stories) - len(pardons)
        proofs = "1 proof" if len(pardons) == 1 else f"{len(pardons)} proofs"
        left = f"; {more} more are left: release it again" if more else ""
        notes.append(
            f"pardoned by name: {proofs} of two stories. Another one cuts it off"
            f" again, however that is dated{left}"
        )
    return {**drafted, "notes": [*notes, *tell_unheard(daemon)]}


def _release_notes(daemon: "Daemon", subject: Subject) -> list[str]:
    """What a release will do besides, and what it will not: a node and its agents are
    released one by one.

    Raises:
        PeerError: there is nothing to release.
    """
    now, court, notes = daemon.clock.unix_ms(), daemon.court, list[str]()
    case, name = court.case(subject), _name(daemon, subject)
    voices = len(case.voices()) if case else 0
    out = court.standing(subject, now).level is Level.QUARANTINED
    node = subject.kind is SubjectKind.NODE
    isolated = node and court.isolated(NodeId(subject.id), now)
    if not (out or voices or isolated):
        raise PeerError(
            f"{name} is not quarantined, and nothing is held against it: there is"
            " nothing to release"
        )
    if not out:
        also = "; it is no longer isolated here" if isolated else ""
        notes.append(f"{name} was not quarantined{also}")
    if voices:
        said = "1 report" if voices == 1 else f"the last reports of {voices} members"
        notes.append(f"{said} about {name} and all before the release count no more")
    for other, standing in sorted(court.standings().items()):
        if standing.level is Level.QUARANTINED and _belong(daemon, subject, other):
            notes.append(
                f"{_name(daemon, other)} stays quarantined; let it go too by"
                f" `picket quarantine release {other} --reason TEXT`"
            )
    return notes


def _belong(daemon: "Daemon", one: Subject, two: Subject) -> bool:
    """Whether one is an agent, and the other its node."""
    for agent, node in ((one, two), (two, one)):
        kinds = (agent.kind, node.kind) == (SubjectKind.AGENT, SubjectKind.NODE)
        if kinds and daemon.names.node_of(AgentId(agent.id)) == node.id:
            return True
    return False


def _allow_draft(daemon: "Daemon", args: Args) -> Json:
    subject = find_subject(daemon, text_arg(args, "subject"))
    reason = text_arg(args, "reason", "")
    lasts_ms = int_arg(args, "for_ms", DAY_MS, 1, ALLOW_MS_MAX)
    elsewhere = find_deafness(daemon, subject)
    if elsewhere is not None:
        return {"elsewhere": elsewhere}
    until = UnixMs(daemon.clock.unix_ms() + lasts_ms)
    payload = write_allow(Allowed(subject=subject, until_ms=until, reason=reason))
    sentence = f"allow {_name(daemon, subject)}: {reason or '-'}"
    drafted = draft_answer(daemon, ActKind.ALLOW, payload, sentence, lasts_ms)
    return {**drafted, "notes": [*tell_unheard(daemon)]}


def _stand_down_draft(daemon: "Daemon", args: Args) -> Json:
    reason = text_arg(args, "reason", "")
    lasts_ms = int_arg(args, "for_ms", STAND_DOWN_MS, 1, DAY_MS)
    until = UnixMs(daemon.clock.unix_ms() + lasts_ms)
    payload = write_stand_down(until, reason)
    sentence = f"suspend automatic quarantine everywhere: {reason or '-'}"
    return draft_answer(daemon, ActKind.STAND_DOWN, payload, sentence, lasts_ms)


async def _false_positive(daemon: "Daemon", args: Args) -> Json:
    """Take back a report of our own at once; draft what needs operators."""
    heard = _find_report(daemon, text_arg(args, "report"))
    entry, report = heard.entry, heard.report
    reason = text_arg(args, "reason", "")
    place, about = entry.place, report.category
    case = daemon.court.case(report.subject)
    for remark in case.remarks() if case else ():
        if isinstance(remark, Conviction) and remark.order[1:] == place:
            about = remark.rule
    retracted = entry.author == daemon.me and not heard.proven
    if retracted:
        await _retract(daemon, place, report.subject, reason)
    lasts_ms = int_arg(args, "for_ms", 7 * DAY_MS, 1, ALLOW_MS_MAX)
    found = FalsePositive(
        place=place,
        subject=report.subject,
        about=about,
        until_ms=UnixMs(daemon.clock.unix_ms() + lasts_ms),
        owner=text_arg(args, "owner")[:64] or "nobody",
        reason=reason,
        refutes=not heard.proven and not retracted,
    )
    name = _name(daemon, report.subject)
    sentence = f"strike `{about}` about {name}, and let it pass: {reason or '-'}"
    payload = write_false_positive(found)
    drafted = draft_answer(daemon, ActKind.FALSE_POSITIVE, payload, sentence, lasts_ms)
    return {**drafted, "retracted": retracted}


def draft_answer(
    daemon: "Daemon",
    kind: ActKind,
    payload: Value,
    sentence: str,
    life_ms: int = ACT_LIFE_MS,
) -> dict[str, Json]:
    """What the command line needs to let operators sign an act."""
    now, founders = daemon.clock.unix_ms(), daemon.roster.founders
    ends = UnixMs(now + max(life_ms, ACT_LIFE_MS))
    draft = draft_act(founders.cluster, kind, now, now, ends, payload)
    needed = founders.quorum[kind]
    return {"draft": draft.hex(), "sentence": sentence, "needed": needed}


# --- appeals ------------------------------------------------------------------


async def _appeal_send(daemon: "Daemon", args: Args) -> Json:
    """Appeal for this node or an agent beside it; also as bytes to be carried."""
    about = text_arg(args, "subject", "")
    mine = Subject(SubjectKind.NODE, daemon.me)
    subject = find_subject(daemon, about) if about else mine
    text = text_arg(args, "text")
    if not 1 <= len(text.encode()) <= APPEAL_BYTES_MAX:
        raise PeerError(f"an appeal is 1 to {APPEAL_BYTES_MAX} bytes long")
    chain = daemon.ring.current.chain
    appeal = sign_appeal(
        cluster=daemon.roster.cluster,
        chain=chain,
        key=daemon.ring.nodes[chain.key],
        subject=subject,
        issued_at_ms=daemon.clock.unix_ms(),
        text=text,
    )
    await daemon.driver.say_durably(EntryKind.APPEAL, appeal)
    return {"appeal": appeal.hex(), "linked": len(daemon.engine.linked())}


async def _appeal_carry(daemon: "Daemon", args: Args) -> Json:
    """Bring the appeal of a node that is linked with nobody."""
    try:
        body = bytes.fromhex(text_arg(args, "appeal"))
    except ValueError:
        raise PeerError("argument `appeal` must be hex digits") from None
    peek_appeal_untrusted(body)
    appeal = read_appeal_untrusted(body, daemon.roster, daemon.suite)
    await daemon.driver.say_durably(EntryKind.APPEAL, body)
    return {"appeal": appeal.id.hex(), "node": daemon.roster.name(appeal.node)}


def _appeal_list(daemon: "Daemon", args: Args) -> Json:
    del args
    roster = daemon.roster
    return [
        {
            "id": plea.appeal.id.hex(),
            "at_ms": plea.appeal.issued_at_ms,
            "node": roster.name(plea.appeal.node),
            "subject": str(plea.appeal.subject),
            "name": _name(daemon, plea.appeal.subject),
            "text": plea.appeal.text,
            "answers": [
                {
                    "by": roster.name(by),
                    "answer": "upheld" if answer.upheld else "withdrawn",
                    "reason": answer.reason,
                }
                for by, answer in plea.answers.items()
            ],
        }
        for plea in daemon.court.pleas()
    ]


async def _appeal_answer(daemon: "Daemon", args: Args) -> Json:
    """Uphold what this node said, or take all of it back."""
    plea = _find_plea(daemon, text_arg(args, "appeal"))
    decision = text_arg(args, "answer")
    if decision not in ("uphold", "withdraw"):
        raise PeerError("argument `answer` must be `uphold` or `withdraw`")
    subject, reason = plea.appeal.subject, text_arg(args, "reason", "")
    withdrawn = 0
    case = daemon.court.case(subject)
    if decision == "withdraw":
        for remark in case.remarks() if case else ():
            mine = isinstance(remark, Voice) and remark.reporter == daemon.me
            if mine and case is not None and case.counts(remark):
                await _retract(daemon, remark.order[1:], subject, reason)
                withdrawn += 1
    upheld = decision == "uphold"
    answer = Answer(appeal=plea.appeal.id, upheld=upheld, reason=reason)
    await daemon.driver.say_durably(EntryKind.ANSWER, write_answer(answer))
    return {"subject": str(subject), "answer": decision, "withdrawn": withdrawn}


async def _retract(
    daemon: "Daemon", place: Place, subject: Subject, reason: str
) -> None:
    _, incarnation, number, index = place
    retraction = Retraction(
        incarnation=incarnation,
        number=number,
        index=index,
        subject=subject,
        reason=reason,
    )
    body = write_retraction(retraction)
    await daemon.driver.say_durably(EntryKind.RETRACTION, body)


# --- what is meant ------------------------------------------------------------


def _observe_report(daemon: "Daemon", args: Args) -> Json:
    del args
    return {
        "modes": {
            "gate": _mode(daemon.config.observes("gate")),
            "isolation": _mode(not daemon.court.isolates),
            "quarantine": _mode(daemon.court.observe),
            "tools": _mode(daemon.config.observes("tools")),
        },
        "observed": daemon.justice.observations.tell(),
    }


def _mode(observes: bool) -> str:
    return "observe" if observes else "enforce"


def _name(daemon: "Daemon", subject: Subject) -> str:
    return daemon.names.tell(daemon.court, subject)


def _find_report(daemon: "Daemon", prefix: str) -> Heard:
    found = [h for h in daemon.court.recent() if h.entry.id.hex().startswith(prefix)]
    if len(found) != 1 or len(prefix) < 4:
        raise PeerError(
            f"{len(found)} reports begin with `{prefix}`; `picket reports --json`"
            " shows their ids"
        )
    return found[0]


def _find_plea(daemon: "Daemon", prefix: str) -> Plea:
    found = [p for p in daemon.court.pleas() if p.appeal.id.hex().startswith(prefix)]
    if len(found) != 1 or not prefix:
        raise PeerError(
            f"{len(found)} appeals begin with `{prefix}`; see `picket appeal list`"
        )
    return found[0]


def find_subject(daemon: "Daemon", text: str) -> Subject:
    """The one subject meant by a node's name, an id, or its first digits.

    Raises:
        PeerError: none, or several.
    """
    exact = _parse_subject(text)
    if exact is not None:
        return exact
    principal = daemon.ring.principals.get(text)
    if principal is not None and daemon.roster.by_name(text) is None:
        return Subject(SubjectKind.AGENT, principal.agent)
    found = daemon.court.find(text) or daemon.names.find(text)
    if len(found) == 1:
        return found[0]
    if found:
        raise PeerError(f"`{text}` is ambiguous; `picket quarantine list` shows all")
    raise PeerError(
        f"this node has not met `{text}`; ask at the agent's own node, or give"
        " `agent:` and the id that `picket agent list` shows there"
    )


def _parse_subject(text: str) -> Subject | None:
    kind, _, hexed = text.partition(":")
    try:
        identity = bytes.fromhex(hexed)
        known = SubjectKind[kind.upper()]
    except (ValueError, KeyError):
        return None
    return Subject(known, identity) if len(identity) == ID_BYTES else None
