"""Daemons guard real MCP servers: across nodes, against agents and against nodes."""

import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import trio

from enforcement.defend.policy import Policy
from node.config import load_config
from node.daemon import Daemon as InProcess
from tests.support.callers import SERVER, endpoint, provide, query
from tests.support.daemons import Cluster, Daemon, cluster, picket, until

WRITE = "INSERT INTO financial_ledger VALUES (1)"

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not SERVER.exists(), reason="`make servers` was not run"),
]


@asynccontextmanager
async def bank(home: Path, *names: str) -> AsyncIterator[Cluster]:
    grants = [
        word for role in ("agent", "retail", "admin") for word in ("--grant", role)
    ]
    init = {name: [*grants, "--http", "127.0.0.1:0"] for name in names}
    init["ledger"] += ["--server", "sql"]
    with cluster(home, names, init=init, extra={"ledger": provide(home)}) as made:
        yield made


def add_agent(node: Daemon, name: str, role: str) -> str:
    return picket(
        "agent", "add", name, "--role", role, "-c", str(node.home)
    ).stdout.strip()


def cut_off(node: Daemon) -> dict[str, object]:
    """Who is cut off, and until when."""
    rows = node.ask("quarantine.list")
    assert isinstance(rows, list)
    return {str(r["subject"]): r["until_ms"] for r in rows if isinstance(r, dict)}


def denied(node: Daemon, name: str) -> bool:
    status = node.ask("status")
    assert isinstance(status, dict)
    members = status["members"]
    assert isinstance(members, list)
    return any(
        isinstance(m, dict) and m["name"] == name and m["denied"] for m in members
    )


async def test_calls_pass_across_nodes_and_forbidden_ones_stop_at_egress(
    tmp_path: Path,
) -> None:
    async with bank(tmp_path, "ledger", "branch", "fraud") as made:
        branch = made["branch"]
        bot = add_agent(branch, "bot", "retail")
        made.start()
        url = endpoint(branch)
        answer = await query(url, bot, "read_query", "SELECT name FROM customers")
        assert "a customer" in answer
        answer = await query(url, bot, "write_query", WRITE)
        assert answer == "denied: rule ledger-admin-only"
        for node in made.nodes:
            until(lambda node=node: node.reports())  # type: ignore[misc]  # mypy cannot infer a lambda's default
            assert node.reports()[0]["reporter"] == "branch"
            assert node.reports()[0]["class"] == "witness"

        def rows() -> str:
            return picket("audit", "-c", str(branch.home)).stdout

        until(lambda: "ledger-admin-only" in rows())
        assert "\tbot of branch (" in rows()
        assert "INSERT" not in rows()
        for node in made.nodes:
            assert node.end() == 0
            assert "Traceback" not in node.log
            assert "error" not in node.log


