"""The guard: what all gates of one daemon share.

One policy, one set of rates, one memory of requests seen: an agent that opens
many sessions is one agent still.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

from enforcement.decide.court import Offence
from enforcement.decide.evidence import read_proof_untrusted
from enforcement.defend.bundles import Bundles
from enforcement.defend.policy import Policy
from enforcement.defend.rate import Rate, RateLimiter
from gossip.errors import UserError
from gossip.ledger.entries import Subject, SubjectKind
from gossip.membership.roster import Roster
from gossip.suite import Suite
from node.config import Config, read_text

SUFFIX: Final = ".cedar"
DEFAULT_RATE: Final = Rate(per_second=1_000.0, burst=2_000)
"""For servers whose configuration names none: a stop for runaways only."""


def read_policy(folder: Path) -> Policy:
    """Load the policy in a folder: all its ``*.cedar`` files, or none.

    Raises:
        UserError: no such folder, no files in it, or a mistake in one of them.
    """
    try:
        return Policy.load(policy_files(folder))
    except UserError as wrong:
        raise UserError(f"{folder}: {str(wrong).removeprefix(f'{folder}: ')}") from None


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


def rates(config: Config) -> dict[str, Rate]:
    """The rate limits that a configuration sets, by server."""
    return {
        name: Rate(per_second=server.calls_per_second, burst=server.burst or 1)
        for name, server in config.servers.items()
        if server.calls_per_second is not None
    }


@attrs.frozen
class ProofReader:
    """Judges proofs for the court; see `enforcement.decide.court.ReadProof`."""

    roster: Roster
    suite: Suite
    bundles: Bundles

    def __call__(self, data: bytes) -> Offence | None:
        """What a proof proves; None if its bundle is not known here.

        Raises:
            PeerError: it proves nothing.
        """
        proven = read_proof_untrusted(
            data, roster=self.roster, suite=self.suite, policies=self.bundles.find
        )
        if proven is None:
            return None
        return Offence(
            convicts=(
                Subject(SubjectKind.AGENT, proven.agent),
                Subject(SubjectKind.NODE, proven.node),
            ),
            request_id=proven.request_id,
            rule=proven.rule,
            severity=proven.severity,
            committed_at_ms=proven.issued_at_ms,
        )


def rate_limiter(config: Config) -> RateLimiter:
    """The buckets of all agents and servers."""
    return RateLimiter(default=DEFAULT_RATE, servers=rates(config))
