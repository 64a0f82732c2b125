"""The official SDK's client as the client suites want it, on one of several paths.

Run by a suite as ``python -m tests.conformance.client PATH URL``; the environment says
which scenario it is. It lists all there is, calls every tool, reads every resource, and
answers what it is asked. On the paths ``gate`` and ``mesh`` the server's name and path
lead to Picket, as a name server and a front proxy would have it; on ``moved`` it goes to
a gate at an address of the gate's own.
"""

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, TypeAlias, cast
from urllib.parse import parse_qs, urlsplit

import httpx2
import trio
from mcp import MCPError
from mcp.client import Client
from mcp.client.auth import OAuthClientProvider, TokenStorage
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.context import ClientRequestContext
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from mcp.types import (
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestFormParams,
    ElicitRequestParams,
    ElicitResult,
    ListRootsResult,
    TextContent,
    Tool,
)
from pydantic import AnyUrl

from node.proxy.resource import WELL_KNOWN
from tests.conformance.rig import paths_to

Given: TypeAlias = dict[str, object]

NAME: Final = os.environ.get("MCP_CONFORMANCE_SCENARIO", "")
GIVEN: Final = cast(Given, json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}")))
STATELESS: Final = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", "") > "2026"
BACK: Final = AnyUrl("http://localhost:3000/callback")
DOCUMENT: Final = "https://conformance-test.local/client-metadata.json"
SAMPLES: Final = {"string": "a", "integer": 5, "number": 3, "boolean": True}


class Tokens(TokenStorage):
    """Keeps what authorization servers gave."""

    def __init__(self, client: OAuthClientInformationFull | None) -> None:
        self.tokens: OAuthToken | None = None
        self.client = client

    async def get_tokens(self) -> OAuthToken | None:
        """What was set."""
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep it."""
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """What was set."""
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Keep it."""
        self.client = client_info


class Person:
    """Agrees to everything an authorization server shows."""

    answer: AuthorizationCodeResult | None = None

    async def look(self, url: str) -> None:
        """Open the page that asks, and note where it leads."""
        async with httpx2.AsyncClient(trust_env=False) as http:
            shown = await http.get(url, follow_redirects=False)
        told = parse_qs(urlsplit(shown.headers["location"]).query)
        code, state, iss = (told.get(k, [None])[0] for k in ("code", "state", "iss"))
        self.answer = AuthorizationCodeResult(code=code or "", state=state, iss=iss)

    async def agree(self) -> AuthorizationCodeResult:
        """Where it led."""
        assert self.answer is not None
        return self.answer


class Led(httpx2.AsyncHTTPTransport):
    """Goes to a gate with what is meant for a server; all else goes where it says."""

    def __init__(self, server: str, gate: str) -> None:
        super().__init__()
        self.server, self.gate = httpx2.URL(server), httpx2.URL(gate)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; its `Host` stays."""
        url, server = request.url, self.server
        guarded = url.path == server.path or url.path.startswith(WELL_KNOWN)
        if url.netloc == server.netloc and guarded:
            request.url = url.copy_with(host=self.gate.host, port=self.gate.port)
        return await super().handle_async_request(request)


def word(name: str) -> str:
    """A string that the scenario gives."""
    return str(GIVEN.get(name, ""))


def oauth(url: str) -> httpx2.Auth:
    """How this scenario wants a token."""
    who, secret = word("client_id"), word("client_secret")
    if NAME.endswith("client-credentials-basic"):
        return ClientCredentialsOAuthProvider(url, Tokens(None), who, secret)
    if NAME.endswith("client-credentials-jwt"):
        signer = SignedJWTParameters(
            issuer=who,
            subject=who,
            signing_key=word("private_key_pem"),
            signing_algorithm=word("signing_algorithm") or "ES256",
        )
        prove = signer.create_assertion_provider()
        return PrivateKeyJWTOAuthProvider(url, Tokens(None), who, prove)
    client: OAuthClientInformationFull | None = None
    if who:
        method = "client_secret_basic" if secret else "none"
        client = OAuthClientInformationFull(
            client_id=who,
            client_secret=secret or None,
            redirect_uris=[BACK],
            token_endpoint_auth_method=method,
        )
    asked = OAuthClientMetadata(
        client_name="picket",
        redirect_uris=[BACK],
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
    )
    person = Person()
    return OAuthClientProvider(
        url, asked, Tokens(client), person.look, person.agree, DOCUMENT
    )


async def fill_in(
    context: ClientRequestContext, params: ElicitRequestParams
) -> ElicitResult:
    """Accept a form with its defaults, or with anything that fits."""
    del context
    assert isinstance(params, ElicitRequestFormParams)
    fields = cast(dict[str, Given], params.requested_schema["properties"])
    content = {
        name: field.get("default", SAMPLES.get(str(field.get("type"))))
        for name, field in fields.items()
    }
    return ElicitResult.model_validate({"action": "accept", "content": content})


async def speak(
    context: ClientRequestContext, params: CreateMessageRequestParams
) -> CreateMessageResult:
    """A model's answer."""
    del context, params
    said = TextContent(type="text", text="4")
    return CreateMessageResult(role="assistant", content=said, model="made-up")


async def roots(context: ClientRequestContext) -> ListRootsResult:
    """There are none."""
    del context
    return ListRootsResult(roots=[])


def arguments(tool: Tool, known: Mapping[str, Tool]) -> Given:
    """What to call a tool with: what the scenario wants, or anything that fits."""
    if tool.name == "json_schema_echo" and "json_schema_2020_12_tool" in known:
        return {"schema": known["json_schema_2020_12_tool"].input_schema}
    if tool.name == "add_numbers":
        return {"a": 5, "b": 3}
    fields = cast(dict[str, Given], tool.input_schema.get("properties", {}))
    return {
        name: SAMPLES.get(str(fields.get(name, {}).get("type")), {})
        for name in cast(list[str], tool.input_schema.get("required", []))
    }


async def use(client: Client) -> None:
    """Everything that it offers, once."""
    known = {tool.name: tool for tool in (await client.list_tools()).tools}
    calls = [(tool.name, arguments(tool, known)) for tool in known.values()]
    if "toolCalls" in GIVEN:
        wanted = cast(list[Given], GIVEN["toolCalls"])
        calls = [(str(w["name"]), cast(Given, w["arguments"])) for w in wanted]
    for name, given in calls:
        with suppress(MCPError):
            await client.call_tool(name, given)
    if client.server_capabilities.resources is not None:
        for resource in (await client.list_resources()).resources:
            await client.read_resource(resource.uri)
    if client.server_capabilities.prompts is not None:
        for prompt in (await client.list_prompts()).prompts:
            await client.get_prompt(prompt.name)


async def main(path: str, url: str) -> None:
    """One scenario."""
    async with paths_to(url) as paths:
        here = paths["gate"] if path == "moved" else url
        led = None if path in ("direct", "moved") else Led(url, paths[path])
        auth = oauth(here) if NAME.startswith("auth/") else None
        async with (
            httpx2.AsyncClient(
                auth=auth,
                transport=led,
                trust_env=False,
                timeout=30,
                follow_redirects=True,
            ) as http,
            Client(
                streamable_http_client(here, http_client=http),
                mode="auto" if STATELESS else "legacy",
                elicitation_callback=fill_in,
                sampling_callback=speak,
                list_roots_callback=roots,
            ) as client,
        ):
            await use(client)


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
