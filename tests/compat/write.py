"""Write what a release puts on the wire and on disk, for later releases to read.

Run as ``python -m tests.compat.write 0.1.0`` once, when that release is made; what
it writes is never changed afterwards. Keys come from fixed seeds, signatures are
randomised, so what a release wrote cannot be written again, only read.
"""

import argparse
import base64
import json
import shutil
from pathlib import Path
from typing import Final

from gossip import limits
from gossip.domains import Domain
from gossip.ledger.batch import Batch, draft_batch, read_batch_untrusted
from gossip.ledger.entries import (
    Checkpoint,
    Closing,
    EntryKind,
    Keys,
    Proof,
    ProofKind,
    Report,
    Subject,
    SubjectKind,
    Witness,
    write_checkpoint,
    write_keys,
    write_policy,
    write_report,
)
from gossip.ledger.equivocation import write_equivocation
from gossip.link.handshake import Initiator
from gossip.link.session import RATCHET_MS, Session
from gossip.link.steps import Begin, Local, Transmit
from gossip.membership.roster import Roster
from gossip.spread import frames
from gossip.units import ID_BYTES, INCARNATION_BYTES, Incarnation, MonoMs, UnixMs
from node.database import Database, IdentitySealer, PutAudit, PutBatch, PutMeta
from node.keys.suites.openssl import OpensslSuite
from tests.support.members import NOW, Member, act, founders, founders_text, member

HOME: Final = Path(__file__).parent
NAMES: Final = ["branch", "ledger", "vault"]
SUITE: Final = OpensslSuite()
SEND_KEY, RECEIVE_KEY = b"s" * 32, b"r" * 32
SAID: Final = [b"short", bytes(5_000), b"after a while"]
UNKNOWN_KIND: Final = 999
"""An entry kind of some newer release."""


def write_feed(
    roster: Roster, author: Member, bodies: list[list[tuple[int, bytes]]], start: int
) -> list[Batch]:
    """A feed of batches, the first of which opens it."""
    batches: list[Batch] = []
    for number, entries in enumerate(bodies):
        draft = draft_batch(
            cluster=roster.cluster,
            author=author.node,
            incarnation=Incarnation(bytes([start]) * INCARNATION_BYTES),
            number=number,
            previous=batches[-1].id if batches else bytes(ID_BYTES),
            issued_at_ms=UnixMs(NOW + 1_000 * number),
            key=author.chain.key,
            entries=entries,
        )
        signature = author.key.sign(draft.header, Domain.BATCH)
        batches.append(read_batch_untrusted(draft.join(signature)))
    return batches


def opening(author: Member, closes: Closing | None = None) -> list[tuple[int, bytes]]:
    return [
        (
            int(EntryKind.KEYS),
            write_keys(Keys(chain=author.chain.encoded, closes=closes)),
        )
    ]


def write_batches(roster: Roster, people: list[Member]) -> list[Batch]:
    """Two feeds that say something of every kind, and a fork with its proof."""
    branch, ledger, vault = people
    seen = Witness(digest=bytes(32), count=3, first_ms=NOW, last_ms=NOW)
    report = Report(
        subject=Subject(SubjectKind.AGENT, bytes(32)),
        category="scan",
        severity=7,
        evidence=seen,
    )
    forked = [
        write_feed(roster, vault, [opening(vault), [(4, write_policy(policy))]], 3)
        for policy in (b"1" * 32, b"2" * 32)
    ]
    data = write_equivocation(forked[0][1], forked[1][1], [vault.chain])
    proof = Report(
        subject=Subject(SubjectKind.NODE, vault.node),
        category="equivocation",
        severity=9,
        evidence=Proof(kind=ProofKind.EQUIVOCATION, data=data),
    )
    decided = act(SUITE, founders(SUITE, NAMES), ["agent", bytes(32)])
    first = write_feed(
        roster,
        branch,
        [
            opening(branch),
            [(2, write_report(report)), (4, write_policy(bytes(32)))],
            [(2, write_report(proof))],
            [(UNKNOWN_KIND, b"from a newer release")],
        ],
        1,
    )
    closes = Closing(
        incarnation=first[-1].incarnation,
        next_number=first[-1].number + 1,
        head=first[-1].id,
    )
    checkpoint = Checkpoint(
        incarnation=first[0].incarnation, number=2, previous=first[1].id
    )
    again = write_feed(
        roster,
        branch,
        [
            opening(branch, closes),
            [(int(EntryKind.CHECKPOINT), write_checkpoint(checkpoint))],
        ],
        2,
    )
    other = write_feed(roster, ledger, [opening(ledger), [(3, decided)]], 1)
    return [*first, *again, *other, forked[0][0]]


def write_frames(batches: list[Batch]) -> dict[str, bytes]:
    feed = batches[0].feed
    ids = [batch.id for batch in batches]
    return {
        "Push": frames.push(batches[0].encoded),
        "Give": frames.give(batches[1].encoded),
        "IHave": frames.ihave(ids),
        "Graft": frames.graft(ids[:1]),
        "Prune": frames.prune(),
        "Root": frames.root(bytes(32), NOW),
        "Buckets": frames.buckets({0: bytes(16), 255: b"b" * 16}),
        "Heads": frames.heads([0, 7], [frames.Head(feed, 4)], answer=True),
        "Want": frames.want(feed, 0, 3),
        "Full": frames.full(),
    }


def write_link(roster: Roster, people: list[Member]) -> dict[str, bytes]:
    """A call to the second member, and what a session says to its other end."""
    caller, called = people[0], people[1]
    local = Local(
        suite=SUITE,
        cluster=roster.cluster,
        chain=caller.chain,
        members={called.node},
    )
    (call,) = Initiator(local, called.node).handle(Begin(), NOW)
    assert isinstance(call, Transmit)
    session = Session(SUITE, SEND_KEY, RECEIVE_KEY, MonoMs(0), asks=True)
    at = [MonoMs(0), MonoMs(1), MonoMs(RATCHET_MS)]
    sealed = b"".join(session.seal(*said) for said in zip(SAID, at, strict=True))
    return {"m1": call.data, "session": sealed}


def write_store(path: Path, batches: list[Batch]) -> None:
    database = Database(path, IdentitySealer())
    database.commit([PutBatch(batch, NOW) for batch in batches])
    database.commit([PutAudit(NOW, b"decided"), PutMeta("born_ms", b"early")])
    database.close()


def write(folder: Path) -> None:
    """Write a release's fixture into ``folder``."""
    people = [member(SUITE, name) for name in NAMES]
    roster = Roster(founders(SUITE, NAMES))
    batches = write_batches(roster, people)
    assert all(len(batch.encoded) <= limits.BATCH_BYTES_MAX for batch in batches)
    wire = {
        "founders": founders_text(SUITE, NAMES),
        "chains": {one.name: _text(one.chain.encoded) for one in people},
        "batches": [_text(batch.encoded) for batch in batches],
        "frames": {name: _text(f) for name, f in write_frames(batches).items()},
        "link": {name: _text(f) for name, f in write_link(roster, people).items()},
    }
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "wire.json").write_text(json.dumps(wire, indent=1) + "\n")
    write_store(folder / "store.sqlite", batches)
    (folder / "store.sqlite").chmod(0o644)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("release")
    write(HOME / parser.parse_args().release)


if __name__ == "__main__":
    main()
