"""What the control socket answers: one table, one function a command.

docs/reference/control.md describes each. Everything here only reads the cores
or hands them an event; what says something waits until it is durable.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from enforcement.decide.court import Heard
from enforcement.decide.evidence import tell_proof_untrusted
from enforcement.decide.story import tell
from enforcement.decide.taxonomy import find_category
from gossip.errors import PeerError
from gossip.ledger.entries import (
    EntryKind,
    Proof,
    Report,
    Subject,
    SubjectKind,
    Witness,
    write_report,
)
from gossip.membership.acts import read_act_untrusted
from gossip.units import ID_BYTES
from node.commands_audit import audit, audit_heads, audit_verify
from node.commands_justice import find_subject, justice_commands
from node.commands_members import member_commands
from node.commands_policy import policy_commands
from node.control import Answer, Args, Command, int_arg, text_arg
from node.earshot import find_deafness_to
from node.jsonlines import Json
from node.lasting import require_room
from node.standing import tell_status

if TYPE_CHECKING:
    from node.daemon import Daemon


def commands(daemon: "Daemon") -> dict[str, Command]:
    """The table of commands of one daemon."""

    def command(answer: Callable[["Daemon", Args], Answer]) -> Command:
        return lambda args: answer(daemon, args)

    return {
        "status": command(_status),
        "reports": command(_reports),
        "report": command(_report),
        "audit": command(audit),
        "audit.heads": command(audit_heads),
        "audit.verify": command(audit_verify),
        "quarantine.list": command(_quarantine_list),
        "quarantine.why": command(_quarantine_why),
        "act.submit": command(_act_submit),
        "policy.reload": command(_policy_reload),
        **policy_commands(daemon),
        **{name: command(answer) for name, answer in member_commands().items()},
        "watch": lambda args: daemon.justice.watchers.watch(),
        **{name: command(answer) for name, answer in justice_commands().items()},
    }


def _status(daemon: "Daemon", args: Args) -> Json:
    del args
    return tell_status(daemon)


def _reports(daemon: "Daemon", args: Args) -> Json:
    last = int_arg(args, "last", 50, 1, 1_000)
    return [_show_report(daemon, h) for h in daemon.court.recent()[-last:]]


def _show_report(daemon: "Daemon", heard: Heard) -> Json:
    entry, report, court = heard.entry, heard.report, daemon.court
    shown: dict[str, Json] = {
        "id": entry.id.hex(),
        "at_ms": entry.issued_at_ms,
        "reporter": court.roster.name(entry.author),
        "subject": str(report.subject),
        "name": daemon.names.tell(court, report.subject),
        "category": report.category,
        "ids": _ids(report.category),
        "severity": report.severity,
        "class": "proof" if isinstance(report.evidence, Proof) else "witness",
        "proven": heard.proven,
    }
    if isinstance(report.evidence, Witness):
        shown["count"] = report.evidence.count
    return shown


def _ids(name: str) -> Json:
    """What other catalogues call a category."""
    known = find_category(name)
    return [*known.atlas, *known.attack, *known.owasp, *known.safe]


async def _report(daemon: "Daemon", args: Args) -> Json:
    """Somebody beside this node, a detector or a person, saw something."""
    subject = find_subject(daemon, text_arg(args, "subject"))
    if subject.id == daemon.me:
        raise PeerError("a node does not report itself")
    now = daemon.clock.unix_ms()
    report = Report(
        subject=subject,
        category=text_arg(args, "category")[:64] or "unspecified",
        severity=int_arg(args, "severity", 5, 1, 9),
        evidence=Witness(digest=bytes(ID_BYTES), count=1, first_ms=now, last_ms=now),
    )
    await daemon.driver.say_durably(EntryKind.REPORT, write_report(report))
    thresholds = daemon.court.thresholds
    convict, members = thresholds.voices_convict, thresholds.members
    note = "" if convict else f"with {members} members only a proof"
    return {"subject": str(subject), "at_ms": now, "note": note and f"{note} convicts"}


def _quarantine_list(daemon: "Daemon", args: Args) -> Json:
    del args
    court = daemon.court
    return [
        {
            "subject": str(subject),
            "name": daemon.names.tell(court, subject),
            "standing": standing.level.name.lower(),
            "basis": standing.basis.value if standing.basis else None,
            "since_ms": standing.since_ms,
            "until_ms": standing.until_ms,
            "times": standing.times,
            "voices": standing.sum_micro / 1e6,
            "enforced": court.denial(subject) is not None,
            "held_back": court.held_back(subject),
            "held_back_until_ms": court.held_back_until(subject),
        }
        for subject, standing in sorted(court.standings().items())
    ]


def _quarantine_why(daemon: "Daemon", args: Args) -> Json:
    court = daemon.court
    subject = find_subject(daemon, text_arg(args, "subject"))
    told = tell(
        court, subject, daemon.names.tell(court, subject), daemon.clock.unix_ms()
    )
    requests = _requests(daemon, subject)
    headline, *rest = told.sentences
    reports = _report_ids(daemon, subject)
    strike: list[Json] = []
    remarks = cast("list[dict[str, Json]]", told.facts["remarks"])
    counting = [one for one in map(_strikable, remarks, reports) if one]
    if counting:
        shown = ", ".join(one[:12] for one in counting)
        strike.append(
            "What is false can be struck: `picket false-positive REPORT`, here"
            f" {shown}."
        )
    named: list[Json] = [
        {**fact, "report": one} for fact, one in zip(remarks, reports, strict=True)
    ]
    return {
        "sentences": [headline, *map(_say_request, requests), *rest, *strike],
        "facts": {**told.facts, "remarks": named, "requests": [*requests]},
    }


def _strikable(remark: dict[str, Json], report: str | None) -> str | None:
    """The report behind a remark, if to strike it would change anything."""
    counts = not remark["taken_back"] and remark.get("voice", 1)
    return report if counts else None


def _report_ids(daemon: "Daemon", subject: Subject) -> list[str | None]:
    """The id of the report behind each remark, as far as it is still held."""
    case = daemon.court.case(subject)
    ids = {h.entry.place: h.entry.id.hex() for h in daemon.court.recent()}
    return [ids.get(r.order[1:]) for r in case.remarks()] if case else []


def _requests(daemon: "Daemon", subject: Subject) -> list[dict[str, Json]]:
    """What the proofs against a subject are about, as far as they are still held."""
    case = daemon.court.case(subject)
    places = {r.order[1:] for r in case.remarks()} if case else set()
    found: dict[str, dict[str, Json]] = {}
    for heard in daemon.court.recent():
        evidence = heard.report.evidence
        if heard.entry.place not in places or not isinstance(evidence, Proof):
            continue
        try:
            told = tell_proof_untrusted(evidence.data)
        except PeerError:
            continue  # another kind of proof
        agent = Subject(SubjectKind.AGENT, told.agent)
        found[f"{told}"] = {
            "at_ms": heard.entry.issued_at_ms,
            "agent": str(agent),
            "agent_name": daemon.names.tell(daemon.court, agent),
            "node": daemon.court.roster.name(told.node),
            "server": told.server,
            "method": told.method,
            "tool": told.tool,
            "parameters": [*told.paths],
        }
    return [*found.values()]


def _say_request(told: dict[str, Json]) -> str:
    what = f"`{told['server']}/{told['tool']}`" if told["tool"] else told["method"]
    opened = ", ".join(f"`{path}`" for path in cast("list[str]", told["parameters"]))
    shown = f"; the proof opens {opened}" if opened else ""
    return f"Proven: {told['agent_name']} called {what}{shown}."


async def _act_submit(daemon: "Daemon", args: Args) -> Json:
    try:
        data = bytes.fromhex(text_arg(args, "act"))
    except ValueError:
        raise PeerError("argument `act` must be hex digits") from None
    act = read_act_untrusted(data, daemon.roster.founders, daemon.suite)
    if act.expires_at_ms < daemon.clock.unix_ms():
        raise PeerError("this act has expired; draft it anew")
    elsewhere = find_deafness_to(daemon, act)
    if elsewhere is not None:
        raise PeerError(elsewhere)
    require_room(daemon)
    await daemon.driver.say_durably(EntryKind.ACT, data)
    return {"act": act.id.hex(), "kind": act.kind.value, "signers": [*act.signers]}


def _policy_reload(daemon: "Daemon", args: Args) -> Json:
    del args
    daemon.reload()
    return {"policy": daemon.policy_digest.hex()}
