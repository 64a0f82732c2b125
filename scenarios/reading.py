"""Reads scenario files, and says in which line, at which key, one is wrong."""

from pathlib import Path
from typing import Final

import attrs

from gossip.errors import UserError
from scenarios.cast import ROLES
from scenarios.evidence import load_policy
from scenarios.expect import check_words
from scenarios.figures import BARS
from scenarios.geography import CITIES
from scenarios.script import (
    NODES_MAX,
    STEPS_MAX,
    Cluster,
    Costs,
    Delay,
    Expectations,
    NetworkPlan,
    Scenario,
    Step,
)
from scenarios.steps import StepReader
from scenarios.tables import Table, read_toml
from scenarios.verbs import AGENTS

_LENGTH_S_MAX: Final = 30 * 3_600.0  # the cast's operational keys live for 40 h
_TOP: Final = {
    *{"title", "about", "beyond", "length_s", "seeds", "ci", "nodes", "cluster"},
    *{"rules", "network", "costs", "story", "expect", "bars"},
}


def library() -> dict[str, Path]:
    """The scenarios that come with Picket, by name."""
    folder = Path(__file__).with_name("library")
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load(name: str) -> Scenario:
    """Read a scenario of the library by its name, or a file.

    Raises:
        UserError: there is none, or it is wrong; with line and key.
    """
    return parse(read_text(name), name)


def read_text(name: str) -> str:
    """The text of a scenario of the library, or of a file.

    Raises:
        UserError: there is none.
    """
    path = library().get(name) or Path(name)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as wrong:
        raise UserError(
            f"no scenario `{name}`: neither in the library nor a file; `picket sim"
            " list` shows the library"
        ) from wrong


def parse(text: str, file: str) -> Scenario:
    """Read a scenario; ``file`` is only its name, for messages.

    Raises:
        UserError: one sentence that names the line and the key.
    """
    top = read_toml(text, file)
    top.only(_TOP)
    nodes = _nodes(top.table("nodes"))
    length_s = top.number("length_s", 60.0, 0.001, _LENGTH_S_MAX)
    names = {f"{role}-{i}" for role, count in nodes for i in range(count)}
    ci, steps = top.table("ci"), top.tables("story")
    ci.only({"nodes", "length_s"})
    if len(steps) > STEPS_MAX:
        raise top.wrong("story", f"has more than {STEPS_MAX} steps")
    story = tuple(StepReader(step, names, length_s).step() for step in steps)
    known = names | _agents(story)
    return Scenario(
        title=top.text("title"),
        about=top.text("about", ""),
        beyond=top.text("beyond", ""),
        rules=_rules(top),
        nodes=nodes,
        length_s=length_s,
        seeds=top.listed("seeds", int, [1]),
        ci_nodes=ci.whole("nodes", 0, 1, NODES_MAX) if "nodes" in ci else None,
        ci_length_s=ci.number("length_s", 0.0, 0.001, length_s)
        if "length_s" in ci
        else None,
        cluster=_cluster(top.table("cluster")),
        network=_network(top.table("network")),
        costs=_costs(top.table("costs")),
        story=story,
        expect=_expect(top.table("expect"), top.table("bars"), known),
    )


def _agents(story: tuple[Step, ...]) -> set[str]:
    """Names of all agents that the story is about."""
    named = {str(some) for step in story for some in step.whom}
    harmless = AGENTS if any(step.does == "report" for step in story) else 0
    return {name for name in named if name.startswith("agent-")} | {
        f"agent-{i}" for i in range(harmless)
    }


def _rules(top: Table) -> str:
    rules = top.text("rules", "")
    try:
        load_policy(rules)
    except UserError as wrong:
        raise top.wrong("rules", str(wrong)) from wrong
    return rules


def _nodes(table: Table) -> tuple[tuple[str, int], ...]:
    for role in table.names:
        if role not in ROLES:
            known = ", ".join(sorted(ROLES))
            raise table.wrong(role, f"unknown role `{role}`; known are {known}")
    counts = [(role, table.whole(role, 0, 0, NODES_MAX)) for role in table.names]
    total = sum(count for _, count in counts)
    if not 1 <= total <= NODES_MAX:
        raise table.wrong(None, f"{total} nodes, not 1 to {NODES_MAX}")
    return tuple((role, count) for role, count in counts if count)


