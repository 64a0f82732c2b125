"""People at work: operators at different desks, agents added, a stop in mid-session."""

import os
import time
from pathlib import Path

import httpx2
import pytest
import trio

from tests.support.callers import SERVER, endpoint, provide, query, session
from tests.support.daemons import Daemon, cluster, picket, until

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not SERVER.exists(), reason="`make servers` was not run"),
]


def two_operators(home: Path, node: Daemon) -> None:
    """Let the founders' file ask for two of two operators."""
    picket("operator", "init", str(home / "operators"), "--name", "ruby")
    founders = node.home / "founders.toml"
    founders.unlink()
    picket(
        *("founders", str(node.home / "card.toml"), "--name", "bank"),
        *("--operator", str(home / "operators" / "opal.card.toml")),
        *("--operator", str(home / "operators" / "ruby.card.toml")),
        *("-o", str(founders)),
    )


def test_two_operators_sign_at_different_desks(tmp_path: Path) -> None:
    with cluster(tmp_path, ["ledger"]) as made:
        node = made["ledger"]
        two_operators(tmp_path, node)
        node.start()
        node.wait_ready()
        subject = f"agent:{'ab' * 32}"
        node.ask("report", subject=subject, category="x", severity=9)
        until(lambda: node.ask("quarantine.list"))
        opal, ruby = (
            str(tmp_path / "operators" / f"{name}.key") for name in ("opal", "ruby")
        )
        release = ("quarantine", "release", subject, "--reason", "a mistake")
        here = ("-c", str(node.home))
        done = picket(*release, "--operator-key", opal, *here, check=False)
        assert done.returncode == 1
        assert "1 of 2 operators signed this act" in done.stderr
        draft = str(tmp_path / "act.json")
        done = picket(*release, "--operator-key", opal, "--draft", draft, *here)
        assert "1 of 2 signatures" in done.stdout
        told = picket("act", "show", draft).stdout
        assert "release" in told
        assert "a mistake" in told
        picket("act", "sign", draft, "--operator-key", ruby)
        picket("act", "submit", draft, *here)
        until(lambda: not node.ask("quarantine.list"))
        again = picket("act", "sign", draft, "--operator-key", draft, check=False)
        assert again.returncode == 1


async def test_an_agent_added_at_run_time_is_admitted_by_sighup(
    tmp_path: Path,
) -> None:
    extra = {"ledger": provide(tmp_path)}
    init = {"ledger": ["--http", "127.0.0.1:0", "--server", "sql", "--grant", "agent"]}
    with cluster(tmp_path, ["ledger"], extra=extra, init=init) as made:
        node = made["ledger"]
        node.start()
        node.wait_ready()
        added = picket("agent", "add", "late", "--role", "agent", "-c", str(node.home))
        token = added.stdout.strip()
        message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        async with httpx2.AsyncClient(trust_env=False) as http:
            headers = {"authorization": f"Bearer {token}"}
            refused = await http.post(endpoint(node), json=message, headers=headers)
        assert refused.status_code == 401
        assert node.process is not None
        node.process.send_signal(1)
        until(lambda: "read the configuration again" in node.log)
        answer = await query(
            endpoint(node), token, "read_query", "SELECT name FROM customers"
        )
        assert "a customer" in answer


async def test_a_stop_in_mid_session_ends_in_time_and_leaves_no_child(
    tmp_path: Path,
) -> None:
    extra = {"ledger": provide(tmp_path)}
    init = {"ledger": ["--http", "127.0.0.1:0", "--server", "sql", "--grant", "agent"]}
    with cluster(tmp_path, ["ledger"], extra=extra, init=init) as made:
        node = made["ledger"]
        added = picket("agent", "add", "late", "--role", "agent", "-c", str(node.home))
        node.start()
        node.wait_ready()
        assert node.process is not None
        with trio.move_on_after(20) as scope:
            async with session(endpoint(node), added.stdout.strip()) as opened:
                await opened.list_tools()
                children = children_of(node.process.pid)
                assert children
                began = time.monotonic()
                assert await trio.to_thread.run_sync(node.end) == 0
                assert time.monotonic() - began < 5
                for pid in children:
                    until(lambda pid=pid: not os.path.exists(f"/proc/{pid}"))  # type: ignore[misc]  # mypy cannot infer a lambda's default
                scope.cancel()
        assert scope.cancelled_caught
        assert "Traceback" not in node.log


def children_of(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def test_a_taken_port_for_links_is_one_sentence(tmp_path: Path) -> None:
    with cluster(tmp_path, ["ledger", "branch"]) as made:
        node = made["ledger"]
        other = made["branch"]
        text = other.config.read_text()
        other.config.write_text(text.replace(f":{other.port}", f":{node.port}"))
        node.start()
        node.wait_ready()
        done = picket("run", "-c", str(other.home), check=False)
        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert last.startswith(f"picket: cannot listen on 127.0.0.1:{node.port}")
        assert "Traceback" not in done.stderr
