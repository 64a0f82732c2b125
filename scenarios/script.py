"""A scenario as data: who takes part, over what network, what happens, what must hold.

`scenarios.reading` makes one from a TOML file; the swarm makes them at random.
"""

import math
import re
from typing import Final

import attrs

NODES_MAX: Final = 10_000
STEPS_MAX: Final = 1_000


@attrs.frozen(kw_only=True)
class Delay:
    """How long one frame travels: at least ``min_ms``, ``mean_ms`` on average.

    What exceeds the minimum is drawn from an exponential distribution.
    """

    min_ms: float = 0.1
    mean_ms: float = 0.3


@attrs.frozen(kw_only=True)
class NetworkPlan:
    """The network before anybody meddles with it.

    Attributes:
        delay: Of every link; of links within one city when there are cities.
        cities: Where nodes live, in turn; distance then adds to the delay.
        ways_ms: One way between two of them, as measured, by ``one other``; what is
            not given is computed, if both are real cities.
        loss: Share of frames that are lost, 0 to 1.
        duplicate: Share of frames that arrive twice.
        datagrams: Lost frames stay lost and overtaking is allowed. Otherwise a
            link is a stream, as real ones are: what is lost is sent again later
            and all that follows waits for it.
        uplink_mbit: What a node can send in a second; None for no limit.
    """

    delay: Delay = Delay()
    cities: tuple[str, ...] = ()
    ways_ms: tuple[tuple[str, float], ...] = ()
    loss: float = 0.0
    duplicate: float = 0.0
    datagrams: bool = False
    uplink_mbit: float | None = None


@attrs.frozen(kw_only=True)
class Costs:
    """What a node spends, in microseconds of its processor or disk.

    Attributes:
        frame_us: For each frame that arrives.
        batch_us: Besides, for each batch of another that is new to it.
        processors: How many all nodes share, as on one machine; 0 if each has
            its own.
    """

    frame_us: int = 60
    batch_us: int = 0
    sign_us: int = 750
    disk_us: int = 1_000
    processors: int = 0


@attrs.frozen(kw_only=True)
class Cluster:
    """What the nodes are told of each other.

    Attributes:
        opens: ``all`` nodes open a feed at start, or only the ``speakers`` that
            the story gives something to say, as in a cluster whose other feeds
            have long been spread.
        calls_per_s: How many calls an agent may make of each server.
        colluders: The f of the founders' file; None for the default.
        sponsored: Roles whose nodes one and the same member brought in; all
            others are founders.
    """

    opens: str = "all"
    colluders: int | None = None
    observe: bool = False
    sponsored: tuple[str, ...] = ()
    calls_per_s: float = 1_000.0


@attrs.frozen
class Some:
    """A choice of nodes (or, where a subject is meant, of agents).

    ::

        honest-3            that one          80 % of honest    a share, at random
        every liar          all of a role     2 honest          as many, at random
        everybody           all nodes
    """

    text: str

    def __str__(self) -> str:
        return self.text


SOME: Final = re.compile(
    r"(?P<all>everybody|the rest)"
    r"|every (?P<every>[a-z-]+)"
    r"|(?P<share>[0-9]+(?:\.[0-9]+)?) ?% of (?P<of>[a-z-]+)"
    r"|(?P<count>[0-9]+) (?P<role>[a-z-]+)"
    r"|(?P<name>[a-z-]+-[0-9]+)"
)


