"""What the control socket answers about the audit trail."""

import json
from typing import TYPE_CHECKING, Final

import trio

from gossip.errors import PeerError
from gossip.ledger.audit_heads import AuditHead
from gossip.ledger.entries import Subject, SubjectKind
from gossip.units import ID_BYTES, UNIX_MS_MAX
from node.auditing import Told
from node.control import Answer, Args, int_arg, text_arg
from node.jsonlines import Json

if TYPE_CHECKING:
    from node.daemon import Daemon

_SETTLE_S: Final = 2.0
"""After so long a disk that does not answer is told from what it wrote."""


async def audit(daemon: "Daemon", args: Args) -> Json:
    """The last decisions, those just made too: they are written together, later."""
    count = int_arg(args, "last", 50, 1, 1_000)
    with trio.move_on_after(_SETTLE_S):
        await daemon.store.settle()
    rows = daemon.store.audit(count)
    return [_name_row(daemon, json.loads(record)) for _, _, record in rows]


def audit_heads(daemon: "Daemon", args: Args) -> Answer:
    """Where each member last signed that its trail stands."""
    del args
    return [
        {"node": daemon.roster.name(node), **_show(told.head), "at_ms": told.at_ms}
        for node, told in sorted(daemon.auditor.latest.items())
    ]


async def audit_verify(daemon: "Daemon", args: Args) -> Json:
    """Go through this node's trail; `seq` and `chain` are what somebody else holds."""
    others: list[AuditHead] = []
    if "chain" in args:
        others.append(_read(args))
    head = await daemon.auditor.verify(others)
    told: Told | None = daemon.auditor.latest.get(daemon.me)
    signed = _show(told.head) if told else None
    return {**_show(head), "rows": head.seq - head.base, "signed": signed}


def _read(args: Args) -> AuditHead:
    seq = int_arg(args, "seq", 0, 1, UNIX_MS_MAX)
    try:
        chain = bytes.fromhex(text_arg(args, "chain"))
    except ValueError:
        chain = b""
    if len(chain) != ID_BYTES:
        raise PeerError(f"argument `chain` must be {2 * ID_BYTES} hex digits")
    return AuditHead(base=0, base_chain=bytes(ID_BYTES), seq=seq, chain=chain)


def _show(head: AuditHead) -> dict[str, Json]:
    return {"base": head.base, "seq": head.seq, "chain": head.chain.hex()}


def _name_row(daemon: "Daemon", row: dict[str, Json]) -> Json:
    """A record of the trail, with what its agent is called today."""
    agent = Subject(SubjectKind.AGENT, bytes.fromhex(str(row["agent"])))
    return {**row, "agent_name": daemon.names.tell(daemon.court, agent)}
