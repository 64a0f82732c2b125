"""In a simulated cluster, too, what stands behind a fork reaches everybody."""

import attrs
import pytest

from enforcement.decide import rulings
from enforcement.decide.rulings import Ruling
from gossip import effects, events
from gossip.ledger.entries import Entry, EntryKind, read_report_untrusted
from scenarios.citizen import Citizen
from scenarios.onlooker import Onlooker
from scenarios.run import run
from scenarios.script import Expectations, Scenario, Some, Step
from scenarios.world import World

OFFENCE_SEEN_BY_A_LIAR = Scenario(
    title="a proof behind a fork",
    nodes=(("honest", 6), ("equivocator", 1), ("attacker", 1)),
    length_s=20,
    story=(
        Step(
            at_s=5,
            does="offend",
            who=(Some("attacker-0"),),
            seen_by=(Some("equivocator-0"),),
        ),
    ),
    expect=Expectations(
        eventually=(
            *("quarantine attacker-0", "quarantine equivocator-0"),
            "standings agree",
        ),
        within_s=10,
    ),
)


@attrs.define
class Ears:
    """Which honest nodes heard of the attacker, and in whose feeds."""

    world: World
    heard: dict[str, set[str]] = attrs.field(factory=dict)
    """By the name of who heard it: the names of those who said it."""
    asked: set[str] = attrs.field(factory=set)
    """Whose courts asked to say something again."""

    def admitted(self, citizen: Citizen, entry: Entry) -> None:
        if not citizen.role.honest or entry.kind != EntryKind.REPORT:
            return
        (attacker,) = (c for c in self.world.citizens if c.plays == "attacker")
        if read_report_untrusted(entry.body).subject.id == attacker.node:
            author = self.world.citizens[self.world.index[entry.author]]
            self.heard.setdefault(citizen.name, set()).add(author.name)

    def ruled(self, citizen: Citizen, ruling: Ruling) -> None:
        if isinstance(ruling, rulings.Retell):
            self.asked.add(citizen.name)

    def handled(self, citizen: Citizen, event: events.Event) -> None: ...
    def said(self, citizen: Citizen, kind: int) -> None: ...
    def noted(self, citizen: Citizen, note: effects.Note) -> None: ...
    def happened(self, who: str, what: str) -> None: ...


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_forked_authors_proof_convicts_at_nodes_that_never_got_its_batch(
    seed: int,
) -> None:
    ears: list[Ears] = []

    def listen(world: World) -> list[Onlooker]:
        ears.append(Ears(world))
        return [*ears]

    verdict = run(OFFENCE_SEEN_BY_A_LIAR, seed, onlookers=listen)
    assert verdict.passed, verdict.failures
    heard, asked = ears[0].heard, ears[0].asked
    assert len(heard) == 6
    without = {name for name, by in heard.items() if "equivocator-0" not in by}
    assert without
    assert asked
    assert not asked & without
    assert all(heard[name] <= asked for name in without)