async def test_a_node_whose_egress_is_compromised_is_cut_off_by_all_and_released(
    tmp_path: Path,
) -> None:
    async with bank(tmp_path, "ledger", "branch", "fraud", "gateway") as made:
        branch, fraud = made["branch"], made["fraud"]
        bot = add_agent(branch, "bot", "retail")
        clerk = add_agent(fraud, "clerk", "agent")
        honest = [node for node in made.nodes if node is not branch]
        for node in honest:
            node.start()
        for node in honest:
            node.wait_ready()
        async with trio.open_nursery() as nursery:
            rogue = InProcess(load_config(branch.config))
            permissive = Policy.load(
                {"all.cedar": '@id("all") permit(principal, action, resource);'}
            )
            permissive.digest = rogue.bundles.current.digest
            rogue.bundles.current = permissive
            await nursery.start(rogue.run)
            with trio.fail_after(20):
                while len(rogue.engine.linked()) < 3:  # noqa: ASYNC110 other processes
                    await trio.sleep(0.02)
            assert rogue.http_at is not None
            url = f"http://127.0.0.1:{rogue.http_at[1]}/mcp/sql"
            answer = await query(url, bot, "write_query", WRITE)
            assert answer == "denied: rule ledger-admin-only"
            for node in honest:
                with trio.fail_after(10):
                    while not denied(node, "branch"):  # noqa: ASYNC110
                        await trio.sleep(0.02)
            # It is refused now whatever it asks; an honest agent elsewhere goes on.
            for tool, text in (("read_query", "SELECT 1"), ("write_query", WRITE)):
                refused = await query(url, bot, tool, text)
                assert refused.startswith("denied: ")
            answer = await query(
                endpoint(fraud), clerk, "read_query", "SELECT name FROM customers"
            )
            assert "a customer" in answer
            why = picket("quarantine", "why", "branch", "-c", str(fraud.home)).stdout
            assert "ledger-admin-only" in why
            assert (
                "Proven: agent bot of branch called `sql/write_query`; the proof opens"
                " `query`."
            ) in why
            assert WRITE not in why
            why = picket("quarantine", "why", "bot", "-c", str(fraud.home)).stdout
            assert why.startswith("agent bot of branch is quarantined")
            # Nor does a crash of whoever guards the server let it in again.
            ledger, before = made["ledger"], cut_off(made["ledger"])
            assert len(before) == 2, "the node and its agent"
            ledger.end(signal.SIGKILL)
            ledger.start()
            await trio.to_thread.run_sync(ledger.wait_ready)
            assert cut_off(ledger) == before
            refused = await query(url, bot, "write_query", WRITE)
            assert refused.startswith("denied: ")
            await trio.to_thread.run_sync(until, lambda: ledger.linked() == 2)
            assert rogue.roster.by_name("ledger") not in rogue.engine.linked()
            rogue.stop()
        with sqlite3.connect(tmp_path / "accounts.db") as sql:
            assert sql.execute("SELECT count(*) FROM financial_ledger").fetchone() == (
                0,
            )
        sql.close()
        for subject in ("branch", "agent:"):
            if subject == "agent:":
                rows = fraud.ask("quarantine.list")
                assert isinstance(rows, list)
                subject = next(
                    str(r["subject"])
                    for r in rows
                    if isinstance(r, dict) and str(r["subject"]).startswith("agent:")
                )
            done = picket(
                *("quarantine", "release", subject, "--reason", "replaced"),
                *("--operator-key", str(made.operator), "-c", str(fraud.home)),
            )
            if subject == "branch":
                assert "agent bot of branch stays quarantined; let it" in done.stdout
        for node in honest:
            until(lambda node=node: not denied(node, "branch"))  # type: ignore[misc]  # mypy cannot infer a lambda's default
        branch.start()
        branch.wait_ready()
        made.wait_linked()
        answer = await query(
            endpoint(branch), bot, "read_query", "SELECT name FROM customers"
        )
        assert "a customer" in answer


async def test_a_wrong_token_and_an_unknown_server_are_refused(tmp_path: Path) -> None:
    async with bank(tmp_path, "ledger", "branch") as made:
        made.start()
        url = endpoint(made["ledger"])
        message = {"jsonrpc": "2.0", "id": 1, "method": "initialize"}
        async with httpx2.AsyncClient(trust_env=False) as http:
            answer = await http.post(
                url, json=message, headers={"authorization": "Bearer wrong"}
            )
            assert answer.status_code == 401
            answer = await http.post(
                url, json=message, headers={"host": "evil.example"}
            )
            assert answer.status_code == 403


async def test_sighup_reloads_the_policy_or_changes_nothing(tmp_path: Path) -> None:
    async with bank(tmp_path, "ledger", "branch") as made:
        made.start()
        ledger = made["ledger"]
        policy = ledger.home / "policy" / "tutorial.cedar"
        good = policy.read_text()
        assert ledger.process is not None

        def digest() -> object:
            status = ledger.ask("status")
            assert isinstance(status, dict)
            return status["policy"]

        before = digest()
        policy.write_text(good + "forbid(principal, action, ;")
        ledger.process.send_signal(1)
        until(lambda: "nothing was changed" in ledger.log)
        assert digest() == before
        refused = picket("reload", "-c", str(ledger.home), check=False)
        assert refused.returncode == 1
        assert "tutorial.cedar" in refused.stderr
        assert digest() == before
        policy.write_text(good + '@id("more") permit(principal, action, resource);')
        ledger.process.send_signal(1)
        until(lambda: digest() != before)
        policy.write_text(good)
        told = picket("reload", "-c", str(ledger.home)).stdout
        assert told == f"read again; policy {str(before)[:16]} is in force\n"
        assert digest() == before
        policy.write_text(good + '@id("more") permit(principal, action, resource);')
        picket("reload", "-c", str(ledger.home))
        until(
            lambda: (
                "ledger\tup\tclear\tdiffers"
                in picket("status", "-c", str(made["branch"].home)).stdout
            )
        )
