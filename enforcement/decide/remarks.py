"""What is said about a subject: voices, proofs, releases; and how it stands by them.

A voice is worth at most one, and halves every quarter of an hour, in integers: two
machines must not disagree about the last bit of a logarithm.
"""

from decimal import Decimal, localcontext
from enum import IntEnum, StrEnum
from typing import Final, TypeAlias

import attrs

from enforcement.decide.thresholds import MICRO
from gossip.ledger.entries import Subject
from gossip.units import UNIX_MS_MAX, NodeId, UnixMs

HALF_LIFE_MS: Final = 15 * 60_000
HALF_LIFE_S: Final = HALF_LIFE_MS // 1_000
FALL_BITS: Final = 64


def _fall_table() -> tuple[int, ...]:
    """2^(-s/900) for each second of a half-life, in units of 2^-64, rounded down."""
    with localcontext() as exact:
        exact.prec = 60
        step = Decimal(2) ** (Decimal(-1) / Decimal(HALF_LIFE_S))
        return tuple(int(step**second * 2**FALL_BITS) for second in range(HALF_LIFE_S))


FALL: Final = _fall_table()


class Level(IntEnum):
    """How a subject stands, from harmless to cut off."""

    CLEAR = 0
    WATCH = 1
    SUSPECT = 2
    QUARANTINED = 3


class Basis(StrEnum):
    """What a quarantine rests on."""

    PROOF = "proof"
    VOICES = "voices"


Order: TypeAlias = tuple[int, bytes, bytes, int, int]


@attrs.frozen(kw_only=True, order=False)
class Voice:
    """A report without proof: one reporter's word, worth at most one voice."""

    order: Order
    reporter: NodeId = attrs.field(repr=bytes.hex)
    category: str
    severity: int
    weight_ppm: int
    """The reporter's weight, from its snapshot; a founder's begins at 900 000."""
    shared: NodeId | None = attrs.field(default=None, repr=False)
    """The sponsor with whom it has one voice together; None: its own voice."""

    @property
    def at_ms(self) -> int:
        """When it was issued, by the reporter's clock."""
        return self.order[0]

    @property
    def fresh_micro(self) -> int:
        """What it was worth when it was said: min(1, w·severity/9)."""
        return min(MICRO, self.weight_ppm * self.severity // 9)

    def micro(self, at_ms: int) -> int:
        """What it is worth at ``at_ms``: min(1, w·severity/9)·2^(-age/15 min)."""
        age_s = max(0, at_ms // 1_000 - self.at_ms // 1_000)
        halvings, rest_s = divmod(age_s, HALF_LIFE_S)
        return (self.fresh_micro * FALL[rest_s]) >> (FALL_BITS + halvings)


@attrs.frozen(kw_only=True, order=False)
class Conviction:
    """A valid proof of one offence, as first reported."""

    order: Order
    reporter: NodeId = attrs.field(repr=bytes.hex)
    offence: bytes = attrs.field(repr=bytes.hex)
    """What makes two proofs one offence, with its stamp: the request's id."""
    rule: str
    severity: int
    committed_at_ms: int
    """The stamp that the offender itself signed."""
    dated: bool = True
    """Whether that stamp was checked against an honest clock when it was made. Who
    tells two stories dates them as it likes: no term can be counted from that, so
    it is out until operators let it go."""
    key_ends_ms: int = UNIX_MS_MAX
    """Of two stories: until when the keys that signed them were alive."""
    convicts: tuple[Subject, ...] = attrs.field(default=(), repr=False)
    """All whom it convicts: what operators excuse one for, they excuse all for."""
    void: bool = attrs.field(default=False, eq=False)
    """Whether it was told behind a fork of its teller's feed."""


@attrs.frozen(kw_only=True, order=False)
class Release:
    """Operators let the subject go. Takes effect at the act's own stamp."""

    order: Order
    act: bytes = attrs.field(repr=bytes.hex)
    signers: tuple[str, ...]
    reason: str
    pardons: frozenset[bytes] = frozenset()
    """Which two stories it names; see `enforcement.decide.pardons`."""


Remark: TypeAlias = Voice | Conviction | Release


@attrs.frozen(kw_only=True)
class Standing:
    """Where a subject stands at one moment, and what that rests on."""

    level: Level
    basis: Basis | None = None
    since_ms: UnixMs | None = None
    until_ms: UnixMs | None = None
    """The earliest end of the quarantine, if nothing more is said."""
    times: int = 0
    """How many steps its terms went up so far, forgiven ones taken off."""
    conviction: Conviction | None = None
    sum_micro: int = 0
    by_most_ms: UnixMs | None = None
    """Since when, in this quarantine, half as many voices again accuse it as it takes."""
