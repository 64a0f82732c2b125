"""Whether a signed request could be proven against its signers, before it is judged.

A proof opens what a hostile rule reads, and has a limit. Whoever pads a parameter
until its proof would not fit must not get away with a witness's word: a request whose
proof could be too large is refused at both ends, whatever it says.
"""

from functools import lru_cache
from typing import Final

from enforcement import limits
from enforcement.defend.facts import Path
from enforcement.defend.policy import Call
from enforcement.defend.rules import Rule
from enforcement.mcp.leaves import pointer, typed
from enforcement.mcp.strictjson import Json
from gossip.limits import CHAIN_BYTES_MAX

_SIGNED_BYTES: Final = 4_096 + 2 * 3_400 + 1_024
_LEAF_BYTES: Final = 64 + 34 * limits.LEAVES_MAX.bit_length()


def find_unprovable(call: Call, rules: list[Rule]) -> str | None:
    """Why a proof under one of ``rules`` might not fit; None if all would."""
    if not rules:
        return None
    longest = _longest_path(call.params)
    if longest > limits.PATH_BYTES_MAX:
        return (
            f"a parameter's name and place have at most {limits.PATH_BYTES_MAX} bytes"
        )
    room = limits.PROOF_BYTES_MAX - _SIGNED_BYTES - len(call.principal.cert.encoded)
    room -= min(len(call.principal.chain.encoded), CHAIN_BYTES_MAX)
    prefix = ("arguments",) if call.method == "tools/call" else ()
    for rule in rules:
        size = count = 0
        reads = {read.path: False for read in rule.reads}
        reads |= {read.path: True for read in rule.reads if read.whole}
        for path, whole in reads.items():
            found, bytes_ = _cost(call.params, (*prefix, *path), whole, longest, room)
            count, size = count + found, size + bytes_
        if size > room or count > limits.PROOF_LEAVES_MAX:
            return f"what the rule `{rule.id}` reads would not fit into a proof"
    return None


def _cost(
    params: Json, path: Path, whole: bool, longest: int, room: int
) -> tuple[int, int]:
    """Leaves and bytes that one read adds to a proof, never too few."""
    value, count, size, at = params, 0, 0, 0
    for part in path:
        count, size = count + 1, size + _leaf(at, value)
        if not isinstance(value, dict):
            return count, size
        if part not in value:  # two neighbours, whose names may be anything
            named = sum(map(_step, path))
            return count + 1, size + 2 * (_LEAF_BYTES + longest) + named
        value, at = value[part], at + _step(part)
    waiting: list[tuple[int, Json]] = [(at, value)]
    while waiting and size <= room:
        at, item = waiting.pop()
        count, size = count + 1, size + _leaf(at, item)
        if whole and isinstance(item, dict):
            waiting += [(at + _step(key), member) for key, member in item.items()]
        elif whole and isinstance(item, list):
            waiting += [(at + _step(str(i)), member) for i, member in enumerate(item)]
    return count, size


def _leaf(path_bytes: int, value: Json) -> int:
    return _LEAF_BYTES + path_bytes + len(typed(value))


@lru_cache(maxsize=1_024)
def _step(name: str) -> int:
    """How much longer a path is with this name at its end."""
    return len(pointer((name,)))


def _longest_path(params: Json) -> int:
    longest = 0
    waiting: list[tuple[int, Json]] = [(0, params)]
    while waiting:
        length, value = waiting.pop()
        longest = max(longest, length)
        if isinstance(value, dict):
            for key, member in value.items():
                waiting.append((length + _step(key), member))
        elif isinstance(value, list):
            waiting += [(length + 8, item) for item in value]
    return longest
