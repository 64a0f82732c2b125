"""OAuth between the official SDK's client and server, with real gates between."""

import base64
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import trio
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import TextContent

from node.proxy.resource import WELL_KNOWN
from tests.conformance.client import oauth
from tests.conformance.rig import paths_to

# The SDK's client leaves its generators of events to the garbage collector.
pytestmark = [
    pytest.mark.live,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

ROOT = Path(__file__).parents[2]
PROGRAM = '''
import base64, json, secrets, socket, sys, time
import uvicorn
from mcp.server.auth.provider import AccessToken, AuthorizationCode, construct_redirect_uri
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import OAuthToken

class Issuer:
    """Lets everybody in; its tokens name whom they are for."""
    clients, codes, tokens = {}, {}, {}

    async def get_client(self, client_id):
        return self.clients.get(client_id)

    async def register_client(self, client):
        self.clients[client.client_id] = client

    async def authorize(self, client, params):
        code = secrets.token_hex(8)
        self.codes[code] = AuthorizationCode(
            code=code, scopes=[], expires_at=time.time() + 60,
            client_id=client.client_id, code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri, resource=params.resource,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
        )
        return construct_redirect_uri(str(params.redirect_uri), code=code, state=params.state)

    async def load_authorization_code(self, client, code):
        return self.codes.get(code)

    async def exchange_authorization_code(self, client, code):
        claims = json.dumps({"aud": code.resource}).encode()
        token = "e30." + base64.urlsafe_b64encode(claims).decode() + ".c2ln"
        self.tokens[token] = AccessToken(
            token=token, client_id=client.client_id, scopes=[], resource=code.resource)
        return OAuthToken(access_token=token)

    async def load_refresh_token(self, client, token):
        return None

    async def load_access_token(self, token):
        print(token, file=sys.stderr, flush=True)
        return self.tokens.get(token)

sock = socket.socket(fileno=int(sys.argv[1]))
url = f"http://127.0.0.1:{sock.getsockname()[1]}"
issuer = Issuer()
mcp = MCPServer("vault", auth_server_provider=issuer, auth=AuthSettings(
    issuer_url=url, resource_server_url=url + "/mcp", validate_token_resource=False,
    client_registration_options=ClientRegistrationOptions(enabled=True)))

@mcp.tool()
def who() -> str:
    from mcp.server.auth.middleware.auth_context import get_access_token
    return get_access_token().resource

app = mcp.streamable_http_app()
uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[sock])
'''


@asynccontextmanager
async def issuing(folder: Path) -> AsyncIterator[str]:
    """A server that asks for tokens and issues them; its URL."""
    program = folder / "vault.py"
    program.write_text(PROGRAM)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/mcp"
        command = [sys.executable, str(program), str(sock.fileno())]
        with (folder / "seen").open("wb") as seen:
            process = await trio.lowlevel.open_process(
                command, pass_fds=[sock.fileno()], stderr=seen
            )
    try:
        yield url
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("path", ["direct", "gate", "mesh"])
async def test_a_client_gets_a_token_for_where_it_meets_the_server(
    path: str, tmp_path: Path
) -> None:
    async with issuing(tmp_path) as url, paths_to(url) as paths:
        here = paths[path]
        async with (
            httpx2.AsyncClient(auth=oauth(here), trust_env=False, timeout=30) as http,
            Client(streamable_http_client(here, http_client=http)) as client,
        ):
            (said,) = (await client.call_tool("who", {})).content
        assert isinstance(said, TextContent)
        assert said.text == here


@pytest.mark.parametrize("path", ["gate", "mesh"])
async def test_a_token_for_another_server_is_refused_unseen(
    path: str, tmp_path: Path
) -> None:
    claims = json.dumps({"aud": "https://other.example/mcp"}).encode()
    foreign = f"e30.{base64.urlsafe_b64encode(claims).decode()}.c2ln"
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    async with issuing(tmp_path) as url, paths_to(url) as paths:
        headers = {"authorization": f"Bearer {foreign}"}
        async with httpx2.AsyncClient(trust_env=False, timeout=30) as http:
            direct = await http.post(url, json=call, headers=headers)
            assert direct.status_code == 401
            assert foreign in (tmp_path / "seen").read_text()
            (tmp_path / "seen").write_bytes(b"")
            refused = await http.post(paths[path], json=call, headers=headers)
            assert refused.status_code == 401
            assert WELL_KNOWN in refused.headers["www-authenticate"]
            assert foreign not in (tmp_path / "seen").read_text()
