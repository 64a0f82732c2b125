"""Daemons in one event loop: rotation, modes, acts, and an end in order."""

import io
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import trio

from enforcement.effects import Subject, SubjectKind, Witness
from gossip.errors import UserError
from gossip.limits import DAY_MS
from gossip.membership.acts import join_act, sign_act
from gossip.units import MonoMs, UnixMs
from node import birth
from node.clock import SystemClock
from node.commands import commands
from node.config import load_config
from node.daemon import Daemon
from node.jsonlines import Json
from node.keys.suites.registry import load_suite
from node.log import Log
from node.systemd.notify import Notifier
from tests.support.daemons import free_ports

SUITE = load_suite()
SILENT = Notifier(None, None)


class ShiftedClock:
    """The machine's clocks, some days on."""

    def __init__(self, shift_ms: int = 0) -> None:
        self.shift_ms = shift_ms
        self._real = SystemClock()

    def unix_ms(self) -> UnixMs:
        return UnixMs(self._real.unix_ms() + self.shift_ms)

    def mono_ms(self) -> MonoMs:
        return self._real.mono_ms()


def bear(
    home: Path, names: Sequence[str], servers: Sequence[str] = ()
) -> dict[str, Path]:
    """Nodes of one cluster that listen on any free port; the first provides servers."""
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    for name in names:
        new = birth.NewNode(
            name=name,
            listen=(("127.0.0.1", ports[name]),),
            grants=("agent",),
            servers=tuple(servers) if name == names[0] else (),
        )
        now = SystemClock().unix_ms()
        birth.make_node(home / name, new, birth.starter_policy(), SUITE, now)
    _, card = birth.make_operator(home, "opal", SUITE)
    cards = [home / name / birth.CARD for name in names]
    birth.join_founders("bank", cards, [card], home / "founders.toml")
    for name in names:
        text = (home / "founders.toml").read_text()
        (home / name / "founders.toml").write_text(text)
    return {name: home / name / "config.toml" for name in names}


def daemon_of(config: Path, clock: ShiftedClock | None = None) -> Daemon:
    log = Log("debug", stream=io.StringIO())
    return Daemon(load_config(config), log=log, clock=clock, manager=SILENT)


def said(daemon: Daemon) -> str:
    assert isinstance(daemon.log.stream, io.StringIO)
    return daemon.log.stream.getvalue()


@asynccontextmanager
async def running(*daemons: Daemon) -> AsyncIterator[None]:
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for daemon in daemons:
                await nursery.start(daemon.run)
            await until(
                lambda: all(len(d.engine.linked()) == len(daemons) - 1 for d in daemons)
            )
            yield
            for daemon in daemons:
                daemon.stop()


async def until(truth: Callable[[], object]) -> None:
    with trio.fail_after(15):
        while not truth():  # noqa: ASYNC110 many things may make it true
            await trio.sleep(0.005)


def sockets(home: Path) -> list[Path]:
    return list(home.rglob("*.sock"))


async def tell(daemon: Daemon, do: str, **args: Json) -> Json:
    answer = commands(daemon)[do](args)
    assert not isinstance(answer, AsyncIterator)
    return await answer if isinstance(answer, Awaitable) else answer


def categories(daemon: Daemon) -> set[str]:
    return {heard.report.category for heard in daemon.court.recent()}


async def test_rotation_keeps_links_and_both_keys_are_believed(tmp_path: Path) -> None:
    homes = bear(tmp_path, ["a", "b"])
    a, b = daemon_of(homes["a"]), daemon_of(homes["b"])
    async with running(a, b):
        await tell(a, "report", subject="b", category="before", severity=1)
        first = a.ring.current.chain.key
        await a.rotate()
        assert a.ring.current.chain.key != first
        assert first in a.ring.nodes
        await tell(a, "report", subject="b", category="after", severity=1)
        await until(lambda: categories(b) >= {"before", "after"})
        assert b.engine.linked() == (a.me,)
        assert b.roster.chain(a.me, a.ring.current.chain.key) is not None
    assert "rotated the operational key" in said(a)


async def test_what_was_said_is_held_after_a_restart_and_said_once(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, ["a", "b"])
    a, b = daemon_of(homes["a"]), daemon_of(homes["b"])
    async with running(a, b):
        await tell(a, "report", subject="b", category="kept", severity=1)
        await until(lambda: "kept" in categories(b))
    b = daemon_of(homes["b"])
    a = daemon_of(homes["a"])
    async with running(a, b):
        for daemon in (a, b):
            assert [h.report.category for h in daemon.court.recent()] == ["kept"]


async def test_operators_release_by_an_act_that_a_node_only_carries(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, ["a", "b"])
    a, b = daemon_of(homes["a"]), daemon_of(homes["b"])
    async with running(a, b):
        await tell(a, "report", subject="b", category="x", severity=9)
        await until(lambda: b.court.standings())
        drafted = await tell(b, "release.draft", subject="b", reason="a mistake")
        assert isinstance(drafted, dict)
        draft = bytes.fromhex(str(drafted["draft"]))
        key = SUITE.signing_key_from_seed(birth.operator_seed(tmp_path / "opal.key"))
        act = join_act(draft, [sign_act(draft, key)])
        await tell(b, "act.submit", act=act.hex())
        await until(lambda: not a.court.standings() and not b.court.standings())
        why = await tell(a, "quarantine.why", subject="b")
        assert isinstance(why, dict)
        assert "released by operators opal: a mistake" in str(why["sentences"])


