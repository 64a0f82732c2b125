"""A tool's JSON Schema, compiled once: whether a call has what the tool declares.

The schema comes from a server, so it is read as an attacker's: nothing is fetched,
no value appears in a message, patterns run in linear time (those that cannot, under
a small bound), and a schema that would evaluate one value thousands of times over,
by references to references, is refused.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import attrs

from enforcement import limits
from enforcement.mcp.strictjson import Json
from gossip.errors import PeerError

if TYPE_CHECKING:
    import jsonschema_rs

_MASK: Final = "the value"
_PATTERN_BYTES_MAX: Final = 1 << 20
_BACKTRACKS_MAX: Final = 10_000
_SAME_PLACE_LISTS: Final = ("allOf", "anyOf", "oneOf")
_SAME_PLACE: Final = ("not", "if", "then", "else")
_BELOW_MAPS: Final = ("properties",)
_BELOW_ALL: Final = (
    "additionalItems",
    "additionalProperties",
    "contains",
    "items",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_UNREADABLE: Final = frozenset({"$dynamicRef", "$recursiveRef", "$anchor"})


@attrs.frozen
class Schema:
    """One compiled schema."""

    _validator: "jsonschema_rs.Validator" = attrs.field(repr=False)
    _names: frozenset[str] = attrs.field(repr=False, default=frozenset())

    def fits(self, value: Json) -> bool:
        """Whether ``value`` is what the schema says, to the letter."""
        return self._validator.is_valid(value)

    def find_fault(self, value: Json) -> str | None:
        """Why ``value`` does not fit, without showing it; None if it does.

        A declared parameter that is null has been left out, says the revision
        2026-07-28, and policy sees it so: it faults only where it is required.
        """
        if self._validator.is_valid(value):
            return None
        if isinstance(value, dict) and None in value.values():
            given = {
                k: v for k, v in value.items() if v is not None or k not in self._names
            }
            if self._validator.is_valid(given):
                return None
        try:
            self._validator.validate(value)
        except ValueError as wrong:
            path = "/".join(map(str, getattr(wrong, "instance_path", [])))
            where = f"parameter `{path[:80]}`" if path else "the parameters"
            what = getattr(wrong, "message", "it cannot be checked")
            return f"{where}: {what[:200]}"
        return "the parameters do not fit the tool's schema"


def read_schema_untrusted(source: Json) -> Schema:
    """Compile a schema that a server declares.

    Raises:
        PeerError: no schema, one that refers outside itself, or too costly.
    """
    if not isinstance(source, dict | bool):
        raise PeerError("a schema is an object")
    try:
        _Cost(source).check_untrusted()
        return Schema(_compile(source, linear=True), _declared(source))
    except ValueError:
        pass  # a pattern with look-around, perhaps
    except RecursionError:
        raise PeerError("the schema is nested too deeply") from None
    try:
        return Schema(_compile(source, linear=False), _declared(source))
    except ValueError as wrong:
        said = str(wrong).partition("\n")[0]
        raise PeerError(f"the schema cannot be used: {said[:200]}") from None


def _declared(source: "dict[str, Json] | bool") -> frozenset[str]:
    declared = source.get("properties") if isinstance(source, dict) else None
    return frozenset(declared if isinstance(declared, dict) else ())


def _compile(
    source: "dict[str, Json] | bool", *, linear: bool
) -> "jsonschema_rs.Validator":
    # Only here, since it costs 4 MB: a node beside which no server runs has no schema.
    import jsonschema_rs

    patterns: jsonschema_rs.RegexOptions | jsonschema_rs.FancyRegexOptions
    if linear:
        patterns = jsonschema_rs.RegexOptions(
            size_limit=_PATTERN_BYTES_MAX, dfa_size_limit=_PATTERN_BYTES_MAX
        )
    else:
        patterns = jsonschema_rs.FancyRegexOptions(
            backtrack_limit=_BACKTRACKS_MAX,
            size_limit=_PATTERN_BYTES_MAX,
            dfa_size_limit=_PATTERN_BYTES_MAX,
        )
    return jsonschema_rs.validator_for(
        source, offline=True, mask=_MASK, pattern_options=patterns
    )


@attrs.define
class _Cost:
    """How often one value could be evaluated: exact for the worst path, bounded.

    A reference evaluates another schema at the same place. Two of them to a schema
    with two of them is four, and so on: the classic way to stall a validator.
    """

    root: "dict[str, Json] | bool"
    _below: dict[int, int] = attrs.field(init=False, factory=dict)
    _here: dict[int, int] = attrs.field(init=False, factory=dict)
    _open: set[int] = attrs.field(init=False, factory=set)
    _targets: dict[int, Json] = attrs.field(init=False, factory=dict)

    def check_untrusted(self) -> None:
        """Raise `PeerError` if it is too costly at any depth of a value."""
        for _ in range(limits.DEPTH_MAX):
            before = self._below
            self._here = {}
            total = self._visits(self.root)
            for target in [*self._targets.values()]:
                self._visits(target)
            if total > limits.SCHEMA_VISITS_MAX:
                raise PeerError("the schema is too costly to evaluate")
            self._below = self._here
            if self._below == before:
                return

    def _visits(self, schema: Json) -> int:
        if not isinstance(schema, dict):
            return 1
        known = self._here.get(id(schema))
        if known is not None:
            return known
        if id(schema) in self._open:
            raise PeerError("the schema refers to itself without end")
        self._open.add(id(schema))
        count = 1 + sum(map(self._visits, self._same_place(schema)))
        named = [self._deeper(s) for s in _members(schema, _BELOW_MAPS)]
        count += max(named, default=0)
        count += sum(map(self._deeper, _members(schema, ("patternProperties",))))
        for keyword in _BELOW_ALL:
            count += self._deeper(schema.get(keyword))
        listed = schema.get("prefixItems", schema.get("items"))
        if isinstance(listed, list):
            count += max(map(self._deeper, listed), default=0)
        self._open.discard(id(schema))
        count = min(count, limits.SCHEMA_VISITS_MAX + 1)
        self._here[id(schema)] = count
        return count

    def _deeper(self, schema: Json) -> int:
        if not isinstance(schema, dict):
            return 0
        if id(schema) not in self._targets:
            self._targets[id(schema)] = schema
            if len(self._targets) > limits.SCHEMA_NODES_MAX:
                raise PeerError("the schema has too many parts")
        return self._below.get(id(schema), 1)

    def _same_place(self, schema: dict[str, Json]) -> Iterator[Json]:
        if _UNREADABLE & schema.keys():
            raise PeerError("the schema uses a kind of reference that is not supported")
        for keyword in _SAME_PLACE:
            if keyword in schema:
                yield schema[keyword]
        for keyword in _SAME_PLACE_LISTS:
            listed = schema.get(keyword)
            if isinstance(listed, list):
                yield from listed
        yield from _members(schema, ("dependentSchemas", "dependencies"))
        if "$ref" in schema:
            yield find_target(self.root, schema["$ref"])


def _members(schema: dict[str, Json], keywords: tuple[str, ...]) -> Iterator[Json]:
    for keyword in keywords:
        held = schema.get(keyword)
        if isinstance(held, dict):
            yield from held.values()


def find_target(root: Json, reference: Json) -> Json:
    """What a ``$ref`` inside the same schema means (RFC 6901).

    Raises:
        PeerError: it points outside, or nowhere.
    """
    if not isinstance(reference, str) or not (reference + "/").startswith("#/"):
        raise PeerError("the schema refers outside itself")
    found = root
    for part in reference.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isascii() and name.isdigit():
            at = int(name[:9])
            found = found[at] if at < len(found) else None
        elif isinstance(found, dict):
            found = found.get(name)
        else:
            found = None
        if found is None:
            raise PeerError("the schema refers to what it does not hold")
    return found
