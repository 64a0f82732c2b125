"""`picket status`: one line that says whether the cluster is safe right now."""

import sys
from pathlib import Path
from typing import cast

import pytest
from click.testing import CliRunner

from gossip.errors import PeerError, UserError
from node.cli import ask, doctor
from node.daemon import Daemon
from node.jsonlines import Json
from node.lasting import require_room
from node.standing import attention
from tests.node.test_daemon import bear, daemon_of, running, said, tell, until
from tests.node.test_daemon_justice import accuse, enforcing

CALM: dict[str, Json] = {
    "name": "a",
    "attention": [],
    "node": "00" * 32,
    "cluster": "11" * 32,
    "cluster_name": "bank",
    "provider": "openssl",
    "mode": "observe",
    "enforces_from_ms": 1_800_000_000_000,
    "gates": "enforce",
    "observed": 0,
    "stands_down_until_ms": None,
    "policy": "22" * 32,
    "clock_offset_ms": 3,
    "lasting": 0.01,
    "policy_version": 0,
    "policy_signers": [],
    "policy_folder": "/srv/a/policy",
    "standings": {"watch": 1, "suspect": 0, "quarantined": 0},
    "held_tools": [],
    "local_servers": [],
    "listening": [],
    "http": None,
    "metrics": None,
    "members": [
        {
            "name": "a",
            "me": True,
            "linked": False,
            "standing": "clear",
            "denied": False,
            "isolated": False,
            "policy": None,
            "servers": [],
        }
    ],
}


async def concerns(daemon: Daemon) -> list[str]:
    status = cast("dict[str, list[str]]", await tell(daemon, "status"))
    return status["attention"]


async def test_a_cluster_that_lacks_nothing_asks_for_no_attention(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, ["a", "b"])
    a, b = enforcing(homes["a"]), enforcing(homes["b"])
    async with running(a, b):
        await until(lambda: len(a.court.policies) == 2)
        assert await concerns(a) == []


async def test_what_is_cut_off_away_or_other_is_named(tmp_path: Path) -> None:
    homes = bear(tmp_path, ["a", "b", "c", "d"])
    (homes["d"].parent / "policy" / "more.cedar").write_text(
        '@id("more") permit(principal, action, resource);'
    )
    a, b, c, d = (enforcing(homes[name]) for name in "abcd")
    async with running(a, b, c, d):
        await accuse(b, c, d)
        await until(lambda: a.court.standings() and len(a.court.policies) == 4)
        await until(lambda: any(map(a.court.denial, a.court.standings())))
        said = await concerns(a)
        assert said[0] == f"quarantined: agent {'ab' * 8}"
        assert said[1] == "policy differs on: d"
        d.stop()
        await until(lambda: len(a.engine.linked()) == 2)
        assert "not linked: d" in await concerns(a)


async def test_what_is_only_shown_is_said_to_be(tmp_path: Path) -> None:
    homes = bear(tmp_path, ["a", "b", "c", "d"])
    nodes = [daemon_of(homes[name]) for name in "abcd"]
    async with running(*nodes):
        await accuse(*nodes[1:])
        want = [f"quarantined, but not enforced: agent {'ab' * 8} (by observe mode)"]
        await until(lambda: attention(nodes[0]) == want)
        status = cast("dict[str, Json]", await tell(nodes[0], "status"))
        assert status["enforces_from_ms"]


async def test_a_release_of_nobody_is_refused_and_what_it_takes_back_is_said(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, ["a", "b"])
    a, b = enforcing(homes["a"]), enforcing(homes["b"])
    async with running(a, b):
        with pytest.raises(PeerError, match="there is nothing to release"):
            await tell(a, "release.draft", subject="b", reason="x")
        told = await tell(a, "report", subject="b", category="odd", severity=3)
        assert isinstance(told, dict)
        assert told["note"] == "with 2 members only a proof convicts"
        await until(lambda: a.court.standings())
        drafted = await tell(a, "release.draft", subject="b", reason="x")
        assert isinstance(drafted, dict)
        assert drafted["notes"] == [
            "node b was not quarantined",
            "1 report about node b and all before the release count no more",
        ]


NOSUCH = '\n[servers.clock]\ncommand = ["no-such-command-here"]\n'
FOUND = f'\n[servers.clock]\ncommand = ["{sys.executable}", "-c", ""]\n'


