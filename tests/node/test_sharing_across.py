"""A tool at level `pqc-session`, called from another node: one key, agreed once."""

from pathlib import Path

import trio

from enforcement.detect.pins import read_manifest_untrusted
from enforcement.mcp.strictjson import Json
from node import birth
from node.config import load_config
from tests.node.test_daemon import SUITE, running, until
from tests.node.test_daemon_justice import enforcing
from tests.node.test_manifests import bear
from tests.node.test_session_across import all_may_call, ask

TOOL: dict[str, Json] = {
    "name": "echo",
    "inputSchema": {"type": "object"},
    "security_policy": "pqc-session",
}


async def test_calls_between_two_nodes_go_under_one_key_until_keys_rotate(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, "ab")
    a, b = (enforcing(all_may_call(homes[name])) for name in "ab")
    async with running(a, b), trio.open_nursery() as nursery:
        birth.add_agent(load_config(homes["b"]), "bot", ["agent"], SUITE)
        b.reload()
        a.guard.pins.see(read_manifest_untrusted("files", TOOL))
        await until(lambda: b.guard.pins.find("files", "echo"))
        await until(lambda: b.catalogue.sealing_key(a.me))
        heard: list[bytes] = []

        async def to_agent(data: bytes) -> None:
            heard.append(data)
            await trio.lowlevel.checkpoint()

        keys = a.guard.post.shared_keys._known
        bot = b.ring.principals["bot"]
        session = await b.proxies.desk.open(nursery, bot, "files")
        nursery.start_soon(session.pump, to_agent)
        for key in (1, 2):
            assert "result" in await ask(session, heard, key)
            assert len(keys) == 1
        await b.rotate()
        assert "result" in await ask(session, heard, 3)
        assert len(keys) == 2
        await b.proxies.desk.close(session)
        nursery.cancel_scope.cancel()
