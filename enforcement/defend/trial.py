"""A trial: another policy judges beside the live one, and only the counts matter."""

from typing import Final

import attrs

from enforcement.defend.policy import Call, Decision, Policy
from gossip.units import UnixMs

_KEPT_MAX: Final = 1_024


@attrs.define
class Trial:
    """What would differ under ``policy``. Nothing it says is enforced.

    Attributes:
        calls: How many calls both have judged.
        others: How many differed beyond those that are counted one by one.
    """

    policy: Policy
    since_ms: UnixMs
    calls: int = attrs.field(init=False, default=0)
    others: int = attrs.field(init=False, default=0)
    _differ: dict[tuple[str, str, str, str, str], int] = attrs.field(
        init=False, factory=dict, repr=False
    )

    def compare(self, call: Call, live: Decision) -> None:
        """Judge a call that the live policy has judged."""
        self.calls += 1
        tried = self.policy.decide(call)
        if (tried.allow, tried.rule) == (live.allow, live.rule):
            return
        what = call.tool or call.method
        key = (call.principal.name, call.server, what, _word(live), _word(tried))
        if key not in self._differ and len(self._differ) >= _KEPT_MAX:
            self.others += 1
            return
        self._differ[key] = self._differ.get(key, 0) + 1

    def differences(self) -> list[tuple[tuple[str, str, str, str, str], int]]:
        """(agent, server, tool or method, live, tried) and how often, most first."""
        return sorted(self._differ.items(), key=lambda item: (-item[1], item[0]))


def _word(decision: Decision) -> str:
    if decision.allow:
        return "allowed"
    return f"denied: {decision.rule or decision.reason.value}"
