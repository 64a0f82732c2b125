"""Daemons under justice: operators' mercy, appeals, hooks, and a restart."""

import json
import sys
from pathlib import Path
from typing import cast

import pytest
import trio

from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.ledger.batch import Batch, draft_batch, read_batch_untrusted
from gossip.ledger.entries import Proof, ProofKind, Report, Subject, SubjectKind
from gossip.ledger.equivocation import write_equivocation
from gossip.membership.acts import join_act, sign_act
from gossip.units import Incarnation, UnixMs
from node import birth
from node.cli.wording import describe
from node.daemon import Daemon
from node.jsonlines import Json
from node.keys.suites.registry import load_suite
from tests.node.test_daemon import bear, daemon_of, running, said, tell, until

SUITE = load_suite()
AGENT = f"agent:{'ab' * 32}"
COPY = "import sys; open(sys.argv[1],'ab').write(sys.stdin.buffer.read())"


def enforcing(config: Path, extra: str = "") -> Daemon:
    text = config.read_text().replace('mode = "auto"', 'mode = "enforce"')
    config.write_text(text + extra)
    return daemon_of(config)


async def sign(home: Path, daemon: Daemon, drafted: Json) -> None:
    """The operator signs what was drafted, and the daemon spreads it."""
    assert isinstance(drafted, dict)
    draft = bytes.fromhex(str(drafted["draft"]))
    key = SUITE.signing_key_from_seed(birth.operator_seed(home / "opal.key"))
    act = join_act(draft, [sign_act(draft, key)])
    await tell(daemon, "act.submit", act=act.hex())


async def accuse(*daemons: Daemon) -> None:
    for daemon in daemons:
        await tell(daemon, "report", subject=AGENT, category="odd", severity=9)


async def accuse_of(daemon: Daemon, category: str) -> None:
    await tell(daemon, "report", subject=AGENT, category=category, severity=9)


def denying(daemon: Daemon) -> list[str]:
    court = daemon.court
    return [str(s) for s in court.standings() if court.denial(s) is not None]


async def test_four_nodes_cut_off_allow_stand_down_and_tell_hooks(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, ["a", "b", "c", "d"])
    told = tmp_path / "told"
    command = json.dumps([sys.executable, "-c", COPY, str(told)])
    hook = f"\n[response.hooks.file]\ncommand = {command}\n"
    a = enforcing(homes["a"], hook)
    b, c, d = (enforcing(homes[name]) for name in "bcd")
    everybody = (a, b, c, d)

    def events() -> list[str]:
        lines = told.read_text().splitlines() if told.exists() else []
        return [json.loads(line)["event"] for line in lines]

    async with running(*everybody):
        await accuse(b, c, d)
        await until(lambda: all(denying(n) == [AGENT] for n in everybody))
        await until(lambda: events() == ["quarantined", "page"])
        drafted = await tell(a, "allow.draft", subject=AGENT, reason="a drill")
        await sign(tmp_path, a, drafted)
        await until(lambda: not any(map(denying, everybody)))
        rows = await tell(b, "quarantine.list")
        assert isinstance(rows, list)
        (row,) = rows
        assert isinstance(row, dict)
        assert row["held_back"] == "the operators' allow-list"
        drafted = await tell(b, "allow.draft", subject=AGENT, reason="", for_ms=1)
        await sign(tmp_path, b, drafted)
        await until(lambda: all(denying(n) == [AGENT] for n in everybody))
        drafted = await tell(
            c, "stand-down.draft", for_ms=3_600_000, reason="our fault"
        )
        await sign(tmp_path, c, drafted)
        await until(lambda: not any(map(denying, everybody)))
        status = await tell(d, "status")
        assert isinstance(status, dict)
        assert status["stands_down_until_ms"]
        report = await tell(d, "observe.report")
        assert "the operators' stand-down" in json.dumps(report)
    assert said(a).count("PAGE:") == 1


