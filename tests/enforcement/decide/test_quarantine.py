"""The promises of ``enforcement.decide.quarantine``: the cluster is no casualty."""

from hypothesis import given
from hypothesis import strategies as st

from enforcement.decide.acts import Mercy
from enforcement.decide.case import Basis, Level, Standing
from enforcement.decide.quarantine import enforce
from enforcement.decide.thresholds import Thresholds
from gossip.ledger.entries import Subject, SubjectKind
from gossip.units import UnixMs

subjects = st.builds(
    Subject,
    st.sampled_from([SubjectKind.NODE, SubjectKind.AGENT]),
    st.integers(0, 40).map(lambda n: n.to_bytes(32, "big")),
)
standings = st.builds(
    lambda basis, since: Standing(
        level=Level.QUARANTINED,
        basis=basis,
        since_ms=UnixMs(since),
        until_ms=UnixMs(since + 1),
    ),
    st.sampled_from(Basis),
    st.integers(0, 100),
)
everyone = st.dictionaries(subjects, standings, max_size=40)


@given(everyone, st.integers(1, 128), st.booleans())
def test_never_more_nodes_are_out_than_the_valve_lets_through(
    out: dict[Subject, Standing], members: int, observe: bool
) -> None:
    thresholds = Thresholds(members=members)

    enforced = enforce(out, thresholds, Mercy(), 10**9, observe=observe)

    by_voices = [
        s
        for s, standing in enforced.denied.items()
        if s.kind is SubjectKind.NODE and standing.basis is Basis.VOICES
    ]
    assert len(by_voices) <= (0 if observe else thresholds.valve)
    assert len(enforced.refused_links) <= thresholds.valve
    assert enforced.held_back.keys() | enforced.denied.keys() == out.keys()


@given(everyone, st.booleans())
def test_a_proof_denies_calls_uncapped_even_while_observing(
    out: dict[Subject, Standing], observe: bool
) -> None:
    enforced = enforce(out, Thresholds(members=5), Mercy(), 10**9, observe=observe)

    proven = {s for s, standing in out.items() if standing.basis is Basis.PROOF}
    assert proven <= enforced.denied.keys()


@given(everyone)
def test_agents_are_not_capped(out: dict[Subject, Standing]) -> None:
    enforced = enforce(out, Thresholds(members=5), Mercy(), 10**9, observe=False)

    assert all(s.kind is SubjectKind.NODE for s in enforced.held_back)
