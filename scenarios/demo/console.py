"""What the demo says: scenes, facts with times, a table; plain off a terminal."""

import json
import statistics
import sys
from collections.abc import Sequence
from typing import Final

import attrs
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PLAIN_WIDTH: Final = 110


@attrs.frozen(kw_only=True)
class Measure:
    """One line of the final table: milliseconds, and what they should be.

    Attributes:
        bar_ms: What the median must not exceed; None where nothing is promised.
    """

    what: str
    times_ms: Sequence[float]
    bar_ms: float | None = None

    @property
    def p50(self) -> float:
        """The median."""
        return statistics.median(self.times_ms)

    @property
    def held(self) -> bool:
        """Whether the median is within its bar."""
        return self.bar_ms is None or self.p50 <= self.bar_ms


@attrs.frozen(kw_only=True)
class Outcome:
    """How one scene ended; ``missed`` says what did not happen."""

    name: str
    seconds: float
    missed: str | None = None


@attrs.define
class Teller:
    """Tells the story: to a person, or beside a JSON document to a program."""

    as_json: bool = False
    console: Console = attrs.field(init=False)
    measures: list[Measure] = attrs.field(init=False, factory=list)
    outcomes: list[Outcome] = attrs.field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        stream = sys.stderr if self.as_json else sys.stdout
        width = None if stream.isatty() else _PLAIN_WIDTH
        self.console = Console(file=stream, width=width, highlight=False)

    def title(self, text: str) -> None:
        """A new scene."""
        self.console.print()
        self.console.print(Text(text, style="bold"), soft_wrap=True)

    def say(self, text: str) -> None:
        """Something to know."""
        self.console.print(Text(f"  {text}", style="dim"), soft_wrap=True)

    def fact(self, text: str, ms: float | None = None) -> None:
        """Something that happened, and how long it took."""
        line = Text("  ✓ ", style="green") + Text(text, style="default")
        if ms is not None:
            line += Text(f"  {ms:.1f} ms", style="cyan")
        self.console.print(line, soft_wrap=True)

    def missed(self, text: str) -> None:
        """Something that should have happened and did not."""
        line = Text("  ✗ ", style="red") + Text(text, style="default")
        self.console.print(line, soft_wrap=True)

    def quote(self, command: str, output: str) -> None:
        """A command of `picket` and what it printed."""
        self.console.print(Text(f"  $ {command}", style="yellow"), soft_wrap=True)
        for line in output.splitlines():
            self.console.print(Text(f"    {line}"), soft_wrap=True)

    def measure(
        self, what: str, times_ms: Sequence[float], bar_ms: float | None = None
    ) -> Measure:
        """Put a line into the final table."""
        taken = Measure(what=what, times_ms=tuple(times_ms), bar_ms=bar_ms)
        self.measures.append(taken)
        return taken

    def finish(self) -> None:
        """The tables of what happened and of what was measured."""
        self.console.print()
        self.console.print(self._scenes())
        if self.measures:
            self.console.print(self._times())
        if not all(taken.held for taken in self.measures):
            self.say(
                "a bar was missed: everything happened as told, only slower than meant,"
                " as on a busy machine; run it again when nothing else is running"
            )
        if self.as_json:
            sys.stdout.write(json.dumps(self._document(), indent=2) + "\n")

    def _scenes(self) -> Table:
        table = Table("scene", "happened", "s", box=box.SIMPLE_HEAD)
        table.columns[2].justify = "right"
        for outcome in self.outcomes:
            happened = "yes" if outcome.missed is None else f"NO: {outcome.missed}"
            table.add_row(outcome.name, Text(happened), f"{outcome.seconds:.1f}")
        return table

    def _times(self) -> Table:
        columns = ("measured, ms", "times", "p50", "max", "bar (p50)", "held")
        table = Table(*columns, box=box.SIMPLE_HEAD)
        for column in table.columns[1:]:
            column.justify = "right"
        for taken in self.measures:
            bar = "" if taken.bar_ms is None else f"{taken.bar_ms:.0f}"
            held = "" if taken.bar_ms is None else "yes" if taken.held else "NO"
            table.add_row(
                taken.what,
                str(len(taken.times_ms)),
                f"{taken.p50:.1f}",
                f"{max(taken.times_ms):.1f}",
                bar,
                held,
            )
        return table

    def _document(self) -> dict[str, object]:
        return {
            "scenes": [
                {
                    "name": outcome.name,
                    "happened": outcome.missed is None,
                    "missed": outcome.missed,
                    "seconds": round(outcome.seconds, 3),
                }
                for outcome in self.outcomes
            ],
            "measures": [
                {
                    "what": taken.what,
                    "times": len(taken.times_ms),
                    "p50_ms": round(taken.p50, 2),
                    "max_ms": round(max(taken.times_ms), 2),
                    "bar_ms": taken.bar_ms,
                    "held": taken.held,
                }
                for taken in self.measures
            ],
        }
