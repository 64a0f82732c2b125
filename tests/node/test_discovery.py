"""Agents hear when a tool is withdrawn, and when it comes back."""

import json
from pathlib import Path

import trio

from enforcement.detect.pins import read_manifest_untrusted
from enforcement.effects import Position
from enforcement.mcp.strictjson import Json
from node import birth
from node.config import load_config
from node.discovery import NOTICE
from tests.node.test_daemon import SUITE, bear, running, tell, until
from tests.node.test_daemon_justice import enforcing, sign

CALLS = (
    '{"jsonrpc":"2.0","id":%d,"method":"tools/list"}',
    '{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo"}}',
)
PERMIT = '@id("all") permit(principal, action, resource);\n'


def serving(config: Path, home: Path) -> None:
    """One node more that serves an echo, and anybody may call it."""
    script = Path(__file__).parents[1] / "support/echo_server.py"
    command = json.dumps(["python3", str(script)])
    config.write_text(config.read_text() + f"\n[servers.echo]\ncommand = {command}\n")
    policy = home / "policy"
    for rule in policy.iterdir():
        rule.unlink()
    (policy / "all.cedar").write_text(PERMIT)


async def test_a_tool_cut_off_by_its_digest_leaves_lists_and_clients_are_told(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, ["a", "b", "c", "d"])
    serving(homes["a"], tmp_path / "a")
    a, *others = (enforcing(homes[name]) for name in "abcd")
    async with running(a, *others), trio.open_nursery() as nursery:
        birth.add_agent(load_config(homes["a"]), "bot", ["agent"], SUITE)
        a.reload()
        principal = a.ring.principals["bot"]
        session = await a.proxies.desk.open(nursery, principal, "echo")
        heard: list[bytes] = []

        async def to_agent(data: bytes) -> None:
            heard.append(data)
            await trio.lowlevel.checkpoint()

        nursery.start_soon(session.pump, to_agent)

        async def ask(what: int, key: int) -> dict[str, Json]:
            heard.extend(await session.client_said((CALLS[what] % key).encode()))
            wanted = f'"id":{key}'

            def answer() -> bytes | None:
                told = (h for h in heard if wanted in h.decode().replace(" ", ""))
                return next(told, None)

            await until(answer)
            found = answer()
            assert found is not None
            value = json.loads(found)
            assert isinstance(value, dict)
            return value

        assert session.position is Position.LOCAL
        assert "echo" in str(await ask(0, 1))
        assert "result" in await ask(1, 2)
        digest = a.guard.pins.tools()[0].digest
        subject = f"artefact:{digest.hex()}"
        for node in others:
            await tell(
                node, "report", subject=subject, category="tool-poisoning", severity=9
            )
        await until(lambda: NOTICE in heard)
        assert "echo" not in str((await ask(0, 3))["result"])
        assert "quarantined" in str((await ask(1, 4))["error"])
        heard.clear()
        drafted = await tell(a, "release.draft", subject=subject, reason="mended")
        await sign(tmp_path, a, drafted)
        await until(lambda: NOTICE in heard)
        assert "echo" in str(await ask(0, 5))
        heard.clear()
        changed: dict[str, Json] = {
            "name": "echo",
            "inputSchema": {"type": "object"},
            "title": "new",
        }
        a.guard.pins.see(read_manifest_untrusted("echo", changed))
        await until(lambda: NOTICE in heard)
        heard.clear()
        a.guard.pins.see(read_manifest_untrusted("echo", changed))
        a.guard.pins.accept("echo", "echo")
        await until(lambda: NOTICE in heard)
        await a.proxies.desk.close(session)
        nursery.cancel_scope.cancel()
