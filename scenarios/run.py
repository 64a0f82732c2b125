"""One run: a scenario and a seed in; a verdict, figures and a digest out."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

import attrs

from scenarios.agenda import SECOND_US
from scenarios.expect import Expecting, Violated
from scenarios.figures import BARS, Figures
from scenarios.linking import Linking
from scenarios.onlooker import Onlooker
from scenarios.people import KeySuite
from scenarios.script import Scenario
from scenarios.story import Story
from scenarios.toy import ToySuite
from scenarios.trace import Trace
from scenarios.world import Broken, World

LOOK_EVERY_US: Final = 250_000
ITEMS_MAX: Final = 200_000_000
_PIECES: Final = 100


@attrs.frozen(kw_only=True)
class Verdict:
    """How a run ended.

    Attributes:
        failures: Sentences; none if everything held.
        figures: By the names of `scenarios.figures.BARS`.
        events: How many events the engines handled.
        trace_digest: Equal for equal runs, whatever the machine.
    """

    scenario: str
    seed: int
    nodes: int
    failures: tuple[str, ...]
    figures: dict[str, float]
    events: int
    simulated_s: float
    trace_digest: str

    @property
    def passed(self) -> bool:
        """Whether everything held."""
        return not self.failures


def run(
    scenario: Scenario,
    seed: int,
    *,
    suite: KeySuite | None = None,
    trace: TextIO | None = None,
    onlookers: Callable[[World], list[Onlooker]] = lambda _: [],
    progress: Callable[[float], None] = lambda _: None,
) -> Verdict:
    """Run a scenario to its end, or to its first violation.

    Args:
        suite: The toy suite unless another is given.
        trace: Where to write every event, a line of JSON each.
        onlookers: Makes whoever else wants to see.
        progress: Told the share of the story that is over, 0 to 1.
    """
    world = World(scenario, seed, suite or ToySuite(seed))
    figures = Figures(world.agenda)
    figures.equivocators = {c.node for c in world.citizens if c.role.equivocates}
    figures.innocents = {c.node for c in world.citizens if c.role.honest}
    linking = Linking(world)
    world.links = linking
    names: dict[bytes, str] = {c.node: c.name for c in world.citizens}
    told = Trace(world.agenda, names, trace)
    wanted = scenario.expect
    expecting = Expecting(wanted.never, wanted.eventually, world.citizens, figures)
    # The trace comes first, so that it shows what an expectation trips over.
    world.onlookers += [told, figures, expecting, *onlookers(world)]
    story = Story(world, linking, figures)
    failures: list[str] = []
    settled: dict[str, float] | None = None
    try:
        with _no_search_for_cycles():
            story.begin()
            _run_story(world, scenario.length_s, progress)
            story.end()
            figures.story_over(world.citizens)
            took_us = _settle(world, expecting, scenario)
        if took_us is not None:
            settled = figures.settled(world.citizens, took_us)
    except (Violated, Broken) as wrong:
        failures.append(str(wrong))
    found = figures.summary(world.citizens) | (settled or {})
    if not failures:
        failures += [
            expecting.failure(words, wanted.within_s)
            for words in (expecting.unmet() if settled is None else [])
        ]
        failures += missed(wanted.bars, found)
    return Verdict(
        scenario=scenario.title,
        seed=seed,
        nodes=scenario.size,
        failures=tuple(failures),
        figures=found,
        events=figures.handled_events,
        simulated_s=world.agenda.now_us / SECOND_US,
        trace_digest=told.digest(),
    )


@contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Cores make no cycles of objects, and looking for some among those of 10 000
    nodes again and again takes a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _run_story(
    world: World, length_s: float, progress: Callable[[float], None]
) -> None:
    for piece in range(1, _PIECES + 1):
        _advance(world, round(length_s * SECOND_US * piece / _PIECES))
        progress(piece / _PIECES)


def _settle(world: World, expecting: Expecting, scenario: Scenario) -> int | None:
    """Run until all of `eventually` holds; microseconds, None if it never did."""
    began_us = world.agenda.now_us
    last_us = began_us + round(scenario.expect.within_s * SECOND_US)
    while expecting.unmet():
        if world.agenda.now_us >= last_us:
            return None
        _advance(world, min(last_us, world.agenda.now_us + LOOK_EVERY_US))
    return world.agenda.now_us - began_us


def _advance(world: World, until_us: int) -> None:
    if not world.agenda.run(until_us, ITEMS_MAX):
        raise Broken(f"more than {ITEMS_MAX} items without an end")


def missed(bars: tuple[tuple[str, float], ...], found: dict[str, float]) -> list[str]:
    """A sentence for each bar that the figures miss."""
    sentences = []
    for name, limit in bars:
        least = BARS[name][1]
        value = found.get(name)
        if value is None:
            sentences.append(f"`{name}` was not measured: nothing happened that counts")
        elif value < limit if least else value > limit:
            word = "least" if least else "most"
            sentences.append(
                f"`{name}` is {value:.6g}, and at {word} {limit:g} was asked"
            )
    return sentences
