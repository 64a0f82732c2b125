"""Parameters committed to one by one, so that one can be shown without the rest.

Each value of a request's ``params``, containers included, is a leaf: its path (a
JSON Pointer, RFC 6901, in UTF-8) and a salted commitment to its value. Leaves
are sorted by the bytes of their paths into a Merkle tree (RFC 6962)::

    salt   = H(LEAF_SALT, seed, path)
    commit = H(LEAF_VALUE, salt, value)
    leaf   = H(LEAF, path, commit)              begins with the byte 0x00
    node   = SHA-256(0x01 | left | right)

where H is `gossip.suite.digest`. A path can be shown without its value, a value
can be proven, and a path's absence follows from its two neighbours. Byte for
byte in ``docs/reference/envelope.md``.
"""

import hashlib
import re
from bisect import bisect_left
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import attrs

from enforcement import limits
from enforcement.mcp.strictjson import Json
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.suite import digest
from gossip.units import ID_BYTES
from gossip.wire import Value, take_bytes, take_int, take_list

SEED_BYTES: Final = 32
_SIBLINGS_MAX = limits.LEAVES_MAX.bit_length()

NULL: Final = b"\x00"
FALSE: Final = b"\x01"
TRUE: Final = b"\x02"
INTEGER: Final = b"\x03"
DECIMAL: Final = b"\x04"
TEXT: Final = b"\x05"
LIST: Final = b"\x06"
OBJECT: Final = b"\x07"
_FORMS: Final = {
    NULL: re.compile(""),
    FALSE: re.compile(""),
    TRUE: re.compile(""),
    INTEGER: re.compile(r"-?[0-9]{1,64}"),
    DECIMAL: re.compile(r"-?[0-9]{1,64}e-?[0-9]{1,4}"),
    TEXT: re.compile(r"(?s:.*)"),
    LIST: re.compile(r"[0-9]{1,7}"),
    OBJECT: re.compile(r"[0-9]{1,7}"),
}


class TooManyValuesError(Exception):
    """More values than one signature may commit to."""


def pointer(path: Sequence[str]) -> bytes:
    """RFC 6901: ``("a", "b/c")`` is ``/a/b~1c``."""
    return "".join(
        "/" + part.replace("~", "~0").replace("/", "~1") for part in path
    ).encode()