@attrs.frozen(kw_only=True)
class Step:
    """One thing that happens. Which fields a verb takes, `scenarios.verbs` says."""

    at_s: float
    does: str
    who: tuple[Some, ...] = ()
    but: tuple[Some, ...] = ()
    whom: tuple[Some, ...] = ()
    seen_by: tuple[Some, ...] = ()
    sides: tuple[tuple[Some, ...], ...] = ()
    every_s: float | None = None
    times: int | None = None
    for_s: float | None = None
    severity: int = 8
    category: str = "rate-abuse"
    share: float = 0.0
    factor: float = 10.0
    offset_ms: int = 0
    drift_ppm: int = 0
    keep_disk: bool = True
    bytes: int = 200
    into: str = "honest"
    tool: str = ""
    role: str = ""
    params: tuple[tuple[str, str | int | bool], ...] = ()
    forbidden: bool = False

    def moments_s(self, length_s: float) -> list[float]:
        """When it happens, if nothing is to happen after ``length_s``."""
        if self.at_s > length_s:
            return []
        if self.every_s is None:
            return [self.at_s] * (self.times or 1)
        fits = max(1, math.ceil((length_s - self.at_s) / self.every_s))
        count = fits if self.times is None else min(self.times, fits)
        return [self.at_s + i * self.every_s for i in range(count)]


@attrs.frozen(kw_only=True)
class Expectations:
    """What must hold.

    Attributes:
        never: Safety, checked at every event.
        eventually: Liveness: true within ``within_s`` of the end of all faults.
        bars: Figures and their limits, by name; see `scenarios.figures`.
    """

    never: tuple[str, ...] = ()
    eventually: tuple[str, ...] = ()
    within_s: float = 30.0
    bars: tuple[tuple[str, float], ...] = ()


@attrs.frozen(kw_only=True)
class Scenario:
    """One scenario.

    Attributes:
        nodes: How many of each role, in the order of the file.
        ci_nodes, ci_length_s: The size at which every change is tested.
        rules: The cluster's policy, in Cedar; empty: all calls are permitted, but for
            the hostile one of the verb `offend`.
        seeds: Those that every change is tested with.
        beyond: Why Picket does not pass this yet; empty if it does.
    """

    title: str
    nodes: tuple[tuple[str, int], ...]
    about: str = ""
    beyond: str = ""
    rules: str = ""
    length_s: float = 60.0
    seeds: tuple[int, ...] = (1,)
    ci_nodes: int | None = None
    ci_length_s: float | None = None
    cluster: Cluster = Cluster()
    network: NetworkPlan = NetworkPlan()
    costs: Costs = Costs()
    story: tuple[Step, ...] = ()
    expect: Expectations = Expectations()

    @property
    def size(self) -> int:
        """How many nodes in all."""
        return sum(count for _, count in self.nodes)

    def names(self) -> list[tuple[str, str]]:
        """Every node's name and role, in order."""
        return [
            (f"{role}-{i}", role) for role, count in self.nodes for i in range(count)
        ]

    def resized(self, size: int) -> "Scenario":
        """The same with ``size`` nodes, roles in proportion, at least one of each.

        Story and expectations keep meaning what they say, so every node they name
        remains, and as many as they count.
        """
        named = self._named()
        scaled = {
            role: max(named.get(role, 1), round(count * size / self.size))
            for role, count in self.nodes
        }
        main = max(self.nodes, key=lambda pair: pair[1])[0]
        rest = size - sum(n for role, n in scaled.items() if role != main)
        scaled[main] = max(named.get(main, 1), rest)
        return attrs.evolve(self, nodes=tuple(scaled.items()))

    def reduced(self) -> "Scenario":
        """The same at the size at which every change is tested."""
        small = self.resized(self.ci_nodes or self.size)
        return attrs.evolve(small, length_s=self.ci_length_s or self.length_s)

    def _named(self) -> dict[str, int]:
        """For each role, how many there must be for the names in use to exist."""
        roles = {role for role, _ in self.nodes}
        needed: dict[str, int] = {}
        words = [*self.expect.never, *self.expect.eventually]
        for step in self.story:
            groups = [step.who, step.but, step.whom, step.seen_by, *step.sides]
            words += [str(some) for group in groups for some in group]
        for word in " ".join(words).split():
            role, _, number = word.rpartition("-")
            if role in roles and number.isdigit():
                needed[role] = max(needed.get(role, 1), int(number) + 1)
        for found in filter(None, map(SOME.fullmatch, words)):
            if found["count"] and (role := found["role"]) in roles:
                needed[role] = max(needed.get(role, 1), int(found["count"]))
        return needed
