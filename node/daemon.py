"""The daemon: one node's cores, and everything that moves around them.

::

    start   configuration, keys, policy ▶ store, feeds read back ▶ sockets bound
            ▶ writer ▶ cores, links ▶ proxies, control ▶ "ready"
    stop    proxies, control ▶ links, cores ▶ writer, once all is on disk

Every task belongs to one of three nested nurseries, and they end from the
inside out. Whatever goes wrong in one ends them all: a guard that is half there
is worse than none, since without the daemon every call is denied.
"""

import contextlib
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from enforcement.decide.court import Court
from enforcement.defend.policy import Policy
from gossip import events
from gossip.engine import Engine
from gossip.errors import UserError
from gossip.ledger.entries import Entry, EntryKind, write_policy
from gossip.limits import DAY_MS, OPERATIONAL_LIFE_MS
from gossip.membership.roster import Roster
from gossip.units import INCARNATION_BYTES, Incarnation, UnixMs
from node import lasting
from node.auditing import Auditor
from node.bundles import recall, remember
from node.catalogue import Catalogue, restricted
from node.clerk import Clerk
from node.clock import Clock, SystemClock
from node.commands import commands
from node.config import Config, load_config, load_founders
from node.control import Control
from node.database import PutMeta
from node.driver import Alarm, Driver
from node.guard import Guard, ProofReader, check_files, parse_policy, policy_files
from node.justice import Justice
from node.keys.suites.registry import load_suite
from node.libp2p_import import import_libp2p
from node.linkage import Linkage, NoLinks
from node.log import Log
from node.manifests import Declarations
from node.membership import find_me
from node.metrics import Metrics
from node.names import Names
from node.policing import ClusterPolicy
from node.proxies import Proxies, check_servers
from node.proxy.http import Origins
from node.proxy.httpd import serve_http
from node.response import Response
from node.signer import KeyRing
from node.sockets import Sockets, address_of
from node.store import Store
from node.systemd.notify import Notifier, notifier
from node.tables import Address, show_address
from node.timekeeping import Timekeeper
from node.tools import recall_pins, recall_requests

if TYPE_CHECKING:
    from trio_typing import TaskStatus

STOP_S: Final = 4.0
"""What proxies and links may take to end; then they are cut off."""
_BORN: Final = "born_ms"


