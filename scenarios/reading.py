"""Reads scenario files, and says in which line, at which key, one is wrong."""

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar, cast

import attrs

from gossip.errors import UserError
from scenarios.cast import ROLES
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
from scenarios.verbs import VERBS

T = TypeVar("T")
Table = Mapping[str, object]
Path_ = tuple[str | int, ...]

_LENGTH_S_MAX: Final = 30 * 3_600.0  # operational keys of the cast live for 40 h
_TOP: Final = {
    *{"title", "about", "length_s", "seeds", "ci_nodes", "nodes", "cluster"},
    *{"network", "costs", "story", "expect", "bars"},
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
    path = library().get(name) or Path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as wrong:
        raise UserError(
            f"no scenario `{name}`: neither a file nor in the library; `picket sim"
            " list` shows what there is"
        ) from wrong
    return parse(text, name)


def parse(text: str, file: str) -> Scenario:
    """Read a scenario; ``file`` is only its name, for messages.

    Raises:
        UserError: one sentence that names the line and the key.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        raise UserError(f"{file}: not valid TOML: {wrong}") from wrong
    return _Reader(file, text.splitlines()).scenario(document)


_HEADER: Final = re.compile(r"\s*\[(\[)?\s*([A-Za-z0-9_-]+)\s*\]")
_KEY: Final = re.compile(r"\s*\"?([A-Za-z0-9_-]+)\"?\s*=")


def line_of(lines: list[str], path: Path_) -> int | None:
    """The line, from 1, where the table or key at ``path`` is written."""
    names = [part for part in path if isinstance(part, str)]
    index = next((part for part in path if isinstance(part, int)), None)
    table, count, found = "", -1, None
    for number, line in enumerate(lines, 1):
        if header := _HEADER.match(line):
            same = header[2] == table
            table = header[2]
            count = (count + 1 if same else 0) if header[1] else -1
            if header[1]:
                count = sum(
                    1
                    for earlier in lines[:number]
                    if (h := _HEADER.match(earlier)) and h[1] and h[2] == table
                )
                count -= 1
        here = table == names[0] and (index is None or count == index)
        if here and found is None:
            found = number
        key = _KEY.match(line)
        if key is None:
            continue
        if not table and key[1] == names[0]:
            return number
        if here and len(names) > 1 and key[1] == names[1]:
            return number
    return found


@attrs.frozen
class _Reader:
    file: str
    lines: list[str]

    def scenario(self, doc: Table) -> Scenario:
        self._only(doc, (), _TOP)
        nodes = self._nodes(doc)
        length_s = self._number(doc, ("length_s",), 60.0, 0.001, _LENGTH_S_MAX)
        names = {f"{r}-{i}" for r, n in nodes for i in range(n)}
        roles = {role for role, _ in nodes}
        tables = self._list(doc, ("story",), dict, [])
        if len(tables) > STEPS_MAX:
            raise self._wrong(("story",), f"more than {STEPS_MAX} steps")
        told = _Told(self, names, roles, length_s)
        ci = doc.get("ci_nodes")
        return Scenario(
            title=self._text(doc, ("title",)),
            about=self._text(doc, ("about",), ""),
            nodes=tuple(nodes),
            length_s=length_s,
            seeds=tuple(self._list(doc, ("seeds",), int, [1])),
            ci_nodes=None
            if ci is None
            else self._whole(doc, ("ci_nodes",), 1, 1, NODES_MAX),
            cluster=self._cluster(doc),
            network=self._network(doc),
            costs=self._costs(doc),
            story=tuple(
                told.step(cast("Table", table), i) for i, table in enumerate(tables)
            ),
            expect=self._expect(doc, names),
        )

    def _nodes(self, doc: Table) -> list[tuple[str, int]]:
        table = self._table(doc, "nodes")
        for role in table:
            if role not in ROLES:
                raise self._wrong(
                    ("nodes", role),
                    f"unknown role `{role}`; known are {', '.join(sorted(ROLES))}",
                )
        counts = [
            (role, self._whole(table, ("nodes", role), 0, 0, NODES_MAX))
            for role in table
        ]
        total = sum(count for _, count in counts)
        if not 1 <= total <= NODES_MAX:
            raise self._wrong(("nodes",), f"{total} nodes, not 1 to {NODES_MAX}")
        return [(role, count) for role, count in counts if count]

    def _cluster(self, doc: Table) -> Cluster:
        table = self._table(doc, "cluster")
        self._only(table, ("cluster",), {"links", "opens", "colluders", "observe"})
        where = ("cluster", "opens")
        opens = self._text(table, where, "all")
        if opens not in ("all", "speakers"):
            raise self._wrong(where, "must be `all` or `speakers`")
        return Cluster(
            links=self._whole(table, ("cluster", "links"), 8, 2, 64)
            if "links" in table
            else None,
            opens=opens,
            colluders=self._whole(table, ("cluster", "colluders"), 0, 0, NODES_MAX)
            if "colluders" in table
            else None,
            observe=self._flag(table, ("cluster", "observe"), False),
        )

    def _network(self, doc: Table) -> NetworkPlan:
        table = self._table(doc, "network")
        at = "network"
        known = {"delay_ms", "cities", "loss", "duplicate", "datagrams", "uplink_mbit"}
        self._only(table, (at,), known)
        cities = tuple(self._list(table, (at, "cities"), str, []))
        for city in cities:
            if city not in CITIES:
                raise self._wrong(
                    (at, "cities"),
                    f"unknown city `{city}`; known are {', '.join(CITIES)}",
                )
        delay = self._table(table, "delay_ms", (at, "delay_ms"))
        self._only(delay, (at, "delay_ms"), {"min", "mean"})
        least = self._number(delay, (at, "delay_ms", "min"), 0.1, 0.001, 60_000)
        mean = self._number(delay, (at, "delay_ms", "mean"), least * 3, least, 60_000)
        return NetworkPlan(
            delay=Delay(min_ms=least, mean_ms=mean),
            cities=cities,
            loss=self._number(table, (at, "loss"), 0.0, 0.0, 0.99),
            duplicate=self._number(table, (at, "duplicate"), 0.0, 0.0, 1.0),
            datagrams=self._flag(table, (at, "datagrams"), False),
            uplink_mbit=self._number(table, (at, "uplink_mbit"), 1.0, 0.001, 1e6)
            if "uplink_mbit" in table
            else None,
        )

    def _costs(self, doc: Table) -> Costs:
        table = self._table(doc, "costs")
        default = Costs()
        names = {field.name for field in attrs.fields(Costs)}
        self._only(table, ("costs",), names)
        return Costs(
            **{
                name: self._whole(
                    table,
                    ("costs", name),
                    cast("int", getattr(default, name)),
                    0,
                    10**7,
                )
                for name in sorted(names)
            }
        )

    def _expect(self, doc: Table, names: set[str]) -> Expectations:
        table = self._table(doc, "expect")
        self._only(table, ("expect",), {"never", "eventually", "within_s"})
        said: dict[str, tuple[str, ...]] = {}
        for key in ("never", "eventually"):
            where = ("expect", key)
            said[key] = tuple(self._list(table, where, str, []))
            for words in said[key]:
                problem = check_words(key, words, names)
                if problem:
                    raise self._wrong(where, problem)
        bars = self._table(doc, "bars")
        for name in bars:
            if name not in BARS:
                raise self._wrong(
                    ("bars", name),
                    f"unknown figure `{name}`; known are {', '.join(BARS)}",
                )
        return Expectations(
            never=said["never"],
            eventually=said["eventually"],
            within_s=self._number(table, ("expect", "within_s"), 30.0, 0.0, 86_400.0),
            bars=tuple(
                (name, self._number(bars, ("bars", name), 0.0, 0.0, 1e15))
                for name in bars
            ),
        )

    # --- values ---------------------------------------------------------------

    def _table(self, table: Table, key: str, path: Path_ = ()) -> Table:
        value = table.get(key, {})
        if not isinstance(value, dict):
            raise self._wrong(path or (key,), "must be a table")
        return value

    def _list(
        self, table: Table, path: Path_, kind: type[T], default: list[T]
    ) -> list[T]:
        value = table.get(str(path[-1]), default)
        if not isinstance(value, list) or not all(type(v) is kind for v in value):
            raise self._wrong(path, f"must be a list of {_KINDS[kind]}")
        return value

    def _text(self, table: Table, path: Path_, default: str | None = None) -> str:
        value = table.get(str(path[-1]), default)
        if not isinstance(value, str):
            raise self._wrong(path, "is missing or not a string")
        return value

    def _flag(self, table: Table, path: Path_, default: bool) -> bool:
        value = table.get(str(path[-1]), default)
        if not isinstance(value, bool):
            raise self._wrong(path, "must be true or false")
        return value

    def _whole(
        self, table: Table, path: Path_, default: int, low: int, high: int
    ) -> int:
        value = table.get(str(path[-1]), default)
        if type(value) is not int or not low <= value <= high:
            raise self._wrong(path, f"must be a whole number, {low} to {high}")
        return value

    def _number(
        self, table: Table, path: Path_, default: float, low: float, high: float
    ) -> float:
        value = table.get(str(path[-1]), default)
        if type(value) not in (int, float) or not low <= cast("float", value) <= high:
            raise self._wrong(path, f"must be a number, {low:g} to {high:g}")
        return float(cast("float", value))

    def _only(self, table: Table, path: Path_, known: set[str]) -> None:
        for key in table:
            if key not in known:
                raise self._wrong(
                    (*path, key),
                    f"unknown key `{key}`; known are {', '.join(sorted(known))}",
                )

    def _wrong(self, path: Path_, what: str) -> UserError:
        line = line_of(self.lines, path)
        where = f"line {line}: " if line else ""
        key = ".".join(
            str(part + 1 if isinstance(part, int) else part) for part in path
        )
        return UserError(f"{self.file}: {where}{key}: {what}")


_KINDS: Final[Mapping[type, str]] = {
    dict: "tables, written as [[story]]",
    int: "whole numbers",
    str: "strings",
}


@attrs.frozen
class _Told:
    """Reads the story's steps."""

    reader: _Reader
    names: set[str]
    roles: set[str]
    length_s: float

    def step(self, table: Table, index: int) -> Step:
        read, at = self.reader, ("story", index)
        does = read._text(table, (*at, "does"))
        verb = VERBS.get(does)
        if verb is None:
            raise read._wrong(
                (*at, "does"), f"unknown verb `{does}`; known are {', '.join(VERBS)}"
            )
        read._only(table, at, {"at_s", "does"} | verb.needs | verb.takes)
        for key in sorted(verb.needs):
            if key not in table:
                raise read._wrong(at, f"`{does}` needs `{key}`")
        fields: dict[str, Callable[[Path_], object]] = {
            "who": lambda path: self._some(table, path),
            "whom": lambda path: self._some(table, path, agents=True),
            "seen_by": lambda path: self._some(table, path),
            "sides": lambda path: self._sides(table, path),
            "every_s": lambda path: read._number(table, path, 1.0, 0.001, 86_400.0),
            "times": lambda path: read._whole(table, path, 1, 1, 1_000_000),
            "for_s": lambda path: read._number(table, path, 1.0, 0.001, self.length_s),
            "severity": lambda path: read._whole(table, path, 8, 1, 9),
            "category": lambda path: read._text(table, path),
            "share": lambda path: read._number(table, path, 0.0, 0.0, 0.99),
            "factor": lambda path: read._number(table, path, 10.0, 1.0, 100_000.0),
            "offset_ms": lambda path: read._whole(table, path, 0, -(10**8), 10**8),
            "drift_ppm": lambda path: read._whole(table, path, 0, -(10**5), 10**5),
            "keep_disk": lambda path: read._flag(table, path, True),
            "bytes": lambda path: read._whole(table, path, 200, 0, 60_000),
        }
        blank = Step(
            at_s=read._number(table, (*at, "at_s"), 0.0, 0.0, self.length_s), does=does
        )
        said = {key: take((*at, key)) for key, take in fields.items() if key in table}
        return _evolved(blank, said)

    def _sides(self, table: Table, path: Path_) -> tuple[tuple[Some, ...], ...]:
        value = table["sides"]
        if not isinstance(value, list) or len(value) < 2:
            raise self.reader._wrong(path, "must be a list of two or more sides")
        return tuple(self._some({"sides": side}, path, several=True) for side in value)

    def _some(
        self, table: Table, path: Path_, agents: bool = False, several: bool = False
    ) -> tuple[Some, ...]:
        value = table[str(path[-1])]
        texts = value if isinstance(value, list) else [value]
        del several
        chosen = []
        for text in texts:
            if not isinstance(text, str) or not (found := SOME.fullmatch(text)):
                raise self.reader._wrong(
                    path,
                    f"`{text}` names nobody; say `honest-0`, `every liar`, `2 honest`,"
                    " `30 % of honest` or `everybody`",
                )
            role = found["every"] or found["of"] or found["role"]
            is_agent = agents and text.startswith("agent-")
            if found["name"] and text not in self.names and not is_agent:
                raise self.reader._wrong(path, f"there is no `{text}`")
            if role and role not in self.roles:
                raise self.reader._wrong(path, f"no node is of role `{role}`")
            chosen.append(Some(text))
        return tuple(chosen)


def _evolved(step: Step, said: dict[str, object]) -> Step:
    """``step`` with what was said; every value was checked one by one."""
    for key, value in said.items():
        object.__setattr__(step, key, value)
    return step
