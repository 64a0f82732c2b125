"""The promises of the demo's MCP servers: each starts and answers from its lock."""

import json
import subprocess
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2] / ".venv" / "servers"
REVISION = "2025-06-18"
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": REVISION,
        "capabilities": {},
        "clientInfo": {"name": "promise", "version": "0"},
    },
}
READY = {"jsonrpc": "2.0", "method": "notifications/initialized"}
LIST = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}


def dialogue(command: list[str]) -> tuple[dict[str, object], set[str]]:
    """Ask for the server's description and the names of its tools."""
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            server.stdin.write(json.dumps(HELLO) + "\n")
            server.stdin.flush()
            hello = json.loads(server.stdout.readline())["result"]
            server.stdin.write(json.dumps(READY) + "\n" + json.dumps(LIST) + "\n")
            server.stdin.flush()
            tools = json.loads(server.stdout.readline())["result"]["tools"]
            server.stdin.close()
            server.wait(10)
        finally:
            server.kill()
    return hello, {tool["name"] for tool in tools}


@pytest.mark.live
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("name", "options", "tool"),
    [
        ("sqlite", ["--db-path", "{tmp}/books.db"], "write_query"),
        ("git", [], "git_log"),
        ("time", ["--local-timezone", "Etc/UTC"], "get_current_time"),
    ],
)
def test_a_published_server_answers_from_its_locked_environment(
    name: str, options: list[str], tool: str, tmp_path: Path
) -> None:
    command = HOME / name / "bin" / f"mcp-server-{name}"
    assert command.exists(), "run `make servers`"
    options = [option.format(tmp=tmp_path) for option in options]
    hello, tools = dialogue([str(command), *options])
    assert hello["protocolVersion"] == REVISION
    assert tool in tools
