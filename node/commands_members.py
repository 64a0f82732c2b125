"""Commands about members: bringing in newcomers, endorsing them, confirming them.

docs/reference/control.md describes each. A node endorses only what a person beside
it names; what operators decide is only drafted here.
"""

from typing import TYPE_CHECKING

from enforcement.decide.acts import write_confirmation
from enforcement.decide.thresholds import MICRO, Thresholds
from gossip.errors import PeerError, UserError
from gossip.ledger.entries import EntryKind
from gossip.membership.admittance import (
    Card,
    Newcomer,
    Waiting,
    read_card_untrusted,
    write_card,
)
from gossip.membership.founders import ActKind, Founder, parse_card, parse_sponsor
from gossip.units import NodeId
from node.commands_justice import Table, draft_answer
from node.control import Args, text_arg
from node.jsonlines import Json
from node.lasting import require_room

if TYPE_CHECKING:
    from node.daemon import Daemon


def member_commands() -> Table:
    """The part of the table that is about members."""
    return {
        "member.admit": _admit,
        "member.endorse": _endorse,
        "member.confirm.draft": _confirm_draft,
        "member.list": _list,
    }


async def _admit(daemon: "Daemon", args: Args) -> Json:
    """Sponsor a newcomer: endorse its card as the first."""
    text = text_arg(args, "card")
    try:
        member = parse_card(text, "the card")
        asked = parse_sponsor(text, "the card")
    except UserError as wrong:
        raise PeerError(str(wrong)) from None
    if member.servers:
        raise PeerError(
            "a newcomer provides no servers: make its card anew without `servers`, or"
            " put it into a new founders' file"
        )
    me = daemon.roster.name(daemon.me)
    if asked not in (None, me):
        raise PeerError(
            f"this card asks `{asked}` to be the sponsor, and this is `{me}`: run"
            " `picket member admit` at that node"
        )
    newcomer = daemon.roster.newcomer(member.node)
    done = newcomer is not None and newcomer.member == member
    if newcomer is not None and (done or newcomer.sponsor != daemon.me):
        raise PeerError(f"`{member.name}` {_tell_member(daemon, newcomer.sponsor)}")
    if daemon.roster.by_name(member.name) not in (None, member.node):
        raise PeerError(f"another member is called `{member.name}`")
    return await _say(daemon, Card(member=member, sponsor=daemon.me))


async def _endorse(daemon: "Daemon", args: Args) -> Json:
    """Endorse a newcomer whom another member sponsors."""
    meant, sponsor = text_arg(args, "name"), text_arg(args, "sponsor", "")
    found = [
        w
        for w in daemon.roster.waiting()
        if w.card.member.name == meant or w.card.member.node.hex().startswith(meant)
        if sponsor in ("", daemon.roster.name(w.card.sponsor))
    ]
    if not found:
        raise PeerError(_why_none(daemon, meant))
    if len(found) > 1:
        which = ", ".join(
            f"{w.card.member.node.hex()[:16]} of {daemon.roster.name(w.card.sponsor)}"
            for w in found
        )
        raise PeerError(
            f"{len(found)} cards wait: {which}; say the id, and --sponsor NAME"
        )
    return await _say(daemon, found[0].card)


def _why_none(daemon: "Daemon", meant: str) -> str:
    """Why nothing waits here for anybody's word: it is done, or not begun."""
    node = daemon.roster.by_name(meant)
    newcomer = None if node is None else daemon.roster.newcomer(node)
    if newcomer is not None:
        return f"`{meant}` {_tell_member(daemon, newcomer.sponsor)}"
    if node is not None:
        return f"`{meant}` is a founder, whom nobody needs to endorse"
    return (
        f"no card of `{meant}` waits here; its sponsor runs `picket member admit CARD`"
        " first, see `picket member list`"
    )


def _tell_member(daemon: "Daemon", sponsor: NodeId) -> str:
    return f"is a member already, sponsored by {daemon.roster.name(sponsor)}"


