"""Operators and the accused at the command line, against a real daemon."""

from pathlib import Path

import pytest

from tests.support.daemons import Daemon, cluster, picket, until

pytestmark = pytest.mark.live
AGENT = f"agent:{'ab' * 32}"


def row(node: Daemon) -> dict[str, object]:
    rows = node.ask("quarantine.list")
    assert isinstance(rows, list)
    return dict(rows[0]) if rows and isinstance(rows[0], dict) else {}


def test_operators_and_the_accused_at_the_command_line(tmp_path: Path) -> None:
    with cluster(tmp_path, ["ash", "birch"]) as made:
        ash, birch = made["ash"], made["birch"]
        made.start()
        here = ("-c", str(ash.home))
        signed = ("--operator-key", str(made.operator), *here)

        done = picket(
            "stand-down", "--for", "soon", "--reason", "x", *signed, check=False
        )
        assert done.returncode == 1
        assert "is no duration such as 90m, 1h or 7d" in done.stderr
        done = picket("stand-down", "--reason", "x", *here, check=False)
        assert "give --operator-key FILE" in done.stderr
        done = picket("stand-down", "--for", "1h", "--reason", "a drill", *signed)
        assert "suspend automatic quarantine" in done.stdout
        until(
            lambda: "stood down until" in picket("status", "-c", str(birch.home)).stdout
        )

        picket("report", AGENT, "--severity", "9", "-c", str(birch.home))
        until(lambda: row(ash))
        reports = ash.reports()
        words = ("--owner", "opal", "--reason", "a test of ours")
        done = picket("false-positive", str(reports[0]["id"])[:12], *words, *signed)
        assert "took its report back" not in done.stdout
        until(lambda: not row(ash) and not row(birch))

        picket("report", "birch", "--severity", "3", *here)
        until(lambda: row(birch))
        file = tmp_path / "appeal"
        done = picket(
            "appeal", "send", "mended", "-o", str(file), "-c", str(birch.home)
        )
        assert "said to 1 linked nodes" in done.stdout
        done = picket("appeal", "carry", str(file), *here)
        assert "carried the appeal of birch" in done.stdout
        until(lambda: "mended" in picket("appeal", "list", *here).stdout)
        appeal_id = picket("appeal", "list", *here).stdout.splitlines()[-1].split()[0]
        done = picket("appeal", "answer", appeal_id, "--withdraw", *here)
        assert "1 reports taken back" in done.stdout
        until(lambda: not row(birch))

        done = picket(
            "quarantine", "allow", "birch", "--for", "2h", "--reason", "x", *signed
        )
        assert "allow node birch: x" in done.stdout
        assert "gate: enforce" in picket("observe", "report", *here).stdout
        for node in made.nodes:
            assert node.end() == 0
            assert "Traceback" not in node.log
