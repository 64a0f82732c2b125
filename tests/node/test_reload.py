"""Reloading: modes and response as the file says from now on, or nothing changes."""

import json
import sys
from pathlib import Path

import pytest

from enforcement.effects import Subject, SubjectKind, Witness
from gossip.errors import UserError
from gossip.limits import DAY_MS
from node.daemon import Daemon
from tests.node.test_daemon import (
    ShiftedClock,
    bear,
    daemon_of,
    running,
    said,
    tell,
    until,
)

AGENT = f"agent:{'ab' * 32}"
COPY = "import sys; open(sys.argv[1],'ab').write(sys.stdin.buffer.read())"


def write(config: Path, text: str = "", mode: str = "enforce") -> None:
    """The file as it was born, in another mode and with more at its end."""
    kept = config.with_suffix(".born")
    if not kept.exists():
        kept.write_text(config.read_text())
    born = kept.read_text().replace('mode = "auto"', f'mode = "{mode}"')
    config.write_text(born + text)


def denying(daemon: Daemon) -> list[str]:
    court = daemon.court
    return [str(s) for s in court.standings() if court.denial(s) is not None]


async def test_modes_follow_the_file_without_a_restart(tmp_path: Path) -> None:
    homes = bear(tmp_path, ["a", "b", "c", "d"])
    for config in homes.values():
        write(config)
    a, *others = (daemon_of(homes[name]) for name in "abcd")
    async with running(a, *others):
        for other in others:
            await tell(other, "report", subject=AGENT, category="odd", severity=9)
        await until(lambda: denying(a) == [AGENT])
        for text in ('\n[modes]\nquarantine = "observe"\n', ""):
            write(homes["a"], text)
            await tell(a, "policy.reload")
            assert denying(a) == ([] if text else [AGENT])
        for mode in ("observe", "auto", "enforce"):
            write(homes["a"], mode=mode)
            await tell(a, "policy.reload")
            assert denying(a) == ([AGENT] if mode == "enforce" else [])
        write(homes["a"], '\n[modes]\ngate = "observe"\ntools = "observe"\n')
        a.reload()
        assert a.justice.observes_gate
        assert a.response.observes_tools
        write(homes["a"])
        a.reload()
        assert not a.justice.observes_gate
        assert not a.response.observes_tools


def test_isolation_that_is_only_observed_lets_go_and_holds_again(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, ["a", "b"])
    write(homes["a"])
    a = daemon_of(homes["a"])
    a.justice.restored()
    b = a.roster.by_name("b")
    assert b is not None
    a.justice.witness(
        Witness(
            subject=Subject(SubjectKind.NODE, b),
            category="rate-abuse",
            severity=8,
            digest=b"d" * 32,
            count=1,
            at_ms=a.clock.unix_ms(),
        )
    )
    node = Subject(SubjectKind.NODE, b)
    assert a.guard.post.is_refused(node)
    write(homes["a"], '\n[modes]\nisolation = "observe"\n')
    a.reload()
    assert not a.guard.post.is_refused(node)
    assert "accepting links with b again" in said(a)
    write(homes["a"])
    a.reload()
    assert a.guard.post.is_refused(node)
    a.store.close()


async def test_the_first_day_ends_by_itself_whatever_was_reloaded(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, ["a"])
    async with running(daemon_of(homes["a"])):
        pass
    clock = ShiftedClock(DAY_MS - 60_000)
    a = daemon_of(homes["a"], clock)
    async with running(a):
        write(homes["a"])
        a.reload()
        assert not a.court.observe
        write(homes["a"], mode="auto")
        a.reload()
        assert a.court.observe
        clock.shift_ms = DAY_MS - 500
        a.reload()  # so that it looks at the clock, which jumped
        await until(lambda: not a.court.observe)
        assert said(a).count("first day is over") == 1


async def test_hooks_come_and_go_and_hear_where_things_stand(tmp_path: Path) -> None:
    homes = bear(tmp_path, ["a", "b", "c", "d"])
    for config in homes.values():
        write(config)
    told = {name: tmp_path / name for name in ("first", "second")}

    def hook(name: str) -> str:
        command = json.dumps([sys.executable, "-c", COPY, str(told[name])])
        return f"\n[response.hooks.{name}]\ncommand = {command}\n"

    def events(name: str) -> list[str]:
        lines = told[name].read_text().splitlines() if told[name].exists() else []
        return [json.loads(line)["event"] for line in lines]

    a, *others = (daemon_of(homes[name]) for name in "abcd")
    async with running(a, *others):
        for other in others:
            await tell(other, "report", subject=AGENT, category="odd", severity=9)
        await until(lambda: denying(a) == [AGENT])
        write(homes["a"], hook("first"))
        a.reload()
        await until(lambda: events("first") == ["restored"])
        write(homes["a"], hook("first") + hook("second"))
        a.reload()
        await until(lambda: events("second") == ["restored"])
        write(homes["a"], hook("second") + '\n[modes]\nquarantine = "observe"\n')
        a.reload()
        await until(lambda: "released" in events("second"))
        assert events("first") == ["restored"], "the one was kept, then retired"


def test_a_mistake_in_modes_or_response_changes_nothing(tmp_path: Path) -> None:
    homes = bear(tmp_path, ["a"])
    write(homes["a"])
    daemon = daemon_of(homes["a"])
    before = (daemon.config, daemon.response.config, daemon.court.observe)
    change = '\n[modes]\ngate = "observe"\nquarantine = "observe"\n'
    for mistake in (
        "[modes]\ngate = 3",
        '[modes]\nlinks = "observe"',
        f'{change}[response]\nnever_block = ["all"]',
        f'{change}[response.hooks.x]\ncommand = ["relative"]',
        f'{change}[agents.x]\nroles = ["emperor"]',
    ):
        write(homes["a"], f"\n{mistake}\n")
        with pytest.raises(UserError):
            daemon.reload()
        now = (daemon.config, daemon.response.config, daemon.court.observe)
        assert now == before
        assert not daemon.justice.observes_gate
    daemon.store.close()
