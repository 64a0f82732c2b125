"""A header that repeats the message repeats it truly, or nothing passes."""

import base64
import json

import pytest

from enforcement.mcp.headers import (
    MISMATCH_CODE,
    check_headers_untrusted,
    read_mirrors,
)
from enforcement.mcp.jsonrpc import Request, read_message_untrusted
from enforcement.mcp.strictjson import Json, MalformedError

VERSION = "2026-07-28"
BODY = (
    b'{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"r\xc3\xa9ad",'
    b'"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}'
)


def encoded(text: str) -> str:
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def check(**headers: str) -> None:
    message = read_message_untrusted(BODY)
    assert isinstance(message, Request)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    check_headers_untrusted(named, message)


def test_headers_that_say_the_same_pass_and_so_do_none() -> None:
    check()
    check(mcp_method="tools/call", mcp_name=encoded("réad"))
    check(mcp_protocol_version=VERSION, mcp_param_other="anything")


@pytest.mark.parametrize(
    "headers",
    [
        {"mcp_method": "tools/list"},
        {"mcp_method": "Tools/Call"},
        {"mcp_name": "write"},
        {"mcp_name": ""},
        {"mcp_name": encoded("write")},
        {"mcp_name": "=?base64?!!!?="},
        {"mcp_name": encoded("réad").replace("?=", "=?=")},
        {"mcp_protocol_version": "2025-11-25"},
    ],
)
def test_a_header_that_says_something_else_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(MalformedError) as refused:
        check(**headers)
    assert (refused.value.code, refused.value.key) == (MISMATCH_CODE, 4)


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
def test_a_call_that_names_a_task_names_it_in_its_header_too(method: str) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"taskId": "t-1"}}
    message = read_message_untrusted(json.dumps(body).encode())
    assert isinstance(message, Request)
    check_headers_untrusted({"mcp-name": "t-1"}, message)
    with pytest.raises(MalformedError):
        check_headers_untrusted({"mcp-name": "t-2"}, message)


def test_a_name_in_the_header_alone_is_refused() -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{}}'
    message = read_message_untrusted(body)
    assert isinstance(message, Request)
    with pytest.raises(MalformedError):
        check_headers_untrusted({"mcp-name": "file:///a"}, message)


SCHEMA: Json = {
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "limit": {"type": "integer", "x-mcp-header": "Limit"},
        "where": {
            "properties": {"deep": {"type": "boolean", "x-mcp-header": "X-Deep"}}
        },
    }
}
FITTING = {
    "mcp-param-region": encoded("dé"),
    "mcp-param-limit": "7",
    "mcp-param-x-deep": "true",
    "mcp-param-unknown": "anything",
}


def check_params(arguments: dict[str, Json], headers: dict[str, str]) -> None:
    asked = {"name": "t", "arguments": arguments}
    body = {"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": asked}
    message = read_message_untrusted(json.dumps(body).encode())
    assert isinstance(message, Request)
    check_headers_untrusted(headers, message, read_mirrors(SCHEMA))


def test_headers_that_repeat_parameters_truly_pass() -> None:
    check_params({"region": "dé", "limit": 7, "where": {"deep": True}}, FITTING)
    check_params({"region": None}, {})
    check_params({}, {"mcp-param-unknown": "x"})


@pytest.mark.parametrize(
    "changed",
    [
        {"mcp-param-region": "west"},
        {"mcp-param-region": "=?base64?!?="},
        {"mcp-param-limit": "8"},
        {"mcp-param-limit": "07x"},
        {"mcp-param-limit": "9" * 5_000},
        {"mcp-param-x-deep": "True"},
        {"mcp-param-x-deep": None},
    ],
)
def test_a_header_that_repeats_a_parameter_falsely_is_refused(
    changed: dict[str, str | None],
) -> None:
    headers = {k: v for k, v in {**FITTING, **changed}.items() if v is not None}
    with pytest.raises(MalformedError) as refused:
        check_params({"region": "dé", "limit": 7, "where": {"deep": True}}, headers)
    assert (refused.value.code, refused.value.key) == (MISMATCH_CODE, 4)


@pytest.mark.parametrize("arguments", [{}, {"region": None}])
def test_a_header_for_a_parameter_that_is_not_there_is_refused(
    arguments: dict[str, Json],
) -> None:
    with pytest.raises(MalformedError):
        check_params(arguments, {"mcp-param-region": "west"})


@pytest.mark.parametrize(
    "schema",
    [
        {"x-mcp-header": "Root"},
        {"properties": {"a": {"type": "number", "x-mcp-header": "A"}}},
        {"properties": {"a": {"type": "string", "x-mcp-header": "A\r\nB"}}},
        {"properties": {"a": {"type": "string", "x-mcp-header": 7}}},
        {
            "properties": {
                "a": {"type": "string", "x-mcp-header": "A"},
                "b": {"type": "string", "x-mcp-header": "a"},
            }
        },
        True,
    ],
)
def test_a_tool_whose_headers_are_unclear_repeats_nothing(schema: Json) -> None:
    assert read_mirrors(schema) == {}
