"""Real daemons: two of three provide one server, and one of those two dies."""

import signal
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.live.test_daemon_guard import add_agent
from tests.support.callers import endpoint
from tests.support.daemons import cluster, until

pytestmark = pytest.mark.live

ECHO = Path(__file__).parents[1] / "support" / "echo_server.py"
NAMES = ("north", "south", "branch")


class Client:
    """An agent that speaks plain MCP of revision 2025-11-25."""

    def __init__(self, url: str, token: str) -> None:
        headers = {"authorization": f"Bearer {token}"}
        self.http = httpx.Client(headers=headers, trust_env=False, timeout=30)
        self.url = url

    def say(self, method: str, **params: object) -> httpx.Response:
        told = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        accept = {"accept": "application/json, text/event-stream"}
        return self.http.post(self.url, json=told, headers=accept)

    def begin(self) -> None:
        self.http.headers.pop("mcp-session-id", None)
        about = {"name": "test", "version": "1"}
        begun = self.say(
            "initialize",
            protocolVersion="2025-11-25",
            capabilities={},
            clientInfo=about,
        )
        assert begun.status_code == 200, begun.text
        self.http.headers["mcp-session-id"] = begun.headers["mcp-session-id"]

    def provider(self) -> str:
        """Whose process answers: each daemon gives its own a name."""
        answer = self.say("tools/call", name="environment", arguments={})
        for name in NAMES:
            if f"made-by-{name}" in answer.text:
                return name
        return f"nobody: {answer.text}"


def test_the_next_session_goes_to_the_other_provider_when_one_is_killed(
    tmp_path: Path,
) -> None:
    grants = ["--grant", "agent", "--grant", "retail"]
    init = {"branch": [*grants, "--http", "127.0.0.1:0"]}
    extra = {}
    for name in ("north", "south"):
        init[name] = [*grants, "--server", "sql"]
        extra[name] = (
            f'\n[servers.sql]\ncommand = ["{sys.executable}", "{ECHO}"]\n'
            f'env = {{ NAME = "made-by-{name}" }}\n'
        )
    with (
        cluster(tmp_path, NAMES, init=init, extra=extra, replicated=["sql"]) as made,
        ExitStack() as ends,
    ):
        token = add_agent(made["branch"], "bot", "retail")
        for node in made.nodes:
            for rules in (node.home / "policy").glob("*.cedar"):
                rules.unlink()
            (node.home / "policy" / "open.cedar").write_text(
                "permit(principal, action, resource);"
            )
        made.start()
        client = Client(endpoint(made["branch"]), token)
        ends.callback(client.http.close)
        client.begin()
        first = client.provider()
        assert first in ("north", "south")
        assert client.provider() == first, "a session stays"
        made[first].end(signal.SIGKILL)
        gone = client.say("tools/call", name="echo", arguments={})
        assert gone.status_code == 404 or "error" in gone.json(), "it never moves"
        (other,) = {"north", "south"} - {first}

        def elsewhere() -> bool:
            client.begin()
            return client.provider() == other

        until(elsewhere)