async def _say(daemon: "Daemon", card: Card) -> Json:
    daemon.roster.check_card(card, daemon.clock.unix_ms(), daemon.me)
    require_room(daemon)
    body = write_card(card)
    read_card_untrusted(body)  # as everybody will: what they refuse is not said
    await daemon.driver.say_durably(EntryKind.ENDORSEMENT, body)
    node = card.member.node
    waiting = [w for w in daemon.roster.waiting() if w.card.id == card.id]
    return {
        "name": card.member.name,
        "node": node.hex(),
        "sponsor": daemon.roster.name(card.sponsor),
        "is_member": daemon.roster.newcomer(node) is not None,
        "endorsed": len(waiting[0].endorsers) if waiting else None,
        "needed": daemon.roster.endorsements,
    }


def _confirm_draft(daemon: "Daemon", args: Args) -> Json:
    """A voice of its own for a newcomer: only operators can give it."""
    meant = text_arg(args, "name")
    node = daemon.roster.by_name(meant)
    newcomer = None if node is None else daemon.roster.newcomer(node)
    if newcomer is None:
        raise PeerError(f"`{meant}` is no newcomer; see `picket member list`")
    reason = text_arg(args, "reason", "")
    payload = write_confirmation(newcomer.member.node, reason)
    sentence = f"give {meant} a voice of its own: {reason or '-'}"
    drafted = draft_answer(daemon, ActKind.ROSTER, payload, sentence)
    return {**drafted, "notes": [_tell_grown(daemon, newcomer)]}


def _tell_grown(daemon: "Daemon", newcomer: Newcomer) -> str:
    """What a confirmation makes of the cluster, and of the newcomer's word."""
    roster, name = daemon.roster, newcomer.member.name
    members = roster.size + (newcomer.confirmed_ms is None)
    grown = Thresholds(members=members, colluders=roster.founders.colluders)
    weight = daemon.court.weight_ppm(newcomer.member.node, daemon.clock.unix_ms())
    takes = f"more than {grown.threshold // MICRO} of voices"
    takes = takes if grown.voices_convict else "only a proof"
    return (
        f"N is {members} with it, of whom f = {grown.f} may lie: {takes} cut off a node;"
        f" the voice of {name} weighs {weight / MICRO:.2f} now (nothing on its first"
        " day, then more for a week)"
    )


def _list(daemon: "Daemon", args: Args) -> Json:
    del args
    members: list[Json] = [_member(daemon, m) for m in daemon.roster.members()]
    waiting: list[Json] = [_waiting(daemon, w) for w in daemon.roster.waiting()]
    return [*members, *waiting]


def _member(daemon: "Daemon", member: Founder) -> dict[str, Json]:
    roster, node = daemon.roster, member.node
    newcomer = roster.newcomer(node)
    founder = newcomer is None and roster.is_founder(node)
    weight = daemon.court.weight_ppm(node, daemon.clock.unix_ms())
    return {
        "name": member.name,
        "node": node.hex(),
        "state": "founder" if founder else "newcomer" if newcomer else "not yet in",
        "grants": [*sorted(member.grants)],
        "sponsor": roster.name(newcomer.sponsor) if newcomer else None,
        "joined_ms": newcomer.joined_ms if newcomer else None,
        "confirmed_ms": newcomer.confirmed_ms if newcomer else None,
        "weight": weight / 1e6 if founder or newcomer else 0.0,
        "endorsers": None,
        "needed": None,
    }


def _waiting(daemon: "Daemon", waiting: Waiting) -> dict[str, Json]:
    card, roster = waiting.card, daemon.roster
    return {
        "name": card.member.name,
        "node": card.member.node.hex(),
        "state": "waits for endorsements",
        "grants": [*sorted(card.member.grants)],
        "sponsor": roster.name(card.sponsor),
        "joined_ms": None,
        "confirmed_ms": None,
        "weight": 0.0,
        "endorsers": [roster.name(by) for by in waiting.endorsers],
        "needed": roster.endorsements,
    }
