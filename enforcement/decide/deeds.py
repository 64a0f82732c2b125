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
TELLERS_MAX: Final = 8
"""So many members who tell one deed are remembered, should a feed of theirs fork."""
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
    """By which telling each deed is held: a function of the set of proofs.

    The first that everybody gets to hear; one behind a fork only where there is no
    other, since not all have heard that.
    """

    _told: dict[Deed, list[Conviction]] = attrs.field(init=False, factory=dict)
    """The first telling of each member, the one that counts first."""
    _spells: dict[int, list[Deed]] = attrs.field(init=False, factory=dict)

    def add(self, proof: Conviction) -> tuple[Order, ...]:
        """Hold a proof; which remarks need not be held, it maybe among them."""
        done = deed(proof)
        told = self._told.get(done)
        if told is not None:
            return self._tell_again(told, proof)
        self._told[done] = [proof]
        if not proof.dated:
            return ()
        spell = self._spells.setdefault(proof.committed_at_ms // TERM_MS, [])
        insort(spell, done)
        gone: list[Deed] = []
        if len(spell) > PER_SPELL_MAX:
            gone.append(spell.pop(PER_SPELL_MAX // 2))
        if len(self._spells) > SPELLS_MAX:
            gone += self._spells.pop(min(self._spells))
        return tuple(self._told.pop(each)[0].order for each in dict.fromkeys(gone))

    def void(
        self, feed: tuple[bytes, bytes], number: int
    ) -> list[tuple[Order, Conviction]]:
        """A feed forked; under which order a deed was held, and by what it is now."""
        changed: list[tuple[Order, Conviction]] = []
        for told in self._told.values():
            before = told[0]
            for at, proof in enumerate(told):
                if proof.order[1:3] == feed and proof.order[3] >= number:
                    told[at] = attrs.evolve(proof, void=True)
            told.sort(key=_preference)
            if told[0] is not before:
                changed.append((before.order, told[0]))
        return changed

    def _tell_again(
        self, told: list[Conviction], proof: Conviction
    ) -> tuple[Order, ...]:
        before = told[0]
        own = next((one for one in told if one.reporter == proof.reporter), None)
        if own is not None:
            if _preference(own) <= _preference(proof):
                return (proof.order,)
            told.remove(own)
        insort(told, proof, key=_preference)
        del told[TELLERS_MAX:]
        return (before.order,) if told[0] is proof else (proof.order,)


def _preference(proof: Conviction) -> tuple[bool, Order]:
    return (proof.void, proof.order)
