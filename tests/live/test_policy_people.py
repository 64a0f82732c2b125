"""What people do about policy and tools on running nodes."""

import json
from pathlib import Path

import pytest
import trio

from tests.live.test_daemon_guard import add_agent, bank
from tests.support.callers import SERVER, endpoint, query
from tests.support.daemons import Daemon, picket, until

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not SERVER.exists(), reason="`make servers` was not run"),
]

NO_READING = """
@id("everything-else")
permit(principal, action, resource);
@id("no-reading") @advice("ask an operator")
forbid(principal, action == Action::"tools/call", resource == Tool::"sql/read_query")
unless { context.approved };
"""
READ = ("read_query", "SELECT name FROM customers")


async def test_operators_change_the_policy_of_all_and_a_person_approves(
    tmp_path: Path,
) -> None:
    async with bank(tmp_path, "ledger", "branch") as made:
        ledger, branch = made["ledger"], made["branch"]
        bot = add_agent(branch, "bot", "retail")
        clerk = add_agent(branch, "clerk", "retail")
        made.start()
        url = endpoint(branch)
        assert "a customer" in await query(url, bot, *READ)

        folder = tmp_path / "next"
        folder.mkdir()
        (folder / "rules.cedar").write_text(NO_READING)
        at = ("-c", str(branch.home))
        picket("policy", "trial", str(folder), *at)
        assert "a customer" in await query(url, bot, *READ)
        told = json.loads(picket("policy", "trial", "--json", *at).stdout)
        assert [row["tried"] for row in told["differ"]] == ["denied: no-reading"]

        picket("policy", "push", str(folder), "--operator-key", str(made.operator), *at)
        digests = {
            node.name: until(lambda node=node: _pushed(node.ask("policy.show")))  # type: ignore[misc]  # mypy cannot infer a lambda's default
            for node in made.nodes
        }
        assert len(set(digests.values())) == 1
        assert await query(url, bot, *READ) == "denied: rule no-reading"

        for words in (("status",), ("policy", "check"), ("doctor",)):
            done = picket(*words, *at)
            told = done.stdout + done.stderr
            assert "operators" in told, words
            assert f"{branch.home / 'policy'} is not read" in told, words
        picket("approve", "bot", "sql/read_query", *at)
        said = await query(url, bot, *READ)
        assert said == "denied: rule no-reading", (
            "the provider's people must say so too"
        )
        agent = _last_agent(branch)
        picket("approve", agent, "sql/read_query", "-c", str(ledger.home))
        assert "a customer" in await query(url, bot, *READ)

        assert await query(url, clerk, *READ) == "denied: rule no-reading"
        agent = _last_agent(branch)
        key = ("--operator-key", str(made.operator), "-c", str(ledger.home))
        picket("approve", agent, "sql/read_query", *key)
        for _ in range(40):  # one signature, and every gate comes to know it
            said = await query(url, clerk, *READ)
            if "a customer" in said:
                break
            await trio.sleep(0.5)
        assert "a customer" in said

        pulled = tmp_path / "pulled"
        picket("policy", "pull", str(pulled), "-c", str(ledger.home))
        assert (pulled / "rules.cedar").read_text() == NO_READING
        draft = tmp_path / "learnt.draft"
        picket("policy", "learn", str(draft), *at)
        assert "sql/read_query" in draft.read_text()

        slip = tmp_path / "slip"
        slip.mkdir()
        rule = "context.params has query && context.params.query > 3"
        text = f"forbid(principal, action, resource) when {{ {rule} }};"
        (slip / "a.cedar").write_text(text)
        said = picket(
            *("policy", "check", str(slip), "--tools", "-c", str(ledger.home)),
            check=False,
        ).stderr
        assert "does not fit the tool `sql/" in said

        for node in made.nodes:
            until(lambda node=node: "read_query" in str(node.ask("tools.list")))  # type: ignore[misc]  # mypy cannot infer a lambda's default
            assert node.reports() == [], "nobody is reported for what others sense"

        assert ledger.end() == 0
        ledger.start()
        ledger.wait_ready()
        assert _pushed(ledger.ask("policy.show")) == digests["branch"]


def _last_agent(node: Daemon) -> str:
    """Who called last."""
    rows = node.ask("audit", last=1)
    assert isinstance(rows, list)
    assert isinstance(rows[-1], dict)
    return str(rows[-1]["agent"])


def _pushed(answer: object) -> str:
    assert isinstance(answer, dict)
    return str(answer["digest"]) if answer["version"] else ""
