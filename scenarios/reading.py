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
    SOME,
    STEPS_MAX,
    Cluster,
    Costs,
    Delay,
    Expectations,
    NetworkPlan,
    Scenario,
    Some,
    Step,
)
from scenarios.tables import Table, read_toml
from scenarios.verbs import VERBS

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
        story=tuple(_StepReader(step, names, length_s).step() for step in steps),
        expect=_expect(top.table("expect"), top.table("bars"), names),
    )


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
    return Expectations(
        never=table.listed("never", str, []),
        eventually=table.listed("eventually", str, []),
        within_s=table.number("within_s", 30.0, 0.0, 86_400.0),
        bars=tuple((name, bars.number(name, 0.0, 0.0, 1e15)) for name in bars.names),
    )


@attrs.frozen
class _StepReader:
    """Reads one step of the story."""

    table: Table
    names: set[str]
    length_s: float

    def step(self) -> Step:
        """The step, checked against the table of verbs."""
        table, does = self.table, self.table.text("does")
        verb = VERBS.get(does)
        if verb is None:
            known = ", ".join(VERBS)
            raise table.wrong("does", f"unknown verb `{does}`; known are {known}")
        table.only({"at_s", "does"} | verb.needs | verb.takes)
        for key in sorted(verb.needs):
            if key not in table:
                raise table.wrong(None, f"`{does}` needs `{key}`")
        usual = Step(at_s=0.0, does=does)
        self._witnessed()
        return Step(
            at_s=table.number("at_s", 0.0, 0.0, self.length_s),
            does=does,
            who=self._some("who"),
            but=self._some("but"),
            whom=self._some("whom", agents=True),
            seen_by=self._some("seen_by"),
            sides=self._sides(),
            every_s=self._seconds("every_s"),
            for_s=self._seconds("for_s"),
            times=table.whole("times", 1, 1, 10**6) if "times" in table else None,
            severity=table.whole("severity", usual.severity, 1, 9),
            category=table.text("category", usual.category),
            share=table.number("share", usual.share, 0.0, 0.99),
            factor=table.number("factor", usual.factor, 1.0, 1e5),
            offset_ms=table.whole("offset_ms", 0, -(10**8), 10**8),
            drift_ppm=table.whole("drift_ppm", 0, -(10**5), 10**5),
            keep_disk=table.flag("keep_disk", usual.keep_disk),
            bytes=table.whole("bytes", usual.bytes, 0, 60_000),
            into=self._role("into", usual.into),
            tool=table.text("tool", usual.tool),
            role=table.text("role", usual.role),
            params=self._params(),
            forbidden=table.flag("forbidden", usual.forbidden),
        )

    def _witnessed(self) -> None:
        """Refuse a deed that nobody but who does it could see."""
        if "seen_by" not in self.table:
            return
        who, seers = (
            set().union(*map(self._possible, self._some(key)))
            for key in ("who", "seen_by")
        )
        if len(seers) == 1 and seers <= who:
            (one,) = seers
            raise self.table.wrong("seen_by", f"`{one}` would be its own only witness")

    def _possible(self, some: Some) -> set[str]:
        """Names of all who may be meant."""
        found = SOME.fullmatch(some.text)
        assert found is not None, some
        role = found["every"] or found["of"] or found["role"]
        if role:
            return {name for name in self.names if name.rpartition("-")[0] == role}
        return self.names if found["all"] else {some.text}

    def _role(self, key: str, usual: str) -> str:
        role = self.table.text(key, usual)
        if role not in ROLES:
            known = ", ".join(sorted(ROLES))
            raise self.table.wrong(key, f"unknown role `{role}`; known are {known}")
        return role

    def _params(self) -> tuple[tuple[str, str | int | bool], ...]:
        pairs: list[tuple[str, str | int | bool]] = []
        for name, value in self.table.table("params").values.items():
            if not isinstance(value, str | int | bool):
                what = f"`{name}` must be a string, a whole number, true or false"
                raise self.table.wrong("params", what)
            pairs.append((name, value))
        return tuple(pairs)

    def _seconds(self, key: str) -> float | None:
        if key not in self.table:
            return None
        return self.table.number(key, 1.0, 0.001, self.length_s)

    def _sides(self) -> tuple[tuple[Some, ...], ...]:
        value = self.table.values.get("sides", [[], []])
        if not isinstance(value, list) or len(value) < 2:
            raise self.table.wrong("sides", "must be a list of two or more sides")
        sides = tuple(self._read("sides", side, agents=False) for side in value)
        return sides if "sides" in self.table else ()

    def _some(self, key: str, *, agents: bool = False) -> tuple[Some, ...]:
        return self._read(key, self.table.values.get(key, []), agents=agents)

    def _read(self, key: str, value: object, *, agents: bool) -> tuple[Some, ...]:
        texts = value if isinstance(value, list) else [value]
        if not texts and key in self.table:
            raise self.table.wrong(key, "names nobody")
        return tuple(self._one(key, text, agents=agents) for text in texts)

    def _one(self, key: str, text: object, *, agents: bool) -> Some:
        found = SOME.fullmatch(text) if isinstance(text, str) else None
        if found is None or not isinstance(text, str):
            raise self.table.wrong(
                key,
                f"`{text}` names nobody; say `honest-0`, `every liar`, `2 honest`,"
                " `30 % of honest` or `everybody`",
            )
        role = found["every"] or found["of"] or found["role"]
        there = sum(name.rpartition("-")[0] == role for name in self.names)
        if role and not there:
            raise self.table.wrong(key, f"no node is of role `{role}`")
        if found["count"] and not 1 <= int(found["count"]) <= there:
            raise self.table.wrong(key, f"`{text}`: there are 1 to {there} to choose")
        if found["share"] and not 0 < float(found["share"]) <= 100:
            raise self.table.wrong(key, f"`{text}` is not a share, 0 to 100 %")
        is_agent = agents and text.startswith("agent-")
        if found["name"] and text not in self.names and not is_agent:
            raise self.table.wrong(key, f"there is no `{text}`")
        return Some(text)
