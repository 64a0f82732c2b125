"""Operators vouch for an agent's use of one tool: the second factor, at every gate.

It is an act of the kind that accepts tools, with another payload, so what a quorum is
for tools it is here. Each node reads it as it comes; it ends by itself.
"""

from typing import Final

import attrs

from enforcement import limits
from gossip.errors import PeerError
from gossip.limits import NAME_CHARS_MAX
from gossip.membership.acts import Act, draft_act
from gossip.membership.founders import ActKind
from gossip.membership.roster import Roster
from gossip.units import ID_BYTES, AgentId, UnixMs
from gossip.wire import Value, take_bytes, take_int, take_list, take_str

VOUCH_MS_MAX: Final = 86_400_000
_FIELDS: Final = 4
"""A payload that accepts a declaration has three."""


@attrs.frozen
class Vouch:
    """For whom, for which tool, until when."""

    agent: AgentId
    server: str
    tool: str
    until_ms: UnixMs


def draft_vouch(roster: Roster, vouch: Vouch, now_ms: UnixMs) -> bytes:
    """What operators sign."""
    payload: list[Value] = [
        vouch.server,
        vouch.tool.encode(),
        vouch.agent,
        vouch.until_ms,
    ]
    cluster, kind = roster.cluster, ActKind.TOOL_APPROVAL
    return draft_act(cluster, kind, now_ms, now_ms, vouch.until_ms, payload)


def is_vouch(act: Act) -> bool:
    """Whether an act vouches for an agent; else it accepts a declaration."""
    return (
        act.kind is ActKind.TOOL_APPROVAL
        and isinstance(act.payload, list)
        and len(act.payload) == _FIELDS
    )


def read_vouch_untrusted(act: Act) -> Vouch:
    """What operators vouched for.

    Raises:
        PeerError: malformed, or for longer than a day.
    """
    server, tool, agent, until = take_list(act.payload, _FIELDS, _FIELDS)
    name = take_bytes(tool, 1, 4 * limits.TOOL_CHARS_MAX)
    latest = act.issued_at_ms + VOUCH_MS_MAX
    until_ms = take_int(until, act.issued_at_ms, latest)
    try:
        called = name.decode()
    except UnicodeDecodeError as wrong:
        raise PeerError("a tool's name that is not UTF-8") from wrong
    return Vouch(
        AgentId(take_bytes(agent, ID_BYTES, ID_BYTES)),
        take_str(server, 1, NAME_CHARS_MAX),
        called,
        UnixMs(min(until_ms, act.expires_at_ms)),
    )
