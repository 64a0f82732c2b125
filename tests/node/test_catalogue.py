"""The cluster's tools at every node: only a provider speaks of its own servers."""

import contextlib

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcement.detect.pins import Pins, read_manifest_untrusted
from enforcement.mcp.strictjson import Json
from gossip.errors import PeerError
from gossip.ledger.entries import Entry, EntryKind
from gossip.membership.acts import join_act, sign_act
from gossip.membership.founders import ActKind, Operator
from gossip.membership.roster import Roster
from gossip.units import AgentId, EntryId, Incarnation, NodeId, UnixMs
from node.catalogue import Catalogue, draft_approval, read_tools_untrusted, write_tools
from node.log import Log
from node.sealing import SEED_BYTES, SealingKey, seal
from node.second_factor import VOUCH_MS_MAX, Vouch, draft_vouch
from tests.support.births import NOW, SUITE
from tests.support.sessions import Town

OPERATOR = SUITE.signing_key_from_seed(SUITE.generate_seed())


@pytest.fixture(scope="module")
def town() -> Town:
    return Town()


@pytest.fixture
def roster(town: Town) -> Roster:
    operators = (Operator(name="opal", public_key=OPERATOR.public_key),)
    founders = attrs.evolve(
        town.roster.founders, operators=operators, quorum=dict.fromkeys(ActKind, 1)
    )
    return Roster(founders)


def at(node: NodeId, roster: Roster) -> Catalogue:
    key = SealingKey.of_seed(SUITE.random(SEED_BYTES))
    return Catalogue(node, roster, SUITE, Pins(), Log("error"), key)


def tool(name: str = "read", **more: Json) -> Json:
    return {"name": name, "inputSchema": {"type": "object"}, **more}


def entry(author: NodeId, kind: int, body: bytes) -> Entry:
    return Entry(
        id=EntryId(bytes(32)),
        author=author,
        incarnation=Incarnation(bytes(16)),
        number=0,
        index=0,
        issued_at_ms=NOW,
        kind=kind,
        body=body,
    )


def pinned(server: str, *tools: Json) -> Pins:
    pins = Pins()
    for each in tools:
        pins.see(read_manifest_untrusted(server, each))
    return pins


def test_what_a_provider_pins_is_known_everywhere_before_anybody_lists(
    town: Town, roster: Roster
) -> None:
    ledger, branch = at(town.ledger.node, roster), at(town.branch.node, roster)
    ledger.open(lambda kind, body: branch.hear(entry(town.ledger.node, kind, body)))
    ledger.pins.see(read_manifest_untrusted("sql", tool()))
    ledger.pins.see(read_manifest_untrusted("sql", tool("write")))
    assert branch.pins.tools() == ledger.pins.tools()
    ledger.pins.see(read_manifest_untrusted("other", tool()))
    assert branch.pins.find("other", "read") is None, "not this node's to tell"


def test_nobody_speaks_of_a_server_that_another_provides(
    town: Town, roster: Roster
) -> None:
    branch = at(town.branch.node, roster)
    (body,) = write_tools("sql", pinned("sql", tool(description="send me all")))
    branch.hear(entry(town.other.node, EntryKind.TOOLS, body))
    assert branch.pins.tools() == []


def test_a_change_is_held_at_each_node_until_a_quorum_accepts_just_that(
    town: Town, roster: Roster
) -> None:
    branch, ledger = at(town.branch.node, roster), town.ledger.node
    for each in (tool(), tool(title="changed")):
        (body,) = write_tools("sql", pinned("sql", each))
        branch.hear(entry(ledger, EntryKind.TOOLS, body))
    held = branch.pins.held("sql", "read")
    assert held is not None

    def approve(content: bytes, signed_for: Roster) -> None:
        draft = draft_approval(signed_for, "sql", "read", content, NOW)
        act = join_act(draft, [sign_act(draft, OPERATOR)])
        branch.hear(entry(town.other.node, EntryKind.ACT, act))

    approve(bytes(32), roster)
    approve(held.digest, Roster(attrs.evolve(roster.founders, cluster_name="x")))
    assert branch.pins.held("sql", "read") is not None
    approve(held.digest, roster)
    assert branch.pins.held("sql", "read") is None
    assert branch.pins.find("sql", "read") == held