async def test_a_restart_brings_everything_back_and_a_release_undoes_it(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, ["a", "b", "c", "d"])
    others = [enforcing(homes[name]) for name in "bcd"]
    a = enforcing(homes["a"])
    async with running(a, *others):
        await accuse(*others)
        await until(lambda: len(a.court.recent()) == 3)
        before = a.court.standings()
    told = tmp_path / "told"
    command = json.dumps([sys.executable, "-c", COPY, str(told)])
    a = enforcing(homes["a"], f"\n[response.hooks.file]\ncommand = {command}\n")
    others = [enforcing(homes[name]) for name in "bcd"]
    async with running(a, *others):
        assert denying(a) == [AGENT]
        ((_, now),) = a.court.standings().items()
        ((_, then),) = before.items()
        assert (now.until_ms, now.times) == (then.until_ms, then.times)
        await until(lambda: told.exists() and "restored" in told.read_text())
        assert "PAGE" not in said(a), "somebody was paged before the restart"
        drafted = await tell(a, "release.draft", subject=AGENT, reason="x")
        await sign(tmp_path, a, drafted)
        await until(lambda: not any(map(denying, (a, *others))))
        await until(lambda: "released" in told.read_text())


async def test_a_report_of_ours_is_taken_back_and_its_exception_drafted(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, ["a", "b"])
    a, b = enforcing(homes["a"]), enforcing(homes["b"])
    async with running(a, b):
        await accuse(a)
        await until(lambda: b.court.standings())
        rows = await tell(a, "reports")
        assert isinstance(rows, list)
        assert isinstance(rows[0], dict)
        words: dict[str, Json] = {
            "report": str(rows[0]["id"])[:12],
            "owner": "opal",
            "reason": "a test of ours",
        }
        answer = await tell(a, "false-positive", **words)
        assert isinstance(answer, dict)
        assert answer["retracted"] is True
        await until(lambda: not a.court.standings() and not b.court.standings())
        await sign(tmp_path, b, answer)
        await accuse(b)
        await until(lambda: len(a.court.recent()) == 2)
        assert not a.court.standings(), "the like of it passes now"
        why = await tell(a, "quarantine.why", subject=AGENT)
        assert "Taken back since." in str(why)
        struck, counting = (h.entry.id.hex()[:12] for h in a.court.recent())
        assert struck not in str(cast("dict[str, Json]", why)["sentences"])
        assert counting not in str(cast("dict[str, Json]", why)["sentences"])
        await accuse_of(b, "another")
        await until(lambda: len(a.court.recent()) == 3)
        newest = a.court.recent()[2].entry.id.hex()[:12]
        why = await tell(a, "quarantine.why", subject=AGENT)
        assert f"`picket false-positive REPORT`, here {newest}." in str(why)
        with pytest.raises(PeerError, match="reports begin with"):
            await tell(a, "false-positive", report="ffff", owner="x")


async def test_an_appeal_travels_is_carried_and_is_answered(tmp_path: Path) -> None:
    homes = bear(tmp_path, ["a", "b"])
    a, b = enforcing(homes["a"]), enforcing(homes["b"])
    async with running(a, b):
        await tell(a, "report", subject="b", category="odd", severity=3)
        await until(lambda: b.court.standings())
        sent = await tell(b, "appeal.send", text="the disk was full")
        assert isinstance(sent, dict)
        await until(lambda: a.court.pleas())
        await tell(a, "appeal.carry", appeal=str(sent["appeal"]))  # by hand as well
        listed = await tell(a, "appeal.list")
        assert isinstance(listed, list)
        (plea,) = listed
        assert isinstance(plea, dict)
        assert plea["text"] == "the disk was full"
        with pytest.raises(PeerError):
            await tell(a, "appeal.carry", appeal="00")
        answered = await tell(
            a, "appeal.answer", appeal=str(plea["id"])[:8], answer="withdraw"
        )
        assert isinstance(answered, dict)
        assert answered["withdrawn"] == 1
        await until(lambda: not b.court.standings())
        await until(lambda: b.court.pleas()[0].answers)
    assert "appeals for" in said(a)
    assert "withdraws what it said" in said(b)


async def test_modes_are_set_one_by_one(tmp_path: Path) -> None:
    homes = bear(tmp_path, ["a", "b"])
    modes = '\n[modes]\nisolation = "observe"\nquarantine = "enforce"\n'
    a = daemon_of(homes["a"])
    assert a.court.observe
    homes["a"].write_text(homes["a"].read_text() + modes)
    a = daemon_of(homes["a"])
    assert not a.court.observe
    assert not a.court.isolates
    await trio.lowlevel.checkpoint()


