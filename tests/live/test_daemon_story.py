"""The whole story of a standing at the command line, and every way to undo it."""

import json
from pathlib import Path

import pytest

from node.jsonlines import Json
from tests.support.daemons import Daemon, cluster, picket, until

pytestmark = pytest.mark.live
AGENT = f"agent:{'ab' * 32}"
NAMES = ["ash", "birch", "cedar", "elm"]


def level(node: Daemon) -> str:
    rows = node.ask("quarantine.list")
    assert isinstance(rows, list)
    row = rows[0] if rows else {}
    return str(row["standing"]) if isinstance(row, dict) and row else "clear"


def shown(*words: str) -> Json:
    answer: Json = json.loads(picket(*words).stdout)
    return answer


def test_a_quarantine_is_listed_explained_released_struck_and_allowed(
    tmp_path: Path,
) -> None:
    with cluster(tmp_path, NAMES) as made:
        made.start()
        ash = made["ash"]
        here = ("-c", str(ash.home))
        signed = ("--operator-key", str(made.operator), *here)
        assert picket("quarantine", "list", *here).stdout == "everybody is clear\n"
        for name in ("birch", "cedar"):
            home = ("-c", str(made[name].home))
            words = ("--category", "rate-abuse", "--severity", "9")
            picket("report", AGENT, *words, *home)
        for node in made.nodes:
            until(lambda node=node: level(node) == "quarantined")  # type: ignore[misc]  # mypy cannot infer a lambda's default

        rows = shown("quarantine", "list", "--json", *here)
        assert isinstance(rows, list)
        (row,) = rows
        assert isinstance(row, dict)
        assert (row["subject"], row["basis"], row["enforced"]) == (
            AGENT,
            "voices",
            True,
        )

        facts = shown("quarantine", "why", AGENT, "--json", *here)
        assert isinstance(facts, dict)
        assert facts["standing"] == "quarantined"
        assert (facts["members"], facts["may_lie"], facts["may_err"]) == (4, 1, 0)
        assert isinstance(facts["until_ms"], int)
        assert isinstance(facts["since_ms"], int)
        assert facts["until_ms"] > facts["since_ms"]
        assert "picket quarantine release" in str(facts["undo"])
        remarks = facts["remarks"]
        assert isinstance(remarks, list)
        told = {str(r["reporter"]): r for r in remarks if isinstance(r, dict)}
        assert sorted(told) == ["birch", "cedar"]
        said = told["birch"]
        assert (said["kind"], said["category"]) == ("voice", "rate-abuse")
        assert (said["severity"], said["weight"]) == (9, 0.9)
        assert said["taken_back"] is False
        assert isinstance(said["voice"], float)
        assert 0.8 < said["voice"] <= 0.9
        reports = shown("reports", "--json", *here)
        assert isinstance(reports, list)
        ids = {str(r["reporter"]): r["id"] for r in reports if isinstance(r, dict)}
        assert ids == {name: told[name]["report"] for name in told}

        why = picket("quarantine", "why", AGENT, *here).stdout
        for part in (
            "is quarantined until",
            "birch reported rate-abuse, severity 9, with weight 0.90; worth 0.",
            "a quarantine takes more than 1, since 1 of 4 may lie and 0 may be mistaken",
            f"To undo it: `picket quarantine release {AGENT} --reason TEXT` with 1",
            f"`picket false-positive REPORT`, here {str(ids['birch'])[:12]}",
        ):
            assert part in why

        done = picket("quarantine", "release", AGENT, "--reason", "looked at", *signed)
        assert "release agent" in done.stdout
        for node in made.nodes:
            until(lambda node=node: level(node) == "clear")  # type: ignore[misc]  # mypy cannot infer a lambda's default
        why = picket("quarantine", "why", AGENT, *here).stdout
        assert "released by operators opal: looked at" in why
        assert "no longer counted" in why
        for node in made.nodes:
            assert node.end() == 0
            assert "Traceback" not in node.log
