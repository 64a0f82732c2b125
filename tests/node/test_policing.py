"""Operators give the cluster its policy: a quorum, the newest, and all or nothing."""

from collections.abc import Mapping

import attrs
import pytest

from enforcement.defend.bundles import Bundles
from enforcement.defend.policy import Policy
from enforcement.limits import BUNDLE_OVERLAP_MS
from gossip.errors import UserError
from gossip.ledger.entries import Entry, EntryKind
from gossip.membership.acts import draft_act, join_act, sign_act
from gossip.membership.founders import ActKind, Operator
from gossip.membership.roster import Roster
from gossip.suite import SigningKey
from gossip.units import EntryId, Incarnation, MonoMs, NodeId, UnixMs
from node.log import Log
from node.policing import ClusterPolicy, draft_policy, write_bundle
from tests.support.births import NOW, SUITE
from tests.support.sessions import PERMIT, Town

OLD = Policy.load({"own.cedar": PERMIT})
NEW = {
    "a.cedar": PERMIT,
    "b.cedar": 'forbid(principal in Role::"x", action, resource);',
}


@attrs.define
class At:
    """A clock that stands still."""

    now: int = NOW

    def unix_ms(self) -> UnixMs:
        return UnixMs(self.now)

    def mono_ms(self) -> MonoMs:
        return MonoMs(self.now)


@attrs.define
class Desk:
    """A cluster of two operators who must both sign."""

    town: Town = attrs.field(factory=Town)
    keys: list[SigningKey] = attrs.field(init=False)
    roster: Roster = attrs.field(init=False)
    policing: ClusterPolicy = attrs.field(init=False)
    told: list[Mapping[str, str]] = attrs.field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        self.keys = [SUITE.signing_key_from_seed(SUITE.generate_seed()) for _ in "ab"]
        operators = tuple(
            Operator(name=f"op{n}", public_key=key.public_key)
            for n, key in enumerate(self.keys)
        )
        founders = attrs.evolve(
            self.town.roster.founders,
            operators=operators,
            quorum=dict.fromkeys(ActKind, 2),
        )
        self.roster = Roster(founders)
        self.policing = ClusterPolicy(
            self.roster, SUITE, Bundles(OLD), At(), Log("error"), self.told.append
        )

    def hear(self, draft: bytes, *signers: SigningKey, at: int = NOW) -> None:
        act = join_act(draft, [sign_act(draft, key) for key in signers])
        self.policing.hear(entry(act, at))

    @property
    def current(self) -> bytes:
        return self.policing.bundles.current.digest


def entry(body: bytes, at: int) -> Entry:
    return Entry(
        id=EntryId(bytes(32)),
        author=NodeId(bytes(32)),
        incarnation=Incarnation(bytes(16)),
        number=0,
        index=0,
        issued_at_ms=UnixMs(at),
        kind=EntryKind.ACT,
        body=body,
    )


@pytest.fixture(scope="module")
def town() -> Town:
    return Town()


@pytest.fixture
def desk(town: Town) -> Desk:
    return Desk(town)


def test_a_quorum_makes_a_policy_and_the_old_one_overlaps(desk: Desk) -> None:
    desk.hear(draft_policy(NEW, desk.roster, NOW), *desk.keys)
    assert desk.current == Policy.load(NEW).digest
    assert desk.told == [NEW]
    assert desk.policing.signers == ("op0", "op1")
    bundles = desk.policing.bundles
    assert bundles.accepted(OLD.digest, UnixMs(NOW + BUNDLE_OVERLAP_MS)) is not None
    assert bundles.accepted(OLD.digest, UnixMs(NOW + BUNDLE_OVERLAP_MS + 1)) is None


def test_one_operator_of_two_changes_nothing(desk: Desk) -> None:
    desk.hear(draft_policy(NEW, desk.roster, NOW), desk.keys[0])
    assert desk.current == OLD.digest
    assert not desk.told


def test_an_older_act_never_replaces_a_newer_whatever_comes_first(desk: Desk) -> None:
    older = draft_policy({"old.cedar": PERMIT}, desk.roster, UnixMs(NOW - 1))
    newer = draft_policy(NEW, desk.roster, NOW)
    desk.hear(newer, *desk.keys)
    desk.hear(older, *desk.keys)
    assert desk.current == Policy.load(NEW).digest


def test_an_act_told_after_its_end_changes_nothing(desk: Desk) -> None:
    desk.hear(draft_policy(NEW, desk.roster, NOW), *desk.keys, at=NOW + 8 * 86_400_000)
    assert desk.current == OLD.digest


@pytest.mark.parametrize(
    "texts", [{"a.cedar": PERMIT, "b.cedar": "permit("}, {"a.cedar": "nonsense"}]
)
def test_one_broken_file_changes_nothing_even_if_a_quorum_signed_it(
    desk: Desk, texts: dict[str, str]
) -> None:
    with pytest.raises(UserError):
        draft_policy(texts, desk.roster, NOW)
    until = UnixMs(NOW + 1_000)
    cluster, payload = desk.roster.cluster, write_bundle(texts)
    draft = draft_act(cluster, ActKind.POLICY, NOW, NOW, until, payload)
    desk.hear(draft, *desk.keys)
    assert desk.current == OLD.digest
    assert desk.policing.texts is None


def test_what_does_not_fit_one_act_is_said_before_anybody_signs(desk: Desk) -> None:
    with pytest.raises(UserError, match="one act holds"):
        draft_policy({"a.cedar": PERMIT + "// x\n" * 20_000}, desk.roster, NOW)
