"""Justice: what gates saw becomes words, what the court rules becomes deeds."""

import io
from pathlib import Path

import attrs
import pytest

from enforcement import effects as gate
from enforcement.decide.court import Court, Offence
from enforcement.reporting import HOSTILE_REQUEST
from gossip.errors import PeerError, UserError
from gossip.ledger.entries import Proof, Report, Subject, SubjectKind, Witness
from gossip.membership.roster import Roster
from gossip.units import AgentId, NodeId, UnixMs
from node import birth
from node.clock import SystemClock
from node.config import Config, load_config, load_founders
from node.justice import Justice
from node.keys.suites.registry import load_suite
from node.log import Log
from node.metrics import Metrics
from node.names import Names
from node.proxy.session import SigningRefused
from node.sealing import SEED_BYTES, SealingKey
from node.signer import KeyRing

SUITE = load_suite()
DIGEST = b"d" * 32


@attrs.define
class Doors:
    """Remembers who was refused."""

    refused: dict[NodeId, bool] = attrs.field(factory=dict)

    def refuse(self, peer: NodeId, refused: bool) -> None:
        self.refused[peer] = refused


@attrs.define
class Bench:
    """One node's justice, and everything it touched."""

    justice: Justice
    doors: Doors
    published: list[Report]
    log: io.StringIO

    @property
    def other(self) -> NodeId:
        me = self.justice.court.me
        return next(m.node for m in self.justice.court.roster.members() if m.node != me)


def no_proof(data: bytes) -> Offence | None:
    raise PeerError("no proof at all")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    now = SystemClock().unix_ms()
    for name in ("a", "b"):
        new = birth.NewNode(name=name, listen=(), grants=("agent",))
        birth.make_node(tmp_path / name, new, {}, SUITE, now)
    _, card = birth.make_operator(tmp_path, "opal", SUITE)
    cards = [tmp_path / name / birth.CARD for name in ("a", "b")]
    birth.join_founders("bank", cards, [card], tmp_path / "a" / "founders.toml")
    return load_config(tmp_path / "a" / "config.toml")


@pytest.fixture
def bench(config: Config) -> Bench:
    roster = Roster(load_founders(config))
    me = roster.by_name("a")
    assert me is not None
    doors, published, stream = Doors(), list[Report](), io.StringIO()
    court = Court(me=me, roster=roster, suite=SUITE, read_proof=no_proof)
    justice = Justice(
        court=court,
        names=Names(),
        doors=doors,
        clock=SystemClock(),
        log=Log(stream=stream),
        metrics=Metrics(),
        publish=published.append,
    )
    justice.restored()
    return Bench(justice, doors, published, stream)


def saw(subject: gate.Subject, severity: int) -> gate.Witness:
    return gate.Witness(
        subject=subject,
        category="rate-abuse",
        severity=severity,
        digest=DIGEST,
        count=3,
        at_ms=UnixMs(7),
    )


def test_what_a_gate_saw_is_published_as_one_voice(bench: Bench) -> None:
    bench.justice.witness(saw(gate.Subject(gate.SubjectKind.AGENT, b"x" * 32), 3))
    (report,) = bench.published
    assert report.subject == Subject(SubjectKind.AGENT, b"x" * 32)
    assert report.evidence == Witness(
        digest=DIGEST, count=3, first_ms=UnixMs(7), last_ms=UnixMs(7)
    )
    assert bench.doors.refused == {}


def test_a_hostile_node_is_cut_off_here_before_anybody_is_asked(bench: Bench) -> None:
    bench.justice.proof(
        gate.Proof(
            data=b"proof",
            agent=AgentId(b"x" * 32),
            node=bench.other,
            rule="ledger-admin-only",
            severity=8,
        )
    )
    assert bench.doors.refused == {bench.other: True}
    (report,) = bench.published
    assert report.category == HOSTILE_REQUEST
    assert report.evidence == Proof(data=b"proof")
    assert "b signed a request that rule ledger-admin-only denies" in (
        bench.log.getvalue()
    )


def test_nobody_testifies_against_himself(bench: Bench) -> None:
    me = bench.justice.court.me
    bench.justice.witness(saw(gate.Subject(gate.SubjectKind.NODE, me), 9))
    assert bench.published == []
    assert bench.doors.refused == {}


async def test_an_agent_that_was_removed_is_signed_for_no_more(config: Config) -> None:
    birth.add_agent(config, "bot", ["agent"], SUITE)
    config = load_config(config.file)
    ring = KeyRing(config.state, Roster(load_founders(config)), SUITE, Metrics())
    ring.rotate(config.agents, SystemClock().unix_ms())
    bot = ring.principals["bot"].agent
    by_agent, by_node = await ring.sign_request(bot, b"body")
    assert by_agent != by_node
    ring.admit({})
    with pytest.raises(SigningRefused):
        await ring.sign_request(bot, b"body")


async def test_a_shared_key_is_offered_anew_when_certificates_change(
    config: Config,
) -> None:
    birth.add_agent(config, "bot", ["agent"], SUITE)
    config = load_config(config.file)
    ring = KeyRing(config.state, Roster(load_founders(config)), SUITE, Metrics())
    now = SystemClock().unix_ms()
    ring.rotate(config.agents, now)
    bot, provider = ring.principals["bot"].agent, NodeId(b"p" * 32)
    assert await ring.share_request(bot, b"body", provider, now) is None, "no reader"
    key = SealingKey.of_seed(SUITE.random(SEED_BYTES))
    ring.offers.find_reader = lambda node: key.public
    first, again = [
        await ring.share_request(bot, b"body", provider, now) for _ in range(2)
    ]
    assert first is not None
    assert first == again
    ring.rotate(config.agents, now)
    assert first != await ring.share_request(bot, b"body", provider, now)
    ring.admit({})
    with pytest.raises(SigningRefused):
        await ring.share_request(bot, b"body", provider, now)


def test_a_role_that_may_not_be_granted_changes_nothing(config: Config) -> None:
    birth.add_agent(config, "bot", ["agent"], SUITE)
    good = load_config(config.file)
    ring = KeyRing(config.state, Roster(load_founders(config)), SUITE, Metrics())
    ring.rotate(good.agents, SystemClock().unix_ms())
    before = ring.current
    emperor = {"bot": attrs.evolve(good.agents["bot"], roles=("emperor",))}
    for change in (ring.admit, lambda a: ring.rotate(a, SystemClock().unix_ms())):
        with pytest.raises(UserError, match="may not grant the role `emperor`"):
            change(emperor)
    assert ring.current is before
    assert ring.principals["bot"].roles == ("agent",)
