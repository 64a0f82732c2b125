"""What is enforced is kept up to date step by step as if it were found anew each time."""

import random

import attrs
import pytest

from enforcement.decide import quarantine
from enforcement.decide.acts import Mercy
from enforcement.decide.case import Basis, Level, Standing
from enforcement.decide.quarantine import Enforcement
from enforcement.decide.thresholds import Thresholds
from gossip.ledger.entries import Subject, SubjectKind
from gossip.units import UnixMs

NOW = 1_800_000_000_000
MINUTE = 60_000
CLEAR = Standing(level=Level.CLEAR)


def node(n: int) -> Subject:
    return Subject(SubjectKind.NODE, n.to_bytes(32, "big"))


def out(chance: random.Random, now: int) -> Standing:
    since = UnixMs(now - chance.randint(0, 3) * MINUTE)
    return Standing(
        level=Level.QUARANTINED,
        basis=chance.choice((Basis.PROOF, Basis.VOICES, Basis.VOICES)),
        since_ms=since,
        until_ms=UnixMs(now + chance.randint(1, 60) * MINUTE),
        by_most_ms=chance.choice((None, since)),
    )


def history(seed: int) -> list[tuple[int, Subject, Standing]]:
    """Nodes come, stay with a later end, gain better grounds, and go."""
    chance, now = random.Random(seed), NOW
    held: dict[Subject, Standing] = {}
    told: list[tuple[int, Subject, Standing]] = []
    for _ in range(200):
        now += chance.randint(1, 2 * MINUTE)
        subject = node(chance.randrange(12))
        standing = out(chance, now)
        if subject in held and chance.random() < 0.7:
            later = UnixMs((held[subject].until_ms or now) + MINUTE)
            standing = attrs.evolve(held[subject], until_ms=later)
        elif chance.random() < 0.2:
            standing = CLEAR
        held[subject] = standing
        told.append((now, subject, standing))
    return told


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("members", [16, 40])
def test_one_more_voice_changes_the_end_and_nobodys_place(
    seed: int, members: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def play() -> list[object]:
        kept = Enforcement(Thresholds(members=members), Mercy(), observe=False)
        seen, most = list[object](), 0
        for now, subject, standing in history(seed):
            changes = [*kept.place(subject, standing, now), *kept.let_through(now)]
            told = [(s, isinstance(what, Standing) or what) for s, what in changes]
            ends = {s: held.until_ms for s, held in kept.denied_nodes.items()}
            seen.append((told, ends, kept.refused_links, kept.next_ms))
            most = max(most, len(ends))
        assert most >= 2, "nothing happened"
        return seen

    step_by_step = play()
    monkeypatch.setattr(quarantine, "_alike", lambda _one, _other: False)
    assert step_by_step == play()
