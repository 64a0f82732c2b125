"""Typed access to test vector files, which are JSON of any shape or plain text."""

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias, cast

Json: TypeAlias = Mapping[str, object]

FILE_BYTES_MAX = 256 * 2**20


class Unreadable(Exception):
    """The file cannot be read; the message says why."""


def read_bytes(path: Path) -> bytes:
    """The file's content, unpacked where it ends in ``.gz``.

    Raises:
        Unreadable: it is too large, packed wrongly, or the disk refuses.
    """
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                data = file.read(FILE_BYTES_MAX + 1)
        else:
            with path.open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise Unreadable(str(error)) from error
    if len(data) > FILE_BYTES_MAX:
        raise Unreadable("larger than a test vector file may be")
    return data


def read_json(data: bytes) -> object:
    """Parse JSON into plain objects; ValueError where it is none."""
    try:
        return cast("object", json.loads(data))
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def as_object(value: object) -> Json:
    """An object; anything else counts as an empty one."""
    return cast("Json", value) if isinstance(value, dict) else {}


def objects(value: object) -> list[Json]:
    """The objects of an array; anything else counts as an empty one."""
    if not isinstance(value, list):
        return []
    return [as_object(item) for item in cast("list[object]", value)]


def text(case: Json, key: str) -> str:
    """A string, or the empty one."""
    value = case.get(key)
    return value if isinstance(value, str) else ""


def raw(case: Json, *keys: str) -> bytes:
    """Hex of the first key that is there; ValueError where none is."""
    value = maybe(case, *keys)
    if value is None:
        raise ValueError(f"the vector has no `{' / '.join(keys)}`")
    return value


def maybe(case: Json, *keys: str) -> bytes | None:
    """Hex of the first key that is there, or None."""
    for key in keys:
        value = case.get(key)
        if isinstance(value, str):
            return bytes.fromhex(value)
    return None


def has_all(case: Json, keys: Sequence[str]) -> bool:
    """Whether every key is there."""
    return all(key in case for key in keys)


_BLOCK_FIELD = re.compile(r"(\w+)(?:\s+([0-9A-Fa-f]+))?")


def blocks(content: str) -> list[dict[str, object]]:
    """``key hex`` records, long values on indented lines; a key again starts one."""
    found: list[dict[str, str]] = []
    key = ""
    for line in content.splitlines():
        field = _BLOCK_FIELD.fullmatch(line.rstrip())
        if field is not None:
            key = field[1]
            if not found or key in found[-1]:
                found.append({})
            found[-1][key] = field[2] or ""
        elif found and line.startswith(" "):
            found[-1][key] += line.strip()
    return [dict(record) for record in found]


_FIELD = re.compile(r"([^=:\[\]]{1,40}?)\s*[=:]\s*([0-9A-Fa-f]*)")


def records(content: str) -> Iterator[dict[str, object]]:
    """``key = hex`` lines, in records that end where a key comes again or ``count``."""
    record: dict[str, object] = {}
    for line in content.splitlines():
        match = _FIELD.fullmatch(line.strip())
        if match is None:
            continue
        key, value = match[1].strip(), match[2]
        if key == "count":
            if record:
                yield record
            record = {}
        elif key not in record:
            record[key] = value
    if record:
        yield record
