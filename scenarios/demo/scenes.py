"""The scenes: what the demo shows, in order."""

import statistics
from collections.abc import Sequence
from typing import Final

import trio

from scenarios.demo import bank
from scenarios.demo.agents import Answer, Caller, Unreachable
from scenarios.demo.attack import attack, let_all_go, quarantined
from scenarios.demo.control import Line
from scenarios.demo.processes import picket, picket_or_fail
from scenarios.demo.story import (
    Missed,
    Stage,
    expect,
    of_report,
    of_ruling,
    passed,
    refused,
)

ORDINARY_CALLS: Final = 12
FLOOD_CALLS: Final = 1_000
FLOOD_AT_ONCE: Final = 4
LIES: Final = 5
_BAD: Final = ("branch-north", "branch-south")


async def ordinary(stage: Stage) -> None:
    """Calls pass, on one node and across nodes."""
    tell = stage.teller
    tools = await _at_once(
        stage,
        [
            ("bookkeeper", "sql", "read_query", {"query": bank.READ_LEDGER}),
            ("investigator", "sql", "read_query", {"query": bank.READ_ACCOUNTS}),
            ("clerk", "git", "git_log", _cases(stage)),
            ("retail-bot", "time", "get_current_time", {"timezone": "UTC"}),
        ],
    )
    for (agent, server), answer in tools.items():
        passed(answer, f"{agent} at {server}")
    tell.fact("four agents called servers on their own and on other nodes")
    here = await _timed(stage, "bookkeeper")
    there = await _timed(stage, "retail-bot")
    tell.measure("ordinary call, same node (ledger)", here)
    tell.measure("ordinary call, other node (branch-north to ledger)", there)
    tell.fact("a query on the ledger's own node", statistics.median(here))
    tell.fact(
        "the same from branch-north: signed by agent and node, verified by the ledger",
        statistics.median(there),
    )


async def own_egress(stage: Stage) -> None:
    """An honest node stops its own agent, and everybody hears of it."""
    tell, since = stage.teller, stage.watch.now()
    caller = await stage.agents.open("retail-bot", "sql")
    before = len(await _seen_by_ledger(stage))
    write = refused(
        await caller.call("write_query", query=bank.STEAL),
        "the write",
        rule="ledger-admin-only",
    )
    tell.fact("retail-bot writes financial_ledger: stopped at branch-north", write.ms)
    peek = refused(
        await caller.call("read_query", query=bank.READ_CONFIG),
        "the peek",
        rule="retail-no-system-config",
    )
    tell.fact("retail-bot reads system_config: stopped at branch-north", peek.ms)
    tell.measure("denied by the own node", [write.ms, peek.ms])
    heard = await stage.everywhere(
        "the witness report",
        since,
        bank.NAMES,
        of_report(**{"reporter": "branch-north", "class": "witness"}),
    )
    times = [(told.at_us - write.began_us) / 1_000 for told in heard.values()]
    tell.measure("witness report admitted by all five", [max(times)])
    tell.fact("all five hold branch-north's witness report", max(times))
    read = await caller.call("read_query", query=bank.READ_ACCOUNTS)
    passed(read, "retail-bot's ordinary call")
    caller.close()

    async def seen() -> bool:
        return len(await _seen_by_ledger(stage)) > before

    await stage.until("the ledger's audit", seen)
    rules = [row["rule"] for row in await stage.cluster.audit("ledger") if row["rule"]]
    expect(not rules, "a forbidden call reached the ledger")
    tell.fact("neither forbidden call left its node: the ledger's audit has none")
    tell.fact("one voice cuts nobody off: retail-bot's ordinary calls still pass")


