"""The attack, timed; and what undoes it, so that it can be repeated."""

from typing import Final

import attrs
import trio

from scenarios.demo import bank
from scenarios.demo.agents import Caller
from scenarios.demo.control import Line
from scenarios.demo.processes import picket_or_fail
from scenarios.demo.story import (
    Stage,
    expect,
    of_report,
    of_ruling,
    passed,
    refused,
)

SIGNERS: Final = ("chief", "warden")
HELD_MS: Final = 50.0
REFUSED_MS: Final = 100.0


@attrs.frozen(kw_only=True)
class Told:
    """Milliseconds since the agent made the hostile call.

    Attributes:
        denied: Until the agent had its denial.
        held: Until the last of the five had admitted the proof and verified it.
        refused: Until the last of the five courts denied agent and node: what
            each gate looks up before each call.
    """

    denied: float
    held: float
    refused: float


async def attack(stage: Stage, caller: Caller) -> Told:
    """Let loan-bot write to the financial ledger through its compromised node.

    Raises:
        Missed: it was not denied, or somebody did not hear of it.
    """
    since = stage.watch.now()
    answer = await caller.call("write_query", query=bank.STEAL)
    refused(answer, "the hostile call", rule="ledger-admin-only", reason="rule")
    proof = of_report(**{"reporter": "ledger", "class": "proof"})
    held = await stage.everywhere("the proof", since, bank.NAMES, proof)
    subject = str(held["ledger"].line["subject"])
    cut = await stage.everywhere(
        "its node's quarantine", since, bank.NAMES, of_ruling("deny", subject)
    )
    bot = await stage.everywhere(
        "its agent's quarantine",
        since,
        bank.NAMES,
        lambda told: told.event == "deny" and "agent:" in str(told.line["subject"]),
    )
    rulings = [*cut.values(), *bot.values()]
    expect(all(told.says(basis="proof") for told in rulings), "not by the proof")
    began = answer.began_us
    return Told(
        denied=answer.ms,
        held=(max(told.at_us for told in held.values()) - began) / 1_000,
        refused=(max(told.at_us for told in rulings) - began) / 1_000,
    )


async def quarantined(stage: Stage, node: str) -> dict[str, Line]:
    """Who is quarantined in the eyes of ``node``, by subject."""
    rows = await stage.cluster.standings(node)
    return {s: row for s, row in rows.items() if row["standing"] == "quarantined"}


async def let_go(stage: Stage, subject: str, reason: str) -> None:
    """Release by two operators; the ledger's node carries it."""
    words: list[str] = ["quarantine", "release", subject, "--reason", reason]
    for name in SIGNERS:
        words += ["--operator-key", str(stage.cluster.operator_key(name))]
    await picket_or_fail(*words, "-c", stage.cluster.home("ledger"))


async def let_all_go(stage: Stage, reason: str) -> None:
    """Release whoever is quarantined, and wait until all nodes agree and are linked.

    Raises:
        Missed: somebody still refuses somebody.
    """
    async with trio.open_nursery() as nursery:
        for subject in await quarantined(stage, "ledger"):
            nursery.start_soon(let_go, stage, subject, reason)

    async def nobody() -> bool:
        for name in bank.NAMES:
            if await quarantined(stage, name):
                return False
        return True

    await stage.until("everybody is let go", nobody)
    await stage.cluster.wait_linked(20)


async def again(stage: Stage, times: int) -> None:
    """The same attack many times, each from a clean slate."""
    told: list[Told] = []
    for _ in range(times):
        caller = await stage.agents.open("loan-bot", "sql")
        try:
            passed(
                await caller.call("read_query", query=bank.READ_ACCOUNTS),
                "loan-bot, released,",
            )
            told.append(await attack(stage, caller))
        finally:
            caller.close()
        await let_all_go(stage, "the attack is repeated")
    expect(bank.stolen(stage.cluster.folder) == 0, "the row is in the ledger")
    tell = stage.teller
    denied = tell.measure("hostile call denied by the ledger", [t.denied for t in told])
    held = tell.measure("proof held by all five", [t.held for t in told], HELD_MS)
    cut = tell.measure("refused by all five", [t.refused for t in told], REFUSED_MS)
    tell.fact(f"denied {times} times, p50", denied.p50)
    tell.fact("proof held by all five, since the call was made, p50", held.p50)
    tell.fact(
        "agent and node refused by all five, since the call was made, p50", cut.p50
    )
