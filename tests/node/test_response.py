"""The response: one attack is a few pages, and a held back quarantine is one too."""

import io
import json
import sys
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path

import attrs
import trio

from enforcement.decide.acts import write_release
from enforcement.decide.court import Allow, Court, Deny
from gossip.ledger.entries import Entry, Subject, SubjectKind
from gossip.membership.founders import ActKind, parse_founders
from gossip.membership.roster import Roster
from gossip.units import MonoMs, NodeId, UnixMs
from node.config import HookConfig, ResponseConfig
from node.justice import Justice
from node.log import Log
from node.metrics import Metrics
from node.names import Names
from node.response import Response
from tests.support.courts import (
    AGENT,
    NAMES,
    SUITE,
    Feeds,
    court,
    node,
    read_proof,
    subject,
)
from tests.support.members import NOW, founders_text


class LoopClock:
    """Both clocks are the loop's, which may jump."""

    def __init__(self) -> None:
        self.began = trio.current_time()

    def unix_ms(self) -> UnixMs:
        return UnixMs(NOW + self.mono_ms())

    def mono_ms(self) -> MonoMs:
        return MonoMs(int((trio.current_time() - self.began) * 1_000))


@attrs.define
class Doors:
    """Nobody is linked; remembers who may not be."""

    refused: set[NodeId] = attrs.field(factory=set)

    def refuse(self, peer: NodeId, refused: bool) -> None:
        (self.refused.add if refused else self.refused.discard)(peer)


@attrs.define
class Post:
    """One node's justice and response, and what it said."""

    justice: Justice
    response: Response
    stream: io.StringIO
    doors: Doors

    @classmethod
    def of(
        cls,
        config: ResponseConfig | None = None,
        judge: Court | None = None,
        before: Sequence[Entry] = (),
    ) -> "Post":
        stream, clock, doors = io.StringIO(), LoopClock(), Doors()
        justice = Justice(
            court=judge or court(),
            names=Names(),
            doors=doors,
            clock=clock,
            log=Log("error", clock, stream),
            metrics=Metrics(),
            publish=lambda _report: None,
        )
        response = Response(
            justice=justice, config=config or ResponseConfig(), sessions=tuple
        )
        for entry in before:
            justice.hear(entry)
        justice.restored()
        response.restored()
        return cls(justice, response, stream, doors)

    def hear(self, *entries: Entry) -> None:
        for entry in entries:
            self.justice.hear(entry)

    @property
    def pages(self) -> list[str]:
        return [n for n in self.stream.getvalue().splitlines() if "PAGE" in n]


async def test_a_thousand_reports_of_one_attack_are_three_pages_at_most(
    autojump_clock: object,
) -> None:
    del autojump_clock
    post, feeds = Post.of(), Feeds()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(post.response.run)
        await trio.sleep(1)
        for n in range(500):
            now = NOW + int(trio.current_time() * 1_000)
            whom = Subject(SubjectKind.AGENT, (n % 50).to_bytes(32, "big"))
            post.hear(*(feeds.accuse(by, whom, now) for by in ("birch", "cedar")))
            await trio.sleep(0.5)
        assert len(post.pages) <= 2
        await trio.sleep(3_600)
        nursery.cancel_scope.cancel()
    assert len(post.pages) <= 3
    assert "1 quarantined" in post.pages[0]
    told = sum(int(n.split("PAGE: ")[1].split()[0]) for n in post.pages)
    assert told == 50


async def test_what_the_valve_holds_back_pages_as_well(autojump_clock: object) -> None:
    del autojump_clock
    post, feeds = Post.of(), Feeds()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(post.response.run)
        for name in ("elm", "fir"):
            post.hear(*(feeds.accuse(by, subject(name)) for by in ("birch", "cedar")))
        assert len(post.justice.court.denied_nodes()) == 1
        page = post.justice.metrics.page().decode()
        assert 'picket_held_back{why="valve"} 1.0' in page
        await trio.sleep(2 * 60)
        nursery.cancel_scope.cancel()
    assert [", 1 not enforced" in page for page in post.pages] == [False, True]


async def test_hooks_hear_why(tmp_path: Path) -> None:
    out = tmp_path / "told"
    copy = "import sys; open(sys.argv[1],'ab').write(sys.stdin.buffer.read())"
    command = (sys.executable, "-c", copy, str(out))
    hook = HookConfig(command=command, events=("quarantined",), deadline_s=10)
    post, feeds = Post.of(ResponseConfig(hooks={"x": hook})), Feeds()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(post.response.run)
        post.hear(feeds.accuse("birch", AGENT, proof=b"p"))
        with trio.fail_after(20):
            while not (out.exists() and out.read_text().count("\n") == 2):  # noqa: ASYNC110
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    text = out.read_text()
    assert '"basis": "proof"' in text
    assert "`ledger-writes`" in text