async def test_what_another_told_is_told_again_from_the_store(tmp_path: Path) -> None:
    """As it is when it stands behind a fork, where nobody else would get it."""
    homes = bear(tmp_path, ["a", "b"])
    a, b = enforcing(homes["a"]), enforcing(homes["b"])
    async with running(a, b):
        await accuse(b)
        await until(lambda: len(a.court.recent()) == 1)
        (told,) = a.court.recent()
        assert told.entry.author == b.me
        a.justice.retell(told.entry.place)
        await until(lambda: len(b.court.recent()) == 2)
        again = b.court.recent()[1]
        assert again.entry.author == a.me
        assert again.report == told.report


def stories(liar: Daemon, number: int) -> Report:
    """That a node signed two batches with one number, in a feed made up for it."""
    keys, now = liar.ring.current, liar.clock.unix_ms()

    def told(body: bytes) -> Batch:
        draft = draft_batch(
            cluster=liar.roster.cluster,
            author=liar.me,
            incarnation=Incarnation(bytes([number]) * 16),
            number=0,
            previous=bytes(32),
            issued_at_ms=UnixMs(now - 600_000),
            key=keys.chain.key,
            entries=[(200, body)],
        )
        signature = keys.signing_key.sign(draft.header, Domain.BATCH)
        return read_batch_untrusted(draft.join(signature))

    proof = write_equivocation(told(b"x"), told(b"y"), [keys.chain])
    return Report(
        subject=Subject(SubjectKind.NODE, liar.me),
        category="equivocation",
        severity=9,
        evidence=Proof(kind=ProofKind.EQUIVOCATION, data=proof),
    )


async def test_operators_pardon_the_stories_they_are_shown_and_no_others(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, ["a", "b"])
    a, b = enforcing(homes["a"]), enforcing(homes["b"])
    async with running(a, b):
        a.driver.report(stories(b, 1))
        await until(lambda: denying(a) == [f"node:{b.me.hex()}"])
        drafted = await tell(a, "release.draft", subject="b", reason="mended")
        assert isinstance(drafted, dict)
        notes = str(drafted["notes"])
        assert "pardoned by name: 1 proof of two stories" in notes
        draft = bytes.fromhex(str(drafted["draft"]))
        assert "pardons a proof of two stories" in describe(draft, a.roster.founders)
        await sign(tmp_path, a, drafted)
        await until(lambda: not denying(a))
        a.driver.report(stories(b, 2))
        await until(lambda: bool(denying(a)))


async def test_who_is_cut_off_says_where_a_release_would_be_heard(
    tmp_path: Path,
) -> None:
    """It changes nothing by itself, and once submitted elsewhere it reaches it too."""
    homes = bear(tmp_path, ["a", "b", "c"])
    a, b, c = (enforcing(homes[name]) for name in "abc")
    out = f"node:{b.me.hex()}"
    async with running(a, b, c):
        a.driver.report(stories(b, 1))
        await until(lambda: denying(a) == [out] == denying(c))
        await until(lambda: not b.engine.linked())
        why = await tell(a, "quarantine.why", subject="b")
        assert "at another node than b, which nobody hears" in str(why)
        for do in ("release.draft", "allow.draft", "release.draft"):
            drafted = await tell(b, do, subject="b", reason="mended")
            assert isinstance(drafted, dict)
            assert "run this at another node" in str(drafted.pop("elsewhere"))
            assert not drafted, "there is something to sign"
        before = b.engine.ledger.heads()
        drafted = await tell(a, "release.draft", subject="b", reason="mended")
        with pytest.raises(PeerError, match="`b` is cut off"):
            await sign(tmp_path, b, drafted)
        assert b.engine.ledger.heads() == before
        await sign(tmp_path, a, drafted)
        await until(lambda: not any(map(denying, (a, b, c))))
        await until(lambda: len(b.engine.linked()) == 2)


async def test_two_nodes_that_shut_each_other_out_are_let_back_by_operators(
    tmp_path: Path,
) -> None:
    """Nobody else is there to hear: each releases the other at its own desk."""
    homes = bear(tmp_path, ["a", "b"])
    a, b = enforcing(homes["a"]), enforcing(homes["b"])
    async with running(a, b):
        a.driver.report(stories(b, 1))
        await until(lambda: denying(a) and not a.engine.linked())
        drafted = await tell(a, "release.draft", subject="b", reason="mended")
        assert isinstance(drafted, dict)
        assert "no other node is linked now" in str(drafted["notes"])
        await sign(tmp_path, a, drafted)
        await until(lambda: a.engine.linked() and not denying(b))