def test_operators_vouch_for_an_agents_use_of_a_tool_at_every_node(
    town: Town, roster: Roster
) -> None:
    heard = at(town.branch.node, roster)
    agent = AgentId(bytes(31) + b"a")

    def vouch(until_ms: int, signed_for: Roster = roster, at_ms: int = NOW) -> None:
        asked = Vouch(agent, "sql", "wipe", UnixMs(until_ms))
        draft = draft_vouch(signed_for, asked, UnixMs(at_ms))
        body = join_act(draft, [sign_act(draft, OPERATOR)])
        heard.hear(entry(town.ledger.node, EntryKind.ACT, body))

    def holds(now_ms: int) -> bool:
        return heard.approvals.holds(agent, "sql", "wipe", UnixMs(now_ms))

    vouch(NOW + 60_000, Roster(attrs.evolve(roster.founders, cluster_name="x")))
    vouch(NOW + VOUCH_MS_MAX + 1)
    vouch(NOW - 1, at_ms=NOW - 1_000)
    assert not holds(NOW)
    vouch(NOW + 60_000)
    assert holds(NOW + 59_999)
    assert not holds(NOW + 60_000)
    assert not heard.approvals.holds(agent, "sql", "other", NOW)
    assert not heard.approvals.holds(AgentId(bytes(32)), "sql", "wipe", NOW)


def test_a_provider_cannot_go_back_to_what_operators_accepted_before(
    town: Town, roster: Roster
) -> None:
    branch = at(town.branch.node, roster)
    first, poisoned, mended = tool(), tool(title="poisoned"), tool(title="mended")

    def declares(each: Json) -> None:
        (body,) = write_tools("sql", pinned("sql", each))
        branch.hear(entry(town.ledger.node, EntryKind.TOOLS, body))

    def accepted(each: Json, after_ms: int) -> bytes:
        content = read_manifest_untrusted("sql", each).digest
        at_ms = UnixMs(NOW - 1_000 + after_ms)
        draft = draft_approval(roster, "sql", "read", content, at_ms)
        return join_act(draft, [sign_act(draft, OPERATOR)])

    def in_use() -> Json:
        found = branch.pins.find("sql", "read")
        assert found is not None
        return found.declared

    earlier, later = accepted(poisoned, 0), accepted(mended, 1)
    declares(first)
    for act, each in ((earlier, poisoned), (later, mended)):
        branch.hear(entry(town.other.node, EntryKind.ACT, act))
        declares(each)
        assert in_use() == each
    branch.hear(entry(town.ledger.node, EntryKind.ACT, earlier))
    declares(poisoned)
    assert in_use() == mended
    assert branch.pins.held("sql", "read") is not None
    branch.hear(entry(town.ledger.node, EntryKind.ACT, earlier))
    assert in_use() == mended


def test_nobody_revives_a_vouch_that_operators_cut_short(
    town: Town, roster: Roster
) -> None:
    agent = AgentId(bytes(31) + b"a")

    def vouch(until_ms: int, at_ms: int) -> Entry:
        asked = Vouch(agent, "sql", "wipe", UnixMs(until_ms))
        draft = draft_vouch(roster, asked, UnixMs(at_ms))
        body = join_act(draft, [sign_act(draft, OPERATOR)])
        return entry(town.other.node, EntryKind.ACT, body)

    long, short = vouch(NOW + VOUCH_MS_MAX, NOW), vouch(NOW + 2_000, NOW + 1_000)
    for order in ((long, short, long), (short, long, long)):
        heard = at(town.branch.node, roster)
        for act in order:
            heard.hear(act)
        assert heard.approvals.holds(agent, "sql", "wipe", UnixMs(NOW + 1_999))
        assert not heard.approvals.holds(agent, "sql", "wipe", UnixMs(NOW + 2_000))


def test_an_approval_may_come_before_the_change(town: Town, roster: Roster) -> None:
    pins = pinned("sql", tool())
    changed = read_manifest_untrusted("sql", tool(title="changed"))
    pins.approve("sql", "read", 1, changed.digest)
    pins.see(changed)
    assert pins.find("sql", "read") == changed
    assert pins.held("sql", "read") is None


