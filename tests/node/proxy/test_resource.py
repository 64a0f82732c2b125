"""The promises of ``node.proxy.resource``: OAuth through another address."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.proxy.resource import (
    is_about_untrusted,
    is_meant_for,
    named_document,
    places,
    stand_in,
)

URL = "https://stock.example/mcp"
HERE = "http://127.0.0.1:7000/mcp/stock"


def challenge(where: str) -> tuple[tuple[str, str], ...]:
    return (("www-authenticate", f'Bearer scope="a", resource_metadata="{where}"'),)


def token(claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{body}.c2ln"


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("https://stock.example/meta.json?x=1", "/meta.json?x=1"),
        ("https://STOCK.example:443/meta", "/meta"),
        ("/meta", "/meta"),
        ("http://stock.example/meta", ""),
        ("https://stock.example:8443/meta", ""),
        ("https://169.254.169.254/latest", ""),
        ("https://stock.example@evil.example/meta", ""),
        ("https://stock.example/a b", ""),
        ("file:///etc/passwd", ""),
    ],
)
def test_a_document_is_looked_for_at_the_server_itself_only(
    where: str, found: str
) -> None:
    assert named_document(401, challenge(where), URL) == found


def test_only_a_challenge_names_a_document() -> None:
    assert named_document(200, challenge("/meta"), URL) is None
    assert named_document(401, (), URL) == ""


def test_the_document_lies_as_told_or_beside_the_path_or_at_the_root() -> None:
    root = "/.well-known/oauth-protected-resource"
    assert places("/mcp?a=b", "/meta") == ("/meta", f"{root}/mcp", root)
    assert places("/", "") == (root,)


@pytest.mark.parametrize(
    ("resource", "about"),
    [
        (URL, True),
        ("https://stock.example", True),
        ("https://stock.example/mcp/", True),
        ("https://stock.example/mc", False),
        ("https://stock.example/mcp/other", False),
        ("https://evil.example/mcp", False),
        ("http://stock.example/mcp", False),
        (None, False),
        (7, False),
    ],
)
def test_a_document_about_another_resource_is_not_passed_on(
    resource: object, about: bool
) -> None:
    body = json.dumps({"resource": resource}).encode()
    assert is_about_untrusted(body, URL) is about


@given(st.binary())
def test_no_document_breaks_the_reader(body: bytes) -> None:
    assert is_about_untrusted(body, URL) is False


def test_a_server_without_a_document_issues_its_tokens_itself() -> None:
    made = stand_in(URL)
    assert is_about_untrusted(made, URL)
    assert json.loads(made)["authorization_servers"] == ["https://stock.example"]


@pytest.mark.parametrize(
    ("claims", "meant"),
    [
        ({"aud": HERE}, True),
        ({"aud": HERE + "/"}, True),
        ({"aud": ["x", URL]}, True),
        ({"aud": "HTTPS://stock.example:443/mcp"}, True),
        ({"aud": "https://other.example/mcp"}, False),
        ({"aud": "http://127.0.0.1:7000"}, False),
        ({"aud": "http://127.0.0.1:7000/mcp/other"}, False),
        ({"aud": []}, False),
        ({"aud": 7}, False),
        ({"sub": "somebody"}, True),
        ([1], True),
    ],
)
def test_a_token_for_another_server_is_known_by_its_audience(
    claims: object, meant: bool
) -> None:
    assert is_meant_for(token(claims), (HERE, URL)) is meant


def test_a_host_of_its_own_is_the_servers_whatever_the_path() -> None:
    shown = token({"aud": "https://Stock.example/other"})
    assert is_meant_for(shown, (), "https://stock.example:443")
    assert not is_meant_for(shown, (), "https://stock.example:8443")
    assert not is_meant_for(token({"aud": "urn:x"}), (), "")
    assert not is_meant_for(token({"aud": "urn:x"}), (), "nonsense")


@given(st.text())
def test_what_is_no_jwt_says_nothing(text: str) -> None:
    assert is_meant_for(text.replace(".", ""), ())
