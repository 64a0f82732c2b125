"""Requests at level `pqc-session`: a mac under a shared key, and attacks on it."""

import attrs
import pytest

from enforcement import limits
from enforcement.defend.policy import Policy
from enforcement.detect.pins import Pins, read_manifest_untrusted
from enforcement.effects import (
    Effect,
    Position,
    Proof,
    SignRequest,
    ToClient,
    ToServer,
    Witness,
)
from enforcement.events import ClientMessage, RequestShared
from enforcement.gate import Gate
from enforcement.mcp.sharing import write_offer
from enforcement.mcp.signing import read_envelope_untrusted, write_shared_envelope
from enforcement.post import Post
from gossip.units import NodeId, UnixMs
from gossip.wire import take_bytes, take_list, unpack_untrusted
from node.sealing import SEED_BYTES, SealingKey
from node.sharing import RENEW_MS, Offers
from tests.support.births import NOW, SUITE, Newborn
from tests.support.sessions import (
    PERMIT,
    Agent,
    Town,
    call,
    gate,
    leave,
    message,
    of,
    post,
    sign,
    told,
)

RULES = (
    PERMIT
    + """
@id("no-drop") @severity("8")
forbid(principal, action == Action::"tools/call", resource == Tool::"sql/write")
when { context.params has query && context.words.query.contains("drop") };
@id("retail-only") @severity("4")
forbid(principal, action == Action::"tools/call", resource == Tool::"sql/count")
unless { principal in Role::"retail" };
"""
)
POLICY = Policy.load({"rules.cedar": RULES})
SCHEMA = {"type": "object"}
COUNT = {"name": "count", "inputSchema": SCHEMA, "security_policy": "pqc-session"}
WRITE = {"name": "write", "inputSchema": SCHEMA, "security_policy": "pqc-session"}
READ = {"name": "read", "inputSchema": SCHEMA}


@attrs.define
class Street:
    """An agent's gate and its server's, with the keys that they share."""

    town: Town
    agent: Agent
    egress: Gate
    ingress: Gate
    offers: Offers
    key: SealingKey

    def mac(
        self, asked: SignRequest, agent: Agent, node: Newborn, now: UnixMs = NOW
    ) -> RequestShared:
        """What the driver does where a shared key will do."""
        assert asked.shares == self.town.ledger.node
        keys = agent.key, node.signing_key
        told = self.offers.mac(agent.principal, keys, asked.body, asked.shares, now)
        assert told is not None
        return RequestShared(asked.ticket, *told)

    def leave(
        self, tool: str, key: int, now: UnixMs = NOW, **arguments: object
    ) -> ClientMessage:
        """A call under the shared key, on its way between the nodes."""
        data = call(tool, key, **arguments)
        (asked,) = of(self.egress.handle(ClientMessage(data), now), SignRequest)
        told = self.mac(asked, self.agent, self.town.branch, now)
        (sent,) = of(self.egress.handle(told, now), ToServer)
        return ClientMessage(sent.data, sent.envelope)

    def arrive(self, sent: ClientMessage, now: UnixMs = NOW) -> list[Effect]:
        """It comes to the provider."""
        return self.ingress.handle(sent, now)


def pinned(town: Town, *tools: dict[str, object]) -> Post:
    made = post(town, POLICY)
    made.pins = Pins()
    for tool in tools or (COUNT, WRITE, READ):
        made.pins.see(read_manifest_untrusted("sql", tool))  # type: ignore[arg-type] # plain JSON
    return made


def unsealing(shared: Post, key: SealingKey, town: Town) -> None:
    cluster = town.roster.cluster
    shared.shared_keys.unseal = lambda sealed, author: key.open_secret_untrusted(
        sealed, cluster, author
    )


def street(town: Town, clerk: Agent, provider: Post | None = None) -> Street:
    key = SealingKey.of_seed(SUITE.random(SEED_BYTES))
    there = provider or pinned(town)
    unsealing(there, key, town)
    return Street(
        town=town,
        agent=clerk,
        egress=gate(Position.EGRESS, town, clerk, pinned(town)),
        ingress=gate(Position.INGRESS, town, clerk, there),
        offers=Offers(town.roster.cluster, SUITE, lambda provider: key.public),
        key=key,
    )


@pytest.fixture
def way(town: Town, clerk: Agent) -> Street:
    return street(town, clerk)


