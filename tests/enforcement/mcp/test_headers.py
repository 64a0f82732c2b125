"""A header that repeats the message repeats it truly, or nothing passes."""

import base64

import pytest

from enforcement.mcp.headers import MISMATCH_CODE, check_headers_untrusted
from enforcement.mcp.jsonrpc import Request, read_message_untrusted
from enforcement.mcp.strictjson import MalformedError

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


def test_a_name_in_the_header_alone_is_refused() -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{}}'
    message = read_message_untrusted(body)
    assert isinstance(message, Request)
    with pytest.raises(MalformedError):
        check_headers_untrusted({"mcp-name": "file:///a"}, message)
