"""The guard: what all gates of one daemon share.

One policy, one set of rates, one memory of requests seen: an agent that opens
many sessions is one agent still.
"""

import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import attrs

from enforcement import effects as gate
from enforcement.decide.court import Court, Offence
from enforcement.decide.evidence import read_proof_untrusted
from enforcement.defend.bundles import Bundles
from enforcement.defend.policy import Policy
from enforcement.defend.rate import Rate, RateLimiter
from enforcement.defend.replay import ReplayWindow
from enforcement.defend.session import TrustBook
from enforcement.defend.testimony import WitnessBudget
from enforcement.defend.typecheck import Declared, check_types, find_unread
from enforcement.detect.pins import Pins
from enforcement.detect.scan import Scanner
from enforcement.effects import Position
from enforcement.gate import Gate
from enforcement.post import Post
from enforcement.principal import Principal, Principals
from enforcement.reporting import for_court, offence
from gossip.errors import UserError
from gossip.ledger.entries import SubjectKind
from gossip.membership.roster import Roster
from gossip.suite import Suite
from gossip.units import AgentId, NodeId, UnixMs
from node.clock import Clock
from node.config import Config, read_text
from node.keys.keystore import check_ours
from node.names import Names

SUFFIX: Final = ".cedar"
DEFAULT_RATE: Final = Rate(per_second=1_000.0, burst=2_000)
"""For servers whose configuration names none: a stop for runaways only."""


def read_policy(folder: Path) -> Policy:
    """Load the policy in a folder: all its ``*.cedar`` files, or none.

    Raises:
        UserError: no such folder, no files in it, or a mistake in one of them.
    """
    return parse_policy(folder, policy_files(folder))


def parse_policy(folder: Path, texts: Mapping[str, str]) -> Policy:
    """Parse what `policy_files` read in ``folder``; see `read_policy`."""
    try:
        return Policy.load(texts)
    except UserError as wrong:
        raise UserError(f"{folder}: {wrong}") from None


def policy_files(folder: Path) -> Mapping[str, str]:
    """The texts of a policy folder, by file name.

    Raises:
        UserError: no such folder, or no files in it.
    """
    try:
        paths = sorted(p for p in folder.iterdir() if p.suffix == SUFFIX)
    except OSError as wrong:
        raise UserError(
            f"{folder}: cannot read the policy folder: {wrong.strerror}; `policy` in"
            " the configuration names it"
        ) from None
    if not paths:
        raise UserError(f"{folder}: no *{SUFFIX} file is here, so nothing is allowed")
    return {path.name: read_text(path, "this policy") for path in paths}


def check_files(config: Config) -> None:
    """Refuse keys, folders and rules that somebody else could have changed.

    What lies in a folder that nobody else can enter is as safe as the folder: so a
    rule written by an editor for the group is fine in the folder that `init` made.

    Raises:
        UserError: naming the first.
    """
    rules = list(config.policy.glob(f"*{SUFFIX}"))
    if rules and not stat.S_IMODE(config.policy.stat().st_mode) & 0o011:
        rules = []
    keys = config.keys.glob("*.seed")
    check_ours(config.state, config.keys, *keys, config.policy, *rules)


def rates(config: Config) -> dict[str, Rate]:
    """The limits a configuration sets, by server, ``server/tool`` and ``#tag``."""
    named = dict(config.rates)
    for server, rate in config.rates.items():
        named |= {f"{server}/{tool}": of for tool, of in rate.tools.items()}
    named |= {f"#{tag.casefold()}": rate for tag, rate in config.tag_rates.items()}
    return {
        name: Rate(per_second=rate.calls_per_second, burst=rate.burst)
        for name, rate in named.items()
    }


def scanner_of(config: Config) -> Scanner | None:
    """What looks at the answers that agents of this node get, as configured."""
    if config.scan == "off":
        return None
    return Scanner(annotates=config.scan == "annotate")


@attrs.define
class ProofReader:
    """Judges proofs for the court; see `enforcement.decide.court.ReadProof`."""

    roster: Roster
    suite: Suite
    bundles: Bundles
    names: Names
    _known: Principals = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._known = Principals(self.roster, self.suite)

    def __call__(self, data: bytes) -> Offence | None:
        """What a proof proves; None if its bundle is not known here.

        Raises:
            PeerError: it proves nothing.
        """
        proven = read_proof_untrusted(
            data,
            roster=self.roster,
            suite=self.suite,
            policies=self.bundles.find,
            known=self._known,
        )
        if proven is None:
            return None
        self.names.learn(proven.agent, proven.agent_name, proven.node)
        return offence(proven)


@attrs.define
class Guard:
    """Makes the gates of one daemon; see `node.proxy.desk.NewGate`."""

    post: Post
    names: Names

    @classmethod
    def of(
        cls,
        *,
        config: Config,
        roster: Roster,
        suite: Suite,
        bundles: Bundles,
        court: Court,
        clock: Clock,
        names: Names,
        pins: Pins,
        replay: ReplayWindow,
        spares: Callable[[AgentId, str], bool],
    ) -> "Guard":
        """The guard of a node whose court says who is cut off."""

        def is_refused(who: gate.Subject) -> bool:
            if not court.denies_anyone():
                return False
            subject = for_court(who.kind, who.id)
            if court.denial(subject) is not None:
                return True
            return subject.kind is SubjectKind.NODE and court.isolated(
                NodeId(who.id), clock.unix_ms()
            )

        names.pins = pins
        return cls(
            Post(
                cluster=roster.cluster,
                suite=suite,
                bundles=bundles,
                rates=RateLimiter(default=DEFAULT_RATE, servers=rates(config)),
                replay=replay,
                witnesses=WitnessBudget(),
                is_refused=is_refused,
                refuses_artefacts=court.denies_artefacts,
                spares=spares,
                pins=pins,
                trust=TrustBook(),
                proves=True,
                scanner=scanner_of(config),
            ),
            names,
        )

    def __call__(
        self, position: Position, principal: Principal, server: str, audience: NodeId
    ) -> Gate:
        """The gate of one session."""
        self.names.learn(principal.agent, principal.name, principal.node)
        return Gate(
            position=position,
            principal=principal,
            server=server,
            audience=audience,
            post=self.post,
        )

    @property
    def pins(self) -> Pins:
        """The tools of all servers."""
        assert self.post.pins is not None, "a daemon's gates always pin"
        return self.post.pins

    def check(self, policy: Policy) -> list[tuple[str, str]]:
        """Check a policy against the pinned tools; what it reads that none declares.

        Raises:
            UserError: a rule would err at each call of one of them.
        """
        tools = [
            Declared(m.server, m.tool, m.declared.get("inputSchema"))
            for m in self.pins.tools()
        ]
        check_types(policy, tools)
        return find_unread(policy, tools)

    def restore_trust(self, agent: AgentId, now: UnixMs) -> None:
        """Somebody vouched for an agent: its trust begins anew."""
        if self.post.trust is not None:
            self.post.trust.restored(agent, now)

    def change(self, config: Config) -> None:
        """Take over changed rate limits; agents keep the tokens they have."""
        self.post.rates.servers = rates(config)
        self.post.scanner = scanner_of(config)
