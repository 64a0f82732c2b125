"""The bundles a node remembers across restarts, in its store.

A proof is judged by the bundle it names. A node that forgot old bundles at each
restart would read old proofs as mere words, and stand alone with that.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

from enforcement import limits
from enforcement.defend.bundles import Bundles
from enforcement.defend.policy import Policy
from gossip.errors import PeerError, UserError
from gossip.units import UnixMs
from gossip.wire import Value, pack, take_bytes, take_list, unpack_untrusted
from node.database import PutMeta
from node.store import Store

Texts: TypeAlias = Mapping[str, str]
"""A policy's Cedar texts, by file name."""

_KEY: Final = "bundles"
_SIZE_BYTES_MAX: Final = 2 * limits.BUNDLES_KEPT_MAX * limits.POLICY_BYTES_MAX
_LONG_AGO: Final = UnixMs(0)


def remembered(store: Store) -> list[Texts]:
    """Every bundle the store holds, oldest first; none if they do not read."""
    data = store.meta(_KEY)
    if data is None:
        return []
    try:
        listed = take_list(
            unpack_untrusted(data, _SIZE_BYTES_MAX), 0, limits.BUNDLES_KEPT_MAX
        )
        return [_read(item) for item in listed]
    except PeerError:
        return []


def recall(store: Store, current: Policy, now: UnixMs) -> Bundles:
    """The bundles of a node that starts now with ``current``.

    If the policy was changed while the node was down, the one before counts for
    ten more minutes, as after a change while it runs.
    """
    before = []
    for texts in remembered(store):
        try:
            before.append(Policy.load(texts))
        except UserError:
            continue  # Cedar no longer reads it, so nobody is judged by it.
    if not before:
        return Bundles(current)
    bundles = Bundles(before[0])
    for old in before[1:]:
        bundles.install(old, _LONG_AGO)
    bundles.install(current, now)
    return bundles


def remember(store: Store, texts: Texts) -> None:
    """Keep a bundle that is in force from now on."""
    held = [dict(old) for old in remembered(store)]
    if held and held[-1] == dict(texts):
        return
    kept = [*(old for old in held if old != dict(texts)), dict(texts)]
    kept = kept[-limits.BUNDLES_KEPT_MAX :]
    packed: list[Value] = [
        [[name, old[name].encode()] for name in sorted(old)] for old in kept
    ]
    store.submit(PutMeta(_KEY, pack(packed)))


def _read(item: Value) -> Texts:
    texts = {}
    for pair in take_list(item, 0, limits.POLICY_FILES_MAX):
        name, text = take_list(pair, 2, 2)
        encoded = take_bytes(text, 0, 4 * limits.POLICY_BYTES_MAX)
        texts[str(name)] = encoded.decode(errors="replace")
    return texts
