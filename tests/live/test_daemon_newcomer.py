"""A node that joins after the founding, by what people type."""

from pathlib import Path

import pytest

from node.jsonlines import Json
from tests.support.daemons import Daemon, cluster, free_ports, picket, until

pytestmark = pytest.mark.live


def row(node: Daemon, name: str) -> dict[str, Json]:
    rows = node.ask("member.list")
    assert isinstance(rows, list)
    found = [r for r in rows if isinstance(r, dict) and r["name"] == name]
    return found[-1] if found else {}


def test_a_newcomer_is_sponsored_endorsed_heard_and_confirmed(tmp_path: Path) -> None:
    with cluster(tmp_path, ["ash", "birch", "cedar", "elm"]) as made:
        made.start()
        ash, birch = made["ash"], made["birch"]
        gum = Daemon("gum", tmp_path / "gum", free_ports(1)[0])
        words = ("--name", "gum", "--listen", f"127.0.0.1:{gum.port}")
        done = picket("init", str(gum.home), *words, "--sponsor", "ash")
        assert "to ash, for `picket member admit`" in done.stdout
        done = picket(
            "init", str(gum.home), *words, "--solo", "--sponsor", "ash", check=False
        )
        assert "a newcomer provides no servers, and is not alone" in done.stderr
        founders = (tmp_path / "founders.toml").read_bytes()
        (gum.home / "founders.toml").write_bytes(founders)
        made.nodes.append(gum)
        gum.start()
        gum.wait_ready()
        status = picket("status", "-c", str(gum.home)).stdout
        assert "this node is no member until others endorse it, ash first" in status
        doctor = picket("doctor", "-c", str(gum.home), check=False).stdout
        assert "cluster `bank`, 4 nodes" in doctor

        card = str(gum.home / "card.toml")
        done = picket("member", "admit", card, "-c", str(ash.home))
        assert "is endorsed by 1 of 2" in done.stdout
        until(lambda: row(birch, "gum"))
        listed = picket("member", "list", "-c", str(birch.home)).stdout
        assert "endorsed by ash: 1 of 2" in listed
        done = picket("member", "endorse", "gum", "-c", str(birch.home))
        assert done.stdout == "gum is a member, sponsored by ash\n"
        made.wait_linked()

        picket("report", "elm", "--severity", "3", "-c", str(gum.home))
        until(lambda: made["cedar"].reports())
        assert made["cedar"].reports()[0]["reporter"] == "gum"
        why = picket("quarantine", "why", "elm", "-c", str(ash.home)).stdout
        assert "one voice together with ash, who brought it in" in why

        signed = ("--operator-key", str(made.operator), "-c", str(ash.home))
        done = picket("member", "confirm", "gum", "--reason", "we met", *signed)
        assert "give gum a voice of its own: we met" in done.stdout
        until(lambda: row(made["cedar"], "gum").get("confirmed_ms"))
        assert (
            "\tyes\t"
            in picket("member", "list", "-c", str(gum.home)).stdout.splitlines()[-1]
        )
        assert gum.end() == 0
        gum.start()
        gum.wait_ready()
        made.wait_linked()
        for node in made.nodes:
            assert node.end() == 0
            assert "Traceback" not in node.log
