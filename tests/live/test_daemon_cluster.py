"""Daemons as processes: they link, gossip, catch up, and lose nothing."""

import signal
from pathlib import Path

import pytest

from tests.support.daemons import Daemon, as_json, cluster, picket, until

pytestmark = pytest.mark.live


def heard(node: Daemon, category: str) -> bool:
    return any(row["category"] == category for row in node.reports())


def test_three_daemons_link_gossip_a_report_and_stop_in_order(tmp_path: Path) -> None:
    with cluster(tmp_path, ["ledger", "branch", "fraud"]) as bank:
        bank.start()
        picket(
            *("report", "fraud", "--category", "odd-hours", "--severity", "3"),
            *("-c", str(bank["branch"].home)),
        )
        for node in bank.nodes:
            until(lambda node=node: heard(node, "odd-hours"))  # type: ignore[misc]  # mypy cannot infer a lambda's default
        status = picket("status", "-c", str(bank["ledger"].home)).stdout
        assert "links      2 of 2" in status
        assert "fraud\tup\twatch\tsame" in status
        said = as_json(
            picket(
                "quarantine", "why", "fraud", "--json", "-c", str(bank["ledger"].home)
            ).stdout
        )
        assert said["standing"] == "watch"
        for node in bank.nodes:
            assert node.end() == 0
            assert "Traceback" not in node.log
            assert not (node.home / "control.sock").exists()


def test_a_node_that_was_away_catches_up_and_killing_loses_nothing(
    tmp_path: Path,
) -> None:
    with cluster(tmp_path, ["ledger", "branch", "fraud"]) as bank:
        bank.start()
        away, speaker = bank["fraud"], bank["branch"]
        away.end(signal.SIGKILL)
        for number in range(30):
            speaker.ask(
                "report", subject="ledger", category=f"seen-{number}", severity=2
            )
        until(lambda: heard(bank["ledger"], "seen-29"))
        speaker.end(signal.SIGKILL)
        away.start()
        away.wait_ready()
        until(lambda: heard(away, "seen-29"))
        assert len(away.reports()) == 30
        speaker.start()
        speaker.wait_ready()
        bank.wait_linked()
        assert len(speaker.reports()) == 30
        speaker.ask("report", subject="ledger", category="after", severity=2)
        for node in bank.nodes:
            until(lambda node=node: heard(node, "after"))  # type: ignore[misc]  # mypy cannot infer a lambda's default


def test_another_cluster_is_a_stranger_and_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with (
        cluster(tmp_path / "a", ["ledger", "branch"]) as ours,
        cluster(tmp_path / "b", ["ledger", "thief"]) as theirs,
    ):
        thief = theirs["thief"]
        text = (thief.home / "founders.toml").read_text()
        victim = ours["ledger"]
        # The thief knows whom to call, and where.
        here = theirs["ledger"]
        id_of = {
            name: next(
                line
                for line in (d.home / "card.toml").read_text().splitlines()
                if "id" in line
            )
            for name, d in (("ours", victim), ("theirs", here))
        }
        text = text.replace(id_of["theirs"], id_of["ours"])
        text = text.replace(f":{here.port}", f":{victim.port}")
        (thief.home / "founders.toml").write_text(text)
        ours.start()
        thief.start()
        thief.wait_ready()
        until(lambda: "no link with" in victim.log)
        assert thief.linked() == 0
        assert victim.linked() == 1
        assert "Traceback" not in victim.log


def test_the_operator_key_rotates_and_links_and_feeds_go_on(tmp_path: Path) -> None:
    """Restarting is the strongest rotation: a fresh key under the same node."""
    with cluster(tmp_path, ["ledger", "branch"]) as bank:
        bank.start()
        for number in range(3):
            bank["branch"].end()
            bank["branch"].start()
            bank["branch"].wait_ready()
            bank.wait_linked()
            bank["branch"].ask(
                "report", subject="ledger", category=f"turn-{number}", severity=1
            )
            until(lambda number=number: heard(bank["ledger"], f"turn-{number}"))  # type: ignore[misc]  # mypy cannot infer a lambda's default