def typed(value: Json) -> bytes:
    """A value's canonical bytes; of a container only its type and size."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return TRUE if value else FALSE
    if isinstance(value, int):
        return INTEGER + str(value).encode()
    if isinstance(value, Decimal):
        return DECIMAL + _decimal_text(value).encode()
    if isinstance(value, str):
        return TEXT + value.encode()
    return (LIST if isinstance(value, list) else OBJECT) + str(len(value)).encode()


def untyped_untrusted(data: bytes) -> tuple[Json, int]:
    """Read `typed` back: the value and its size; containers come empty.

    Raises:
        PeerError: not what `typed` writes.
    """
    try:
        value, size = _untyped(data[:1], data[1:].decode())
    except (ArithmeticError, ValueError) as wrong:
        raise PeerError("a leaf's value is malformed") from wrong
    canonical = data[:1] + str(size).encode() if data[:1] in (LIST, OBJECT) else b""
    if (canonical or typed(value)) != data:
        raise PeerError("a leaf's value is not canonical")
    return value, size


def _untyped(tag: bytes, text: str) -> tuple[Json, int]:
    form = _FORMS.get(tag)
    if form is None or not form.fullmatch(text):
        raise ValueError("an unknown type, or a number in another form")
    if tag == INTEGER:
        return int(text), 0
    if tag == DECIMAL:
        return Decimal(text), 0
    if tag == TEXT:
        return text, 0
    if tag == LIST:
        return [], int(text)
    if tag == OBJECT:
        return {}, int(text)
    return {NULL: None, FALSE: False, TRUE: True}[tag], 0


def _decimal_text(value: Decimal) -> str:
    """``-1250.0`` is ``-125e1``: no trailing zeros, so equal numbers are equal."""
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int), "JSON has neither NaN nor infinity"
    text = "".join(map(str, digits)).lstrip("0")
    bare = text.rstrip("0")
    if not bare:
        return "0e0"
    return f"{'-' if sign else ''}{bare}e{exponent + len(text) - len(bare)}"


@attrs.frozen(kw_only=True)
class Leaf:
    """One leaf as it is shown: with salt and value, or with its commitment only.

    Attributes:
        index: Its place among the sorted leaves, from 0.
        value: As `typed` writes it; None if only the path is shown.
        salt: None if only the path is shown.
        siblings: The hashes beside its way to the root, lowest first.
    """

    index: int
    path: bytes
    value: bytes | None = attrs.field(repr=False)
    salt: bytes | None = attrs.field(repr=False)
    commit: bytes = attrs.field(repr=False)
    siblings: tuple[bytes, ...] = attrs.field(repr=False)

    def check_untrusted(self, root: bytes, count: int) -> None:
        """Check that this leaf is in the tree.

        Raises:
            PeerError: it is not.
        """
        at, size = self.index, count
        if at >= count:
            raise PeerError("a leaf beyond the last one")
        node = digest(Domain.LEAF, self.path, self.commit)
        siblings = iter(self.siblings)
        while size > 1:
            if at ^ 1 < size:  # else the node has no partner and moves up alone
                sibling = next(siblings, b"")
                node = _join(sibling, node) if at & 1 else _join(node, sibling)
            at, size = at >> 1, (size + 1) >> 1
        if node != root or next(siblings, None) is not None:
            raise PeerError("a leaf is not what was signed")

    def write(self) -> list[Value]:
        """As it travels: 5 fields opened, 4 with only the path shown."""
        siblings: list[Value] = [*self.siblings]
        if self.value is None or self.salt is None:
            return [self.index, self.path, self.commit, siblings]
        return [self.index, self.path, self.value, self.salt, siblings]


def read_leaf_untrusted(value: Value) -> Leaf:
    """Read what `Leaf.write` wrote. Proves nothing: see `Leaf.check_untrusted`.

    Raises:
        PeerError: malformed.
    """
    fields = take_list(value, 4, 5)
    siblings = take_list(fields[-1], 0, _SIBLINGS_MAX)
    shown, salt = None, None
    if len(fields) == 5:
        shown = take_bytes(fields[2], 1, limits.MESSAGE_BYTES_MAX)
        salt = take_bytes(fields[3], ID_BYTES, ID_BYTES)
        commit = digest(Domain.LEAF_VALUE, salt, shown)
    else:
        commit = take_bytes(fields[2], ID_BYTES, ID_BYTES)
    return Leaf(
        index=take_int(fields[0], 0, limits.LEAVES_MAX),
        path=take_bytes(fields[1], 0, limits.MESSAGE_BYTES_MAX),
        value=shown,
        salt=salt,
        commit=commit,
        siblings=tuple(take_bytes(s, ID_BYTES, ID_BYTES) for s in siblings),
    )


def check_absent_untrusted(
    path: bytes, left: Leaf, right: Leaf | None, root: bytes, count: int
) -> None:
    """Check that no leaf has this path: its two neighbours touch.

    Raises:
        PeerError: they do not, or are not in the tree.
    """
    left.check_untrusted(root, count)
    if right is None:
        if left.index != count - 1 or not left.path < path:
            raise PeerError("an absence without its neighbours")
        return
    right.check_untrusted(root, count)
    if right.index != left.index + 1 or not left.path < path < right.path:
        raise PeerError("an absence without its neighbours")


@attrs.frozen
class Leaves:
    """All leaves of one request, and the seed that salts them: never leaves a node."""

    seed: bytes = attrs.field(repr=False)
    paths: tuple[bytes, ...] = attrs.field(repr=False)
    values: tuple[bytes, ...] = attrs.field(repr=False)
    _levels: tuple[tuple[bytes, ...], ...] = attrs.field(repr=False)

    @property
    def root(self) -> bytes:
        """The 32 bytes that are signed."""
        return self._levels[-1][0]

    @property
    def count(self) -> int:
        """How many leaves there are; at least 1."""
        return len(self.paths)

    def find(self, path: bytes) -> int | None:
        """The index of the leaf with this path."""
        at = bisect_left(self.paths, path)
        return at if at < self.count and self.paths[at] == path else None

    def open(self, index: int) -> Leaf:
        """Show a leaf with its value."""
        salt = digest(Domain.LEAF_SALT, self.seed, self.paths[index])
        value = self.values[index]
        return attrs.evolve(self.show(index), value=value, salt=salt)

    def show(self, index: int) -> Leaf:
        """Show that a leaf's path exists, but not its value."""
        salt = digest(Domain.LEAF_SALT, self.seed, self.paths[index])
        return Leaf(
            index=index,
            path=self.paths[index],
            value=None,
            salt=None,
            commit=digest(Domain.LEAF_VALUE, salt, self.values[index]),
            siblings=tuple(
                level[at ^ 1]
                for height, level in enumerate(self._levels)
                if (at := index >> height) ^ 1 < len(level)
            ),
        )

    def around(self, path: bytes) -> tuple[Leaf, Leaf | None]:
        """The neighbours of a path that no leaf has."""
        at = bisect_left(self.paths, path)
        assert self.find(path) is None, "only what is absent has neighbours"
        return self.show(at - 1), self.show(at) if at < self.count else None


def commit(params: dict[str, Json] | None, seed: bytes) -> Leaves:
    """Commit to all of a request's params; ``seed`` is 32 random bytes.

    Absent params are one leaf: null at the empty path.

    Raises:
        TooManyValuesError: more than `LEAVES_MAX` values.
    """
    found = sorted(flatten(params))
    level = tuple(_leaf_hash(seed, path, value) for path, value in found)
    levels = [level]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        above = [_join(left, right) for left, right in pairs]
        if len(level) % 2:
            above.append(level[-1])
        level = tuple(above)
        levels.append(level)
    paths, values = zip(*found, strict=True)
    return Leaves(seed, paths, values, tuple(levels))


def flatten(params: dict[str, Json] | None) -> list[tuple[bytes, bytes]]:
    """Each value's path and `typed` bytes, in no order; see `commit`."""
    found: list[tuple[bytes, bytes]] = []
    waiting: list[tuple[bytes, Json]] = [(b"", params)]
    while waiting:
        path, value = waiting.pop()
        found.append((path, typed(value)))
        if isinstance(value, dict):
            waiting += [(path + pointer([k]), v) for k, v in value.items()]
        elif isinstance(value, list):
            waiting += [(b"%s/%d" % (path, i), v) for i, v in enumerate(value)]
        if len(found) + len(waiting) > limits.LEAVES_MAX:
            raise TooManyValuesError
    return found


def _leaf_hash(seed: bytes, path: bytes, value: bytes) -> bytes:
    salt = digest(Domain.LEAF_SALT, seed, path)
    return digest(Domain.LEAF, path, digest(Domain.LEAF_VALUE, salt, value))


def _join(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
