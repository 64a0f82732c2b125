"""YAML as OpenAPI documents use it: the same values as other readers, or a line to look at."""

import json
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from enforcement.mcp.strictjson import Json
from gossip.errors import PeerError
from node.yamltext import DEPTH_MAX, read_yaml_untrusted

DOCUMENT = r"""# An API
---
openapi: "3.1.0"
info: {title: Pets, version: '1.0', x-odd: [a, "b, c", {d: e}, ~], }
servers:
- url: http://127.0.0.1:1/v1  # the base
  description: It's here
- url: https://example.com:8080/a?b=c#d
paths:
  /pets/{id}:
    get:
      operationId: get_pet
      description: |
        First line
          indented: not a key
        # not a comment

        last
      summary: >-
        folded
        into one

        and another
          kept
      parameters:
        - name: id
          in: path
          required: true
          schema: {type: string, pattern: '^[a-z]+$', minLength: 1}
        -
          name: n
          in: query
          schema:
            type: number
            minimum: -1.5
            maximum: 1e3
      tags: [a,
        b,   # why
        c]
      responses:
        200:
          description: plain text that
            goes on here
        "404": {description: "not \"found\" \u00e9\ttab"}
  ? x
components: {}
empty:
list:
  - - 1
    - 2
  - []
  - null
  - text: |+
      keeps

  - more: >
      f
      g
"quoted key": yes
'single ''key''': no
url: http://a:b
colon: a:b
hash: a#b
time: 12:30
""".replace("  ? x\n", "")

READ: Json = {
    "openapi": "3.1.0",
    "info": {
        "title": "Pets",
        "version": "1.0",
        "x-odd": ["a", "b, c", {"d": "e"}, None],
    },
    "servers": [
        {"url": "http://127.0.0.1:1/v1", "description": "It's here"},
        {"url": "https://example.com:8080/a?b=c#d"},
    ],
    "paths": {
        "/pets/{id}": {
            "get": {
                "operationId": "get_pet",
                "description": "First line\n  indented: not a key\n# not a comment\n\nlast\n",
                "summary": "folded into one\nand another\n  kept",
                "parameters": [
                    {
                        "name": "id",
                        "in": "path",
                        "required": True,
                        "schema": {
                            "type": "string",
                            "pattern": "^[a-z]+$",
                            "minLength": 1,
                        },
                    },
                    {
                        "name": "n",
                        "in": "query",
                        "schema": {
                            "type": "number",
                            "minimum": Decimal("-1.5"),
                            "maximum": Decimal("1e3"),
                        },
                    },
                ],
                "tags": ["a", "b", "c"],
                "responses": {
                    "200": {"description": "plain text that goes on here"},
                    "404": {"description": 'not "found" \u00e9\ttab'},
                },
            }
        }
    },
    "components": {},
    "empty": None,
    "list": [[1, 2], [], None, {"text": "keeps\n\n"}, {"more": "f g\n"}],
    "quoted key": "yes",
    "single 'key'": "no",
    "url": "http://a:b",
    "colon": "a:b",
    "hash": "a#b",
    "time": "12:30",
}


def test_a_document_is_read_as_it_is_meant() -> None:
    assert read_yaml_untrusted(DOCUMENT) == READ


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "--- \n...\n"])
def test_nothing_is_null(text: str) -> None:
    assert read_yaml_untrusted(text) is None


def test_scalars_are_those_of_version_1_2() -> None:
    text = "[yes, no, 012, 1_000, 0x10, ~, .5, 1., -3, +4, True, 2026-01-02, 1:30]"
    assert read_yaml_untrusted(text) == [
        *("yes", "no", 12, "1_000", "0x10", None),
        *(Decimal("0.5"), Decimal(1), -3, 4, True, "2026-01-02", "1:30"),
    ]


def test_keys_are_texts() -> None:
    assert read_yaml_untrusted("200: a\ntrue: b\n") == {"200": "a", "true": "b"}


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("a: &x 1\nb: *x\n", 1, "anchors"),
        ("a: 1\nb: *x\n", 2, "aliases"),
        ("a: !!python/object:os.system x\n", 1, "tags"),
        ("!!map\na: 1\n", 1, "tags"),
        ("a:\n  <<: {b: c}\n", 2, "merge keys"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("a: 1\nb: 2\na: 3\n", 3, "`a` stands here twice"),
        ("{a: 1, a: 2}\n", 1, "`a` stands here twice"),
        ("1: a\n'1': b\n", 2, "`1` stands here twice"),
        ("? [a]\n: b\n", 1, "a key must be a text"),
        ("a:\n\tb: 1\n", 2, "cannot start any token"),
        ("a:\n    b: 1\n  c: 2\n", 3, "expected <block end>"),
        ('a: "x\n', 2, "unexpected end of stream"),
        ("a: b\n  c: d\n", 2, "mapping values are not allowed here"),
        ('a: "\\q"\n', 1, "unknown escape"),
        ('a: "\\ud800"\n', 1, "escape"),
        ("a: @b\n", 1, "cannot start any token"),
        ("a: b\nc: \0\n", 2, "special characters"),
        ("[1 2, , 3]\n", 1, "expected the node content"),
        ("- " * (DEPTH_MAX + 1) + "a\n", 1, "too deeply"),
        ("[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1), 1, "too deeply"),
    ],
)
def test_what_is_not_read_here_is_refused_by_line(
    text: str, line: int, why: str
) -> None:
    with pytest.raises(PeerError) as refused:
        read_yaml_untrusted(text)
    assert str(refused.value).startswith(f"line {line}: ")
    assert why in str(refused.value)


ODD = st.text(st.sampled_from("ab:-#'\"[]{},|>&*! \n\t\\?~1."), max_size=60)


@given(st.one_of(ODD, st.text(max_size=60)))
@example("- -\n -")
@example("a: |\n")
@example("a: {b")
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        value = read_yaml_untrusted(text)
    except PeerError:
        return
    json.dumps(value, default=float, ensure_ascii=False).encode()


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(10**9), 10**9), st.text(max_size=9)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(max_size=6), inner, max_size=4),
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from([None, 2]))
def test_json_is_yaml(value: Json, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    assert read_yaml_untrusted(text) == value


def block(value: Json, indent: int = 0) -> str:
    """A value in blocks, its texts quoted."""
    gap = " " * indent
    if isinstance(value, dict) and value:
        return "".join(
            f"{gap}{json.dumps(k)}:{_inner(v, indent)}" for k, v in value.items()
        )
    if isinstance(value, list) and value:
        return "".join(f"{gap}-{_inner(v, indent)}" for v in value)
    return f"{gap}{json.dumps(value)}\n"


def _inner(value: Json, indent: int) -> str:
    if isinstance(value, dict | list) and value:
        return "\n" + block(value, indent + 2)
    return f" {json.dumps(value)}\n"


@given(JSON)
def test_blocks_are_read_as_they_were_written(value: Json) -> None:
    assert read_yaml_untrusted(block(value)) == value
