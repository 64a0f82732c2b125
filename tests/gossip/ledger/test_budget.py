"""Author budgets: who floods waits, and what is dear to judge costs more."""

import attrs
import pytest

from gossip.ledger.batch import Batch, read_batch_untrusted
from gossip.ledger.budget import BURST_MS, ENTRY_MS, PROOF_MS, Budget
from gossip.ledger.entries import (
    EntryKind,
    Proof,
    Report,
    Subject,
    SubjectKind,
    Witness,
    write_report,
)
from gossip.units import UnixMs
from scenarios.toy import ToySuite
from tests.support.members import NOW, member
from tests.support.town import Town, forge

TOWN = Town(ToySuite(), ["ash", "birch"])
SEEN = Witness(digest=bytes(32), count=1, first_ms=NOW, last_ms=NOW)


def batch(evidence: Proof | Witness, count: int = 1) -> Batch:
    report = Report(
        subject=Subject(SubjectKind.NODE, member(TOWN.suite, "birch").node),
        category="odd",
        severity=8,
        evidence=evidence,
    )
    said = [(int(EntryKind.REPORT), write_report(report))] * count
    return read_batch_untrusted(
        forge(member(TOWN.suite, "ash"), TOWN, entries=said, at=NOW)
    )


@pytest.mark.parametrize(
    ("evidence", "cost_ms"), [(SEEN, ENTRY_MS), (Proof(data=b"p"), PROOF_MS)]
)
def test_a_burst_passes_and_then_one_waits_by_what_judging_it_costs(
    evidence: Proof | Witness, cost_ms: int
) -> None:
    budget, said = Budget(), batch(evidence)
    for _ in range(BURST_MS // cost_ms):
        assert budget.not_before(said, NOW, live=True) <= NOW
        budget.spend(said, NOW, live=True)
    due = budget.not_before(said, NOW, live=True)
    assert due == NOW + cost_ms
    assert budget.not_before(said, UnixMs(due), live=True) <= due


def test_many_entries_under_one_signature_cost_as_much_as_one_by_one() -> None:
    together, apart = Budget(), Budget()
    together.spend(batch(Proof(data=b"p"), 8), NOW, live=True)
    for _ in range(8):
        apart.spend(batch(Proof(data=b"p")), NOW, live=True)
    assert together == apart


def test_who_floods_delays_nobody_else() -> None:
    budget, said = Budget(), batch(Proof(data=b"p"))
    for _ in range(BURST_MS // PROOF_MS + 1):
        budget.spend(said, NOW, live=True)
    other = attrs.evolve(said, author=member(TOWN.suite, "birch").node)
    assert budget.not_before(said, NOW, live=True) > NOW
    assert budget.not_before(other, NOW, live=True) <= NOW


def test_what_was_said_long_ago_is_measured_by_its_own_stamps() -> None:
    """A node that was away catches up with an honest author at once."""
    budget, said = Budget(), batch(Proof(data=b"p"))
    for n in range(2 * BURST_MS // PROOF_MS):
        old = attrs.evolve(said, issued_at_ms=UnixMs(NOW - 10**7 + n * PROOF_MS))
        assert budget.not_before(old, NOW, live=False) <= NOW
        budget.spend(old, NOW, live=False)
