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
        pools: dict[bytes, list[NodeId]] = {}
        for node in self.everybody:
            pools.setdefault(self.of(node), []).append(node)
        self._pools = {name: tuple(pool) for name, pool in pools.items()}

    def add(self, node: NodeId, sponsor: bytes) -> None:
        """A node is in, brought by this sponsor; or its sponsor is another now."""
        if self.sponsors.get(node) == sponsor:
            return
        pools = dict(self._pools)
        if node in self.everybody:
            before = self.of(node)
            pools[before] = tuple(n for n in pools[before] if n != node)
        else:
            self.everybody = (*self.everybody, node)
        pools[sponsor] = (*pools.get(sponsor, ()), node)
        self.sponsors = {**self.sponsors, node: sponsor}
        self._pools = {name: pool for name, pool in pools.items() if pool}

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
