"""Compliance tags: which parameters and answers are health, card or secret data.

A tool's declaration says so with ``x-tags`` (or ``tags`` in its ``annotations``): on
the tool for all it answers, on a property of ``inputSchema`` or ``outputSchema`` for
that alone. Policy sees a call's tags, and says who may be shown tagged data: an agent
that the action ``reveal`` on ``Tag::"phi"`` is denied gets the answer without it.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Final, TypeAlias

import attrs

from enforcement import limits
from enforcement.defend.schema import find_target
from enforcement.mcp.strictjson import (
    Json,
    MalformedError,
    read_json_untrusted,
    write_json,
)
from gossip.errors import PeerError

Path: TypeAlias = tuple[str, ...]
ANY: Final = "*"
"""In a path: every item of a list, or every other member of an object."""
NEVER_OPENED: Final = frozenset({"phi", "pci", "secret"})
"""Parameters with these tags stand in no proof."""
_KEYWORD: Final = "x-tags"
_DEPTH_MAX: Final = 32


@attrs.frozen
class Tags:
    """All tags of one tool.

    Attributes:
        whole: Those on the tool, or where no path says which data is meant.
        inputs: Tagged parameters: paths in the arguments.
        outputs: Tagged fields: paths in ``structuredContent``.
    """

    whole: frozenset[str] = frozenset()
    inputs: tuple[tuple[Path, frozenset[str]], ...] = ()
    outputs: tuple[tuple[Path, frozenset[str]], ...] = ()

    @cached_property
    def all(self) -> frozenset[str]:
        """What ``context.tags`` shows."""
        return self.whole.union(*(t for _, t in (*self.inputs, *self.outputs)))

    @cached_property
    def answers(self) -> frozenset[str]:
        """Those an answer may carry."""
        return self.whole.union(*(t for _, t in self.outputs))

    def is_private(self, path: Path) -> bool:
        """Whether what is at ``path`` of the arguments, or in it, is never opened."""
        if self.whole & NEVER_OPENED:
            return True
        return any(
            tags & NEVER_OPENED and _overlap(path, tagged)
            for tagged, tags in self.inputs
        )


def _overlap(one: Path, other: Path) -> bool:
    return all(a == b or ANY in (a, b) for a, b in zip(one, other, strict=False))


def read_tags_untrusted(tool: dict[str, Json]) -> Tags:
    """Read the tags in a tool's declaration.

    Raises:
        PeerError: a tag is no short name, or there are too many.
    """
    whole = set(_named(tool.get(_KEYWORD)))
    for key in ("annotations", "_meta"):
        notes = tool.get(key)
        if isinstance(notes, dict):
            whole.update(_named(notes.get(_KEYWORD)))
            whole.update(_named(notes.get("tags")))
    inputs, loose = _fields(tool.get("inputSchema"))
    whole |= loose
    outputs, loose = _fields(tool.get("outputSchema"))
    whole |= loose
    return Tags(frozenset(whole), inputs, outputs)


def _named(value: Json) -> list[str]:
    if value is None:
        return []
    listed = value if isinstance(value, list) else [value]
    if len(listed) > limits.TAGS_MAX:
        raise PeerError("too many tags")
    names: list[str] = []
    for name in listed:
        if not isinstance(name, str) or not 1 <= len(name) <= 64:
            raise PeerError("a tag is a short name")
        names.append(name.casefold())
    return names


def _fields(
    schema: Json,
) -> tuple[tuple[tuple[Path, frozenset[str]], ...], set[str]]:
    """Tagged paths of a schema; and the tags that stand where no path leads."""
    found: dict[Path, frozenset[str]] = {}
    reached: set[int] = set()
    parts = _parts(schema, schema, (), _DEPTH_MAX)
    for count, (path, part) in enumerate(parts):
        if count > limits.SCHEMA_NODES_MAX:
            raise PeerError("the schema has too many parts")
        reached.add(id(part))
        tags = _named(part.get(_KEYWORD))
        if tags:
            found[path] = found.get(path, frozenset()).union(tags)
    loose: set[str] = set()
    waiting: list[Json] = [schema]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if _KEYWORD in item and id(item) not in reached:
                loose.update(_named(item[_KEYWORD]))
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
    return tuple(sorted(found.items())), loose


def _parts(
    root: Json, schema: Json, path: Path, depth: int
) -> Iterator[tuple[Path, dict[str, Json]]]:
    """Each subschema with the path of the values it describes."""
    if not isinstance(schema, dict) or depth == 0:
        return
    yield path, schema
    if "$ref" in schema and depth > 24:  # references to references: bounded
        yield from _parts(root, find_target(root, schema["$ref"]), path, depth - 2)
    for keyword in ("allOf", "anyOf", "oneOf"):
        listed = schema.get(keyword)
        for item in listed if isinstance(listed, list) else []:
            yield from _parts(root, item, path, depth - 1)
    members = schema.get("properties")
    for name, item in members.items() if isinstance(members, dict) else []:
        yield from _parts(root, item, (*path, name), depth - 1)
    for keyword in ("items", "additionalProperties"):
        yield from _parts(root, schema.get(keyword), (*path, ANY), depth - 1)


# --- answers ------------------------------------------------------------------


def redact(result: dict[str, Json], tags: Tags, hidden: frozenset[str]) -> Json:
    """A tool's result without what carries a hidden tag.

    If the whole tool is tagged, or a text does not show where its fields are, the
    whole of it is withheld.
    """
    if tags.whole & hidden:
        return _withheld(tags.whole & hidden)
    paths = [path for path, found in tags.outputs if found & hidden]
    if not paths:
        return result
    why = frozenset().union(*(f & hidden for _, f in tags.outputs))
    held = result.get("structuredContent")
    bare = _without(held, paths, why) if isinstance(held, dict) else None
    shown: dict[str, Json] = {}
    for key, value in result.items():
        if key == "structuredContent":
            shown[key] = bare
        elif key == "content" and isinstance(value, list):
            shown[key] = [_block(item, held, bare, why) for item in value]
        elif key in ("isError", "resultType"):
            shown[key] = value
    return shown


def _withheld(why: frozenset[str]) -> dict[str, Json]:
    return {"content": [{"type": "text", "text": mark(why)}], "isError": True}


def mark(why: frozenset[str]) -> str:
    """What stands in place of what is hidden."""
    return f"[redacted: {', '.join(sorted(why))}]"


def _block(item: Json, held: Json, bare: Json, why: frozenset[str]) -> Json:
    """A block of content: the structured answer as text loses the same fields.

    Of any other text nobody can say what stands where: it is withheld.
    """
    if bare is not None and isinstance(item, dict) and item.get("type") == "text":
        try:
            text = str(item.get("text")).encode()
            if read_json_untrusted(text, limits.SERVER_KEYS_MAX) == held:
                return {"type": "text", "text": write_json(bare).decode()}
        except (MalformedError, UnicodeEncodeError):
            pass
    return {"type": "text", "text": mark(why)}


def _without(value: Json, paths: list[Path], why: frozenset[str]) -> Json:
    if any(not path for path in paths):
        return mark(why) if isinstance(value, str) else None
    if isinstance(value, list):
        below = [path[1:] for path in paths if path[0] == ANY]
        return [_without(v, below, why) for v in value] if below else value
    if isinstance(value, dict):
        shown: dict[str, Json] = {}
        for key, member in value.items():
            folded = key.casefold()
            below = [p[1:] for p in paths if p[0] == ANY or p[0].casefold() == folded]
            shown[key] = _without(member, below, why) if below else member
        return shown
    return value
