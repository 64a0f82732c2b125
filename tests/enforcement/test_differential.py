"""What the gate allowed and what a server's own parser reads are the same call."""

import json
from collections.abc import Callable, Mapping

from hypothesis import given, settings
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


READERS: list[Callable[[list[tuple[str, object]]], object]] = [exact, first, Folded]


def spelled(word: str) -> st.SearchStrategy[str]:
    """A JSON string of the word in ways that look alike to somebody."""
    escaped = "".join(f"\\u{ord(c):04x}" for c in word)
    forms = [word, word.upper(), word.title(), escaped, word + " ", word + "\\u0000"]
    forms += [word.replace("s", "\u017f"), word.replace("k", "\u212a"), "\ufeff" + word]
    return st.sampled_from([word] * 8 + forms).map(lambda s: f'"{s}"')


def members(*options: st.SearchStrategy[tuple[str, str]]) -> st.SearchStrategy[str]:
    pairs = st.lists(st.one_of(*options), max_size=6)
    return pairs.map(lambda ps: "{" + ",".join(f"{k}:{v}" for k, v in ps) + "}")


scalar = st.sampled_from(
    [
        "1",
        "1.0",
        "1e2",
        "-0",
        "null",
        "true",
        '"x"',
        "[]",
        '"drop"',
        '["DROP"]',
        "1e400",
    ]
)
query = st.tuples(spelled("query"), scalar | spelled("drop"))
arguments = members(query, query, st.tuples(spelled("limit"), scalar))
tool = st.tuples(spelled("name"), spelled("delete") | spelled("select"))
params = members(
    tool,
    tool,
    st.tuples(spelled("arguments"), arguments),
    st.tuples(spelled("_meta"), scalar),
)
method = st.tuples(
    spelled("method"), spelled("tools/call") | spelled("ping") | spelled("initialize")
)
head = [
    st.just(('"jsonrpc"', '"2.0"')),
    st.tuples(spelled("id"), scalar),
    method,
    st.tuples(spelled("params"), params),
]
loose = members(*head)
tidy = st.builds(
    lambda m, p, extra: f'{{"jsonrpc":"2.0","id":1,"method":{m},"params":{p}{extra}}}',
    spelled("tools/call") | spelled("ping"),
    st.builds(
        lambda n, a: f'{{"name":{n},"arguments":{a}}}',
        spelled("select") | spelled("delete"),
        arguments,
    )
    | params,
    st.sampled_from(
        [""] * 6 + [',"Method":"tools/call"', ',"id":2', "\n", ",", '}{"a":1']
    ),
)


@settings(max_examples=1_500, deadline=None)
@given(loose | tidy)
def test_no_reader_sees_another_call_than_the_gate(text: str) -> None:
    guard = gate(Position.LOCAL, TOWN, AGENT, POST)
    NOWS[0] = UnixMs(NOWS[0] + 100)
    effects = guard.handle(ClientMessage(text.encode()), NOWS[0])
    for sent in of(effects, ToServer):
        (audit,) = of(effects, Audit)
        for reader in READERS:
            _check_read_alike(sent.data, reader, audit)


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
