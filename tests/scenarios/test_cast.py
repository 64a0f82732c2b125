"""Each role is an honest node but for one thing, and this is the thing."""

import attrs
import pytest

from enforcement.decide import rulings
from enforcement.decide.rulings import Ruling
from gossip import effects, events
from gossip.domains import Domain
from gossip.ledger.batch import Batch, draft_batch, read_batch_untrusted
from gossip.ledger.entries import (
    Entry,
    EntryKind,
    read_report_untrusted,
    write_policy,
)
from gossip.spread import frames
from gossip.units import ClusterId, Incarnation
from scenarios.cast import ON_OFF_US, ROLES
from scenarios.citizen import Citizen
from scenarios.onlooker import Onlooker
from scenarios.people import DAWN_MS, Person, person
from scenarios.run import run
from scenarios.script import Expectations, Scenario, Some, Step
from scenarios.toy import ToySuite
from scenarios.world import World

ME, OTHER = (person(ToySuite(1), name) for name in ("honest-0", "honest-1"))
HELLO = frames.prune()


def written(by: Person, number: int = 3) -> Batch:
    draft = draft_batch(
        cluster=ClusterId(bytes(32)),
        author=by.node,
        incarnation=Incarnation(bytes(16)),
        number=number,
        previous=bytes(32),
        issued_at_ms=DAWN_MS,
        key=by.chain.key,
        entries=[(EntryKind.POLICY, write_policy(bytes(32)))],
    )
    encoded = draft.join(by.key.sign(draft.header, Domain.BATCH))
    return read_batch_untrusted(encoded)


OWN, OTHERS = (frames.push(written(by).encoded) for by in (ME, OTHER))


@pytest.mark.parametrize(
    ("role", "own", "others", "hello"),
    [
        ("honest", True, True, True),
        ("dropper", True, False, True),
        ("mute", False, False, False),
        ("sybil", False, False, False),
        ("eclipser", False, False, False),
        ("covert", True, True, True),
    ],
)
def test_what_it_sends(role: str, own: bool, others: bool, hello: bool) -> None:
    really = ROLES[role]()
    assert (really.sends(ME, 1, OWN) == OWN) is own
    assert (really.sends(ME, 1, OTHERS) == OTHERS) is others
    assert (really.sends(ME, 1, HELLO) == HELLO) is hello


def test_a_braggart_sends_an_id_instead_of_what_it_passes_on() -> None:
    told = ROLES["braggart"]().sends(ME, 1, OTHERS)
    assert told == frames.ihave([written(OTHER).id])


def test_an_on_off_node_is_a_sybil_half_of_the_time() -> None:
    role = ROLES["on-off"]()
    sent = [role.sends(ME, 1, OTHERS, turn * ON_OFF_US) for turn in range(4)]
    assert sent == [OTHERS, None, OTHERS, None]


def test_an_equivocator_tells_two_stories_under_one_number() -> None:
    role, frame = ROLES["equivocator"](), frames.push(written(ME).encoded)
    stories = {role.sends(ME, peer, frame) for peer in range(4)}
    assert len(stories) == 2


def test_a_slow_detector_is_honest_and_five_seconds_late() -> None:
    assert ROLES["slow"]().honest
    assert ROLES["slow"]().detects_ms == 5_000 > ROLES["honest"]().detects_ms


@attrs.define
class Seen:
    """What was heard at honest nodes, and who is linked to whom in the end."""

    world: World
    heard: list[tuple[str, bytes, int]] = attrs.field(factory=list)
    disbelieved: list[str] = attrs.field(factory=list)
    refused: int = 0

    def admitted(self, citizen: Citizen, entry: Entry) -> None:
        if citizen.name == "honest-0" and entry.kind == EntryKind.REPORT:
            author = self.world.citizens[self.world.index[entry.author]]
            about = read_report_untrusted(entry.body).subject
            self.heard.append((author.plays, about.id, entry.issued_at_ms))

    def ruled(self, citizen: Citizen, ruling: Ruling) -> None:
        if citizen.role.honest and isinstance(ruling, rulings.Disbelieved):
            self.disbelieved.append(ruling.why)

    def handled(self, citizen: Citizen, event: events.Event) -> None: ...
    def said(self, citizen: Citizen, kind: int) -> None: ...
    def noted(self, citizen: Citizen, note: effects.Note) -> None:
        self.refused += note.fact is effects.Fact.BATCH_REJECTED

    def happened(self, who: str, what: str) -> None: ...


def played(role: str, count: int, honest: int = 7, length_s: float = 15) -> Seen:
    """A run with so many of a role, who act by themselves, and in which nobody
    honest may be quarantined."""
    scenario = Scenario(
        title=role,
        nodes=(("honest", honest), (role, count)),
        length_s=length_s,
        story=(Step(at_s=2, does="report", who=(Some("honest-1"),), every_s=1),),
        expect=Expectations(never=("quarantine honest", "deny honest")),
    )
    seen: list[Seen] = []

    def watch(world: World) -> list[Onlooker]:
        seen.append(Seen(world))
        return [*seen]

    verdict = run(scenario, 1, onlookers=watch)
    assert verdict.passed, verdict.failures
    return seen[0]


def test_a_slanderer_forges_proofs_by_itself_and_nobody_believes_them() -> None:
    seen = played("slanderer", 1)
    assert len(seen.disbelieved) >= 7
    assert all("signature" in why for why in seen.disbelieved)


def test_colluders_fall_upon_one_and_the_same_node_in_the_same_second() -> None:
    seen = played("colluder", 2)
    honest = {c.node for c in seen.world.citizens if c.role.honest}
    lies = [(about, at) for who, about, at in seen.heard if who == "colluder"]
    fell = [(about, at // 1_000) for about, at in lies if about in honest]
    assert len({about for about, _ in fell}) == 1
    assert len(fell) == 2 * len(set(fell)) == 10


def test_all_eclipsers_want_a_link_with_one_and_the_same_node() -> None:
    world = played("eclipser", 30, honest=10).world
    (victim,) = set.intersection(
        *({*c.dials} for c in world.citizens if c.plays == "eclipser")
    )
    assert world.citizens[victim].role.honest


def test_what_a_flooder_sends_costs_it_link_after_link() -> None:
    assert played("flooder", 1).refused >= 7