async def compromised(stage: Stage) -> None:
    """A node lets a hostile call out; the call itself convicts it everywhere."""
    tell = stage.teller
    tell.say("branch-south's egress gate was replaced: it signs whatever it is told")
    caller = await stage.agents.open("loan-bot", "sql")
    query = bank.READ_ACCOUNTS
    passed(await caller.call("read_query", query=query), "loan-bot before")
    told = await attack(stage, caller)
    caller.close()
    tell.fact("loan-bot writes financial_ledger: the ledger's node denies", told.denied)
    tell.fact("the signed request is the proof: held by all five", told.held)
    tell.fact("its agent and its node are refused by all five", told.refused)
    expect(bank.stolen(stage.cluster.folder) == 0, "the row is in the ledger")
    tries = await _at_once(
        stage,
        [
            ("loan-bot", "sql", "read_query", {"query": query}),
            ("loan-bot", "git", "git_log", _cases(stage)),
            ("loan-bot", "time", "get_current_time", {"timezone": "UTC"}),
            ("teller", "sql", "read_query", {"query": query}),
        ],
    )
    for (agent, server), answer in tries.items():
        refused(answer, f"{agent} at {server}")
    tell.fact(f"loan-bot tries all three servers: {tries['loan-bot', 'sql'].text}")
    tell.fact(f"teller, beside it, did nothing: {tries['teller', 'sql'].text}")
    others = await _at_once(
        stage,
        [
            ("investigator", "sql", "read_query", {"query": query}),
            ("retail-bot", "sql", "read_query", {"query": query}),
        ],
    )
    for (agent, server), answer in others.items():
        passed(answer, f"{agent} at {server}")
    tell.fact("investigator and retail-bot, on honest nodes, go on undisturbed")


async def abuse(stage: Stage) -> None:
    """A node that breaks no hostile rule is cut off by the voices of others."""
    tell, since = stage.teller, stage.watch.now()
    subject = await _subject(stage, "branch-north")
    tell.say(
        "branch-north has no rate limits any more; night-batch floods three servers"
    )
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for server, tool, arguments in (
            ("sql", "read_query", {"query": bank.READ_ACCOUNTS}),
            ("git", "git_log", _cases(stage)),
            ("time", "get_current_time", {"timezone": "UTC"}),
        ):
            nursery.start_soon(_flood, stage, server, tool, arguments)
        honest = [name for name in bank.NAMES if name not in _BAD]
        denied = await stage.everywhere(
            "the quarantine by voices", since, honest, of_ruling("deny", subject), 30
        )
        nursery.cancel_scope.cancel()
    reports = of_report(subject=subject, category="rate-abuse")
    heard = [told for told in stage.watch.happenings[since:] if reports(told)]
    first = min(told.at_us for told in heard)
    voices = sorted({str(told.line["reporter"]) for told in heard})
    expect(
        all(told.says(basis="voices") for told in denied.values()),
        "it was not decided by voices",
    )
    tell.fact(f"{', '.join(voices)} report rate abuse: more than one of five may lie")
    last = max(told.at_us for told in denied.values())
    tell.measure("first voice to refused by all honest nodes", [(last - first) / 1_000])
    tell.fact("all honest nodes refuse branch-north", (last - first) / 1_000)
    tell.say(f"{trio.current_time() - began:.1f} s after the flood began")
    answer = await stage.agents.once(
        "retail-bot", "sql", "read_query", query=bank.READ_ACCOUNTS
    )
    refused(answer, "retail-bot of branch-north")
    tell.fact(f"its calls are refused: {answer.text}")
    answer = await stage.agents.once(
        "investigator", "sql", "read_query", query=bank.READ_ACCOUNTS
    )
    passed(answer, "investigator")
    tell.fact("investigator at the fraud desk goes on undisturbed")


async def lies(stage: Stage) -> None:
    """One liar accuses the fraud desk, loudly, and nothing happens."""
    tell, since = stage.teller, stage.watch.now()
    subject = await _subject(stage, "fraud-desk")
    words = ("report", "fraud-desk", "--category", "data-theft", "--severity", "9")
    home = stage.cluster.home("gateway")
    for _ in range(LIES):
        await picket_or_fail(*words, "--config", home)
    tell.quote(f"picket {' '.join(words)}", f"({LIES} times, at gateway)")
    heard = of_report(subject=subject, reporter="gateway")
    honest = [name for name in bank.NAMES if name not in _BAD]
    await stage.everywhere("the accusation", since, honest, heard)
    for name in honest:
        row = (await stage.cluster.standings(name)).get(subject)
        expect(row is None or not row["enforced"], f"{name} refuses the fraud desk")
        expect(
            row is None or row["standing"] != "quarantined", f"{name} believes the liar"
        )
    tell.fact("all honest nodes heard it; however often it is said, it is one voice")
    calls = await _at_once(
        stage,
        [
            ("investigator", "sql", "read_query", {"query": bank.READ_ACCOUNTS}),
            ("clerk", "git", "git_log", _cases(stage)),
        ],
    )
    for (agent, server), answer in calls.items():
        passed(answer, f"{agent} at {server}")
    tell.fact("calls from and to the fraud desk pass as before")


