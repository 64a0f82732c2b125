"""Lasting: how much this node has said that everybody keeps for good.

Its keys, and the operators' acts, endorsements and proofs that it carried. Each author
has a share of that, beyond which others hear it no more where it says such a thing, nor
what follows in that feed. So a person hears of it in time, and the last of the share is
left to the keys.
"""

from typing import TYPE_CHECKING, Final

from gossip.errors import UserError

if TYPE_CHECKING:
    from node.daemon import Daemon

MUCH: Final = 0.8
FULL: Final = 0.94
"""Of 16 MiB, what is left is enough for two keys a day for a month and a half."""


def used(daemon: "Daemon") -> float:
    """Which part of its share this node has used."""
    said = daemon.engine.ledger.lasting_of(daemon.me)
    return said / daemon.roster.lasting_bytes_max


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
    if used(daemon) >= FULL:
        raise UserError(f"not said here: {concern(daemon)}")