class Daemon:
    """One node. Made from a configuration; `run` it once.

    The parts are public: commands and the demo read them, nobody replaces them.
    """

    def __init__(
        self,
        config: Config,
        *,
        log: Log | None = None,
        clock: Clock | None = None,
        manager: Notifier | None = None,
    ) -> None:
        """Read and check everything; bind and write nothing but the store.

        Raises:
            UserError: one sentence that says what is wrong and what to do.
        """
        check_files(config)
        self.config = config
        self.log = log or Log(config.log_level)
        self.clock = clock or SystemClock()
        self.metrics = Metrics()
        self.suite = load_suite(config.provider, config.state)
        self.roster = Roster(load_founders(config))
        self.me = find_me(self.config, self.roster)
        self.ring = KeyRing(config.state, self.roster, self.suite, self.metrics)
        self.ring.rotate(config.agents, self.clock.unix_ms())
        self.http_at: Address | None = None
        self.metrics_at: Address | None = None
        self._manager = manager or notifier()
        self._stopping = trio.Event()
        self._make_parts()

    @property
    def policy_digest(self) -> bytes:
        """Digest of the policy bundle enforced now."""
        return self.bundles.current.digest

    @property
    def listening(self) -> tuple[Address, ...]:
        """Where peers may dial."""
        return self.links.listening

    def stop(self) -> None:
        """Begin to stop, in order. May be called from any task of the loop."""
        self._stopping.set()

    def reload(self) -> None:
        """Read configuration and policy again: all of it, or nothing changes.

        Addresses, keys, the provider and what the founders' file says wait for the
        next start; all else takes effect at once.

        Raises:
            UserError: something in them is wrong.
        """
        config = load_config(self.config.file)
        pushed = self.policing.texts
        if pushed:
            self.log.warn(
                f"the operators' policy {self.policing.version} is in force; the files"
                f" in {config.policy} are not read"
            )
        check_files(config)
        texts = pushed or policy_files(config.policy)
        policy = parse_policy(config.policy, texts)
        check_servers(config, self.me, self.roster, self.log)
        if load_founders(config) != self.roster.founders:
            self.log.warn(
                f"{config.founders_file} has changed; that waits for a restart, of all"
                " nodes if the cluster's id is another then"
            )
        self._warn_of_misfits(policy)
        self.ring.admit(config.agents)
        self._learn_names()
        before = self.policy_digest
        self.bundles.install(policy, self.clock.unix_ms())
        self.guard.change(config)
        self.proxies.change(config)
        self.catalogue.change(restricted(config))
        self.config = config
        self.response.change(config.response, observes_tools=config.observes("tools"))
        self._take_modes()
        if self.policy_digest != before:
            self._policy_changed(texts)
        self.log.info("read the configuration again", policy=self.policy_digest)

    def _warn_of_misfits(self, policy: Policy) -> None:
        """Say which rule would err at which tool. It does not stop a reload: a tool's
        schema is its server's, who must not decide what policy can be enforced."""
        try:
            self.guard.check(policy)
        except UserError as wrong:
            self.log.warn(str(wrong))

    async def run(
        self, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until `stop` or a signal handler calls it.

        Raises:
            UserError: an address or socket is taken, or the disk refuses.
        """
        with contextlib.ExitStack() as held:
            sockets = Sockets.bind(self.config, held)
            self.http_at = address_of(sockets.http)
            self.metrics_at = address_of(sockets.metrics)
            try:
                async with trio.open_nursery() as writer:
                    writer.start_soon(self.store.run)
                    try:
                        await self._run_cores(sockets, task_status)
                    finally:
                        self.store.stop()
            finally:
                self.store.close()
        self.log.info("stopped")

    async def _run_cores(
        self, sockets: Sockets, task_status: "TaskStatus[None]"
    ) -> None:
        async with trio.open_nursery() as cores:
            await self._start_cores(cores)
            async with trio.open_nursery() as edge:
                await self._start_edge(edge, sockets)
                self._ready()
                task_status.started()
                await self._stopping.wait()
                self._manager.stopping()
                self.log.info("stopping")
                for nursery in (edge, cores):
                    nursery.cancel_scope.deadline = trio.current_time() + STOP_S
                edge.cancel_scope.cancel()
            cores.cancel_scope.cancel()

    async def _start_edge(self, nursery: trio.Nursery, sockets: Sockets) -> None:
        control = Control(commands(self), self._fault)
        nursery.start_soon(control.serve, sockets.control)
        if sockets.metrics is not None:
            host, port = sockets.metrics.getsockname()[:2]
            ours = Origins.of_listener(host, port, self.config.metrics_hosts)
            serve = partial(self.metrics.serve, ours)
            nursery.start_soon(serve_http, sockets.metrics, serve, self._fault)
        await self.proxies.start(nursery, sockets.http, sockets.door, self._fault)

    # --- making ---------------------------------------------------------------

    def _make_parts(self) -> None:
        config = self.config
        texts = policy_files(config.policy)
        policy = parse_policy(config.policy, texts)
        self.store = Store(config.store_file, keep=config.audit)
        self.store.on_commit = self.metrics.committed
        self.bundles = recall(self.store, policy, self.clock.unix_ms())
        remember(self.store, texts)
        self.names = Names()
        self._learn_names()
        self.policing = ClusterPolicy(
            self.roster, self.suite, self.bundles, self.clock, self.log
        )
        self.engine = Engine(self.me, self.roster, self.suite)
        self.court = Court(
            me=self.me,
            roster=self.roster,
            suite=self.suite,
            read_proof=ProofReader(self.roster, self.suite, self.bundles, self.names),
            observe=self._observes(),
            isolates=not config.observes("isolation"),
        )
        self.links: Linkage = self._make_links()
        self.driver = Driver(
            engine=self.engine,
            store=self.store,
            links=self.links,
            clock=self.clock,
            log=self.log,
            metrics=self.metrics,
            on_entry=self._on_entry,
            keys=self.ring.nodes,
        )
        self.justice = Justice(
            court=self.court,
            names=self.names,
            doors=self.links,
            clock=self.clock,
            log=self.log,
            metrics=self.metrics,
            publish=self.driver.report,
            retell=self.driver.retell,
            observes_gate=config.observes("gate"),
        )
        self.guard = Guard.of(
            config=config,
            roster=self.roster,
            suite=self.suite,
            bundles=self.bundles,
            court=self.court,
            clock=self.clock,
            names=self.names,
            pins=recall_pins(self.store),
            replay=recall_requests(self.store, self.clock.unix_ms()),
            spares=self.justice.spares,
        )
        self.catalogue = Catalogue.of(
            config, self.me, self.roster, self.suite, self.guard.post, self.log
        )
        self.catalogue.declare = Declarations(
            me=self.me,
            roster=self.roster,
            store=self.store,
            clock=self.clock,
            keys=lambda: self.ring.current,
        ).declare
        self.proxies = Proxies.of(
            config=config,
            me=self.me,
            roster=self.roster,
            suite=self.suite,
            clock=self.clock,
            log=self.log,
            guard=self.guard,
            clerk=Clerk(self.store, self.justice, self.metrics, self.log.warn),
            ring=self.ring,
            links=self.links,
        )
        self.response = Response(
            justice=self.justice,
            config=config.response,
            sessions=self.proxies.desk.sessions,
            observes_tools=config.observes("tools"),
            restore_trust=self.guard.restore_trust,
            on_tools=self.proxies.discovery.ruled,
        )
        self._first_day = Alarm(self.clock)
        self.auditor = Auditor.of(self)
        self.metrics.members.set_function(lambda: len(self.roster.members()))
        self.metrics.lasting_share.set_function(partial(lasting.used, self))

    def _learn_names(self) -> None:
        for own in self.ring.principals.values():
            self.names.learn(own.agent, own.name, own.node)

    def _make_links(self) -> Linkage:
        if self.roster.size == 1:
            return NoLinks()
        # Only here, so that a lone guard never pays for py-libp2p.
        import_libp2p()
        from node.cluster_links import ClusterLinks

        return ClusterLinks(
            config=self.config,
            roster=self.roster,
            suite=self.suite,
            keys=self.ring.current,
            clock=self.clock,
            log=self.log,
            metrics=self.metrics,
            on_event=self._on_link,
            room=lambda peer: self.driver.room(peer),
        )

    def _take_modes(self) -> None:
        self.justice.change(
            observe=self._observes(),
            isolates=not self.config.observes("isolation"),
            observes_gate=self.config.observes("gate"),
        )
        from_ms = self.enforces_from_ms()
        if from_ms is not None:
            self._first_day.set(UnixMs(from_ms))

    def _observes(self) -> bool:
        if "quarantine" in self.config.modes:
            return self.config.observes("quarantine")
        if self.config.mode != "auto":
            return self.config.mode == "observe"
        return self.clock.unix_ms() < self._enforces_from_ms()

    def enforces_from_ms(self) -> int | None:
        """When quarantines by voices begin to be enforced, if that is to come."""
        fixed = self.config.mode != "auto" or "quarantine" in self.config.modes
        return None if fixed or not self.court.observe else self._enforces_from_ms()

    def _enforces_from_ms(self) -> int:
        born = self.store.meta(_BORN)
        if born is None:
            return self.clock.unix_ms() + DAY_MS
        return int.from_bytes(born, "big") + DAY_MS

    # --- running --------------------------------------------------------------

    async def _start_cores(self, nursery: trio.Nursery) -> None:
        held = self.driver.restore()
        self.justice.restored()
        self.response.restored()
        if self.store.meta(_BORN) is None:
            self.store.submit(PutMeta(_BORN, self.clock.unix_ms().to_bytes(8, "big")))
        nursery.start_soon(self.driver.run)
        nursery.start_soon(self.justice.run)
        nursery.start_soon(self.response.run)
        await nursery.start(self.links.run)
        incarnation = Incarnation(self.suite.random(INCARNATION_BYTES))
        self.driver.handle(events.Opened(incarnation, self.ring.current.chain))
        self._say_policy()
        self.policing.on_change = self._policy_changed
        self.catalogue.open(
            lambda kind, body: self.driver.handle(events.Say(kind, body))
        )
        nursery.start_soon(self._rotate_forever)
        nursery.start_soon(self._first_day.run, self._end_first_day)
        self._take_modes()
        nursery.start_soon(self.metrics.watch_loop)
        nursery.start_soon(self.auditor.run)
        nursery.start_soon(Timekeeper(self.engine.clocks, self.metrics, self.log).run)
        nursery.start_soon(self._manager.feed_watchdog)
        self.log.debug("read the feeds back", batches=held)

    async def _rotate_forever(self) -> None:
        """A fresh operational key at half of the last one's life."""
        while True:
            await trio.sleep(OPERATIONAL_LIFE_MS / 2 / 1_000)
            await self.rotate()

    async def rotate(self) -> None:
        """Change to a fresh operational key; the last one overlaps with it."""
        keys = self.ring.rotate(self.config.agents, self.clock.unix_ms())
        self.driver.keys = self.ring.nodes
        self.driver.handle(events.Rotated(keys.chain))
        await self.proxies.renew()
        await self.links.rotate(keys)
        self.log.info("rotated the operational key", key=keys.chain.key)

    def _end_first_day(self) -> None:
        if self.court.observe and not self._observes():
            self.log.warn("the first day is over: voices quarantine from now on")
        self._take_modes()

    def _ready(self) -> None:
        where = ", ".join(map(show_address, self.listening)) or "nowhere, alone"
        self.log.info(
            f"{self.config.name} is ready",
            node=self.me,
            listening=where,
            cluster=self.roster.cluster,
            provider=self.suite.provider,
            mode="observe" if self.court.observe else "enforce",
        )
        self._manager.ready(f"{self.config.name}, {self.roster.size} members")

    # --- what happens ---------------------------------------------------------

    def _on_entry(self, entry: Entry) -> None:
        self.justice.hear(entry)
        self.auditor.hear(entry)
        self.policing.hear(entry)
        self.catalogue.hear(entry)

    def _on_link(
        self, event: events.LinkUp | events.LinkDown | events.Barred | events.Frame
    ) -> None:
        if isinstance(event, events.Frame):
            self.driver.receive(event.peer, event.data)
            return
        self.driver.handle(event)
        self.metrics.links.set(len(self.engine.linked()))

    def _policy_changed(self, texts: Mapping[str, str]) -> None:
        remember(self.store, texts)
        self._say_policy()

    def _say_policy(self) -> None:
        said = write_policy(self.policy_digest)
        self.driver.handle(events.Say(EntryKind.POLICY, said))

    def _fault(self, fault: BaseException) -> None:
        """A connection of ours failed in a way it should not: say so, go on."""
        self.log.error("a connection failed", error=f"{type(fault).__name__}: {fault}")
