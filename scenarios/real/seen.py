"""What is seen of real nodes: their watchers' lines, counters and disks, as figures.

The names and meanings of the figures are those of the simulator
(`scenarios.figures`). Stamps are the machine's one clock, in microseconds.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs
import trio

from scenarios.demo.control import Line
from scenarios.figures import percentile
from scenarios.real.nodes import Node
from scenarios.script import Step

MEASURED: Final = frozenset(
    {
        *{"reach_p50_ms", "reach_p99_ms", "reach_max_ms", "delivered_percent"},
        *{"cut_p50_ms", "cut_p99_ms", "cut_percent"},
        *{"false_quarantines", "innocents_denied"},
        *{"settled_s", "catch_up_ratio", "bytes_per_node"},
        *{"duplicates_per_batch", "rejected"},
        *{"served_percent", "forbidden_served", "call_p50_ms", "call_p99_ms"},
    }
)
_SENT: Final = "picket_sent_bytes_total"
_BATCHES: Final = 'picket_batches_total{fate="%s"}'


def now_us() -> int:
    """Unix microseconds, as watchers stamp their lines."""
    return time.time_ns() // 1_000


@attrs.define
class Seen:
    """Everything the nodes told, as it comes in."""

    nodes: Sequence[Node]
    honest: set[str]
    """Names of the nodes whose word counts."""
    lines: int = 0
    unanswered: list[str] = attrs.field(factory=list)
    """What the story asked of a node and got no answer to, or a refusal."""
    unserved: list[str] = attrs.field(factory=list)
    """Honest calls that no rule forbids and that were not answered, and why."""
    waiting: int = 0
    """Calls that have no answer yet."""
    disbelieved: int = 0
    """How often an honest node found a proof to prove nothing."""
    _said: dict[tuple[str, str], deque[int]] = attrs.field(init=False, factory=dict)
    """By reporter and subject: when each report was asked for."""
    _born_us: dict[str, int] = attrs.field(init=False, factory=dict)
    """By the id of an entry: when it was asked for."""
    _held_us: dict[str, dict[str, int]] = attrs.field(init=False, factory=dict)
    """By the id of an entry and the node: when it was held there."""
    _reporters: dict[str, str] = attrs.field(init=False, factory=dict)
    guilty_us: dict[str, int] = attrs.field(init=False, factory=dict)
    _cut_us: dict[tuple[str, str], int] = attrs.field(init=False, factory=dict)
    _wronged: set[str] = attrs.field(init=False, factory=set)
    _denied: dict[str, set[str]] = attrs.field(init=False, factory=dict)
    _most_denied: int = attrs.field(init=False, default=0)
    _suspects: set[str] = attrs.field(init=False, factory=set)
    """Agents that tried what is forbidden, as people call them."""
    _tried_us: dict[str, int] = attrs.field(init=False, factory=dict)
    """Hostile nodes that let a forbidden call out: guilty, if that proves something."""
    _calls: int = attrs.field(init=False, default=0)
    _call_us: list[int] = attrs.field(init=False, factory=list)
    _leaked: int = attrs.field(init=False, default=0)
    never: Mapping[tuple[str, str], str] = attrs.field(factory=dict)
    """By verb and subject: the expectation that forbids it."""
    violated: str | None = None
    _news: trio.Event = attrs.field(init=False, factory=trio.Event)

    # --- what the story does ------------------------------------------------------

    def said(self, node: Node, subject: str) -> None:
        """A node is about to be asked to report somebody."""
        if node.name not in self.honest:
            return
        self._said.setdefault((node.name, subject), deque()).append(now_us())

    def misdeed(self, node: Node) -> None:
        """Somebody really does something now."""
        self.guilty_us.setdefault(node.subject, now_us())

    def called(
        self, step: Step, role: str, caller: Node, *, honest: bool
    ) -> Callable[[float, str], None]:
        """An agent calls a tool; tell what is returned in how many ms, and why not if so."""
        if step.forbidden:
            self._suspects.add(f"agent {role} of {caller.name}")
            if caller.name not in self.honest:
                self._tried_us.setdefault(caller.subject, now_us())
        elif honest:
            self._calls += 1

        self.waiting += 1

        def told(ms: float, why_not: str) -> None:
            self.waiting -= 1
            if step.forbidden:
                self._leaked += not why_not
            elif honest and why_not:
                self.unserved.append(f"{role} {caller.name}: {why_not}")
            elif honest:
                self._call_us.append(round(ms * 1_000))

        return told

    # --- what the nodes tell ------------------------------------------------------

    async def follow(self, node: Node) -> None:
        """Watch one node until its daemon ends."""
        try:
            stream = await trio.open_unix_socket(str(node.home / "control.sock"))
            async with stream:
                await stream.send_all(b'{"v":1,"id":1,"do":"watch","args":{}}\n')
                rest = b""
                async for data in stream:
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        self.hear(node, json.loads(line).get("ok") or {})
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            return

    def hear(self, node: Node, line: Line) -> None:
        """One line of one node's watcher."""
        self.lines += 1
        event, subject = line.get("event"), str(line.get("subject"))
        at_us = int(str(line.get("at_us", 0)))
        if event == "report":
            self._report(node, line, subject, at_us)
        elif node.name not in self.honest:
            return
        elif event == "disbelieved":
            self.disbelieved += 1
        elif event == "standing" and line.get("standing") == "quarantined":
            self._forbidden("quarantine", subject, node)
            if not self._deserves(subject, line):
                self._wronged.add(subject)
        elif event == "deny":
            self._forbidden("deny", subject, node)
            if line.get("basis") == "proof" and subject in self._tried_us:
                self.guilty_us.setdefault(subject, self._tried_us[subject])
            since = self.guilty_us.get(subject)
            if since is not None:
                self._cut_us.setdefault((subject, node.name), at_us - since)
            elif not self._deserves(subject, line):
                denied = self._denied.setdefault(node.name, set())
                denied.add(subject)
                self._most_denied = max(self._most_denied, len(denied))
        elif event == "allow":
            self._denied.get(node.name, set()).discard(subject)

    def _report(self, node: Node, line: Line, subject: str, at_us: int) -> None:
        key = str(line["id"])
        self._reporters[key] = str(line["reporter"])
        self._held_us.setdefault(key, {}).setdefault(node.name, at_us)
        if line.get("reporter") == node.name:
            asked = self._said.get((node.name, subject))
            if asked and key not in self._born_us:
                self._born_us[key] = asked.popleft()

    def _forbidden(self, verb: str, subject: str, node: Node) -> None:
        words = self.never.get((verb, subject))
        if words is not None and self.violated is None:
            self.violated = f"never `{words}`, but {node.name} did"
            self._news.set()

    def _deserves(self, subject: str, line: Line) -> bool:
        """Guilty, no honest node, or an agent that tried what is forbidden."""
        if subject in self.guilty_us or line.get("name") in self._suspects:
            return True
        by_subject = {node.subject: node.name for node in self.nodes}
        name = by_subject.get(subject)
        return name is not None and name not in self.honest

    async def wait_violated(self) -> None:
        """Return once something happened that must never happen."""
        while self.violated is None:
            await self._news.wait()

    def everywhere(self, count: int) -> set[str]:
        """Ids of the entries that so many nodes hold."""
        return {key for key, held in self._held_us.items() if len(held) >= count}

    def way_us(self, key: str) -> tuple[int, list[int]]:
        """Of an entry: from asked to durable, and from there to each other node."""
        held, author = self._held_us[key], self._reporters[key]
        durable = held[author]
        ways = [at - durable for name, at in held.items() if name != author]
        return durable - self._born_us[key], ways

    # --- figures ------------------------------------------------------------------

    def honest_nodes(self) -> list[Node]:
        """Those whose word counts, up or down."""
        return [node for node in self.nodes if node.name in self.honest]

    def living(self) -> list[Node]:
        """Those of them that are up."""
        return [node for node in self.honest_nodes() if node.is_up]

    def delivered(self) -> float | None:
        """The share of what honest nodes made durable that the living ones hold.

        None if nobody is left to hold it, or nothing was said.
        """
        authors = {node.id for node in self.honest_nodes()}
        disks = {node.name: node.held().keys() for node in self.honest_nodes()}
        due = {key for held in disks.values() for key in held if key[0] in authors}
        living = self.living()
        if not due or not living:
            return None
        held = sum(len(due & disks[node.name]) for node in living)
        return held / (len(due) * len(living))

    def missing_bytes(self) -> int:
        """What the living lack of what another of them holds."""
        disks = [node.held() for node in self.living()]
        union = {key: size for disk in disks for key, size in disk.items()}
        return sum(
            size for disk in disks for key, size in union.items() if key not in disk
        )

    async def sent_bytes(self) -> float:
        """What all nodes have sent."""
        return sum([(await node.metrics()).get(_SENT, 0.0) for node in self.nodes])

    async def figures(self) -> dict[str, float]:
        """All but those of the time after the story."""
        honest = self.honest_nodes()
        counted = [await node.metrics() for node in honest]

        def total(name: str) -> float:
            return sum(metrics.get(name, 0.0) for metrics in counted)

        found = {
            "false_quarantines": float(len(self._wronged)),
            "innocents_denied": float(self._most_denied),
            "bytes_per_node": total(_SENT) / max(1, len(honest)),
            "duplicates_per_batch": total(_BATCHES % "known")
            / max(1.0, total(_BATCHES % "accepted")),
            "rejected": total(_BATCHES % "rejected"),
        }
        delivered = self.delivered()
        if delivered is not None:
            found["delivered_percent"] = 100 * delivered
        reach = [
            at - born
            for key, born in self._born_us.items()
            for name, at in self._held_us[key].items()
            if name in self.honest and name != self._reporters[key]
        ]
        if reach:
            found["reach_p50_ms"] = percentile(reach, 0.5) / 1_000
            found["reach_p99_ms"] = percentile(reach, 0.99) / 1_000
            found["reach_max_ms"] = max(reach) / 1_000
        due = [
            (subject, node.name)
            for subject in self.guilty_us
            for node in self.living()
            if node.subject != subject
        ]
        if self._calls:
            found["served_percent"] = 100 * len(self._call_us) / self._calls
            found["call_p50_ms"] = percentile(self._call_us, 0.5) / 1_000
            found["call_p99_ms"] = percentile(self._call_us, 0.99) / 1_000
        if self._calls or self._suspects:
            found["forbidden_served"] = float(self._leaked)
        cut = list(self._cut_us.values())
        if due:
            found["cut_percent"] = (
                100 * sum(pair in self._cut_us for pair in due) / len(due)
            )
        if cut:
            found["cut_p50_ms"] = percentile(cut, 0.5) / 1_000
            found["cut_p99_ms"] = percentile(cut, 0.99) / 1_000
        return found
