"""Admission groups: members by the sponsor who brought them in."""

from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from gossip.units import NodeId

FOUNDERS: Final = b"founders"


@attrs.define
class Groups:
    """All members, by the sponsor who brought them in.

    What it holds is replaced and never changed, so copies may share it.
    """

    everybody: tuple[NodeId, ...]
    sponsors: Mapping[NodeId, bytes] = attrs.field(factory=dict)
    """Who brought each in; the founders are a group of their own."""
    _pools: dict[bytes, tuple[NodeId, ...]] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self.put(self.everybody, self.sponsors)

    def put(
        self, everybody: tuple[NodeId, ...], sponsors: Mapping[NodeId, bytes]
    ) -> None:
        """These are all members from now on."""
        self.everybody, self.sponsors = everybody, sponsors
        pools: dict[bytes, list[NodeId]] = {}
        for node in self.everybody:
            pools.setdefault(self.of(node), []).append(node)
        self._pools = {name: tuple(pool) for name, pool in pools.items()}

    @property
    def names(self) -> Iterable[bytes]:
        """Every group."""
        return self._pools

    def of(self, node: NodeId) -> bytes:
        """The group of a node."""
        return self.sponsors.get(node, FOUNDERS)

    def members(self, name: bytes) -> tuple[NodeId, ...]:
        """Who belongs to a group."""
        return self._pools[name]
