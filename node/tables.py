"""Reading a person's TOML: tables that know where they stand, for their complaints.

Every complaint is one `UserError` that names the file and the key. Unknown keys
are mistakes: a misspelt limit must not silently be no limit.
"""

from collections.abc import Mapping
from typing import TypeAlias

import attrs

from gossip import limits
from gossip.errors import UserError

Address: TypeAlias = tuple[str, int]


def is_name(text: str) -> bool:
    """Whether ``text`` may name a node, an agent, a role or a server."""
    return 1 <= len(text) <= limits.NAME_CHARS_MAX and all(
        c.isascii() and (c.isalnum() or c in "-_.") for c in text
    )


def parse_address(text: str) -> Address | None:
    """``host:port`` or ``[::1]:port``; None if it is neither."""
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    bracketed = host != bare
    if not colon or not bare or (":" in bare) != bracketed:
        return None
    if not port.isascii() or not port.isdigit() or int(port) > 65_535:
        return None
    return bare, int(port)


def show_address(address: Address) -> str:
    """The text `parse_address` reads."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@attrs.frozen
class Table:
    """One TOML table that knows where it stands, for its complaints."""

    file: str
    where: str
    values: Mapping[str, object]

    def only(self, *known: str) -> None:
        for key in self.values:
            if key not in known:
                raise self.wrong(key, f"is unknown; known are {', '.join(known)}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self.values.get(key, default)
        if not isinstance(value, str):
            missing = "is missing" if value is None else "must be a string"
            raise self.wrong(key, missing)
        return value

    def name(self, key: str) -> str:
        value = self.text(key)
        if not is_name(value):
            raise self.wrong(
                key, f"must be 1 to {limits.NAME_CHARS_MAX} of a-z, 0-9, `-_.`"
            )
        return value

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        value = self.text(key, choices[0])
        if value not in choices:
            raise self.wrong(key, f"is `{value}`; choose one of {', '.join(choices)}")
        return value

    def number(self, key: str, high: int) -> int | None:
        value = self.values.get(key)
        if value is None:
            return None
        if type(value) is not int or not 1 <= value <= high:
            raise self.wrong(key, f"must be a whole number, 1 to {high}")
        return value

    def flag(self, key: str) -> bool:
        """A truth; false where none is given."""
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise self.wrong(key, "must be true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self.wrong(key, "must be a list of strings")
        return tuple(value)

    def all_texts(self) -> dict[str, str]:
        return {key: self.text(key) for key in self.values}

    def address(self, key: str) -> Address | None:
        if key not in self.values:
            return None
        return self._address(key, self.text(key))

    def addresses(self, key: str) -> tuple[Address, ...]:
        return tuple(self._address(key, text) for text in self.texts(key))

    def _address(self, key: str, text: str) -> Address:
        address = parse_address(text)
        if address is None:
            raise self.wrong(
                key, f"address `{text}` is not `host:port` (IPv6 as `[::1]:7946`)"
            )
        return address

    def table(self, key: str) -> "Table":
        value = self.values.get(key, {})
        where = f"{self.where}{key}."
        if not isinstance(value, dict):
            raise self.wrong(key, f"must be a table, written as [{where[:-1]}]")
        return Table(self.file, where, value)

    def tables(self, key: str) -> list[tuple[str, "Table"]]:
        outer = self.table(key)
        for name in outer.values:
            if not is_name(name):
                raise outer.wrong(name, "is not a plain name")
        return [(name, outer.table(name)) for name in sorted(outer.values)]

    def wrong(self, key: str, what: str) -> UserError:
        return UserError(f"{self.file}: `{self.where}{key}` {what}")
