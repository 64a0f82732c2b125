"""The deeds proven of one subject: each once, however often it is shown, and bounded.

A convict can sign as many hostile requests as it likes and have a friend prove them.
So nothing that it adds may push out what others proved: of each five minutes, by each
rule, the first and the last deeds are held, which decide how far the terms went up and when
they end. To push one out takes proofs through three and a half days after it, by
which any term has doubled as often as it can. Who tells two stories does so without
a date: those are held all, as the ledger that carries them is bounded.
"""

from bisect import insort
from collections.abc import Callable
from typing import Final, TypeAlias

import attrs

from enforcement.decide.remarks import Conviction, Order
from enforcement.decide.terms import TERM_MS
from gossip.ledger.entries import Subject
from gossip.limits import DAY_MS

PER_SPELL_MAX: Final = 4
SPELLS_MAX: Final = 1_024
TELLINGS_MAX: Final = 64
"""So many tellings of one deed are remembered, should the feeds fork that hold them."""
TELLINGS_EACH_MAX: Final = 8
"""Of one member: in so many feeds of its own, or by so many rules."""
PROOF_LIFE_MS: Final = 7 * DAY_MS
"""Requests are proven for as long as policy bundles are kept: later on nobody could
judge them alike."""

Deed: TypeAlias = tuple[int, bytes]
_Slot: TypeAlias = tuple[int, bytes, tuple[Subject, ...], int]
Change: TypeAlias = tuple[list[Order], list[Conviction]]
"""Which remarks need not be held any more, and which are held instead."""


def deed(proof: Conviction) -> Deed:
    """What makes two proofs one. The id of a request is its signer's choice, so its
    stamp belongs to it: else an older request of one id would stand for a later."""
    return proof.committed_at_ms if proof.dated else -1, proof.offence


def _slot(proof: Conviction) -> _Slot:
    """Where it is held. A story shown with another life of its key is held apart: a
    release may pardon the one and not the other."""
    return (*deed(proof), proof.convicts, 0 if proof.dated else proof.key_ends_ms)


def _nothing(_proof: Conviction) -> bool:
    return False


@attrs.define
class Deeds:
    """By which telling each deed is held: a function of the set of proofs and acts.

    The first that everybody gets to hear; one behind a fork only where there is no
    other, since not all have heard that; and one that operators excuse last.
    """

    excuses: Callable[[Conviction], bool] = _nothing
    _told: dict[_Slot, list[Conviction]] = attrs.field(init=False, factory=dict)
    """The first telling in each feed by each rule, the one that counts first."""
    _spells: dict[int, dict[str, list[_Slot]]] = attrs.field(init=False, factory=dict)
    """By rule: what operators excuse by one takes no place of what another forbids."""

    def add(self, proof: Conviction) -> Change:
        """Hear a proof."""
        slot = _slot(proof)
        told = self._told.setdefault(slot, [])
        before = {slot: told[0] if told else None}
        own = [one for one in told if one.reporter == proof.reporter]
        for one in own:
            # In one feed the place counts, not the stamp: what stands first there
            # stands before any fork, or all does.
            if one.order[1:3] == proof.order[1:3] and one.rule == proof.rule:
                if one.order[3:] <= proof.order[3:]:
                    return [], []
                told.remove(one)
                own.remove(one)
                break
        told.append(proof)
        if len(told) > 1:
            told.sort(key=self._preference)
        if len(own) >= TELLINGS_EACH_MAX:
            told.remove(max((*own, proof), key=self._preference))
        del told[TELLINGS_MAX:]
        if proof.dated:
            for gone in self._make_room(slot, proof):
                before.setdefault(gone[0], self._told[gone[0]][0])
                self._forget(*gone)
        return self._changed(before)

    def void(self, feed: tuple[bytes, bytes], number: int) -> Change:
        """A feed forked at a number."""
        before: dict[_Slot, Conviction | None] = {}
        for slot, told in self._told.items():
            first = told[0]
            for at, proof in enumerate(told):
                if proof.order[1:3] == feed and proof.order[3] >= number:
                    told[at] = attrs.evolve(proof, void=True)
                    before[slot] = first
            if slot in before:
                told.sort(key=self._preference)
        return self._changed(before)

    def excuse(self) -> Change:
        """Operators excuse more than they did."""
        before: dict[_Slot, Conviction | None] = {}
        for slot, told in self._told.items():
            before[slot] = told[0]
            told.sort(key=self._preference)
        return self._changed(before)

    def _make_room(self, slot: _Slot, proof: Conviction) -> list[tuple[_Slot, str]]:
        """Which deeds need not be held any more, by which rule."""
        rules = self._spells.setdefault(proof.committed_at_ms // TERM_MS, {})
        alike = rules.setdefault(proof.rule, [])
        if slot in alike:
            return []
        insort(alike, slot)
        gone: list[tuple[_Slot, str]] = []
        if len(alike) > PER_SPELL_MAX:
            gone.append((alike.pop(PER_SPELL_MAX // 2), proof.rule))
        if len(self._spells) > SPELLS_MAX:
            oldest = self._spells.pop(min(self._spells))
            gone += [(each, rule) for rule, held in oldest.items() for each in held]
        return [each for each in gone if each[0] in self._told]

    def _forget(self, slot: _Slot, rule: str) -> None:
        self._told[slot] = [one for one in self._told[slot] if one.rule != rule]

    def _changed(self, before: dict[_Slot, Conviction | None]) -> Change:
        gone: list[Order] = []
        come: list[Conviction] = []
        for slot, was in before.items():
            told = self._told[slot]
            if not told:
                del self._told[slot]
            if told and told[0] is was:
                continue
            gone += [was.order] if was is not None else []
            come += told[:1]
        return gone, come

    def _preference(self, proof: Conviction) -> tuple[bool, bool, Order]:
        return (self.excuses(proof), proof.void, proof.order)
