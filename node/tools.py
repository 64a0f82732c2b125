"""The tools this node knows, across restarts; and the requests it has answered.

Both are memories of the gates that must not end with the process: a tool stays pinned
to what it declared, and a signed request counts once.
"""

import json
from typing import Final, cast

from enforcement import limits
from enforcement.defend.replay import ReplayWindow
from enforcement.detect.pins import Pins
from enforcement.effects import Position
from gossip.errors import PeerError, UserError
from gossip.units import NodeId, UnixMs
from node.database import PutMeta
from node.store import Store

_KEY: Final = "pins/"
_ROWS_FIRST: Final = 1_024
_ROWS_MAX: Final = 2 * limits.REPLAY_PER_NODE_MAX
_BACK_MS_MAX: Final = 3_600_000
"""A trail further ahead of the clock than this says nothing about the clock."""


def recall_pins(store: Store) -> Pins:
    """The pins of every server that was ever used here, wrapped ones included.

    Raises:
        UserError: the store does not hold what we wrote: nothing is trusted anew.
    """
    pins = Pins()
    for key, data in store.metas(_KEY):
        server = key.removeprefix(_KEY)
        try:
            pins.read(server, data)
        except PeerError as wrong:
            raise UserError(
                f"the pinned tools of `{server}` in the store are damaged: {wrong};"
                " restore a backup of the node's state"
            ) from None
    pins.on_pinned = lambda server: store.submit(
        PutMeta(_KEY + server, pins.write(server))
    )
    return pins


def recall_requests(store: Store, now_ms: UnixMs) -> ReplayWindow:
    """The replay window of a node that starts now.

    What was stamped before the start is refused anyhow. The audit trail names what was
    answered by a stamp ahead of this node's clock, and how late it was when the node
    stopped, should the clock have been set back since.
    """
    horizon = now_ms - 2 * limits.FRESH_MS_MAX
    count = _ROWS_FIRST
    rows = store.audit(count)
    while len(rows) == count < _ROWS_MAX and rows[0][1] >= horizon:
        count *= 8
        rows = store.audit(count)
    latest = max((at_ms for _, at_ms, _ in rows), default=0)
    window = ReplayWindow(UnixMs(max(now_ms, min(latest + 1, now_ms + _BACK_MS_MAX))))
    for _, at_ms, record in rows:
        if at_ms < horizon:
            continue
        said = cast("dict[str, str]", json.loads(record))
        if said["position"] == Position.INGRESS and said["request_id"]:
            node = NodeId(bytes.fromhex(said["node"]))
            window.remember(node, bytes.fromhex(said["request_id"]), UnixMs(at_ms))
    return window
