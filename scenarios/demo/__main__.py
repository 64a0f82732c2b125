"""`python -m scenarios.demo`: a real cluster catches a real attack, and says so."""

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import trio

from scenarios.demo import attack, bank, cluster, scenes
from scenarios.demo.agents import Agents
from scenarios.demo.console import Outcome, Teller
from scenarios.demo.control import Watch
from scenarios.demo.processes import (
    adopt_orphans,
    end_leftovers,
    first_sentence,
    save_logs,
)
from scenarios.demo.story import MISHAPS, SCENE_S, Stage

SERVERS: Final = Path(__file__).parents[2] / ".venv" / "servers"
REPETITIONS: Final = 20
REPETITIONS_FAST: Final = 3
REPETITION_S: Final = 5.0
INTERRUPTED: Final = 130


@attrs.frozen(kw_only=True)
class Wish:
    """What was asked for on the command line."""

    keep: bool
    fast: bool
    as_json: bool


def main(arguments: Sequence[str]) -> int:
    """Run the demo; returns the exit code: 0 if every scene happened."""
    parser = argparse.ArgumentParser("python -m scenarios.demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="stay up until Ctrl-C")
    parser.add_argument("--fast", action="store_true", help="fewer repetitions")
    parser.add_argument("--json", action="store_true", help="tables as JSON on stdout")
    given = parser.parse_args(arguments)
    wish = Wish(keep=given.keep, fast=given.fast, as_json=given.json)
    teller = Teller(wish.as_json)
    absent = [s for s in ("sqlite", "git", "time") if not (SERVERS / s).is_dir()]
    if absent:
        teller.missed(f"no MCP servers in {SERVERS}: run `make servers` first")
        return 1
    adopt_orphans()
    folder = Path(tempfile.mkdtemp(prefix="picket-demo-"))
    interrupted = False
    try:
        interrupted = trio.run(_run, wish, teller, folder)
    finally:
        left = end_leftovers()
        failed = any(outcome.missed is not None for outcome in teller.outcomes)
        logs = save_logs(folder) if (failed or left) and not interrupted else None
        shutil.rmtree(folder, ignore_errors=True)
    if left:
        missed = f"left running, and killed: {'; '.join(left)}"
        teller.outcomes.append(
            Outcome(name="Nothing is left", seconds=0, missed=missed)
        )
    if interrupted:
        teller.missed("interrupted; nothing is left running")
        return INTERRUPTED
    unplayed = [
        outcome.name for outcome in teller.outcomes if outcome.missed is not None
    ]
    if unplayed:
        teller.missed(f"did not happen: {'; '.join(unplayed)}")
        teller.missed(f"what the daemons logged is in {logs}")
        teller.missed(
            "a busy machine is too slow for the demo: if it was, run it again"
        )
    return 1 if unplayed else 0


async def _run(wish: Wish, teller: Teller, folder: Path) -> bool:
    """Play it all; whether it was interrupted before its end."""
    interrupted, staying = False, trio.Event()

    async def heed(scope: trio.CancelScope) -> None:
        nonlocal interrupted
        with trio.open_signal_receiver(
            signal.SIGINT, signal.SIGTERM, signal.SIGHUP
        ) as signals:
            async for _ in signals:
                interrupted = True
                scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(heed, nursery.cancel_scope)
        try:
            await _play(wish, teller, folder, staying)
        except* (*MISHAPS, trio.TooSlowError) as failed:
            missed = first_sentence(failed)
            teller.missed(missed)
            outcome = Outcome(name="The cluster", seconds=0, missed=missed)
            teller.outcomes.append(outcome)
            teller.finish()
        nursery.cancel_scope.cancel()
    return interrupted and not staying.is_set()


async def _play(wish: Wish, teller: Teller, folder: Path, staying: trio.Event) -> None:
    teller.title("A bank: five nodes, three MCP servers, three operators")
    began = time.perf_counter()
    made = await cluster.make(folder, SERVERS)
    teller.fact("keys, cards, founders' file, agents", _ms_since(began))
    began = time.perf_counter()
    async with cluster.running(made):
        teller.fact("five daemons run and are linked", _ms_since(began))
        async with trio.open_nursery() as nursery:
            stage = Stage(
                cluster=made,
                agents=Agents(made.seats(), nursery),
                watch=Watch(),
                teller=teller,
            )
            for name in bank.NAMES:
                await nursery.start(stage.watch.follow, name, made.socket(name))
            times = REPETITIONS_FAST if wish.fast else REPETITIONS
            for title, scene in (
                ("Ordinary calls pass, across nodes", scenes.ordinary),
                ("An honest node stops its own bot", scenes.own_egress),
                ("A compromised node convicts itself", scenes.compromised),
                ("A flood is stopped by voices", scenes.abuse),
                ("A liar accuses the fraud desk, in vain", scenes.lies),
                ("Operators ask why, and release", scenes.release),
            ):
                await stage.play(title, scene)
            await stage.play(
                f"The attack again, {times} times",
                partial(attack.again, times=times),
                SCENE_S + times * REPETITION_S,
            )
            teller.finish()
            if wish.keep:
                await _stay(stage, staying)
            teller.say("look around yourself: `make demo ARGS=--keep` leaves the")
            teller.say("cluster up and prints commands for it, with all their paths")
            nursery.cancel_scope.cancel()


async def _stay(stage: Stage, staying: trio.Event) -> None:
    """Attack once more, so that there is something to see; then wait for Ctrl-C."""
    await attack.attack(stage, await stage.agents.open("loan-bot", "sql"))
    staying.set()
    tell, made = stage.teller, stage.cluster
    picket, ledger = Path(sys.executable).with_name("picket"), made.home("ledger")
    tell.title("branch-south is cut off once more. Look around, until Ctrl-C:")
    for words in ("status", "reports", "audit", "watch", "quarantine list"):
        tell.say(f"{picket} {words} -c {ledger}")
    tell.say(f"{picket} quarantine why branch-south -c {ledger}")
    keys = " ".join(
        f"--operator-key {made.operator_key(name)}" for name in attack.SIGNERS
    )
    tell.say(
        f"{picket} quarantine release branch-south --reason TEXT {keys} -c {ledger}"
    )
    seat = made.seats()["retail-bot"]
    tell.say(f"an MCP client: {seat.url}/sql  authorization: Bearer {seat.token}")
    await trio.sleep_forever()


def _ms_since(began: float) -> float:
    return (time.perf_counter() - began) * 1_000


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
    sys.exit(INTERRUPTED)
