"""The promises of ``enforcement.mcp.jsonrpc``: one message, one reading."""

import contextlib
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcement import limits
from enforcement.mcp.jsonrpc import (
    METHODS,
    Notification,
    Reason,
    Request,
    Response,
    read_message_untrusted,
    write_denial,
)
from enforcement.mcp.strictjson import (
    INVALID_CODE,
    PARSE_CODE,
    MalformedError,
    as_one_line,
    read_json_untrusted,
)


def wrap(params: str) -> bytes:
    return f'{{"jsonrpc":"2.0","id":1,"method":"ping","params":{params}}}'.encode()


def refusal(data: bytes) -> MalformedError:
    with pytest.raises(MalformedError) as caught:
        read_message_untrusted(data)
    return caught.value


def test_three_kinds_of_message_are_told_apart() -> None:
    call = read_message_untrusted(
        b'{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"t"}}'
    )
    assert call == Request("a", "tools/call", {"name": "t"}, "t")
    note = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
    assert read_message_untrusted(note) == Notification(
        "notifications/initialized", None
    )
    answer = b'{"jsonrpc":"2.0","id":1,"result":{}}'
    assert read_message_untrusted(answer) == Response(1, failed=False)
    broken = b'{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}'
    assert read_message_untrusted(broken) == Response(None, failed=True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[" + wrap("{}") + b"]",  # decided below: valid JSON, but a batch
        b"\xef\xbb\xbf" + wrap("{}"),
        wrap("{}") + b"x",
        wrap("{}") + wrap("{}"),
        wrap('{"a":1,"a":2}'),
        wrap('{"b":{"a":1,"\\u0061":2}}'),
        wrap('{"__proto__":{"query":"drop"}}'),
        wrap('{"a":[{"\\u005f_proto__":1}]}'),
        wrap('{"a":NaN}'),
        wrap('{"a":-Infinity}'),
        wrap('{"a":1e999}'),
        wrap('{"a":1e-999}'),
        wrap('{"a":' + "9" * 65 + "}"),
        wrap('{"a":0.' + "9" * 65 + "}"),
        wrap('{"a":"\\ud800"}'),
        wrap('{"\\udfff":1}'),
        wrap('{"a":"\xff"}').replace(b"\xc3\xbf", b"\xff"),
        wrap('{"a":"\xc0"}').replace(b"\xc3\x80", b"\xc0\x80"),
        wrap("{'a':1}"),
        wrap('{"a":01}'),
        wrap('{"a":1,}'),
        wrap('{"a":"\n"}'),
        wrap("/**/{}"),
    ],
)
def test_what_two_parsers_could_read_in_two_ways_is_refused(data: bytes) -> None:
    code = refusal(data).code
    assert code == (INVALID_CODE if data.startswith(b"[") else PARSE_CODE)


@pytest.mark.parametrize(
    "members",
    [
        {"method": "Tools/Call"},
        {"method": "tools/call "},
        {"method": "tools\u2215call"},
        {"method": ""},
        {"method": 1},
        {"method": "x" * (limits.METHOD_CHARS_MAX + 1)},
        {"method": "ping", "id": True},
        {"method": "ping", "id": 1.5},
        {"method": "ping", "id": None},
        {"method": "ping", "id": 2**53},
        {"method": "ping", "id": [1]},
        {"method": "ping", "id": "x" * (limits.ID_CHARS_MAX + 1)},
        {"method": "ping", "params": [1]},
        {"method": "ping", "params": None},
        {"method": "ping", "Params": {}},
        {"method": "ping", "result": {}},
        {"method": "notifications/x"},
        {"result": 1, "error": {}},
        {"result": 1, "params": {}},
        {"jsonrpc": "1.0", "method": "ping"},
        {"method": "tools/call"},
        {"method": "tools/call", "params": {"name": ""}},
        {"method": "tools/call", "params": {"name": ["t"]}},
        {"method": "tools/call", "params": {"name": "t", "Name": "u"}},
        {"method": "tools/call", "params": {"name": "t", "argument\u017f": {}}},
        {"method": "tools/call", "params": {"name": "t", "arguments": "x"}},
        {"method": "tools/call", "params": {"name": "t", "arguments": None}},
    ],
)
def test_what_is_not_clearly_one_request_is_refused(
    members: dict[str, object],
) -> None:
    refusal(json.dumps({"jsonrpc": "2.0", "id": 1, **members}).encode())


