"""Gates that only observe, and tools that are quarantined: at the gate itself."""

import json

import attrs
import pytest

from enforcement.defend.policy import Policy
from enforcement.defend.rate import Rate, RateLimiter
from enforcement.detect.pins import Pins, manifest_digest
from enforcement.effects import (
    Audit,
    Effect,
    Position,
    Proof,
    SignRequest,
    Subject,
    SubjectKind,
    ToClient,
    ToServer,
    Witness,
)
from enforcement.events import ClientMessage, ServerMessage
from enforcement.gate import Gate
from enforcement.mcp.strictjson import Json
from enforcement.post import Post
from gossip.units import AgentId
from tests.support.births import NOW
from tests.support.sessions import (
    PERMIT,
    Agent,
    Town,
    answer,
    call,
    gate,
    message,
    of,
    post,
    told,
)

RULES = (
    PERMIT
    + """
@id("mild") @severity("4")
forbid(principal, action == Action::"tools/call", resource)
when { context.params has mild };
@id("no-drop") @severity("8")
forbid(principal, action == Action::"tools/call", resource)
when { context.params has query && context.words.query.contains("drop") };
"""
)
POLICY = Policy.load({"rules.cedar": RULES})
READ: dict[str, Json] = {"name": "read", "inputSchema": {"type": "object"}}
WRITE: dict[str, Json] = {"name": "write", "inputSchema": {"type": "object"}}


@attrs.define
class Notebook:
    observes: bool = True
    noted: list[tuple[AgentId, str]] = attrs.field(factory=list)

    def __call__(self, agent: AgentId, rule: str) -> bool:
        self.noted.append((agent, rule))
        return self.observes


def observing(town: Town, *, observes: bool = True) -> tuple[Post, Notebook]:
    book = Notebook(observes)
    made = post(town, POLICY)
    made.spares = book
    return made, book


def said(tested: Gate, data: bytes) -> list[Effect]:
    return tested.handle(ClientMessage(data), NOW)


def test_a_would_be_denial_is_forwarded_counted_and_reported_to_nobody(
    town: Town, clerk: Agent
) -> None:
    shared, book = observing(town)
    effects = said(gate(Position.LOCAL, town, clerk, shared), call("read", mild=1))
    assert of(effects, ToServer)
    assert not of(effects, ToClient)
    assert not of(effects, Witness)
    assert book.noted == [(clerk.principal.agent, "mild")]


def test_enforcing_gates_deny(town: Town, clerk: Agent) -> None:
    shared, _ = observing(town, observes=False)
    effects = said(gate(Position.LOCAL, town, clerk, shared), call("read", mild=1))
    assert not of(effects, ToServer)
    assert of(effects, Witness)


@pytest.mark.parametrize("position", [Position.LOCAL, Position.EGRESS])
def test_what_would_convict_us_is_never_let_be(
    town: Town, clerk: Agent, position: Position
) -> None:
    shared, book = observing(town)
    effects = said(gate(position, town, clerk, shared), call("read", query="drop x"))
    assert not of(effects, ToServer)
    assert not of(effects, SignRequest)
    assert not of(effects, Proof)
    (reply,) = of(effects, ToClient)
    assert told(reply.data)["rule"] == "no-drop"
    assert book.noted == []


def test_limits_are_only_counted_too(town: Town, clerk: Agent) -> None:
    shared, book = observing(town)
    shared.rates = RateLimiter(Rate(per_second=1, burst=1))
    tested = gate(Position.LOCAL, town, clerk, shared)
    for key in range(1, 4):
        assert of(said(tested, call("read", key)), ToServer)
    assert [rule for _, rule in book.noted] == ["rate", "rate"]


def test_a_quarantined_tool_is_neither_shown_nor_called_and_the_others_are(
    town: Town, clerk: Agent
) -> None:
    refused: set[Subject] = set()
    shared = post(town, POLICY, refused)
    shared.pins = Pins()
    tested = gate(Position.LOCAL, town, clerk, shared)

    def shown(key: int) -> list[str]:
        assert of(said(tested, message("tools/list", key)), ToServer)
        reply = answer(key, tools=[READ, WRITE])
        (listed,) = of(tested.handle(ServerMessage(reply), NOW), ToClient)
        return [tool["name"] for tool in json.loads(listed.data)["result"]["tools"]]

    assert shown(1) == ["read", "write"]
    artefact = Subject(SubjectKind.ARTEFACT, manifest_digest("sql", WRITE))
    refused.add(artefact)
    assert shown(2) == ["read"]
    (reply,) = of(said(tested, call("write", 3)), ToClient)
    assert told(reply.data)["reason"] == "quarantined"
    assert of(said(tested, call("read", 4)), ToServer)
    refused.clear()
    assert shown(5) == ["read", "write"]
    assert of(said(tested, call("write", 6)), ToServer)


def test_a_quarantined_session_passes_nothing_and_another_of_the_agent_does(
    town: Town, clerk: Agent
) -> None:
    refused: set[Subject] = set()
    shared = post(town, POLICY, refused)
    one, other = (gate(Position.LOCAL, town, clerk, shared) for _ in range(2))
    (audit,) = of(said(one, call("read")), Audit)
    refused.add(Subject(SubjectKind.SESSION, audit.session))
    (reply,) = of(said(one, call("read", 2)), ToClient)
    assert told(reply.data)["reason"] == "quarantined"
    assert f"session:{audit.session.hex()}" in told(reply.data)["advice"]
    assert of(said(other, call("read", 2)), ToServer)
