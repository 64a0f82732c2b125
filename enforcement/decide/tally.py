"""The tally: what live voices sum up to, at the same cost however many they are.

Voices fade alike: each is worth half a quarter of an hour later. So what they come
to at one moment says what they come to at every later one, as if it were one voice::

    said    ──▶  total += fresh · 2^(+second / 900)
    sum(at)  =   total · 2^(-second of at / 900)

In integers, all rounded down but the very last step: the sum is never more than its
voices are, so f whole voices never exceed f.
"""

from typing import Final

import attrs

from enforcement.decide.remarks import FALL, FALL_BITS, HALF_LIFE_S, Voice
from gossip.units import NodeId

_FINE_BITS: Final = 64
"""Digits kept below what `FALL` has, so that fading again and again loses nothing."""
_RISE: Final = tuple((1 << 2 * FALL_BITS) // fall for fall in FALL)
"""2^(+s/900) for each second of a half-life, rounded down."""


@attrs.define
class Tally:
    """The last voice of each reporter, in the order in which they were issued."""

    voices: dict[NodeId, Voice] = attrs.field(init=False, factory=dict)
    _total: int = attrs.field(init=False, default=0)
    _half_life: int = attrs.field(init=False, default=0)
    """Which one since 1970 the total is reckoned for: the newest voice's."""
    _newest_ms: int = attrs.field(init=False, default=0)
    _shared: bool = attrs.field(init=False, default=False)
    """Whether any voice is shared: then it takes a look at all to add one."""

    def put(self, voice: Voice) -> None:
        """A voice no older than those before takes the place of its reporter's last."""
        assert voice.at_ms >= self._newest_ms, "voices come in order"
        self._newest_ms = voice.at_ms
        half_life = voice.at_ms // 1_000 // HALF_LIFE_S
        self._total >>= half_life - self._half_life
        self._half_life = half_life
        before = self.voices.get(voice.reporter)
        self.voices[voice.reporter] = voice
        self._shared = self._shared or voice.shared is not None
        if self._shared:
            self._total = self._add_up()
        else:
            self._total += self._weigh(voice) - (self._weigh(before) if before else 0)

    def clear(self) -> None:
        """Nobody has said anything."""
        self.voices.clear()
        self._total = self._half_life = self._newest_ms = 0
        self._shared = False

    def sum(self, at_ms: int) -> int:
        """What the voices come to, in millionths. Who shares a voice has the most
        that any of them is worth; one stamped later counts as if said just now."""
        if at_ms < self._newest_ms:
            return self._sum_one_by_one(at_ms)
        half_life, second = divmod(at_ms // 1_000, HALF_LIFE_S)
        halvings = half_life - self._half_life
        if halvings > FALL_BITS:
            return 0  # of any number of voices; stamps may be from another century
        bits = 2 * FALL_BITS + _FINE_BITS + halvings
        return (self._total * FALL[second] + (1 << (bits - 1))) >> bits

    def _weigh(self, voice: Voice) -> int:
        half_life, second = divmod(voice.at_ms // 1_000, HALF_LIFE_S)
        weight = voice.fresh_micro * _RISE[second] << _FINE_BITS
        return weight >> (self._half_life - half_life)

    def _add_up(self) -> int:
        heaviest: dict[NodeId, int] = {}
        for voice in self.voices.values():
            who = voice.shared or voice.reporter
            heaviest[who] = max(self._weigh(voice), heaviest.get(who, 0))
        return sum(heaviest.values())

    def _sum_one_by_one(self, at_ms: int) -> int:
        worths: dict[NodeId, int] = {}
        for voice in self.voices.values():
            who = voice.shared or voice.reporter
            worths[who] = max(voice.micro(at_ms), worths.get(who, 0))
        return sum(worths.values())
