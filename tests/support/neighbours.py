"""Neighbours for tests of the tree, and batches to tell them: only the id counts."""

from gossip.ledger.batch import Batch
from gossip.units import ClusterId, Incarnation, KeyId, NodeId, UnixMs

ME, TREE, BESIDE = (NodeId(letter * 32) for letter in (b"m", b"t", b"b"))


def batch(number: int) -> Batch:
    return Batch(
        id=number.to_bytes(32, "big"),
        cluster=ClusterId(bytes(32)),
        author=NodeId(bytes(32)),
        incarnation=Incarnation(bytes(16)),
        number=number,
        previous=bytes(32),
        issued_at_ms=UnixMs(0),
        key=KeyId(bytes(32)),
        entries=(),
        header=b"",
        signature=b"",
        encoded=b"batch",
    )
