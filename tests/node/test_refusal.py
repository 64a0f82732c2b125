"""Who is convicted is refused at once: in the turn of the loop that heard of it."""

from pathlib import Path

import pytest
import trio
import trio.testing

from enforcement import effects as gate
from gossip import events
from node.keys.suites.registry import load_suite
from tests.support.convicts import Scene

SUITE = load_suite("openssl")
TURNS_MAX = 3
"""Of the loop: one to wake the driver, one to handle; and one to spare."""


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene.of(tmp_path, SUITE)


def refused(scene: Scene, agent: bytes) -> bool:
    """Whether the gates refuse both the agent and its node."""
    node = scene.rogue.chain.node
    is_refused = scene.daemon.guard.post.is_refused
    answers = {
        is_refused(gate.Subject(gate.SubjectKind.AGENT, agent)),
        is_refused(gate.Subject(gate.SubjectKind.NODE, node)),
    }
    assert len(answers) == 1, "both are convicted, or neither"
    return answers.pop()


def test_gates_refuse_before_the_frame_is_handled_and_before_the_disk_is_asked(
    scene: Scene,
) -> None:
    agent = scene.agent("bot")
    frame = scene.accuse(agent)
    assert not refused(scene, agent.principal.agent)
    scene.daemon.driver.handle(events.Frames((frame,)))
    assert refused(scene, agent.principal.agent)
    assert list(scene.daemon.store.load()) == [], "nothing was waited for"


async def test_gates_refuse_in_the_turn_in_which_the_frame_is_taken_in(
    scene: Scene,
) -> None:
    agent = scene.agent("bot")
    frame = scene.accuse(agent)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.daemon.driver.run)
        await trio.testing.wait_all_tasks_blocked()
        scene.daemon.driver.receive(frame.peer, frame.data)
        for _ in range(TURNS_MAX):
            await trio.lowlevel.checkpoint()
        assert refused(scene, agent.principal.agent)
        nursery.cancel_scope.cancel()


def test_what_a_crash_took_from_the_disk_is_enforced_alike_when_it_comes_again(
    tmp_path: Path,
) -> None:
    scene = Scene.of(tmp_path, SUITE)
    frame = scene.accuse(scene.agent("bot"))
    scene.daemon.driver.handle(frame)
    before = scene.daemon.court.denied_nodes()
    assert before
    scene.daemon.store.close()  # nothing was written
    scene.restart()
    assert scene.daemon.driver.restore() == 0
    assert not scene.daemon.court.denied_nodes()
    for heard in scene.heard:
        scene.daemon.driver.handle(heard)
    assert scene.daemon.court.denied_nodes() == before


def test_own_evidence_refuses_at_once_too_before_it_is_signed(scene: Scene) -> None:
    agent = scene.agent("bot").principal
    node = gate.Subject(gate.SubjectKind.NODE, agent.node)
    is_refused = scene.daemon.guard.post.is_refused
    assert not is_refused(node)
    scene.daemon.justice.proof(
        gate.Proof(
            data=b"proof", agent=agent.agent, node=agent.node, rule="r", severity=8
        )
    )
    assert is_refused(node)
    assert list(scene.daemon.store.load()) == []
