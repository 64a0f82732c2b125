"""How scenes are played: one after the other, each with a limit and a verdict."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import attrs
import trio

from scenarios.demo.agents import Agents, Answer, Unreachable
from scenarios.demo.cluster import Cluster
from scenarios.demo.console import Outcome, Teller
from scenarios.demo.control import Happening, Json, NoAnswer, Watch
from scenarios.demo.processes import Failed, first_sentence

SCENE_S: Final = 60.0
SOON_S: Final = 10.0
"""What follows from something must follow within this time."""


MISHAPS: Final = (Failed, NoAnswer, Unreachable)
"""What goes wrong between processes, each with a sentence."""


class Missed(Exception):
    """What the scene is about did not happen; the sentence says what."""


@attrs.define(kw_only=True)
class Stage:
    """What every scene has at hand."""

    cluster: Cluster
    agents: Agents
    watch: Watch
    teller: Teller

    async def play(
        self,
        name: str,
        scene: Callable[["Stage"], Awaitable[None]],
        within_s: float = SCENE_S,
    ) -> None:
        """Play one scene, and note whether it happened."""
        number = len(self.teller.outcomes) + 1
        self.teller.title(f"{number}. {name}")
        began, missed = time.perf_counter(), None
        try:
            self._check_alive()
            with trio.fail_after(within_s):
                await scene(self)
        except* (Missed, *MISHAPS) as failed:
            missed = first_sentence(failed)
        except* trio.TooSlowError:
            missed = f"it took longer than {within_s:.0f} s"
        if missed is not None:
            self.teller.missed(missed)
        seconds = time.perf_counter() - began
        self.teller.outcomes.append(Outcome(name=name, seconds=seconds, missed=missed))

    def _check_alive(self) -> None:
        if dead := self.cluster.dead():
            raise Failed("; ".join(dead))

    async def everywhere(
        self,
        what: str,
        since: int,
        nodes: Sequence[str],
        wanted: Callable[[Happening], bool],
        within_s: float = SOON_S,
    ) -> dict[str, Happening]:
        """Wait until each of ``nodes`` tells of it.

        Raises:
            Missed: one of them did not, naming it.
        """
        found = await self.watch.first(since, tuple(nodes), wanted, within_s)
        if silent := [node for node in nodes if node not in found]:
            raise Missed(f"{what}: not at {', '.join(silent)}")
        return found

    async def until(
        self, what: str, true: Callable[[], Awaitable[bool]], within_s: float = SOON_S
    ) -> None:
        """Ask until it is true.

        Raises:
            Missed: it did not come true in time.
        """
        with trio.move_on_after(within_s):
            while not await true():  # noqa: ASYNC110  # asks other processes
                await trio.sleep(0.02)
            return
        raise Missed(f"{what}: not within {within_s:.0f} s")


def expect(condition: bool, sentence: str) -> None:
    """Raise `Missed` with ``sentence`` unless ``condition`` holds."""
    if not condition:
        raise Missed(sentence)


def passed(answer: Answer, who: str) -> Answer:
    """A call that had to pass."""
    expect(answer.passed, f"{who} was refused: {answer.text}")
    return answer


def refused(answer: Answer, who: str, **wanted: str) -> Answer:
    """A call that had to be refused, for the wanted rule or reason."""
    expect(not answer.passed, f"{who} got through")
    for key, value in wanted.items():
        is_so = str(getattr(answer, key)) == value
        expect(is_so, f"{who} was refused otherwise: {answer.text}")
    return answer


def of_report(**wanted: Json) -> Callable[[Happening], bool]:
    """Picks admitted reports."""
    return lambda told: told.event == "report" and told.says(**wanted)


def of_ruling(event: str, subject: str) -> Callable[[Happening], bool]:
    """Picks rulings about one subject."""
    return lambda told: told.event == event and told.says(subject=subject)
