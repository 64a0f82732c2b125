"""What `picket status` answers: this node, and whether its cluster is safe right now.

Everything that a person should look at is one sentence in ``attention``; where it is
empty everybody is linked, nobody is cut off, and all enforce the same policy.
"""

from collections import Counter
from typing import TYPE_CHECKING

from enforcement.decide.case import Level
from enforcement.decide.story import clock, tell_held_back
from gossip.clocks import is_wrong, tell_offset
from gossip.ledger.entries import Subject, SubjectKind
from node import lasting
from node.jsonlines import Json
from node.tables import show_address

if TYPE_CHECKING:
    from gossip.membership.founders import Founder, Founders
    from node.config import Config
    from node.daemon import Daemon

LISTED_MAX = 8
"""So many names in one sentence; the rest are counted."""


def tell_status(daemon: "Daemon") -> Json:
    """All of it, for `status` on the control socket."""
    court, roster, now = daemon.court, daemon.roster, daemon.clock.unix_ms()
    levels = Counter(s.level.name.lower() for s in court.standings().values())
    counted: dict[str, Json] = {
        level: levels[level] for level in ("watch", "suspect", "quarantined")
    }
    return {
        "name": daemon.config.name,
        "attention": [*attention(daemon)],
        "node": daemon.me.hex(),
        "cluster": roster.cluster.hex(),
        "cluster_name": roster.founders.cluster_name,
        "provider": daemon.suite.provider,
        "up_ms": daemon.clock.mono_ms(),
        "mode": "observe" if court.observe else "enforce",
        "enforces_from_ms": daemon.enforces_from_ms(),
        "gates": "observe" if daemon.config.observes("gate") else "enforce",
        "observed": daemon.justice.observations.total,
        "stands_down_until_ms": court.mercy.stands_down_until(now),
        "lasting": round(lasting.used(daemon), 3),
        "policy": daemon.policy_digest.hex(),
        "policy_version": daemon.policing.version,
        "policy_signers": [*daemon.policing.signers],
        "policy_folder": str(daemon.config.policy),
        "standings": counted,
        "held_tools": [*_held_tools(daemon)],
        "local_servers": [*local_servers(daemon.config, daemon.roster.founders)],
        "listening": [show_address(a) for a in daemon.listening],
        "http": show_address(daemon.http_at) if daemon.http_at else None,
        "metrics": show_address(daemon.metrics_at) if daemon.metrics_at else None,
        "agents": [*sorted(daemon.ring.principals)],
        "members": [_member(daemon, member) for member in roster.members()],
        "heads": sum(feed.next_number for _, feed in daemon.engine.ledger.heads()),
        "clock_offset_ms": daemon.engine.clocks.offset_ms,
        "key_ends_ms": daemon.ring.current.chain.not_after_ms,
    }


def _member(daemon: "Daemon", member: "Founder") -> dict[str, Json]:
    court, now = daemon.court, daemon.clock.unix_ms()
    subject = Subject(SubjectKind.NODE, member.node)
    told = court.policies.get(member.node)
    return {
        "name": member.name,
        "node": member.node.hex(),
        "me": member.node == daemon.me,
        "linked": member.node in daemon.engine.linked(),
        "standing": court.standing(subject, now).level.name.lower(),
        "denied": court.denial(subject) is not None,
        "isolated": court.isolated(member.node, now),
        "policy": told[1].hex() if told else None,
        "servers": [*member.servers],
    }


def attention(daemon: "Daemon") -> list[str]:
    """What a person should look at now, the gravest first."""
    court, now = daemon.court, daemon.clock.unix_ms()
    linked = daemon.engine.linked()
    cut_off: list[str] = []
    shown: list[str] = []
    isolated, away, differing = [], [], []
    for subject, standing in sorted(court.standings().items()):
        if standing.level is Level.QUARANTINED:
            name = daemon.names.tell(court, subject)
            if court.denial(subject) is not None:
                cut_off.append(name)
            else:
                shown.append(f"{name} (by {tell_held_back(court, subject)})")
    for member in daemon.roster.members():
        if member.node == daemon.me:
            continue
        denied = court.denial(Subject(SubjectKind.NODE, member.node)) is not None
        if court.isolated(member.node, now) and not denied:
            isolated.append(member.name)
        elif member.node not in linked and not denied:
            away.append(member.name)
        told = court.policies.get(member.node)
        if told is not None and told[1] != daemon.policy_digest:
            differing.append(member.name)
    said = [
        _say("quarantined: ", cut_off),
        _say("quarantined, but not enforced: ", shown),
        _say("isolated on this node's own evidence: ", isolated),
        _say("not linked: ", away),
        *_newcomers(daemon),
        _say("tools held, for they changed: ", _held_tools(daemon)),
        _say("servers that cannot be started: ", sorted(daemon.proxies.desk.unstarted)),
        _say(
            f"servers that {daemon.config.founders_file.name} promises here, and"
            f" {daemon.config.file.name} lacks: ",
            missing_servers(daemon.config, daemon.roster.founders),
        ),
        _say("policy differs on: ", differing),
    ]
    offset_ms = daemon.engine.clocks.offset_ms
    if offset_ms is not None and is_wrong(offset_ms):
        said.append(tell_offset(offset_ms))
    said.append(lasting.concern(daemon))
    stands_down = court.mercy.stands_down_until(now)
    if stands_down:
        until = clock(stands_down)
        said.append(f"operators suspended automatic quarantine until {until}")
    if daemon.config.observes("gate"):
        said.append("gates only observe, see `picket observe report`")
    return [sentence for sentence in said if sentence]


def _newcomers(daemon: "Daemon") -> list[str]:
    roster = daemon.roster
    waiting = [
        f"{w.card.member.name} ({len(w.endorsers)} of {roster.endorsements})"
        for w in roster.waiting()
    ]
    said = [_say("endorsed by too few to be members: ", waiting)]
    if not roster.is_founder(daemon.me) and roster.newcomer(daemon.me) is None:
        sponsor = daemon.config.sponsor
        said.append(f"this node is no member until others endorse it, {sponsor} first")
    return said


def _say(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = len(names) - LISTED_MAX
    rest = f" and {more} more" if more > 0 else ""
    return what + ", ".join(names[:LISTED_MAX]) + rest


def local_servers(config: "Config", founders: "Founders") -> list[str]:
    """Servers that only agents beside this node reach: the founders' file does not
    name them. A cluster of one has no other agents."""
    if len(founders.nodes) == 1:
        return []
    return sorted({*config.servers} - _promised(config, founders))


def missing_servers(config: "Config", founders: "Founders") -> list[str]:
    """Servers that the founders' file promises here, and the configuration lacks."""
    return sorted(_promised(config, founders) - {*config.servers})


def _promised(config: "Config", founders: "Founders") -> set[str]:
    return {s for n in founders.nodes if n.name == config.name for s in n.servers}


def _held_tools(daemon: "Daemon") -> list[str]:
    pins = daemon.guard.pins
    return [
        f"{tool.server}/{tool.tool}"
        for tool in pins.tools()
        if pins.held(tool.server, tool.tool) is not None
    ]