async def test_a_server_that_cannot_start_is_named_before_anybody_calls_it(
    tmp_path: Path,
) -> None:
    config = bear(tmp_path, ["a"])["a"]
    born = config.read_text()
    config.write_text(born + NOSUCH)
    a = daemon_of(config)
    async with running(a):
        assert await concerns(a) == ["servers that cannot be started: clock"]
        assert "no-such-command-here" in said(a)
        assert "give its full path" in said(a)
        config.write_text(born + FOUND)
        await tell(a, "policy.reload")
        assert await concerns(a) == []


def shown(
    monkeypatch: pytest.MonkeyPatch, *words: str, **other: Json
) -> tuple[str, int]:
    monkeypatch.setattr(
        ask, "ask_node", lambda config, do, args=None: {**CALM, **other}
    )
    done = CliRunner().invoke(ask.status, [*words])
    return done.output, done.exit_code


def test_the_first_line_is_the_verdict_and_check_says_it_by_its_exit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output, code = shown(monkeypatch, "--check")
    assert output.startswith("safe: nobody cut off\n")
    assert code == 0
    for words, wanted in (((), 0), (("--check",), 1), (("--check", "--json"), 1)):
        output, code = shown(monkeypatch, *words, attention=["not linked: b", "x"])
        assert code == wanted
    output, _ = shown(monkeypatch, attention=["not linked: b", "x"])
    assert output.startswith("attention: not linked: b; x\n")


def test_observe_mode_says_what_it_means_and_until_when(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output, _ = shown(monkeypatch)
    assert (
        "observe: gates deny; quarantines by voices are only shown, until 2027-01-15"
        in output
    )
    assert "1 watch, 0 suspect, 0 quarantined" in output


def test_a_pushed_policy_says_that_the_folder_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "2222222222222222, from /srv/a/policy" in shown(monkeypatch)[0]
    output, _ = shown(monkeypatch, policy_version=7, policy_signers=["opal"])
    assert "pushed by operators (opal); /srv/a/policy is not read" in output


async def test_a_server_that_the_founders_do_not_name_is_said_to_be_only_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = bear(tmp_path, ["a", "b"])
    homes["a"].write_text(homes["a"].read_text() + FOUND)
    a, b = enforcing(homes["a"]), enforcing(homes["b"])
    async with running(a, b):
        for daemon, local in ((a, ["clock"]), (b, [])):
            status = cast("dict[str, Json]", await tell(daemon, "status"))
            assert status["local_servers"] == local
    output, _ = shown(monkeypatch, local_servers=["clock"])
    assert "only here  clock: not in the founders' file" in output
    assert "only here" not in shown(monkeypatch)[0]
    done = CliRunner().invoke(doctor.doctor, ["-c", str(homes["a"])])
    assert "note  servers      clock: for agents beside this node only" in done.output


async def test_who_said_much_that_is_kept_for_good_hears_of_it_and_then_says_no_more(
    tmp_path: Path,
) -> None:
    a = enforcing(bear(tmp_path, ["a"])["a"])
    async with running(a):
        share, said = a.roster.lasting_bytes_max, a.engine.ledger._lasting
        assert not any("for good" in concern for concern in await concerns(a))
        said[a.me] = int(0.8 * share) + 1
        assert any("80% of the" in concern for concern in await concerns(a))
        assert b"picket_lasting_share 0.8" in a.metrics.page()
        require_room(a)
        said[a.me] = share
        with pytest.raises(UserError, match="not said here: this node has said 100%"):
            require_room(a)
    verdicts = [doctor._lasting({"lasting": part}).verdict for part in (0.7, 0.8, 1)]
    assert verdicts == [doctor.OK, doctor.NOTE, doctor.BAD]


async def test_a_server_that_the_founders_promise_and_nobody_configured_is_missed(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, ["a", "b"], servers=["sql"])
    a, b = enforcing(homes["a"]), enforcing(homes["b"])
    missed = "servers that founders.toml promises here, and config.toml lacks: sql"
    async with running(a, b):
        assert missed in attention(a)
        assert missed not in attention(b)
        with pytest.raises(UserError, match=r"on this node, .* no \[servers.sql\]"):
            a.proxies.desk.provider("sql")
    done = CliRunner().invoke(doctor.doctor, ["-c", str(homes["a"])])
    assert "note  servers      sql: " in done.output
    assert "promises it here" in done.output