async def test_a_restart_is_no_way_out_of_an_isolation(tmp_path: Path) -> None:
    homes = bear(tmp_path, ["a", "b"])
    a = daemon_of(homes["a"])
    b = a.roster.by_name("b")
    assert b is not None
    seen = Witness(
        subject=Subject(SubjectKind.NODE, b),
        category="rate-abuse",
        severity=7,
        digest=b"d" * 32,
        count=1,
        at_ms=SystemClock().unix_ms(),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(a.run)
        a.justice.witness(seen)
        await until(lambda: len(a.court.recent()) == 1)
        a.stop()
    # Nor does one prolong it: the second of these restarts comes just in time.
    for shift_ms, isolated in ((0, True), (4 * 60_000, True), (6 * 60_000, False)):
        again = daemon_of(homes["a"], ShiftedClock(shift_ms))
        async with trio.open_nursery() as nursery:
            await nursery.start(again.run)
            now = again.clock.unix_ms()
            assert again.court.isolated(b, now) is isolated
            assert not again.court.isolated(b, UnixMs(now - shift_ms + 5 * 60_000))
            again.stop()


async def test_a_word_by_hand_isolates_nobody_at_a_restart(tmp_path: Path) -> None:
    homes = bear(tmp_path, ["a", "b"])
    a = daemon_of(homes["a"])
    async with trio.open_nursery() as nursery:
        await nursery.start(a.run)
        await tell(a, "report", subject="b", category="odd", severity=9)
        a.stop()
    again = daemon_of(homes["a"])
    async with trio.open_nursery() as nursery:
        await nursery.start(again.run)
        b = again.roster.by_name("b")
        assert b is not None
        assert len(again.court.recent()) == 1
        assert not again.court.isolated(b, again.clock.unix_ms())
        again.stop()


async def test_the_first_day_observes_and_then_enforces(tmp_path: Path) -> None:
    homes = bear(tmp_path, ["a"])
    young = daemon_of(homes["a"])
    assert young.court.observe
    async with running(young):
        pass
    assert daemon_of(homes["a"], ShiftedClock(DAY_MS - 60_000)).court.observe
    assert not daemon_of(homes["a"], ShiftedClock(DAY_MS + 1)).court.observe


async def test_it_ends_within_seconds_and_leaves_no_socket(tmp_path: Path) -> None:
    homes = bear(tmp_path, ["a", "b"])
    a, b = daemon_of(homes["a"]), daemon_of(homes["b"])
    async with running(a, b):
        began = trio.current_time()
    assert trio.current_time() - began < 5
    assert not sockets(tmp_path)
    assert said(a).rstrip().endswith("stopped")


async def test_a_disk_that_refuses_ends_the_daemon_with_a_sentence(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, ["a"])
    daemon = daemon_of(homes["a"])
    with closing(sqlite3.connect(daemon.config.store_file)) as sql:
        sql.execute(
            "CREATE TRIGGER full BEFORE INSERT ON batches"
            " BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
    with pytest.RaisesGroup(
        pytest.RaisesExc(UserError, match="cannot write: disk full"),
        flatten_subgroups=True,
    ):
        await daemon.run()
    assert not sockets(tmp_path)


def test_a_changed_founders_file_waits_for_a_restart_and_is_said_to(
    tmp_path: Path,
) -> None:
    daemon = daemon_of(bear(tmp_path, ["a"])["a"])
    daemon.reload()
    assert "waits for a restart" not in said(daemon)
    founders = daemon.config.founders_file
    text = founders.read_text().replace('grants = ["agent"]', 'grants = ["boss"]')
    founders.write_text(text)
    daemon.reload()
    assert "waits for a restart" in said(daemon)


def test_a_reload_with_a_mistake_changes_nothing(tmp_path: Path) -> None:
    homes = bear(tmp_path, ["a"])
    daemon = daemon_of(homes["a"])
    before = (daemon.policy_digest, daemon.config)
    good = homes["a"].read_text()
    for mistake in ("mode = 3", '[agents.x]\nroles = ["emperor"]', "nonsense"):
        homes["a"].write_text(f"{good}\n{mistake}\n")
        with pytest.raises(UserError):
            daemon.reload()
        assert (daemon.policy_digest, daemon.config) == before


def test_a_server_that_another_node_provides_is_refused(tmp_path: Path) -> None:
    homes = bear(tmp_path, ["a", "b"])
    for path in (tmp_path / "a" / "founders.toml", tmp_path / "b" / "founders.toml"):
        text = path.read_text().replace("servers = []", 'servers = ["sql"]', 1)
        path.write_text(text)
    for name in ("a", "b"):
        text = homes[name].read_text() + '\n[servers.sql]\nurl = "http://127.0.0.1:1"\n'
        homes[name].write_text(text)
    daemon_of(homes["a"])
    with pytest.raises(UserError, match=r"`servers\.sql` is provided by a"):
        daemon_of(homes["b"])
