"""What an agent says after its call is judged like the call; attackers first."""

import json

import pytest

from enforcement.defend.policy import Policy
from enforcement.detect.pins import Pins, read_manifest_untrusted
from enforcement.effects import (
    Audit,
    Effect,
    Position,
    Proof,
    ToClient,
    ToServer,
    Verdict,
    Witness,
)
from enforcement.events import ClientMessage, ServerMessage
from enforcement.gate import Gate
from enforcement.limits import TASKS_MAX
from enforcement.post import Post
from enforcement.supplied import ANSWERS_MAX
from gossip.units import UnixMs
from tests.support.births import NOW
from tests.support.sessions import (
    PERMIT,
    Agent,
    Town,
    answer,
    call,
    gate,
    leave,
    message,
    of,
    post,
    told,
)

RULES = (
    PERMIT
    + """
@id("no-drop") @severity("8")
forbid(principal, action == Action::"tools/call", resource == Tool::"sql/ask")
when { context.params has query && context.words.query.contains("drop") };
@id("no-pair")
forbid(principal, action == Action::"tools/call", resource)
when { context.params has from && context.params has to };
"""
)
POLICY = Policy.load({"rules.cedar": RULES})
ASK = {"name": "ask", "inputSchema": {"type": "object"}}
OTHER = {"name": "other", "inputSchema": {"type": "object"}}


def shared(town: Town) -> Post:
    made = post(town, POLICY)
    made.pins = Pins()
    for tool in (ASK, OTHER):
        made.pins.see(read_manifest_untrusted("sql", json.loads(json.dumps(tool))))
    return made


@pytest.fixture
def local(town: Town, clerk: Agent) -> Gate:
    return gate(Position.LOCAL, town, clerk, shared(town))


def said(tested: Gate, data: bytes) -> list[Effect]:
    return tested.handle(ClientMessage(data), UnixMs(NOW))


def server(tested: Gate, data: bytes) -> list[Effect]:
    return tested.handle(ServerMessage(data), UnixMs(NOW))


def rule(effects: list[Effect]) -> str:
    assert not of(effects, ToServer)
    (reply,) = of(effects, ToClient)
    return told(reply.data)["rule"]


def form(**content: object) -> dict[str, object]:
    return {"action": "accept", "content": content}


def retry(key: int, tool: str = "ask", /, **answers: object) -> bytes:
    """The call once more, with what its server asked for."""
    state = {"requestState": "s", "inputResponses": answers}
    return message("tools/call", key, name=tool, arguments={}, **state)


def test_an_answer_steers_its_call_like_a_parameter(local: Gate) -> None:
    assert rule(said(local, retry(1, q=form(query="DR/**/OP it")))) == "no-drop"
    assert of(said(local, retry(2, q=form(query="select it"))), ToServer)
    assert of(said(local, retry(3, "other", q=form(query="drop"))), ToServer)


def test_a_forbidden_call_cannot_be_dealt_out_over_several_answers(
    local: Gate,
) -> None:
    assert of(said(local, retry(1, a=form(**{"from": 1}))), ToServer)
    assert rule(said(local, retry(2, a=form(**{"from": 1}), b=form(to=2)))) == "no-pair"


def test_an_answer_cannot_hide_behind_another_of_the_same_field(local: Gate) -> None:
    hidden = retry(1, a=form(query="drop"), b=form(query="fine"))
    assert rule(said(local, hidden)) == "no-drop"


def test_nobody_brings_more_answers_than_may_be_judged(local: Gate) -> None:
    fine = {f"a{n}": form(n=n) for n in range(ANSWERS_MAX)}
    assert of(said(local, retry(1, **fine)), ToServer)
    effects = said(local, retry(2, **fine, one=form(n=0)))
    assert not of(effects, ToServer)


