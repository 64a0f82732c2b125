"""What all gates of one daemon share, and how a gate says no."""

from collections.abc import Callable, Iterable, Sequence

import attrs

from enforcement import limits
from enforcement.defend.bundles import Bundles
from enforcement.defend.rate import Rate, RateLimiter
from enforcement.defend.replay import ReplayWindow
from enforcement.defend.session import Approvals, TrustBook
from enforcement.defend.testimony import AuditBudget, WitnessBudget
from enforcement.defend.trial import Trial
from enforcement.detect.artefacts import contents, parameters
from enforcement.detect.pins import Pins
from enforcement.detect.scan import Scanner
from enforcement.effects import Effect, Subject, SubjectKind
from enforcement.mcp.headers import Mirrors
from enforcement.mcp.jsonrpc import Message, Reason, Request, Response
from enforcement.mcp.sharing import SharedKeys
from gossip.suite import Suite
from gossip.units import AgentId, ClusterId


def _never(agent: AgentId, rule: str) -> bool:
    del agent, rule
    return False


def _patience() -> RateLimiter:
    per_second, burst = limits.JUNK_PER_SECOND, limits.JUNK_BURST
    return RateLimiter(Rate(per_second=per_second, burst=burst))


@attrs.define(kw_only=True)
class Post:
    """What all gates of one daemon share.

    Attributes:
        patience: How much each agent may bring that no honest side sends.
        is_refused: Whether the calls of a subject are cut off now.
        spares: Whether gates only observe: then a denial of an agent, by a rule or
            for a reason, is counted by this very question, and does not happen.
        refuses_artefacts: Whether anything is cut off by its content now.
        pins: The tools of all servers; None: any tool may be called.
        trust: None: all agents are trusted fully.
        scanner: Looks for signs of injection in answers; None: nobody does.
        shared_keys: What requests at level `pqc-session` from other nodes are under.
        trial: A policy on trial beside the live one, if any.
        proves: Whether agents beside this node prove their keys in each session.
    """

    cluster: ClusterId
    suite: Suite
    bundles: Bundles
    rates: RateLimiter
    replay: ReplayWindow
    witnesses: WitnessBudget
    audits: AuditBudget = attrs.field(factory=AuditBudget)
    patience: RateLimiter = attrs.field(factory=_patience, repr=False)
    is_refused: Callable[[Subject], bool]
    refuses_artefacts: Callable[[], bool] = lambda: False
    spares: Callable[[AgentId, str], bool] = _never
    pins: Pins | None = None
    trust: TrustBook | None = None
    approvals: Approvals = attrs.field(factory=Approvals)
    proves: bool = False
    scanner: Scanner | None = None
    shared_keys: SharedKeys = attrs.field(factory=SharedKeys)
    trial: Trial | None = None
    salt: bytes = attrs.field(
        default=attrs.Factory(lambda self: self.suite.random(32), takes_self=True),
        repr=False,
    )
    """Salts the digests of messages: a witness must not let parameters be guessed."""

    def mirrors(self, server: str, message: Message) -> Mirrors:
        """Which headers repeat which parameters of the tool that a request calls."""
        if self.pins is None or not isinstance(message, Request) or not message.tool:
            return {}
        pinned = self.pins.find(server, message.tool)
        return {} if pinned is None else pinned.mirrors

    def is_poisoned(self, message: Message) -> bool:
        """Whether an answer carries something that is cut off by its content."""
        if not isinstance(message, Response) or not self.refuses_artefacts():
            return False
        return self._find_refused(contents(message.result)) is not None

    def check_content(self, request: Request) -> None:
        """Raise `DeniedError` if a call carries something cut off by its content."""
        if not self.refuses_artefacts():
            return
        found = self._find_refused(parameters(request.params))
        if found is not None:
            raise DeniedError(
                Reason.QUARANTINED,
                f"artefact `{found.hex()}` in the parameters is quarantined",
                advice=f"run `picket quarantine why artefact:{found.hex()}`",
            )

    def _find_refused(self, digests: Iterable[bytes]) -> bytes | None:
        for one in digests:
            if self.is_refused(Subject(SubjectKind.ARTEFACT, one)):
                return one
        return None


class DeniedError(Exception):
    """A request may not pass.

    Attributes:
        evidence: `Witness` and `Proof` effects to perform besides.
        withdraws: What the server offers is withdrawn: its lists are empty.
    """

    def __init__(
        self,
        reason: Reason,
        sentence: str,
        *,
        rule: str = "",
        advice: str = "",
        evidence: Sequence[Effect] = (),
        withdraws: bool = False,
    ) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.rule = rule
        self.advice = advice
        self.evidence = evidence
        self.withdraws = withdraws
