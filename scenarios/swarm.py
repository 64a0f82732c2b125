"""The swarm: random scenarios inside bounds, and a failure shrunk to what it takes.

The bounds are what Picket promises to bear: at most f of N nodes are hostile,
faults of the network end, and who crashed keeps its disk or comes back honest.
Inside them nothing that is expected may ever fail, so whatever fails is a bug.
"""

import random
import re
from collections.abc import Callable, Iterator
from typing import Final

import attrs

from gossip.errors import UserError
from scenarios.evidence import HOSTILE_TOOL
from scenarios.reading import parse
from scenarios.run import run
from scenarios.script import (
    Cluster,
    Delay,
    Expectations,
    NetworkPlan,
    Scenario,
    Some,
    Step,
)
from scenarios.writing import write_scenario

_HOSTILE: Final = (
    *("liar", "attacker", "equivocator"),
    *("dropper", "mute", "braggart", "sybil", "eclipser", "on-off"),
    *("slanderer", "colluder"),
)
_SMALL: Final = 16
_LARGE: Final = 24


def random_scenario(seed: int) -> Scenario:
    """The scenario of a seed: 4 to 24 nodes, up to f of them hostile, faults."""
    rng = random.Random(f"{seed} swarm")  # noqa: S311 - replayable
    size = rng.randint(4, _SMALL if rng.random() < 0.8 else _LARGE)
    hostile = rng.randint(0, (size - 1) // 3)
    roles: dict[str, int] = {"honest": size - hostile}
    for _ in range(hostile):
        role = rng.choice(_HOSTILE)
        roles[role] = roles.get(role, 0) + 1
    length_s = float(rng.randint(20, 60))
    least = rng.choice([0.1, 1.0, 10.0])
    scenario = Scenario(
        title=f"swarm {seed}",
        nodes=tuple(roles.items()),
        length_s=length_s,
        cluster=Cluster(),
        network=NetworkPlan(
            delay=Delay(min_ms=least, mean_ms=least * rng.choice([1.5, 3.0, 10.0])),
            loss=rng.choice([0.0, 0.0, 0.02, 0.1]),
            duplicate=rng.choice([0.0, 0.0, 0.05]),
            datagrams=rng.random() < 0.3,
        ),
        expect=_expected(),
    )
    steps = [
        step
        for make in (_speaking, _calling, _faults, _attacks)
        for step in make(rng, scenario, roles)
    ]
    return attrs.evolve(scenario, story=tuple(sorted(steps, key=lambda s: s.at_s)))


def _expected() -> Expectations:
    return Expectations(
        never=("quarantine honest", "deny honest"),
        eventually=(
            "ledgers agree",
            "standings agree",
            "deliver everything",
            "quarantine any guilty",
        ),
        within_s=60.0,
        bars=(("false_quarantines", 0.0), ("forbidden_served", 0.0)),
    )


def _speaking(
    rng: random.Random, scenario: Scenario, roles: dict[str, int]
) -> Iterator[Step]:
    for _ in range(rng.randint(1, 3)):
        yield Step(
            at_s=_time(rng, scenario),
            does="report",
            who=(_one_of(rng, "honest", roles),),
            every_s=rng.choice([0.02, 0.5, 3.0]),
            times=rng.randint(1, 40),
        )
    for role in sorted({"equivocator"} & roles.keys()):
        for i in range(roles[role]):
            yield Step(at_s=5.0, does="report", who=(Some(f"{role}-{i}"),))


def _calling(
    rng: random.Random, scenario: Scenario, roles: dict[str, int]
) -> Iterator[Step]:
    """Honest agents call; now and then one tries what is forbidden."""
    for _ in range(rng.randint(0, 2)):
        forbidden = rng.random() < 0.3
        caller, provider = rng.sample(range(roles["honest"]), 2)
        yield Step(
            at_s=_time(rng, scenario),
            does="call",
            who=(Some(f"honest-{caller}"),),
            whom=(Some(f"honest-{provider}"),),
            tool=HOSTILE_TOOL if forbidden else "ask",
            role=rng.choice(["", "clerk"]),
            forbidden=forbidden,
            every_s=rng.choice([0.1, 1.0]),
            times=rng.randint(1, 10),
        )


def _faults(
    rng: random.Random, scenario: Scenario, roles: dict[str, int]
) -> Iterator[Step]:
    for _ in range(rng.randint(0, 5)):
        at_s = _time(rng, scenario)
        for_s = round(rng.uniform(0.5, scenario.length_s - at_s), 2)
        one = (_one_of(rng, "honest", roles),)
        fault = Step(at_s=at_s, does="crash", who=one, for_s=for_s)
        yield rng.choice(
            [
                fault,
                attrs.evolve(fault, keep_disk=False),
                attrs.evolve(fault, does="deafen"),
                attrs.evolve(fault, does="slow", factor=50.0),
                Step(
                    at_s=at_s,
                    does="partition",
                    sides=_halves(rng, scenario),
                    for_s=for_s,
                ),
                Step(at_s=at_s, does="lose", share=0.3, for_s=for_s),
                Step(at_s=at_s, does="rotate", who=one),
                Step(
                    at_s=at_s,
                    does="skew",
                    who=one,
                    offset_ms=rng.randint(-50_000, 50_000),
                    drift_ppm=rng.randint(-100, 100),
                ),
            ]
        )


def _attacks(
    rng: random.Random, scenario: Scenario, roles: dict[str, int]
) -> Iterator[Step]:
    victim = _one_of(rng, "honest", roles)
    yield from _mistakes(rng, scenario, roles, victim)
    for i in range(roles.get("liar", 0)):
        lie = Step(
            at_s=_time(rng, scenario),
            does="forge",
            who=(Some(f"liar-{i}"),),
            whom=(victim,),
            every_s=1.0,
        )
        accuse = attrs.evolve(lie, does="accuse", severity=9)
        yield rng.choice([accuse, lie])
    for i in range(roles.get("attacker", 0)):
        yield Step(
            at_s=_time(rng, scenario),
            does="offend",
            who=(Some(f"attacker-{i}"),),
            seen_by=(_one_of(rng, "honest", roles),),
        )
    for role in sorted({"dropper", "mute", "sybil"} & roles.keys()):
        if rng.random() < 0.3:
            yield Step(
                at_s=_time(rng, scenario),
                does="turn",
                who=(_one_of(rng, role, roles),),
                into=rng.choice(["honest", "mute", "sybil", "braggart"]),
            )


def _mistakes(
    rng: random.Random, scenario: Scenario, roles: dict[str, int], victim: Some
) -> Iterator[Step]:
    """As many honest nodes as are allowed to may err about the liars' victim."""
    mistaken = -(-scenario.size * 5 // 100) if scenario.size >= 7 else 0
    names = [f"honest-{i}" for i in range(roles["honest"])]
    for name in rng.sample(names, min(mistaken, len(names))):
        if name != victim.text and rng.random() < 0.5:
            yield Step(
                at_s=_time(rng, scenario),
                does="accuse",
                who=(Some(name),),
                whom=(victim,),
                severity=9,
            )
    if rng.random() < 0.2:
        yield Step(
            at_s=_time(rng, scenario),
            does="release",
            who=(_one_of(rng, "honest", roles),),
            whom=(victim,),
        )


def _one_of(rng: random.Random, role: str, roles: dict[str, int]) -> Some:
    return Some(f"{role}-{rng.randrange(roles[role])}")


def _time(rng: random.Random, scenario: Scenario) -> float:
    return round(rng.uniform(2.0, scenario.length_s - 5.0), 2)


def _halves(
    rng: random.Random, scenario: Scenario
) -> tuple[tuple[Some, ...], tuple[Some, ...]]:
    names = [name for name, _ in scenario.names()]
    rng.shuffle(names)
    middle = rng.randint(1, len(names) - 1)
    one, other = (
        tuple(Some(name) for name in sorted(side))
        for side in (names[:middle], names[middle:])
    )
    return one, other


# --- shrinking ------------------------------------------------------------------


def failure(scenario: Scenario, seed: int) -> str | None:
    """How the scenario fails with this seed, without times, names and numbers.

    Two failures that read alike are taken for one; what a core was told when it
    raised something is full of bytes, and left out.
    """
    failures = run(scenario, seed).failures
    if not failures:
        return None
    return re.sub(r"[0-9][0-9a-f.]*", "#", failures[0].partition(", told ")[0])


def shrink(
    scenario: Scenario,
    seed: int,
    judge: Callable[[Scenario, int], str | None] = failure,
    tries_max: int = 200,
) -> Scenario:
    """The smallest scenario found that fails alike: fewer steps, nodes, faults.

    Greedy: each simplification is kept if the failure survives it, until none
    does or ``tries_max`` runs were spent.
    """
    wanted = judge(scenario, seed)
    assert wanted is not None, "only a failure can be shrunk"
    tries, changed = 0, True
    while changed:
        changed = False
        for simpler in _simpler(scenario):
            if tries >= tries_max:
                return scenario
            if not _reads(simpler):
                continue
            tries += 1
            if judge(simpler, seed) == wanted:
                scenario, changed = simpler, True
                break
    return scenario


def _simpler(scenario: Scenario) -> Iterator[Scenario]:
    """Simplifications, the boldest first."""
    story = scenario.story
    for half in (story[: len(story) // 2], story[len(story) // 2 :]):
        if half and len(half) < len(story):
            yield attrs.evolve(scenario, story=half)
    for i in range(len(story)):
        yield attrs.evolve(scenario, story=story[:i] + story[i + 1 :])
    for role, count in scenario.nodes:
        fewer = tuple(
            (r, n - 1 if r == role else n)
            for r, n in scenario.nodes
            if r != role or n > 1
        )
        smaller = attrs.evolve(scenario, nodes=fewer)
        if count and fewer:
            yield smaller
    plain = NetworkPlan(delay=scenario.network.delay)
    if scenario.network != plain:
        yield attrs.evolve(scenario, network=plain)
    for i, step in enumerate(story):
        if step.times is not None and step.times > 1:
            fewer_times = attrs.evolve(step, times=step.times // 2)
            yield attrs.evolve(
                scenario, story=(*story[:i], fewer_times, *story[i + 1 :])
            )
    if scenario.length_s > 10:
        last = max((s.at_s for s in story), default=0.0)
        shorter = max(last + 1.0, scenario.length_s / 2)
        if shorter < scenario.length_s:
            yield attrs.evolve(scenario, length_s=shorter)


def _reads(scenario: Scenario) -> bool:
    """Whether it can be written down: it names only who is there, and in time."""
    try:
        parse(write_scenario(scenario), scenario.title)
    except UserError:
        return False
    return True
