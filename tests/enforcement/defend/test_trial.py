"""A trial counts what another policy would decide otherwise, and decides nothing."""

from enforcement.defend.policy import Policy
from enforcement.defend.trial import Trial
from enforcement.effects import Position, ToServer
from enforcement.events import ClientMessage
from tests.support.births import NOW
from tests.support.sessions import PERMIT, Town, call, gate, of, post

STRICT = PERMIT + '@id("no-wipe") forbid(principal, action, resource in Server::"sql");'


def test_a_policy_on_trial_denies_nobody_and_is_counted() -> None:
    town = Town()
    agent = town.agent("clerk-1", "clerk")
    shared = post(town, Policy.load({"p": PERMIT}))
    shared.trial = Trial(Policy.load({"p": STRICT}), NOW)
    tested = gate(Position.LOCAL, town, agent, shared)
    for key in range(3):
        assert of(tested.handle(ClientMessage(call("read", key)), NOW), ToServer)
    assert shared.trial.calls == 3
    assert shared.trial.differences() == [
        (("clerk-1", "sql", "read", "allowed", "denied: no-wipe"), 3)
    ]


def test_names_that_strangers_choose_cannot_fill_the_counts() -> None:
    town = Town()
    agent = town.agent("clerk-1", "clerk")
    shared = post(town, Policy.load({"p": PERMIT}))
    shared.trial = Trial(Policy.load({"p": STRICT}), NOW)
    for key in range(1_100):
        tested = gate(Position.LOCAL, town, agent, shared)
        tested.handle(ClientMessage(call(f"t{key}", key)), NOW)
    assert len(shared.trial.differences()) == 1_024
    assert shared.trial.others > 0
