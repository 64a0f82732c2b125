"""What a court says: who is cut off, who is let go, and what else must be known."""

from typing import TypeAlias

import attrs

from enforcement.decide.case import Standing
from enforcement.decide.quarantine import Withheld
from gossip.ledger.appeals import Answer, Appeal
from gossip.ledger.entries import Entry, Place, Report, Subject
from gossip.units import NodeId, UnixMs


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
    """Alert: decided, but not enforced."""

    subject: Subject
    why: Withheld = Withheld.VALVE


@attrs.frozen
class Spared:
    """Own evidence would have isolated the node; isolation only observes."""

    node: NodeId = attrs.field(repr=bytes.hex)
    category: str


@attrs.frozen
class Found:
    """What was heard makes a proof that nobody reported yet: report it."""

    report: Report
    offence: bytes = attrs.field(default=b"", repr=bytes.hex)
    """What makes two proofs one."""


@attrs.frozen
class Retell:
    """Say again what stands at this place, behind a fork of its author's feed."""

    place: Place


@attrs.frozen
class Appealed:
    """A node asks for another look."""

    appeal: Appeal


@attrs.frozen
class Answered:
    """A reporter answered an appeal."""

    appeal: Appeal
    by: NodeId = attrs.field(repr=bytes.hex)
    answer: Answer


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
    | Spared
    | Found
    | Retell
    | Appealed
    | Answered
    | Disbelieved
    | LookAgain
)
