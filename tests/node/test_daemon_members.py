"""Newcomers at real daemons: brought in, heard, one voice with their sponsor."""

from pathlib import Path

import pytest
import trio

from gossip.errors import PeerError, UserError
from gossip.limits import DAY_MS
from node import birth
from node.clock import SystemClock
from node.config import load_config
from node.daemon import Daemon
from node.jsonlines import Json
from tests.node.test_daemon import (
    SUITE,
    ShiftedClock,
    bear,
    daemon_of,
    running,
    tell,
    until,
)
from tests.node.test_daemon_justice import AGENT, accuse, denying, sign
from tests.support.daemons import free_ports


def newcomer(home: Path, name: str, sponsor: str) -> Path:
    new = birth.NewNode(
        name=name,
        listen=(("127.0.0.1", free_ports(1)[0]),),
        grants=("agent",),
        sponsor=sponsor,
    )
    now = SystemClock().unix_ms()
    birth.make_node(home / name, new, birth.starter_policy(), SUITE, now)
    (home / name / "founders.toml").write_text((home / "founders.toml").read_text())
    return home / name / "config.toml"


def enforce(config: Path) -> None:
    text = config.read_text().replace('mode = "auto"', 'mode = "enforce"')
    config.write_text(text)


async def members(daemon: Daemon) -> dict[str, dict[str, Json]]:
    rows = await tell(daemon, "member.list")
    assert isinstance(rows, list)
    return {str(row["name"]): row for row in rows if isinstance(row, dict)}


async def test_newcomers_are_brought_in_heard_and_are_one_voice_with_their_sponsor(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, ["a", "b", "c", "d"])
    homes |= {name: newcomer(tmp_path, name, "d") for name in ("gum", "hazel")}
    for config in homes.values():
        enforce(config)
    founders = [daemon_of(homes[name]) for name in "abcd"]
    a, b, _, d = founders
    gum, hazel = daemon_of(homes["gum"]), daemon_of(homes["hazel"])
    everybody = [*founders, gum, hazel]
    async with running(*founders), trio.open_nursery() as nursery:
        for daemon in (gum, hazel):
            await nursery.start(daemon.run)
        for name, newcomer_daemon in (("gum", gum), ("hazel", hazel)):
            card = (tmp_path / name / birth.CARD).read_text()
            with pytest.raises(PeerError, match=r"asks `d` .* and this is `a`"):
                await tell(a, "member.admit", card=card)
            answer = await tell(d, "member.admit", card=card)
            assert isinstance(answer, dict)
            assert (answer["is_member"], answer["endorsed"]) == (False, 1)
            await until(lambda: a.roster.waiting())
            assert newcomer_daemon.engine.linked() == ()
            told = await tell(newcomer_daemon, "status")
            assert "no member until others endorse it, d first" in str(told)
            told = await tell(a, "status")
            assert f"to be members: {name} (1 of 2)" in str(told)
            answer = await tell(a, "member.endorse", name=name)
            assert isinstance(answer, dict)
            assert answer["is_member"] is True
        await until(lambda: all(len(n.roster.members()) == 6 for n in everybody))
        await until(lambda: all(len(n.engine.linked()) == 5 for n in everybody))
        await tell(gum, "report", subject="b", category="seen-by-gum", severity=9)
        await until(lambda: b.court.standings() or b.court.recent())
        told = await tell(gum, "status")
        assert isinstance(told, dict)
        assert told["attention"] == []
        rows = await members(b)
        assert rows["gum"]["sponsor"] == "d"
        assert rows["gum"]["weight"] == 0, "it is on probation"
        with pytest.raises(PeerError, match="member already, sponsored by d"):
            await tell(b, "member.endorse", name="gum")
        with pytest.raises(PeerError, match="member already, sponsored by d"):
            await tell(d, "member.admit", card=card)
        asks_b = card.replace('sponsor = "d"', 'sponsor = "b"')
        with pytest.raises(PeerError, match="member already, sponsored by d"):
            await tell(b, "member.admit", card=asks_b)
        with pytest.raises(PeerError, match="no card of `yew` waits here"):
            await tell(b, "member.endorse", name="yew")
        with pytest.raises(PeerError, match="is a founder"):
            await tell(b, "member.endorse", name="a")
        for daemon in everybody:
            daemon.stop()
    later = ShiftedClock(9 * DAY_MS)
    founders = [daemon_of(homes[name], later) for name in "abcd"]
    a, b, _, d = founders
    gum, hazel = daemon_of(homes["gum"], later), daemon_of(homes["hazel"], later)
    everybody = [*founders, gum, hazel]
    async with running(*everybody):
        assert all(len(n.roster.members()) == 6 for n in everybody), "after a restart"
        await accuse(gum, hazel, d)
        await until(lambda: all(len(n.court.recent()) == 4 for n in everybody))
        assert not any(map(denying, everybody)), "three, but one voice"
        why = await tell(b, "quarantine.why", subject=AGENT)
        assert "one voice" in str(why)
        drafted = await tell(a, "member.confirm.draft", name="gum", reason="we met")
        assert "f = 1 may lie: more than 1 of voices" in str(drafted)
        assert "the voice of gum weighs 0.90 now" in str(drafted)
        await sign(tmp_path, a, drafted)
        await until(lambda: all(n.court.thresholds.members == 5 for n in everybody))
        await accuse(gum)
        await until(lambda: all(denying(n) == [AGENT] for n in everybody))
        assert (await members(d))["gum"]["confirmed_ms"]