def _cluster(table: Table) -> Cluster:
    table.only({field.name for field in attrs.fields(Cluster)})
    opens = table.text("opens", "all")
    if opens not in ("all", "speakers"):
        raise table.wrong("opens", "must be `all` or `speakers`")
    return Cluster(
        opens=opens,
        colluders=table.whole("colluders", 0, 0, NODES_MAX)
        if "colluders" in table
        else None,
        observe=table.flag("observe", False),
        sponsored=_roles(table, "sponsored"),
        calls_per_s=table.number("calls_per_s", Cluster().calls_per_s, 0.01, 1e6),
    )


def _roles(table: Table, key: str) -> tuple[str, ...]:
    roles = table.listed(key, str, [])
    for role in roles:
        if role not in ROLES:
            raise table.wrong(key, f"names no role: `{role}`")
    return roles


def _network(table: Table) -> NetworkPlan:
    table.only({field.name for field in attrs.fields(NetworkPlan)} | {"delay_ms"})
    cities = table.listed("cities", str, [])
    ways = _ways(table.table("ways_ms"), cities)
    delay = table.table("delay_ms")
    delay.only({"min", "mean"})
    least = delay.number("min", 0.1, 0.001, 60_000)
    return NetworkPlan(
        delay=Delay(
            min_ms=least, mean_ms=delay.number("mean", least * 3, least, 60_000)
        ),
        cities=cities,
        ways_ms=ways,
        loss=table.number("loss", 0.0, 0.0, 0.99),
        duplicate=table.number("duplicate", 0.0, 0.0, 1.0),
        datagrams=table.flag("datagrams", False),
        uplink_mbit=table.number("uplink_mbit", 1.0, 0.001, 1e6)
        if "uplink_mbit" in table
        else None,
    )


def _check_reached(bars: Table, eventually: tuple[str, ...]) -> None:
    """Refuse a bar on how soon things arrive where nothing says that they must."""
    for name in bars.names:
        figure, word = name.partition("_")[0], None
        if figure == "reach" and "deliver everything" not in eventually:
            word = "delivered_percent"
        if figure == "cut" and not any(
            words.startswith(("quarantine ", "deny ")) for words in eventually
        ):
            word = "cut_percent"
        if word is not None and word not in bars.names:
            what = f"`{name}` counts only what arrived: add a bar for `{word}`"
            raise bars.wrong(name, what)


def _ways(table: Table, cities: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """Measured ways between cities; every other pair must be of known cities."""
    for pair in table.names:
        if len(pair.split()) != 2 or not set(pair.split()) <= set(cities):
            raise table.wrong(pair, f"`{pair}` is not a pair of the cities")
    given = {frozenset(pair.split()) for pair in table.names}
    for one in cities:
        for other in cities:
            strange = {one, other} - set(CITIES)
            if strange and one != other and frozenset((one, other)) not in given:
                known = ", ".join(CITIES)
                raise table.wrong(
                    None,
                    f"the way from `{one}` to `{other}` is neither given here nor"
                    f" computed; known cities are {known}",
                )
    return tuple((pair, table.number(pair, 0.0, 0.0, 60_000)) for pair in table.names)


def _costs(table: Table) -> Costs:
    table.only({field.name for field in attrs.fields(Costs)})
    usual = Costs()
    return Costs(
        frame_us=table.whole("frame_us", usual.frame_us, 0, 10**7),
        batch_us=table.whole("batch_us", usual.batch_us, 0, 10**7),
        sign_us=table.whole("sign_us", usual.sign_us, 0, 10**7),
        disk_us=table.whole("disk_us", usual.disk_us, 0, 10**7),
        processors=table.whole("processors", usual.processors, 0, NODES_MAX),
    )


def _expect(table: Table, bars: Table, names: set[str]) -> Expectations:
    table.only({"never", "eventually", "within_s"})
    for key in ("never", "eventually"):
        for words in table.listed(key, str, []):
            problem = check_words(key, words, names)
            if problem:
                raise table.wrong(key, problem)
    for name in bars.names:
        if name not in BARS:
            known = ", ".join(BARS)
            raise bars.wrong(name, f"unknown figure `{name}`; known are {known}")
    _check_reached(bars, table.listed("eventually", str, []))
    return Expectations(
        never=table.listed("never", str, []),
        eventually=table.listed("eventually", str, []),
        within_s=table.number("within_s", 30.0, 0.0, 86_400.0),
        bars=tuple((name, bars.number(name, 0.0, 0.0, 1e15)) for name in bars.names),
    )
