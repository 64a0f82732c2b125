"""Reads one step of a story, and refuses what could not do anything.

What validates and does nothing makes a scenario pass that asserts nothing.
"""

from collections.abc import Iterable
from typing import Final

import attrs

from scenarios.cast import ROLES
from scenarios.script import SOME, Some, Step
from scenarios.tables import Table
from scenarios.verbs import VERBS

_AIMED: Final = ("accuse", "forge", "call")


@attrs.frozen
class StepReader:
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
        self._check_witnesses()
        self._check_aim(does)
        self._check_left()
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

    def _check_witnesses(self) -> None:
        """Refuse a deed that nobody but who does it could see."""
        seers = self._named("seen_by")
        if len(seers) == 1 and seers <= self._named("who"):
            (one,) = seers
            raise self.table.wrong("seen_by", f"`{one}` would be its own only witness")

    def _check_aim(self, does: str) -> None:
        """Refuse what would be done to nobody but oneself, or to what it cannot."""
        if does not in _AIMED:
            return
        agents = [s.text for s in self._some("whom", agents=True) if _is_agent(s)]
        if agents and does != "accuse":
            raise self.table.wrong("whom", f"`{agents[0]}`: `{does}` is for nodes")
        whom = self._named("whom")
        if not agents and len(whom) == 1 and whom == self._named("who"):
            (one,) = whom
            raise self.table.wrong("whom", f"`{one}` would do it to itself alone")

    def _check_left(self) -> None:
        """Refuse a choice, or a side, of which others leave nobody."""
        if "but" in self.table and self._named("who") <= self._certain("but"):
            raise self.table.wrong("but", "leaves nobody")
        taken: set[str] = set()
        for side in self._sides():
            if {s.text for s in side} != {"the rest"} and self._all(side) <= taken:
                words = ", ".join(s.text for s in side)
                raise self.table.wrong("sides", f"`{words}`: all are on another side")
            taken |= self._sure(side)

    def _named(self, key: str) -> set[str]:
        """Names of all nodes that may be meant."""
        return self._all(self._some(key, agents=True))

    def _certain(self, key: str) -> set[str]:
        return self._sure(self._some(key))

    def _all(self, some: Iterable[Some]) -> set[str]:
        return set().union(*map(self._possible, some))

    def _sure(self, some: Iterable[Some]) -> set[str]:
        """Names of all nodes that are meant whatever the lot says."""
        return self._all(s for s in some if not _is_drawn(s))

    def _possible(self, some: Some) -> set[str]:
        found = SOME.fullmatch(some.text)
        assert found is not None, some
        role = found["every"] or found["of"] or found["role"]
        if role:
            return {name for name in self.names if name.rpartition("-")[0] == role}
        return self.names if found["all"] else {some.text} & self.names

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


def _is_agent(some: Some) -> bool:
    return some.text.startswith("agent-")


def _is_drawn(some: Some) -> bool:
    """Whether a lot decides who is meant; `the rest` depends on the others."""
    found = SOME.fullmatch(some.text)
    assert found is not None, some
    return bool(found["share"] or found["count"]) or some.text == "the rest"