def reason(effects: list[Effect]) -> str:
    assert not of(effects, ToServer)
    (denial,) = of(effects, ToClient)
    return told(denial.data)["reason"]


def forged(sent: ClientMessage, mac: bytes = b"", offer: bytes = b"") -> ClientMessage:
    """The same call with other parts in its envelope."""
    true = read_envelope_untrusted(sent.envelope or b"")
    parts = true.encoded_body, mac or true.mac, offer or true.offer, true.seed
    return ClientMessage(sent.data, write_shared_envelope(*parts))


def test_a_call_under_a_shared_key_passes_and_one_offer_serves_many(
    way: Street,
) -> None:
    sent = [way.leave("count", key) for key in range(3)]
    assert all(of(way.arrive(one), ToServer) for one in sent)
    offers = {read_envelope_untrusted(one.envelope or b"").offer for one in sent}
    assert len(offers) == 1
    later = UnixMs(NOW + RENEW_MS)
    renewed = way.leave("count", 9, later)
    assert read_envelope_untrusted(renewed.envelope or b"").offer not in offers
    assert of(way.arrive(renewed, later), ToServer)


def test_only_tools_that_ask_for_it_and_no_hostile_rule_reaches_go_under_it(
    way: Street,
) -> None:
    for data in (
        call("read", 1),
        call("write", 2, query="x"),
        message("resources/read", 3, uri="a://b"),
    ):
        (asked,) = of(way.egress.handle(ClientMessage(data), NOW), SignRequest)
        assert asked.shares is None
        way.egress.handle(sign(asked, way.agent, way.town.branch), NOW)


def test_signatures_do_where_a_shared_key_would(way: Street) -> None:
    sent = leave(way.egress, call("count"), way.agent, way.town.branch)
    assert of(way.arrive(sent), ToServer)


