"""What the gate allowed and what a server's own parser reads are the same call."""

import json
from collections.abc import Callable, Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enforcement.defend.policy import Policy
from enforcement.effects import Audit, Position, ToServer
from enforcement.events import ClientMessage
from gossip.units import UnixMs
from tests.support.births import NOW
from tests.support.sessions import PERMIT, Town, gate, of, post

RULES = (
    PERMIT
    + """
forbid(principal, action == Action::"tools/call", resource)
when { context.params has query && context.words.query.contains("drop") };
forbid(principal, action == Action::"tools/call", resource)
when { resource.name == "delete" };
"""
)
TOWN = Town()
AGENT = TOWN.agent("a", "clerk")
POST = post(TOWN, Policy.load({"p": RULES}))


def exact(pairs: list[tuple[str, object]]) -> object:
    """Reads as Python and JavaScript do: the last of two keys wins."""
    return dict(pairs)


def first(pairs: list[tuple[str, object]]) -> object:
    """Reads as some C libraries do: the first of two keys wins."""
    return dict(reversed(pairs))


class Folded(dict[str, object]):
    """Reads as Go's structs do: keys match in any case, the last one wins."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__((key.casefold(), value) for key, value in pairs)


def inherited(pairs: list[tuple[str, object]]) -> object:
    """Reads as JavaScript does where members are assigned: one key is the parent."""
    members = dict(pairs)
    parent = members.pop("__proto__", None)
    return {**parent, **members} if isinstance(parent, dict) else members


READERS: list[Callable[[list[tuple[str, object]]], object]] = [
    exact,
    first,
    Folded,
    inherited,
]


WORDS = ("method", "tools/call", "params", "name", "arguments", "query", "delete", "id")


def spellings(word: str) -> list[str]:
    """A JSON string of the word in ways that look alike to somebody."""
    escaped = "".join(f"\\u{ord(c):04x}" for c in word)
    forms = [word.upper(), word.title(), escaped, word + " ", word + "\\u0000"]
    forms += [word.replace("s", "\u017f"), word.replace("k", "\u212a"), "\ufeff" + word]
    return [f'"{form}"' for form in forms]


respelled = st.sampled_from(WORDS).flatmap(
    lambda word: st.tuples(st.just(f'"{word}"'), st.sampled_from(spellings(word)))
)
doubled = st.sampled_from(
    [
        ('"method":', '"Method":"ping","method":'),
        ('"params":{', '"params":{"Name":"select",'),
        ('"params":{', '"params":{"name":"select",'),
        ('"arguments":{', '"arguments":{"query":"x",'),
        ('"arguments":{', '"arguments":{"QUERY":"drop",'),
        ('"arguments":{', '"arguments":{"quer\\u0079":"drop",'),
        ('"arguments":{', '"Arguments":{"query":"drop"},"arguments":{'),
        ('"arguments":', '"arguments":[],"x":'),
        ('"arguments":{"query":', '"arguments":{"__proto__":{"query":"drop"},"q":'),
        ('"arguments":{"query":', '"arguments":{"\\u005f_proto__":{"query":1},"q":'),
        ("}}}", "}}}{}"),
        ("}}}", "}}}\n"),
        ("}}}", "},}}"),
        ("{", "\ufeff{"),
        ("{", "[{"),
    ]
)
queries = (
    st.text(max_size=8)
    | st.sampled_from(["drop", "DROP x", "d\u200brop", "\uff24rop", "se lect"])
    | st.lists(st.sampled_from(["a", "Drop"]), max_size=2)
    | st.integers()
    | st.none()
)
spoken = st.builds(
    lambda tool, query, ascii_only: json.dumps(
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": tool, "arguments": {"query": query, "limit": 1.5}},
        },
        ensure_ascii=ascii_only,
        separators=(",", ":"),
    ),
    st.sampled_from(["select", "delete", "insert"]),
    queries,
    st.booleans(),
)


def bend(text: str, changes: list[tuple[str, str]]) -> str:
    for old, new in changes:
        text = text.replace(old, new, 1)
    return text


messages = st.builds(bend, spoken, st.lists(respelled | doubled, max_size=2))


def _check_one(text: str) -> None:
    guard = gate(Position.LOCAL, TOWN, AGENT, POST)
    NOWS[0] = UnixMs(NOWS[0] + 100)
    effects = guard.handle(ClientMessage(text.encode(errors="surrogatepass")), NOWS[0])
    for sent in of(effects, ToServer):
        (audit,) = of(effects, Audit)
        for reader in READERS:
            _check_read_alike(sent.data, reader, audit)


@settings(max_examples=800, deadline=None)
@given(messages)
def test_no_reader_sees_another_call_than_the_gate(text: str) -> None:
    _check_one(text)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@settings(
    max_examples=100_000,
    deadline=None,
    suppress_health_check=[*HealthCheck],
    database=None,
)
@given(messages)
def test_in_a_hundred_thousand_messages_no_reader_sees_another_call(text: str) -> None:
    _check_one(text)


NOWS = [NOW]


def _check_read_alike(
    data: bytes, reader: Callable[[list[tuple[str, object]]], object], audit: Audit
) -> None:
    read = json.loads(data, object_pairs_hook=reader)
    assert read["method"] == audit.method
    inside = read.get("params", {})
    if audit.method != "tools/call":
        return
    assert inside["name"] == audit.tool != "delete"
    given_arguments: Mapping[str, object] = inside.get("arguments", {})
    assert "drop" not in json.dumps(given_arguments.get("query")).lower()
