"""Two stories, told by a member in a feed of its own: the proof."""

from gossip.domains import Domain
from gossip.ledger.batch import Batch, draft_batch, read_batch_untrusted
from gossip.ledger.equivocation import write_equivocation
from gossip.units import Incarnation, UnixMs
from tests.support.courts import INCARNATION, ROSTER, SUITE
from tests.support.members import NOW, member


def fork(
    name: str,
    number: int = 0,
    at: int = NOW,
    incarnation: bytes = INCARNATION,
    key_at: int = NOW,
) -> bytes:
    """That ``name`` signed two batches with one number, stamped as it likes."""
    who = member(SUITE, name, at=key_at)

    def told(body: bytes) -> Batch:
        draft = draft_batch(
            cluster=ROSTER.cluster,
            author=who.node,
            incarnation=Incarnation(incarnation),
            number=number,
            previous=bytes(32),
            issued_at_ms=UnixMs(at),
            key=who.chain.key,
            entries=[(200, body)],
        )
        signature = who.key.sign(draft.header, Domain.BATCH)
        return read_batch_untrusted(draft.join(signature))

    return write_equivocation(told(b"x"), told(b"y"), [who.chain])
