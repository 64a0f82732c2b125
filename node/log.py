"""The log: one line per happening, a sentence for people and pairs for machines.

::

    2026-01-31T12:00:00.123Z info  linked with ledger  peer=5a1c… address=127.0.0.1:7946

Always to stderr: stdout may belong to an MCP session. Nothing that came from
outside can start a new line or move the terminal's cursor.
"""

import sys
from datetime import UTC, datetime
from typing import Final, TextIO

import attrs

from node.clock import Clock, SystemClock

LEVELS: Final = ("debug", "info", "warn", "error")
_TEXT_CHARS_MAX: Final = 1_024

Field = str | int | float | bytes | None


@attrs.define
class Log:
    """Writes lines of ``level`` or more to ``stream`` (stderr)."""

    level: str = attrs.field(default="info", validator=attrs.validators.in_(LEVELS))
    clock: Clock = attrs.field(factory=SystemClock)
    stream: TextIO = attrs.field(factory=lambda: sys.stderr)

    def debug(self, sentence: str, **fields: Field) -> None:
        self._write("debug", sentence, fields)

    def info(self, sentence: str, **fields: Field) -> None:
        self._write("info", sentence, fields)

    def warn(self, sentence: str, **fields: Field) -> None:
        self._write("warn", sentence, fields)

    def error(self, sentence: str, **fields: Field) -> None:
        self._write("error", sentence, fields)

    def _write(self, level: str, sentence: str, fields: dict[str, Field]) -> None:
        if LEVELS.index(level) < LEVELS.index(self.level):
            return
        at = datetime.fromtimestamp(self.clock.unix_ms() / 1_000, UTC)
        stamp = at.isoformat(timespec="milliseconds").removesuffix("+00:00")
        pairs = "".join(f" {key}={_pair(value)}" for key, value in fields.items())
        line = f"{stamp}Z {level:<5} {printable(sentence)}{' ' if pairs else ''}{pairs}"
        try:
            self.stream.write(line + "\n")
            self.stream.flush()
        except (OSError, ValueError):
            pass  # Nobody reads the log any more; the guard stays at its post.


def printable(text: str) -> str:
    """``text`` on one line, without control characters, and not too long."""
    short = text if len(text) <= _TEXT_CHARS_MAX else text[:_TEXT_CHARS_MAX] + "…"
    if short.isprintable():
        return short
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in short)


def _pair(value: Field) -> str:
    if isinstance(value, bytes):
        return value.hex()[:16]
    if isinstance(value, float):
        return f"{value:.3f}"
    text = printable(str(value))
    return f'"{text}"' if not text or any(c in text for c in ' "=') else text