def town() -> Court:
    """A court whose members have an address each, but that two share one."""
    text = founders_text(SUITE, NAMES)
    for last in (1, 2, 3, 4, 4):
        text = text.replace("127.0.0.1:7946", f"192.0.2.{last}:7946", 1)
    known = Roster(parse_founders(text, "founders.toml"))
    return Court(node("ash"), known, SUITE, read_proof)


def wish(post: Post) -> dict[str, int]:
    assert post.response.nft.wish is not None
    return {str(a): int(end) for a, end in post.response.nft.wish.items()}


async def test_addresses_are_blocked_released_and_blocked_again_after_a_restart() -> (
    None
):
    config = ResponseConfig(nftables=True)
    feeds, judge = Feeds(), town()
    post = Post.of(config, judge)
    proofs = [
        feeds.accuse("ash", subject("cedar"), proof=b"c"),
        feeds.accuse("ash", subject("fir"), proof=b"f"),
    ]
    post.hear(*proofs)
    until = judge.standing(subject("cedar"), post.justice.clock.unix_ms()).until_ms
    assert wish(post) == {"192.0.2.3": until}, "fir shares its address with elm"
    assert wish(Post.of(config, town(), before=proofs)) == wish(post)
    never = ResponseConfig(nftables=True, never_block=(ip_network("192.0.2.0/24"),))
    assert wish(Post.of(never, town(), before=proofs)) == {}
    post.hear(
        feeds.decide(
            "ash", ActKind.RELEASE, write_release(subject("cedar"), ""), NOW + 1
        )
    )
    assert wish(post) == {}


async def test_operators_who_release_an_agent_vouch_for_it_and_time_alone_does_not() -> (
    None
):
    feeds, judge = Feeds(), court()
    post = Post.of(judge=judge)
    trusted: list[bytes] = []
    post.response.restore_trust = lambda agent, _now: trusted.append(agent)
    post.hear(feeds.accuse("birch", AGENT, proof=b"p"))
    assert judge.denial(AGENT) is not None

    released = feeds.decide(
        "ash", ActKind.RELEASE, write_release(AGENT, "a drill"), NOW + 1
    )
    post.hear(released)
    assert trusted == [AGENT.id]

    other = Post.of(judge=court())
    other.response.restore_trust = post.response.restore_trust
    other.hear(Feeds().accuse("birch", AGENT, proof=b"q"))
    until = other.justice.court.standing(AGENT, NOW).until_ms
    assert until is not None
    for ruling in other.justice.court.tick(UnixMs(until + 1)):
        other.response.ruled(ruling)
    assert trusted == [AGENT.id]


async def test_links_are_refused_again_after_a_restart_until_a_release() -> None:
    feeds = Feeds()
    post = Post.of()
    said = [feeds.accuse("ash", subject("cedar"), proof=b"c")]
    post.hear(*said)
    assert post.doors.refused == {node("cedar")}
    assert Post.of(before=said).doors.refused == {node("cedar")}
    freed = write_release(subject("cedar"), "")
    said.append(feeds.decide("ash", ActKind.RELEASE, freed, NOW + 1))
    post.hear(*said)
    assert post.doors.refused == set()
    assert Post.of(before=said).doors.refused == set()


async def test_what_blocks_follows_the_configuration() -> None:
    post = Post.of(ResponseConfig(), town())
    post.hear(Feeds().accuse("ash", subject("cedar"), proof=b"c"))
    assert post.response.nft.wish is None
    never = (ip_network("192.0.2.3/32"),)
    for config, blocked in (
        (ResponseConfig(nftables=True), {"192.0.2.3"}),
        (ResponseConfig(nftables=True, never_block=never), set[str]()),
        (ResponseConfig(nftables=True), {"192.0.2.3"}),
    ):
        post.response.change(config, observes_tools=False)
        assert set(wish(post)) == blocked
    post.response.change(ResponseConfig(), observes_tools=False)
    assert post.response.nft.wish is None


async def test_what_is_ruled_twice_is_done_once(tmp_path: Path) -> None:
    out = tmp_path / "told"
    copy = "import sys; open(sys.argv[1],'ab').write(sys.stdin.buffer.read())"
    command = (sys.executable, "-c", copy, str(out))
    hook = HookConfig(command=command, events=(), deadline_s=10)
    post = Post.of(ResponseConfig(nftables=True, hooks={"x": hook}), town())
    post.response.nft.command = ("/bin/true",)  # this machine's own filter is not ours
    post.hear(Feeds().accuse("ash", subject("cedar"), proof=b"c"))
    standing = post.justice.court.standing(subject("cedar"), NOW)
    blocked = wish(post)
    for _ in range(3):
        post.response.ruled(Deny(subject("cedar"), standing))
        assert wish(post) == blocked
    for _ in range(3):
        post.response.ruled(Allow(subject("cedar")))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(post.response.run)
        with trio.fail_after(20):
            while not (out.exists() and out.read_text().count("\n") >= 3):  # noqa: ASYNC110
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    told = [json.loads(line)["event"] for line in out.read_text().splitlines()]
    assert sorted(told) == ["page", "quarantined", "released"]