@pytest.mark.parametrize("tool", ["write", "read"])
def test_a_node_that_lowers_a_tools_level_is_refused_and_witnessed_never_proven(
    way: Street, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    with monkeypatch.context() as fallen:
        fallen.setattr("enforcement.judging.may_share", lambda *_: True)
        fallen.setattr(
            "enforcement.judging.Judge._follow_policy", lambda *_, **__: None
        )
        sent = way.leave(tool, 1, query="drop")
    effects = way.arrive(sent)
    assert reason(effects) == "unsigned"
    (witness,) = of(effects, Witness)
    assert (witness.subject.id, witness.severity) == (way.town.branch.node, 5)
    assert not of(effects, Proof)


def test_a_tool_that_lowers_its_own_level_is_held(way: Street) -> None:
    pins = way.ingress.post.pins
    assert pins is not None
    lowered = {**READ, "security_policy": "pqc-session"}
    pins.see(read_manifest_untrusted("sql", lowered))  # type: ignore[arg-type] # plain JSON
    sent = leave(way.egress, call("read"), way.agent, way.town.branch)
    assert reason(way.arrive(sent)) == "tool-changed"


def test_a_stripped_mac_or_offer_is_refused(way: Street) -> None:
    sent = way.leave("count", 1)
    assert reason(way.arrive(ClientMessage(sent.data, None))) == "unsigned"
    for changed in (forged(sent, mac=bytes(32)), forged(sent, offer=b"\x90")):
        assert reason(way.arrive(changed)) == "envelope"


def test_a_replayed_call_counts_once_also_in_another_session(way: Street) -> None:
    sent = way.leave("count", 1)
    assert of(way.arrive(sent), ToServer)
    again = gate(Position.INGRESS, way.town, way.agent, way.ingress.post)
    assert reason(again.handle(sent, NOW)) == "replayed"
    late = UnixMs(NOW + limits.FRESH_MS_MAX + 1)
    assert reason(way.arrive(way.leave("count", 2), late)) == "stale"


def test_other_parameters_than_under_the_mac_are_refused(way: Street) -> None:
    sent = way.leave("count", 1, amount=1)
    for data in (call("count", 1, amount=2), call("count", 1), call("write", 1)):
        assert reason(way.arrive(ClientMessage(data, sent.envelope))) == "envelope"


def test_an_offer_to_one_node_is_nothing_to_another(way: Street) -> None:
    sent = way.leave("count", 1)
    there = pinned(way.town)
    unsealing(there, way.key, way.town)  # even if it could open it
    elsewhere = Gate(
        position=Position.INGRESS,
        principal=way.agent.principal,
        server="sql",
        audience=way.town.other.node,
        post=there,
    )
    assert reason(elsewhere.handle(sent, NOW)) == "envelope"


def test_a_key_that_cannot_be_opened_here_accuses_nobody(way: Street) -> None:
    """The provider's sealing key is another one since a restore, say."""
    new = SealingKey.of_seed(SUITE.random(SEED_BYTES))
    unsealing(way.ingress.post, new, way.town)
    effects = way.arrive(way.leave("count", 1))
    assert reason(effects) == "stale"
    assert not of(effects, Witness)
    way.offers.find_reader = lambda provider: new.public
    assert of(way.arrive(way.leave("count", 2)), ToServer), "told of it, all is well"


def test_another_agents_offer_gives_no_key(way: Street) -> None:
    """Two agents of one node: neither speaks under the other's key."""
    stranger = way.town.agent("stranger", "retail")
    keys = stranger.key, way.town.branch.signing_key
    ledger = way.town.ledger.node
    sent = way.leave("count", 1)
    body = read_envelope_untrusted(sent.envelope or b"").encoded_body
    told = way.offers.mac(stranger.principal, keys, body, ledger, NOW)
    assert told is not None
    assert reason(way.arrive(forged(sent, mac=told[0], offer=told[1]))) == "envelope"
    assert reason(way.arrive(forged(sent, offer=told[1]))) == "envelope"


def test_an_offer_needs_both_signatures_each_in_its_place(way: Street) -> None:
    sent = way.leave("count", 1)
    offer = read_envelope_untrusted(sent.envelope or b"").offer
    parts = [
        take_bytes(p, 1, 9_999) for p in take_list(unpack_untrusted(offer, 9_999), 3, 3)
    ]
    for agent, node in ((2, 1), (1, 1), (2, 2)):
        bent = write_offer(parts[0], parts[agent], parts[node])
        assert reason(way.arrive(forged(sent, offer=bent))) == "envelope"


@pytest.mark.parametrize(
    ("off_ms", "passes"),
    [
        (limits.OFFER_MS_MAX, True),
        (limits.OFFER_MS_MAX + 1, False),
        (-limits.FRESH_MS_MAX, True),
        (-limits.FRESH_MS_MAX - 1, False),
    ],
)
def test_an_offer_ends_and_none_comes_from_the_future(
    way: Street, off_ms: int, passes: bool
) -> None:
    way.ingress.post.replay.since_ms = UnixMs(0)
    at = UnixMs(NOW + off_ms)
    told = ClientMessage(call("count"))
    (asked,) = of(way.egress.handle(told, at), SignRequest)
    shared = way.mac(asked, way.agent, way.town.branch, NOW)
    (sent,) = of(way.egress.handle(shared, at), ToServer)
    effects = way.arrive(ClientMessage(sent.data, sent.envelope), at)
    assert passes == bool(of(effects, ToServer))


def test_what_its_node_should_have_stopped_is_witnessed_never_proven(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    outsider = town.agent("outsider", "hr")
    way = street(town, outsider)
    with monkeypatch.context() as fallen:
        fallen.setattr(
            "enforcement.judging.Judge._follow_policy", lambda *_, **__: None
        )
        sent = way.leave("count", 1)
    effects = way.arrive(sent)
    assert reason(effects) == "rule"
    (witness,) = of(effects, Witness)
    assert (witness.subject.id, witness.category) == (
        town.branch.node,
        "ungated-request",
    )
    assert not of(effects, Proof)


def test_shared_keys_are_bounded(way: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SHARED_KEYS_MAX", 2)
    for key in range(4):
        way.offers.clear()
        assert of(way.arrive(way.leave("count", key)), ToServer)
    assert len(way.ingress.post.shared_keys._known) == 2
    keys = way.agent.key, way.town.branch.signing_key
    for name in range(4):
        who, node = way.agent.principal, NodeId(bytes([name]) * 32)
        assert way.offers.mac(who, keys, b"body", node, NOW)
    assert len(way.offers._shared) == 2


def test_a_node_that_has_told_no_key_is_signed_for(way: Street) -> None:
    keys = way.agent.key, way.town.branch.signing_key
    readers = iter([None, bytes(1_216)])
    way.offers.find_reader = lambda provider: next(readers)
    ledger = way.town.ledger.node
    for _ in range(2):
        assert way.offers.mac(way.agent.principal, keys, b"b", ledger, NOW) is None
