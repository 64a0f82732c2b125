"""Lasting: how much this node has said that everybody keeps for good.

Its keys, and the operators' acts, endorsements and proofs that it carried. Each author
has a share of that, beyond which others hear it no more where it says such a thing, nor
what follows in that feed. So a person hears of it in time, and the last of the share is
left to the keys: then proofs found here are said as mere voices, which are not kept.
"""

import hashlib
from typing import TYPE_CHECKING, Final

import attrs

from gossip.engine import Engine
from gossip.errors import UserError
from gossip.ledger.entries import Proof, Report, Witness
from gossip.units import UnixMs

if TYPE_CHECKING:
    from node.daemon import Daemon

MUCH: Final = 0.8
FULL: Final = 0.94
"""Of 16 MiB, what is left is enough for two keys a day for a month and a half."""


def used(daemon: "Daemon") -> float:
    """Which part of its share this node has used."""
    return _used_by(daemon.engine)


def _used_by(engine: Engine) -> float:
    return engine.ledger.lasting_of(engine.me) / engine.roster.lasting_bytes_max


def is_full(engine: Engine) -> bool:
    """Whether what is left is for the keys."""
    return _used_by(engine) >= FULL


def as_said(report: Report, engine: Engine, now: UnixMs) -> Report:
    """A report of ours as there is room for it: a proof, or else a voice."""
    proof = report.evidence
    if not isinstance(proof, Proof) or not is_full(engine):
        return report
    digest = hashlib.sha256(proof.data).digest()
    seen = Witness(digest=digest, count=1, first_ms=now, last_ms=now)
    return attrs.evolve(report, evidence=seen)


def concern(daemon: "Daemon") -> str:
    """The sentence for whoever runs this node, if there is reason for one."""
    part = used(daemon)
    if part < MUCH:
        return ""
    room = daemon.roster.lasting_bytes_max / (1 << 20)
    return (
        f"this node has said {part:.0%} of the {room:.0f} MiB that all keep of it for"
        " good; carry acts and endorsements through other nodes"
    )


def require_room(daemon: "Daemon") -> None:
    """Before an act or an endorsement is said here.

    Raises:
        UserError: too much was; the others would not hear it.
    """
    if is_full(daemon.engine):
        raise UserError(f"not said here: {concern(daemon)}")
