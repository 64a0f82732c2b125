"""TOML tables that know where they stand, so that every complaint names its line."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar, cast

import attrs

from gossip.errors import UserError

T = TypeVar("T")
Where = tuple[str | int, ...]

_HEADER: Final = re.compile(r"\s*(\[{1,2})\s*([A-Za-z0-9_-]+)\s*\]")
_KEY: Final = re.compile(r"\s*\"?([A-Za-z0-9_-]+)\"?\s*=")
_KINDS: Final[Mapping[type, str]] = {int: "whole numbers", str: "strings"}


def line_of(lines: Iterable[str], where: Where) -> int | None:
    """The line, from 1, of a key such as ``("story", 2, "who")``.

    Of a key inside an inline table it is the table's line; of a key that is not
    there, the line of the table it should be in.
    """
    names = [part for part in where if isinstance(part, str)]
    index = next((part for part in where if isinstance(part, int)), None)
    seen: dict[str, int] = {}
    table, found = "", None
    for number, line in enumerate(lines, 1):
        if header := _HEADER.match(line):
            table = header[2]
            seen[table] = seen.get(table, -1) + 1
        inside = table == names[0] and index in (None, seen[table])
        if inside and found is None:
            found = number
        if key := _KEY.match(line):
            wanted = names[1:2] if inside else names[:1] if not table else []
            if wanted == [key[1]]:
                return number
    return found


def read_toml(text: str, file: str) -> "Table":
    """Read a document; ``file`` is only its name, for messages.

    Raises:
        UserError: it is not TOML.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        raise UserError(f"{file}: not valid TOML: {wrong}") from wrong
    return Table(file, text.splitlines(), (), values)


@attrs.frozen
class Table:
    """One table of a file. Every method that takes a key raises `UserError`."""

    file: str
    lines: list[str] = attrs.field(repr=False)
    where: Where
    values: Mapping[str, object]

    def __contains__(self, key: str) -> bool:
        return key in self.values

    @property
    def names(self) -> list[str]:
        """Its keys, in the order of the file."""
        return list(self.values)

    def wrong(self, key: str | None, what: str) -> UserError:
        """A sentence about a key, or about the whole table."""
        where = (*self.where, key) if key else self.where
        line = line_of(self.lines, where) if where else None
        path = ".".join(str(p + 1 if isinstance(p, int) else p) for p in where)
        parts = [self.file, f"line {line}" if line else "", path, what]
        return UserError(": ".join(filter(None, parts)))

    def only(self, known: Iterable[str]) -> None:
        """Refuse any other key."""
        for key in self.values:
            if key not in known:
                listed = ", ".join(sorted(known))
                raise self.wrong(key, f"unknown key `{key}`; known are {listed}")

    def table(self, key: str) -> "Table":
        """The table at ``key``; empty if there is none."""
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, "must be a table")
        return Table(self.file, self.lines, (*self.where, key), value)

    def tables(self, key: str) -> list["Table"]:
        """The tables written as ``[[key]]``."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
            raise self.wrong(key, f"must be written as [[{key}]]")
        return [
            Table(self.file, self.lines, (*self.where, key, i), v)
            for i, v in enumerate(value)
        ]

    def listed(self, key: str, kind: type[T], default: list[T]) -> tuple[T, ...]:
        """A list of strings or of whole numbers."""
        value = self.values.get(key, default)
        if not isinstance(value, list) or not all(type(v) is kind for v in value):
            raise self.wrong(key, f"must be a list of {_KINDS[kind]}")
        return tuple(value)

    def text(self, key: str, default: str | None = None) -> str:
        """A string."""
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "is missing or not a string")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "must be true or false")
        return value

    def whole(self, key: str, default: int, low: int, high: int) -> int:
        """A whole number in ``low..high``."""
        value = self.values.get(key, default)
        if type(value) is not int or not low <= value <= high:
            raise self.wrong(key, f"must be a whole number, {low} to {high}")
        return value

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """A number in ``low..high``."""
        value = self.values.get(key, default)
        if type(value) not in (int, float) or not low <= cast("float", value) <= high:
            raise self.wrong(key, f"must be a number, {low:g} to {high:g}")
        return float(cast("float", value))
