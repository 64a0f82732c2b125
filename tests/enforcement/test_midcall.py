"""A policy that changes while calls are under way: no call slips between two."""

import json

import pytest

from enforcement.defend.policy import Policy
from enforcement.detect.pins import Pins
from enforcement.effects import AskServer, Position, ToClient, ToServer
from enforcement.events import ClientMessage, ServerMessage
from enforcement.gate import Gate
from enforcement.post import Post
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

STRICT = """
@id("no-reading")
forbid(principal, action == Action::"tools/call", resource == Tool::"sql/read");
@id("no-phi")
forbid(principal, action == Action::"reveal", resource == Tag::"phi");
"""
OPEN = Policy.load({"rules.cedar": PERMIT})
CLOSED = Policy.load({"rules.cedar": PERMIT + STRICT})
READ = {
    "name": "read",
    "inputSchema": {"type": "object"},
    "outputSchema": {
        "type": "object",
        "properties": {"ssn": {"type": "string", "x-tags": ["phi"]}},
    },
}


@pytest.fixture
def shared(town: Town) -> Post:
    made = post(town, OPEN)
    made.pins = Pins()
    return made


@pytest.fixture
def tested(town: Town, clerk: Agent, shared: Post) -> Gate:
    return gate(Position.LOCAL, town, clerk, shared)


def test_a_call_that_is_held_meanwhile_is_judged_by_the_new_policy(
    tested: Gate, shared: Post
) -> None:
    (asked,) = of(tested.handle(ClientMessage(call("read", 1)), NOW), AskServer)
    shared.bundles.install(CLOSED, NOW)
    key = json.loads(asked.data)["id"]
    effects = tested.handle(ServerMessage(answer(key, tools=[READ])), NOW)
    assert not of(effects, ToServer)
    (denied,) = of(effects, ToClient)
    assert told(denied.data)["rule"] == "no-reading"


def test_an_answer_shows_what_the_policy_of_its_own_moment_shows(
    tested: Gate, shared: Post
) -> None:
    tested.handle(ClientMessage(message("tools/list", 9)), NOW)
    tested.handle(ServerMessage(answer(9, tools=[READ])), NOW)
    assert of(tested.handle(ClientMessage(call("read", 1)), NOW), ToServer)
    assert of(tested.handle(ClientMessage(call("read", 2)), NOW), ToServer)
    data = answer(1, structuredContent={"ssn": "123-45"})
    (sent,) = of(tested.handle(ServerMessage(data), NOW), ToClient)
    assert b"123-45" in sent.data
    shared.bundles.install(CLOSED, NOW)
    data = answer(2, structuredContent={"ssn": "123-45"})
    (sent,) = of(tested.handle(ServerMessage(data), NOW), ToClient)
    assert b"123-45" not in sent.data
    assert json.loads(sent.data)["id"] == 2, "it is answered, and only once"
    denied = tested.handle(ClientMessage(call("read", 3)), NOW)
    assert not of(denied, ToServer)