def test_many_tools_fill_several_entries_and_none_is_cut() -> None:
    tools = [tool(f"t{n}", description="x" * 9_000) for n in range(40)]
    bodies = write_tools("sql", pinned("sql", *tools))
    assert len(bodies) > 1
    assert all(len(body) <= 65_536 for body in bodies)
    assert sum(len(read_tools_untrusted(body)[1]) for body in bodies) == 40


@given(st.binary(max_size=64))
def test_any_body_is_tools_or_a_peer_error(body: bytes) -> None:
    with contextlib.suppress(PeerError):
        read_tools_untrusted(body)


def test_a_broken_entry_of_a_provider_ends_nothing(town: Town, roster: Roster) -> None:
    branch, ledger = at(town.branch.node, roster), town.ledger.node
    for body in (
        b"",
        b"\x93\x01\xa3sql\x91\xc4\x01{",
        b"\x93\x01\xa3sql\x91\xc4\x02{}",
    ):
        branch.hear(entry(ledger, EntryKind.TOOLS, body))
    assert branch.pins.tools() == []


def test_a_restricted_servers_tools_are_read_only_by_those_it_names(
    town: Town, roster: Roster
) -> None:
    nodes = {
        node: at(node, roster)
        for node in (town.ledger.node, town.branch.node, town.other.node)
    }
    wire: list[bytes] = []

    def speak(author: NodeId) -> None:
        def say(kind: int, body: bytes) -> None:
            wire.append(body)
            for each in nodes.values():
                each.hear(entry(author, kind, body))

        nodes[author].open(say)

    ledger = nodes[town.ledger.node]
    ledger.restricted = {"sql": ("branch",)}
    ledger.pins.see(read_manifest_untrusted("sql", tool(description="hush")))
    for node in (town.ledger.node, town.other.node, town.branch.node):
        speak(node)
    assert nodes[town.branch.node].pins.tools() == ledger.pins.tools()
    assert nodes[town.other.node].pins.tools() == []
    assert not any(b"hush" in body or b"sql" in body for body in wire)
    told = len(wire)
    ledger.pins.see(read_manifest_untrusted("sql", tool("write")))
    assert len(wire) == told + 1
    assert nodes[town.branch.node].pins.find("sql", "write") is not None

    ledger.change({"sql": ("role:admin",)})
    assert nodes[town.other.node].pins.tools() == ledger.pins.tools()


def test_nobody_seals_in_anothers_name(town: Town, roster: Roster) -> None:
    branch, ledger = at(town.branch.node, roster), town.ledger.node
    (body,) = write_tools("sql", pinned("sql", tool()))
    box = seal(body, [branch.key.public], roster.cluster, ledger, SUITE)
    branch.hear(entry(town.other.node, EntryKind.SEALED_TOOLS, box))
    assert branch.pins.tools() == []
    branch.hear(entry(ledger, EntryKind.SEALED_TOOLS, box))
    assert len(branch.pins.tools()) == 1


def test_of_several_providers_each_tells_its_own_and_holds_nothing_for_the_other(
    town: Town, roster: Roster
) -> None:
    both = (town.ledger.node, town.other.node)
    nodes = tuple(
        attrs.evolve(n, servers=("sql",)) if n.node in both else n
        for n in roster.founders.nodes
    )
    shared = Roster(attrs.evolve(roster.founders, nodes=nodes))
    branch = at(town.branch.node, shared)
    other = at(town.other.node, shared)
    (honest,) = write_tools("sql", pinned("sql", tool()))
    (changed,) = write_tools("sql", pinned("sql", tool(title="changed")))
    other.hear(entry(town.ledger.node, EntryKind.TOOLS, honest))
    assert other.pins.tools() == [], "what its own server declares is its to pin"
    branch.hear(entry(town.ledger.node, EntryKind.TOOLS, honest))
    branch.hear(entry(town.other.node, EntryKind.TOOLS, changed))
    assert branch.pins.held("sql", "read", town.ledger.node) is None
    assert branch.pins.held("sql", "read", town.other.node) is not None
    assert branch.pins.differs("sql", town.other.node)
    assert not branch.pins.differs("sql", town.ledger.node)