def test_an_answer_to_a_task_is_judged_as_the_tool_it_works_for(
    town: Town, clerk: Agent
) -> None:
    post = shared(town)
    first = gate(Position.LOCAL, town, clerk, post)
    assert of(said(first, call("ask", 1)), ToServer)
    server(first, answer(1, task={"taskId": "t1", "status": "working"}))
    given = {"q": form(query="drop")}
    for tested in (first, gate(Position.LOCAL, town, clerk, post)):
        update = message("tasks/update", 2, taskId="t1", inputResponses=given)
        assert rule(said(tested, update)) == "no-drop"
        fine = {"q": form(query="fine")}
        update = message("tasks/update", 3, taskId="t1", inputResponses=fine)
        assert of(said(tested, update), ToServer)


def test_a_call_within_a_task_is_a_call(local: Gate) -> None:
    asked = {"name": "ask", "arguments": {"query": "drop"}, "task": {"ttl": 1}}
    assert rule(said(local, message("tools/call", 1, **asked))) == "no-drop"


def test_a_form_filled_in_meanwhile_is_judged_with_the_open_calls(local: Gate) -> None:
    assert of(said(local, call("ask", 1)), ToServer)
    question = {"jsonrpc": "2.0", "method": "elicitation/create", "params": {}}
    for key, query in (("a", "drop"), ("b", "fine")):
        server(local, json.dumps({**question, "id": key}).encode())
        effects = said(local, answer(key, **form(query=query)))
        (sent,) = of(effects, ToServer)
        assert ("error" in json.loads(sent.data)) is (query == "drop")
        assert b"drop" not in sent.data
        audits = [a.verdict for a in of(effects, Audit)]
        assert audits == ([Verdict.DENIED] if query == "drop" else [])


def test_a_form_is_judged_where_no_tool_was_ever_listed_too(
    town: Town, clerk: Agent
) -> None:
    alone = gate(Position.LOCAL, town, clerk, post(town, POLICY))
    assert of(said(alone, call("ask", 1)), ToServer)
    question = {"jsonrpc": "2.0", "id": "a", "method": "elicitation/create"}
    server(alone, json.dumps(question).encode())
    (sent,) = of(said(alone, answer("a", **form(query="drop"))), ToServer)
    assert "error" in json.loads(sent.data)


def test_a_form_asked_for_by_a_task_is_judged_as_its_tool(local: Gate) -> None:
    assert of(said(local, call("ask", 1)), ToServer)
    server(local, answer(1, task={"taskId": "t1", "status": "working"}))
    assert of(said(local, message("tasks/result", 2, taskId="t1")), ToServer)
    question = {"jsonrpc": "2.0", "id": "a", "method": "elicitation/create"}
    server(local, json.dumps(question).encode())
    (sent,) = of(said(local, answer("a", **form(query="drop"))), ToServer)
    assert "error" in json.loads(sent.data)


def test_a_node_that_lets_such_an_answer_out_is_seen_but_not_proven_to(
    town: Town, clerk: Agent
) -> None:
    fallen = shared(town)
    lying = Policy(digest=POLICY.digest, rules={}, secret=frozenset())
    lying.rules = Policy.load({"p": PERMIT}).rules
    fallen.bundles.current = lying
    egress = gate(Position.EGRESS, town, clerk, fallen)
    ingress = gate(Position.INGRESS, town, clerk, shared(town))
    sent = leave(egress, retry(1, q=form(query="drop")), clerk, town.branch)
    effects = ingress.handle(sent, NOW)
    assert rule(effects) == "no-drop"
    assert not of(effects, Proof)
    (seen,) = of(effects, Witness)
    assert seen.category == "ungated-request"


def test_tasks_remembered_have_a_limit() -> None:
    pins, made = Pins(), read_manifest_untrusted("sql", {"name": "ask"})
    for number in range(TASKS_MAX + 1):
        pins.note_task("sql", str(number), made)
    assert pins.task("sql", "0") is None
    assert pins.task("sql", str(TASKS_MAX)) is made
    assert pins.task("other", str(TASKS_MAX)) is None
