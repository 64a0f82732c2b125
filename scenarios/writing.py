"""Writes a scenario as the TOML file that reads as the same scenario."""

import json
from collections.abc import Iterator, Sequence

import attrs

from scenarios.script import (
    Cluster,
    Costs,
    Expectations,
    NetworkPlan,
    Scenario,
    Some,
    Step,
)
from scenarios.verbs import VERBS

_GROUPS = ("who", "but", "whom", "seen_by")


def write_scenario(scenario: Scenario) -> str:
    """The file's text. What is as usual is left out."""
    return "\n".join(_lines(scenario)) + "\n"


def _lines(scenario: Scenario) -> Iterator[str]:
    yield f"title = {_value(scenario.title)}"
    for key in ("about", "beyond", "rules"):
        if getattr(scenario, key):
            yield f"{key} = {_value(getattr(scenario, key))}"
    yield f"length_s = {scenario.length_s}"
    yield f"seeds = {list(scenario.seeds)}"
    small = {"nodes": scenario.ci_nodes, "length_s": scenario.ci_length_s}
    if set(small.values()) != {None}:
        inner = ", ".join(f"{k} = {v}" for k, v in small.items() if v is not None)
        yield f"ci = {{ {inner} }}"
    yield from ["", "[nodes]"]
    yield from (f"{role} = {count}" for role, count in scenario.nodes)
    yield from _section("cluster", scenario.cluster, Cluster())
    yield from _section("network", scenario.network, NetworkPlan())
    yield from _section("costs", scenario.costs, Costs())
    for step in scenario.story:
        yield from ["", "[[story]]", *_step(step)]
    yield from _expected(scenario.expect)


def _section(
    name: str,
    plan: Cluster | NetworkPlan | Costs,
    usual: Cluster | NetworkPlan | Costs,
) -> Iterator[str]:
    if plan == usual:
        return
    yield from ["", f"[{name}]"]
    standard = attrs.asdict(usual, recurse=False)
    for key, value in attrs.asdict(plan, recurse=False).items():
        if value == standard[key]:
            continue
        if key == "ways_ms":
            pairs = ", ".join(f"{_value(pair)} = {ms}" for pair, ms in value)
            yield f"ways_ms = {{ {pairs} }}"
        elif key == "delay":
            yield f"delay_ms = {{ min = {value.min_ms}, mean = {value.mean_ms} }}"
        else:
            yield f"{key} = {_value(value)}"


def _step(step: Step) -> Iterator[str]:
    verb = VERBS[step.does]
    yield f"at_s = {step.at_s}"
    yield f"does = {_value(step.does)}"
    for key in sorted(verb.needs | verb.takes):
        value = getattr(step, key)
        if key in _GROUPS:
            if value:
                yield f"{key} = {_some(value)}"
        elif key == "params":
            if value:
                pairs = ", ".join(f"{_value(k)} = {_value(v)}" for k, v in value)
                yield f"params = {{ {pairs} }}"
        elif key == "sides":
            yield f"sides = [{', '.join(_some(side) for side in value)}]"
        elif value is not None:
            yield f"{key} = {_value(value)}"


def _expected(expect: Expectations) -> Iterator[str]:
    yield from ["", "[expect]"]
    yield f"never = {_value(expect.never)}"
    yield f"eventually = {_value(expect.eventually)}"
    yield f"within_s = {expect.within_s}"
    if expect.bars:
        yield from ["", "[bars]"]
        yield from (f"{name} = {limit}" for name, limit in expect.bars)


def _some(chosen: Sequence[Some]) -> str:
    return _value([some.text for some in chosen])


def _value(value: object) -> str:
    """A string, number, truth or list; TOML and JSON write these alike."""
    return json.dumps(value, ensure_ascii=False)