async def test_two_cards_of_one_newcomer_are_told_apart_by_their_sponsor(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, ["a", "b", "c", "d"])
    newcomer(tmp_path, "gum", "a")
    a, b, c = (daemon_of(homes[name]) for name in "abc")
    async with running(a, b, c):
        card = (tmp_path / "gum" / birth.CARD).read_text()
        await tell(a, "member.admit", card=card)
        await tell(b, "member.admit", card=card.replace('"a"', '"b"'))
        await until(lambda: len(c.roster.waiting()) == 2)
        with pytest.raises(PeerError, match=r"2 cards wait: .* say the id, and --spo"):
            await tell(c, "member.endorse", name="gum")
        answer = await tell(c, "member.endorse", name="gum", sponsor="a")
        assert isinstance(answer, dict)
        assert (answer["is_member"], answer["sponsor"]) == (True, "a")


async def test_a_card_that_takes_a_name_or_provides_servers_is_refused(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, ["a", "b"])
    a, b = daemon_of(homes["a"]), daemon_of(homes["b"])
    async with running(a, b):
        card = (tmp_path / "b" / birth.CARD).read_text()
        other = card.replace(b.me.hex(), "ab" * 32)
        with pytest.raises(PeerError, match="another member is called"):
            await tell(a, "member.admit", card=other)
        serving = other.replace('"b"', '"x"').replace("servers = []", 'servers=["s"]')
        with pytest.raises(PeerError, match="provides no servers"):
            await tell(a, "member.admit", card=serving)
        with pytest.raises(PeerError, match="card"):
            await tell(a, "member.admit", card="what")
        for sponsor in ('"a b"', "7"):
            asking = f"sponsor = {sponsor}\n{other}"
            with pytest.raises(PeerError, match="`sponsor`"):
                await tell(a, "member.admit", card=asking)
        odd = other.replace('"b"', '"x"').replace("127.0.0.1", "a host")
        with pytest.raises(PeerError, match="other letters"):
            await tell(a, "member.admit", card=odd)
        with pytest.raises(PeerError, match="is no newcomer"):
            await tell(a, "member.confirm.draft", name="b", reason="")


def test_a_node_in_no_founders_file_says_what_it_lacks(tmp_path: Path) -> None:
    homes = bear(tmp_path, ["a", "b"])
    text = homes["a"].read_text().replace('name = "a"', 'name = "z"')
    homes["a"].write_text(text)
    with pytest.raises(UserError, match="names its `sponsor`"):
        Daemon(load_config(homes["a"]))
    homes["a"].write_text('sponsor = "b"\n' + text)
    with pytest.raises(UserError, match="card of `a`"):
        Daemon(load_config(homes["a"]))
