"""The clerk: keeps what the gates tell. Audit to disk, evidence to the court."""

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import attrs
from prometheus_client import Counter

from enforcement.effects import Audit, Position, Proof, ToolSeen, Verdict, Witness
from node.database import PutAudit
from node.metrics import Metrics
from node.proxy.session import Told
from node.store import Store


class Evidence(Protocol):
    """Who takes what was seen: `node.justice.Justice`."""

    def witness(self, seen: Witness) -> None:
        """A gate saw somebody misbehave."""
        ...

    def proof(self, proven: Proof) -> None:
        """A gate holds a signed request that convicts."""
        ...


@attrs.frozen
class Clerk:
    """The sink of every gate of this daemon; never blocks."""

    store: Store
    evidence: Evidence
    metrics: Metrics
    tell: Callable[[str], None] = lambda sentence: None
    """Warns whoever runs this node."""
    _counters: dict[tuple[Verdict, Position], Counter] = attrs.field(
        init=False, factory=dict
    )

    def told(self, effect: Told) -> None:
        """Keep an audit record; hand on a witness or a proof."""
        match effect:
            case Audit():
                self._counter(effect.verdict, effect.position).inc(effect.count)
                self.store.submit(PutAudit(effect.at_ms, write_audit(effect)))
            case Witness():
                self.evidence.witness(effect)
            case Proof():
                self.evidence.proof(effect)
            case ToolSeen(server=server, tool=tool, held=True):
                self.tell(
                    f"the tool `{tool}` of `{server}` declares something else than it"
                    " did; it is neither shown nor called until `picket tools accept"
                    f" {server} {tool}`"
                )
            case ToolSeen():
                pass  # pinned; the store knows

    def decided(self, position: Position, seconds: float) -> None:
        """One event took a gate so long."""
        del position
        self.metrics.gate_seconds.observe(seconds)

    def _counter(self, verdict: Verdict, position: Position) -> Counter:
        """Looked up once: the library does it anew each time, and not for nothing."""
        found = self._counters.get((verdict, position))
        if found is None:
            found = self.metrics.calls.labels(verdict.value, position.value)
            self._counters[verdict, position] = found
        return found


def write_audit(record: Audit) -> bytes:
    """One decision as JSON, keys in a fixed order; no payload is in it."""
    return (
        f'{{"at_ms":{record.at_ms},"position":"{record.position}",'
        f'"agent":"{record.agent.hex()}","node":"{record.node.hex()}",'
        f'"server":{_text(record.server)},"method":{_text(record.method)},'
        f'"tool":{_text(record.tool)},"verdict":"{record.verdict}",'
        f'"rule":{_text(record.rule)},"reason":{_text(record.reason)},'
        f'"request_id":"{record.request_id.hex()}","digest":"{record.digest.hex()}",'
        f'"session":"{record.session.hex()}","count":{record.count}}}'
    ).encode()


@lru_cache(maxsize=1_024)
def _text(text: str) -> str:
    """A JSON string: most records hold the same few."""
    return json.dumps(text)
