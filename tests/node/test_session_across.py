"""A session between two nodes is one session to both, and to those who judge it."""

import json
import sys
from pathlib import Path

import trio

from enforcement.mcp.strictjson import Json
from node import birth
from node.config import load_config
from node.daemon import Daemon
from node.proxy.session import Session
from tests.node.test_daemon import SUITE, running, tell, until
from tests.node.test_daemon_justice import denying, enforcing
from tests.node.test_discovery import PERMIT
from tests.node.test_manifests import bear

ECHO = Path(__file__).parents[1] / "support/echo_server.py"


def all_may_call(config: Path) -> Path:
    """A node whose policy permits everything, and whose server is an echo."""
    for rule in (config.parent / "policy").iterdir():
        rule.unlink()
    (config.parent / "policy" / "all.cedar").write_text(PERMIT)
    command = json.dumps([sys.executable, str(ECHO)])
    config.write_text(config.read_text().replace('["true"]', command))
    return config


async def ask(session: Session, heard: list[bytes], key: int) -> dict[str, Json]:
    call = {"jsonrpc": "2.0", "id": key, "method": "tools/call"}
    data = json.dumps({**call, "params": {"name": "echo"}}).encode()
    heard.extend(await session.client_said(data))

    def answer() -> dict[str, Json] | None:
        told = (json.loads(one) for one in heard)
        return next((one for one in told if one.get("id") == key), None)

    await until(answer)
    found = answer()
    assert found is not None
    return found


async def audited(daemon: Daemon) -> set[str]:
    rows = await tell(daemon, "audit")
    assert isinstance(rows, list)
    return {str(row["session"]) for row in rows if isinstance(row, dict)}


async def test_a_sessions_quarantine_means_the_same_on_both_nodes(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, "abcd")
    a, b, c, d = (enforcing(all_may_call(homes[name])) for name in "abcd")
    async with running(a, b, c, d), trio.open_nursery() as nursery:
        birth.add_agent(load_config(homes["b"]), "bot", ["agent"], SUITE)
        b.reload()
        bot = b.ring.principals["bot"]
        heard: list[bytes] = []

        async def to_agent(data: bytes) -> None:
            heard.append(data)
            await trio.lowlevel.checkpoint()

        one = await b.proxies.desk.open(nursery, bot, "files")
        nursery.start_soon(one.pump, to_agent)
        assert "result" in await ask(one, heard, 1)
        (there,) = a.proxies.desk.sessions()
        assert there.name == one.name
        subject = f"session:{one.name.hex()}"
        await until(lambda: a.store.audit(1) and b.store.audit(1))
        for node in (a, b):
            assert one.name.hex() in await audited(node)

        for node in (c, d):
            await tell(node, "report", subject=subject, category="odd", severity=9)
        await until(lambda: all(denying(n) == [subject] for n in (a, b, c, d)))
        denied = await ask(one, heard, 2)
        assert "is quarantined" in str(denied["error"])
        await until(lambda: not a.proxies.desk.sessions())

        heard.clear()
        other = await b.proxies.desk.open(nursery, bot, "files")
        nursery.start_soon(other.pump, to_agent)
        assert "result" in await ask(other, heard, 3), "the agent is nobody's suspect"
        for session in (one, other):
            await b.proxies.desk.close(session)
        nursery.cancel_scope.cancel()
