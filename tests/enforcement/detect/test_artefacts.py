"""Poisoned content is dead by its digest, at any gate; the good version goes on."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcement.defend.policy import Policy
from enforcement.detect.artefacts import contents, parameters
from enforcement.effects import (
    Audit,
    Position,
    Subject,
    SubjectKind,
    ToClient,
    ToServer,
)
from enforcement.events import ClientMessage, ServerMessage
from enforcement.gate import Gate
from enforcement.mcp.strictjson import Json
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

GOOD, BAD = b"\x7fmodel weights 2", b"\x7fmodel weights 2, and a back door"
POISON = Subject(SubjectKind.ARTEFACT, hashlib.sha256(BAD).digest())


def blob(data: bytes) -> dict[str, Json]:
    return {"uri": "file:///model", "blob": base64.b64encode(data).decode()}


def text(data: str) -> dict[str, Json]:
    return {"uri": "file:///notes", "text": data}


def results(block: dict[str, Json]) -> list[dict[str, object]]:
    """Each place in which a server may hand out a resource."""
    return [
        {"contents": [block]},
        {"contents": [text("harmless"), block]},
        {"content": [{"type": "resource", "resource": block}]},
        {"content": [{"type": "image", "data": block["blob"]}]},
        {"messages": [{"role": "user", "content": {"resource": block}}]},
        {"task": {"taskId": "1"}, "result": {"contents": [block]}},
    ]


def reading(town: Town, clerk: Agent, refused: set[Subject]) -> Gate:
    shared = post(town, Policy.load({"rules.cedar": PERMIT}), refused)
    shared.refuses_artefacts = lambda: bool(refused)
    return gate(Position.LOCAL, town, clerk, shared)


def ask(reader: Gate, result: dict[str, object]) -> bytes:
    reader.handle(ClientMessage(message("resources/read", 1, uri="file:///x")), NOW)
    effects = reader.handle(ServerMessage(answer(1, **result)), NOW)
    (reply,) = of(effects, ToClient)
    return reply.data


@pytest.mark.parametrize("place", range(6))
def test_the_poisoned_version_goes_nowhere_and_the_good_one_goes_on(
    town: Town, clerk: Agent, place: int
) -> None:
    reader = reading(town, clerk, {POISON})
    denial = told(ask(reader, results(blob(BAD))[place]))
    assert denial["reason"] == "quarantined"
    assert ask(reader, results(blob(GOOD))[place]) == answer(
        1, **results(blob(GOOD))[place]
    )


@pytest.mark.parametrize(
    "update",
    [
        base64.b64encode(BAD).decode(),
        "data:application/x-update;base64," + base64.b64encode(BAD).decode(),
        [{"name": "firmware", "blob": base64.b64encode(BAD).decode()}],
    ],
)
def test_a_poisoned_update_is_handed_to_no_server(
    town: Town, clerk: Agent, update: Json
) -> None:
    reader = reading(town, clerk, {POISON})
    effects = reader.handle(ClientMessage(call("install", 1, update=update)), NOW)
    (reply,) = of(effects, ToClient)
    assert not of(effects, ToServer)
    assert told(reply.data)["reason"] == "quarantined"
    assert POISON.id.hex() in told(reply.data)["advice"]
    good = base64.b64encode(GOOD).decode()
    effects = reader.handle(ClientMessage(call("install", 2, update=good)), NOW)
    assert of(effects, ToServer)


def disguised(data: bytes) -> dict[str, str]:
    """The same bytes as lenient clients read them."""
    whole = base64.b64encode(data).decode()
    return {
        "in lines": base64.encodebytes(data).decode().replace("\n", "\r\n"),
        "URL-safe": base64.urlsafe_b64encode(data).decode(),
        "unpadded": whole.rstrip("="),
        "URL-safe, unpadded": base64.urlsafe_b64encode(data).decode().rstrip("="),
        "with what Python skips": "-".join(whole),
        "with what all skip": " ".join(whole),
        "with more after its end": whole + "AAAA",
    }


@pytest.mark.parametrize("how", disguised(b"x"))
@pytest.mark.parametrize("length", [58, 59])
def test_a_poisoned_blob_in_another_spelling_goes_nowhere_either(
    town: Town, clerk: Agent, how: str, length: int
) -> None:
    poison = (b"\xfb\xff\xfe?>" * 12)[:length]
    name = hashlib.sha256(poison).digest()
    spelt = disguised(poison)[how]
    reader = reading(town, clerk, {Subject(SubjectKind.ARTEFACT, name)})
    block: dict[str, Json] = {"uri": "file:///model", "blob": spelt}
    assert told(ask(reader, {"contents": [block]}))["reason"] == "quarantined"
    assert name in parameters({"file": "data:x/y;base64," + spelt})


def test_a_text_is_named_as_sha256sum_names_its_file(town: Town, clerk: Agent) -> None:
    name = hashlib.sha256("grüße\n".encode()).digest()
    reader = reading(town, clerk, {Subject(SubjectKind.ARTEFACT, name)})
    assert told(ask(reader, {"contents": [text("grüße\n")]}))["reason"] == "quarantined"
    assert b"gr" in ask(reader, {"contents": [text("grüße")]})


def test_nothing_is_computed_while_nothing_is_cut_off(town: Town, clerk: Agent) -> None:
    reader = reading(town, clerk, set())
    asked: list[Subject] = []

    def is_refused(who: Subject) -> bool:
        asked.append(who)
        return False

    reader.post.is_refused = is_refused
    ask(reader, {"contents": [blob(BAD)]})
    assert all(who.kind is not SubjectKind.ARTEFACT for who in asked)


def test_a_quarantined_providers_lists_are_empty_and_its_calls_denied(
    town: Town, clerk: Agent
) -> None:
    provider = Subject(SubjectKind.NODE, town.ledger.node)
    egress = gate(
        Position.EGRESS,
        town,
        clerk,
        post(town, Policy.load({"rules.cedar": PERMIT}), {provider}),
    )

    def reply(data: bytes) -> bytes:
        effects = egress.handle(ClientMessage(data), NOW)
        assert of(effects, Audit)[0].reason == "quarantined"
        return of(effects, ToClient)[0].data

    for method, offered in (
        ("tools/list", "tools"),
        ("prompts/list", "prompts"),
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
    ):
        shown = {offered: [], "resultType": "complete"}
        assert reply(message(method, 1)) == answer(1, **shown).replace(b" ", b"")
    assert told(reply(call("read", 2)))["reason"] == "quarantined"
    own = Subject(SubjectKind.NODE, clerk.principal.node)
    egress.post.is_refused = own.__eq__
    assert told(reply(message("tools/list", 3)))["reason"] == "quarantined", "our own"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["content", "contents", "resource", "text", "blob", "result"]
            ),
            inner,
        )
    ),
    max_leaves=20,
)


@given(json_values)
def test_whatever_a_server_answers_has_digests_or_none(result: Json) -> None:
    assert all(len(one) == 32 for one in contents(result))
    assert all(len(one) == 32 for one in parameters(result))