async def release(stage: Stage) -> None:
    """Operators ask why, and let go: two of three must sign."""
    tell, cluster = stage.teller, stage.cluster
    home = cluster.home("ledger")
    why = await picket_or_fail("quarantine", "why", "branch-south", "-c", home)
    tell.quote("picket quarantine why branch-south", why)
    expect("ledger-admin-only" in why, "why does not name the rule that was broken")
    why = await picket_or_fail("quarantine", "why", "branch-north", "-c", home)
    tell.quote("picket quarantine why branch-north", why)
    expect("rate-abuse" in why, "why does not name what the voices say")
    words = ("quarantine", "release", "branch-south", "--reason", "gate repaired")
    ran = await picket(
        *words, "--operator-key", cluster.operator_key("chief"), "-c", home
    )
    expect(ran.code == 1, "one operator alone could release")
    tell.quote(f"picket {' '.join(words[:3])} --operator-key chief.key …", ran.err)
    out = await quarantined(stage, "ledger")
    began = trio.current_time()
    await let_all_go(stage, "repaired and looked through")
    names = ", ".join(sorted(str(row["name"]) for row in out.values()))
    tell.fact(f"chief and warden release {names}: all five accept it")
    tell.say(f"everybody is linked again after {trio.current_time() - began:.1f} s")
    calls = await _at_once(
        stage,
        [
            ("loan-bot", "sql", "read_query", {"query": bank.READ_ACCOUNTS}),
            ("teller", "time", "get_current_time", {"timezone": "UTC"}),
            ("retail-bot", "sql", "read_query", {"query": bank.READ_ACCOUNTS}),
        ],
    )
    for (agent, server), answer in calls.items():
        passed(answer, f"{agent} at {server}")
    tell.fact("calls of both branches work again")


async def _subject(stage: Stage, node: str) -> str:
    """A node as reports name it."""
    members = (await stage.cluster.status("ledger"))["members"]
    assert isinstance(members, list)
    for member in members:
        if isinstance(member, dict) and member["name"] == node:
            return f"node:{member['node']}"
    raise Missed(f"the ledger knows no {node}")


async def _seen_by_ledger(stage: Stage) -> list[Line]:
    """Calls of `read_query` in the ledger's audit; it is written in order."""
    rows = await stage.cluster.audit("ledger")
    return [row for row in rows if row["tool"] == "read_query"]


def _cases(stage: Stage) -> dict[str, str]:
    return {"repo_path": str(bank.repository(stage.cluster.folder))}


async def _timed(stage: Stage, agent: str) -> list[float]:
    """The same query some times, one after the other: milliseconds each."""
    caller = await stage.agents.open(agent, "sql")
    query = bank.READ_ACCOUNTS
    passed(await caller.call("read_query", query=query), agent)
    answers = [
        passed(await caller.call("read_query", query=query), agent)
        for _ in range(ORDINARY_CALLS)
    ]
    caller.close()
    return [answer.ms for answer in answers]


async def _at_once(
    stage: Stage, calls: Sequence[tuple[str, str, str, dict[str, str]]]
) -> dict[tuple[str, str], Answer]:
    """Calls side by side, each in a session of its own: answers by agent and server."""
    answers: dict[tuple[str, str], Answer] = {}

    async def call(agent: str, server: str, tool: str, words: dict[str, str]) -> None:
        answers[agent, server] = await stage.agents.once(agent, server, tool, **words)

    async with trio.open_nursery() as nursery:
        for each in calls:
            nursery.start_soon(call, *each)
    return answers


async def _flood(
    stage: Stage, server: str, tool: str, arguments: dict[str, str]
) -> None:
    """Call as fast as it goes, until cut off."""

    async def call(caller: Caller) -> None:
        for _ in range(FLOOD_CALLS // FLOOD_AT_ONCE):
            answer = await caller.call(tool, **arguments)
            if not answer.passed and answer.reason != "rate":
                return

    try:
        caller = await stage.agents.open("night-batch", server)
    except Unreachable:
        return  # it is cut off already
    try:
        async with trio.open_nursery() as nursery:
            for _ in range(FLOOD_AT_ONCE):
                nursery.start_soon(call, caller)
    finally:
        caller.close()