def test_a_refusal_knows_whom_to_answer() -> None:
    wrong = refusal(b'{"jsonrpc":"2.0","id":"me","method":"Tools/call"}')
    assert (wrong.key, wrong.code) == ("me", INVALID_CODE)


def test_limits_hold_at_the_limit_and_refuse_one_beyond() -> None:
    def nested(depth: int) -> bytes:  # the message and its params are two
        return wrap('{"a":' + "[" * (depth - 2) + "]" * (depth - 2) + "}")

    def keyed(count: int) -> bytes:  # the message itself has four
        return wrap(json.dumps({str(i): 0 for i in range(count - 4)}))

    def sized(size: int) -> bytes:
        return wrap("{}").ljust(size)

    def listed(count: int) -> bytes:  # the message itself has three commas
        return wrap('{"a":[' + "0," * (count - 3) + "0]}")

    for make, limit in (
        (listed, limits.VALUES_MAX),
        (nested, limits.DEPTH_MAX),
        (keyed, limits.CLIENT_KEYS_MAX),
        (sized, limits.MESSAGE_BYTES_MAX),
    ):
        read_message_untrusted(make(limit))
        refusal(make(limit + 1))
    read_message_untrusted(wrap(json.dumps({"a": ',"' * 1_000_000})))
    refusal(b"[" * 1_000_000)
    refusal(wrap('{"a":' * 100_000))


def test_numbers_are_read_exactly() -> None:
    value = read_json_untrusted(b"[0.1, 1e2, 9007199254740993, -0.0]", 10)
    assert value == [Decimal("0.1"), Decimal("1e2"), 9007199254740993, Decimal("-0.0")]
    assert isinstance(value, list)
    assert [type(n) for n in value] == [Decimal, Decimal, int, Decimal]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
        lambda below: st.lists(below) | st.dictionaries(st.text(), below),
    )
)
def test_one_line_means_the_same_and_is_one_line(value: object) -> None:
    for indent, ascii_only in ((None, True), (1, False)):
        data = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode(
            errors="surrogatepass"
        )
        try:
            read_json_untrusted(data, limits.CLIENT_KEYS_MAX)
        except MalformedError:
            continue
        line = as_one_line(data)
        assert json.loads(line) == value
        assert len(line.decode().splitlines()) == 1


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_garbage_is_malformed_or_a_message(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        read_message_untrusted(data)


def test_a_denial_is_a_json_rpc_error_that_says_it_all() -> None:
    said = json.loads(
        write_denial("a", "no", Reason.RULE, rule="r-1", advice="ask first")
    )
    assert said == {
        "jsonrpc": "2.0",
        "id": "a",
        "error": {
            "code": -32010,
            "message": "no; ask first",
            "data": {
                "picket": {"rule": "r-1", "reason": "rule", "advice": "ask first"}
            },
        },
    }


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_method_is_taken_in_its_own_case_only(method: str) -> None:
    key = b"" if method.startswith("notifications/") else b'"id":1,'
    message = b'{"jsonrpc":"2.0",%b"method":"%b","params":{"name":"t"}}'
    assert len(method) <= limits.METHOD_CHARS_MAX

    read = read_message_untrusted(message % (key, method.encode()))
    assert isinstance(read, Request | Notification)
    assert read.method == method
    for bent in (method.upper(), method.title(), method + " ", method + "\u212a", ""):
        with pytest.raises(MalformedError):
            read_message_untrusted(message % (key, bent.encode()))
