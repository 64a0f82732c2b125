"""What the daemon counts, as Prometheus sees it; docs/reference/metrics.md.

One registry of our own for each daemon: nothing of the process at large leaks
in, and several daemons in one test do not share counters.
"""

from collections.abc import Callable
from typing import Final

import trio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from node.proxy.http import Origins
from node.proxy.httpd import Exchange

_FAST: Final = (
    0.00005,
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.05,
    0.25,
)
_SLOW: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0)
_LAG_PERIOD_S: Final = 0.5


class Metrics:
    """Every metric, by the name it has on the page without its prefix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.before_page: Callable[[], None] = lambda: None
        """Called before a page is written, to count what is not counted as it happens."""
        self.reports = self._counter("reports", "Reports admitted.", "class")
        self.pages = self._counter("pages", "Notifications to people.")
        self.observed = self._counter(
            "observed", "Would-be denials and cuts that observe mode let be.", "what"
        )
        self.batches = self._counter(
            "batches", "Batches, by what became of them.", "fate"
        )
        self.entries = self._counter("entries", "Entries admitted.", "kind")
        self.received_bytes = self._counter("received_bytes", "Gossip bytes received.")
        self.sent_bytes = self._counter("sent_bytes", "Gossip bytes sent.")
        self.unsent = self._counter("unsent_frames", "Frames no link took.")
        self.links = self._gauge("links", "Links up now.")
        self.links_refused = self._counter("links_refused", "Links refused.")
        self.links_closed = self._counter("links_closed", "Links that ended.", "why")
        self.members = self._gauge("members", "Members of the roster.")
        self.standing = self._gauge("standing", "Subjects by standing.", "standing")
        self.held_back = self._gauge(
            "held_back", "Quarantines decided and not enforced now.", "why"
        )
        self.verdicts = self._counter("verdicts", "Changes of standing.", "standing")
        self.clock_offset_seconds = self._gauge(
            "clock_offset_seconds", "This clock less the median peer's."
        )
        self.lasting_share = self._gauge(
            "lasting_share", "Part used of what all keep of this node for good."
        )
        self.calls = self._counter(
            "calls", "MCP messages decided.", "decision", "position"
        )
        self.gate_seconds = self._seconds(
            "gate_decision", "One event in a gate.", _FAST
        )
        self.sign_seconds = self._seconds("sign", "One composite signature.", _FAST)
        self.frame_seconds = self._seconds(
            "frame", "One gossip frame handled: read, verified, spread.", _FAST
        )
        self.denial_seconds = self._seconds(
            "denial", "From an admitted entry to the refusal it leads to.", _FAST
        )
        self.commit_seconds = self._seconds("store_commit", "One commit.", _SLOW)
        self.commit_writes = Histogram(
            "picket_store_commit_writes",
            "Writes that shared one commit.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
            registry=self.registry,
        )
        self.loop_lag_seconds = self._seconds(
            "loop_lag", "How late the event loop woke a timer.", _SLOW
        )

    def committed(self, seconds: float, writes: int) -> None:
        """The store committed so many writes."""
        self.commit_seconds.observe(seconds)
        self.commit_writes.observe(writes)

    def page(self) -> bytes:
        """The text that Prometheus scrapes."""
        self.before_page()
        return generate_latest(self.registry)

    async def watch_loop(self) -> None:
        """Measure the loop's lag for ever."""
        while True:
            due = trio.current_time() + _LAG_PERIOD_S
            await trio.sleep_until(due)
            self.loop_lag_seconds.observe(max(0.0, trio.current_time() - due))

    async def serve(self, origins: Origins, exchange: Exchange) -> None:
        """Answer one HTTP request: ``GET /metrics`` and nothing else."""
        request = exchange.request
        if not origins.admit(request.headers):
            await exchange.answer(
                403, b"this Host or Origin is not served here\n", "text/plain"
            )
        elif request.path != "/metrics":
            await exchange.answer(404, b"only /metrics is here\n", "text/plain")
        elif request.method != "GET":
            await exchange.answer(405, b"only GET\n", "text/plain")
        else:
            await exchange.answer(200, self.page(), CONTENT_TYPE_LATEST)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"picket_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"picket_{name}", text, labels, registry=self.registry)

    def _seconds(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(
            f"picket_{name}_seconds", text, buckets=buckets, registry=self.registry
        )
