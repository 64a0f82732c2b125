"""The deeds proven of one subject: each once, however often it is shown, and bounded.

A convict can sign as many hostile requests as it likes and have a friend prove them.
So nothing that it adds may push out what others proved: of each five minutes the
first and the last deeds are held, which decide how far the terms went up and when
they end. To push one out takes proofs through three and a half days after it, by
which any term has doubled as often as it can. Who tells two stories does so without
a date: those are held all, as the ledger that carries them is bounded.
"""

from bisect import insort
from typing import Final, TypeAlias

import attrs

from enforcement.decide.remarks import Conviction, Order
from enforcement.decide.terms import TERM_MS
from gossip.limits import DAY_MS

PER_SPELL_MAX: Final = 4
SPELLS_MAX: Final = 1_024
PROOF_LIFE_MS: Final = 7 * DAY_MS
"""Requests are proven for as long as policy bundles are kept: later on nobody could
judge them alike."""

Deed: TypeAlias = tuple[int, bytes]


def deed(proof: Conviction) -> Deed:
    """What makes two proofs one. The id of a request is its signer's choice, so its
    stamp belongs to it: else an older request of one id would stand for a later."""
    return proof.committed_at_ms if proof.dated else -1, proof.offence


@attrs.define
class Deeds:
    """Under which remark each deed is held: a function of the set of proofs."""

    _held: dict[Deed, Order] = attrs.field(init=False, factory=dict)
    _spells: dict[int, list[Deed]] = attrs.field(init=False, factory=dict)

    def add(self, proof: Conviction) -> tuple[Order, ...]:
        """Hold a proof; which remarks need not be held, it maybe among them."""
        done = deed(proof)
        held = self._held.get(done)
        self._held[done] = proof.order if held is None else min(held, proof.order)
        if held is not None:
            return (max(held, proof.order),)
        if not proof.dated:
            return ()
        spell = self._spells.setdefault(proof.committed_at_ms // TERM_MS, [])
        insort(spell, done)
        gone: list[Deed] = []
        if len(spell) > PER_SPELL_MAX:
            gone.append(spell.pop(PER_SPELL_MAX // 2))
        if len(self._spells) > SPELLS_MAX:
            gone += self._spells.pop(min(self._spells))
        return tuple(self._held.pop(each) for each in dict.fromkeys(gone))
