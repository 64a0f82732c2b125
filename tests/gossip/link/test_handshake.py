"""The promises of ``gossip.link.handshake``: two cores, no socket, a dialogue."""

import copy
import random
from collections.abc import Callable, Iterable

import pytest

from gossip.errors import LocalError, PeerError
from gossip.link.handshake import (
    INITIATOR_MOVES,
    RESPONDER_MOVES,
    Initiator,
    Responder,
    State,
)
from gossip.link.messages import (
    HEADER_BYTES,
    M2_OPEN_BYTES,
    MESSAGE_BYTES_MAX,
    body_bytes_untrusted,
)
from gossip.link.steps import (
    Begin,
    Established,
    Event,
    Local,
    Received,
    Sign,
    Signed,
    Transmit,
)
from gossip.suite import AgreeSecret, SigningKey
from gossip.units import ClusterId, NodeId, UnixMs
from tests.support.births import NOW, SUITE, Newborn, newborn

CLUSTER = ClusterId(b"c" * 32)
Tamper = Callable[[int, bytes], bytes]


def untouched(_: int, message: bytes) -> bytes:
    return message


A, B, STRANGER = newborn(), newborn(), newborn()


def local(who: Newborn, cluster: ClusterId = CLUSTER) -> Local:
    members = {A.node, B.node}
    return Local(suite=SUITE, cluster=cluster, chain=who.chain, members=members)


class Player:
    """One side with its signing key, which a driver would hold."""

    def __init__(self, core: Initiator | Responder, key: SigningKey) -> None:
        self.core = core
        self._key = key
        self.established: Established | None = None

    def hear(self, event: Event, now_ms: UnixMs = NOW) -> list[bytes]:
        said: list[bytes] = []
        for effect in self.core.handle(event, now_ms):
            match effect:
                case Sign(message, context):
                    signature = self._key.sign(message, context)
                    said += self.hear(Signed(signature), now_ms)
                case Transmit(data):
                    said.append(data)
                case Established():
                    self.established = effect
        return said


def pair(cluster: ClusterId = CLUSTER) -> tuple[Player, Player]:
    """A calls B."""
    caller = Initiator(local(A), B.node)
    called = Responder(local(B, cluster))
    return Player(caller, A.signing_key), Player(called, B.signing_key)


def converse(
    caller: Player, called: Player, tamper: Tamper = untouched, now_ms: UnixMs = NOW
) -> list[int]:
    """Let them talk to the end; returns the lengths of what was said."""
    lengths = []
    speaker, listener = caller, called
    (message,) = speaker.hear(Begin(), now_ms)
    while True:
        lengths.append(len(message))
        answers = listener.hear(Received(tamper(len(lengths), message)), now_ms)
        if not answers:
            return lengths
        (message,) = answers
        speaker, listener = listener, speaker


def test_both_sides_end_with_each_others_chain_and_crossed_keys() -> None:
    caller, called = pair()

    lengths = converse(caller, called)

    a, b = caller.established, called.established
    assert a is not None
    assert b is not None
    assert (a.peer, b.peer) == (B.chain, A.chain)
    assert (a.send_key, a.receive_key) == (b.receive_key, b.send_key)
    assert a.send_key != a.receive_key
    assert lengths[0] == 1300
    assert lengths[3] == 26
    assert max(lengths) <= MESSAGE_BYTES_MAX


def test_a_headers_length_is_what_follows_it() -> None:
    heard: list[tuple[int, int]] = []

    def measure(_: int, message: bytes) -> bytes:
        size = body_bytes_untrusted(message[:HEADER_BYTES])
        heard.append((size, len(message) - HEADER_BYTES))
        return message

    converse(*pair(), tamper=measure)

    assert len(heard) == 4
    assert all(announced == there for announced, there in heard)


def test_two_handshakes_never_share_a_key() -> None:
    keys = set()
    for _ in range(3):
        caller, called = pair()
        converse(caller, called)
        assert caller.established is not None
        keys |= {caller.established.send_key, caller.established.receive_key}

    assert len(keys) == 6


def flip(which: int, position: int, bit: int) -> Tamper:
    def tamper(number: int, message: bytes) -> bytes:
        if number != which:
            return message
        flipped = message[position] ^ (1 << bit)
        return message[:position] + bytes((flipped,)) + message[position + 1 :]

    return tamper


class Again:
    """A key agreement that can be finished more than once."""

    def __init__(self, inner: AgreeSecret) -> None:
        self.request = inner.request
        self._inner = inner
        self._known: dict[bytes, bytes] = {}

    def finish(self, reply: bytes) -> bytes:
        if reply not in self._known:
            if self._known:
                raise PeerError("another reply; the real one would not open M2")
            self._known[reply] = self._inner.finish(reply)
        return self._known[reply]


def moments() -> list[tuple[Initiator | Responder, bytes]]:
    """Each message of one handshake, and who is just about to hear it."""
    caller, called = pair()
    (message,) = caller.hear(Begin())
    assert isinstance(caller.core, Initiator)
    assert caller.core._agreement is not None
    caller.core._agreement = Again(caller.core._agreement)
    found: list[tuple[Initiator | Responder, bytes]] = []
    for listener in (called, caller, called, caller):
        found.append((copy.copy(listener.core), message))
        message = b"".join(listener.hear(Received(message)))
    return found


def assert_flips_are_refused(bits_of_each_byte: Callable[[], Iterable[int]]) -> None:
    for listener, message in moments():
        flipped = bytearray(message)
        for position in range(len(message)):
            for bit in bits_of_each_byte():
                flipped[position] ^= 1 << bit
                heard_by = copy.copy(listener)
                with pytest.raises(PeerError):
                    heard_by.handle(Received(bytes(flipped)), NOW)
                assert heard_by.state is State.DEAD
                flipped[position] ^= 1 << bit


def test_a_flipped_bit_in_any_byte_kills_the_handshake() -> None:
    dice = random.Random(1)
    assert_flips_are_refused(lambda: [dice.randrange(8)])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_single_flipped_bit_kills_the_handshake() -> None:
    assert_flips_are_refused(lambda: range(8))


def test_a_flipped_bit_of_the_key_agreement_kills_the_handshake() -> None:
    dice = random.Random(2)
    for _ in range(100):
        caller, called = pair()
        position = dice.randrange(HEADER_BYTES, M2_OPEN_BYTES)
        with pytest.raises(PeerError):
            converse(caller, called, flip(2, position, dice.randrange(8)))
        assert caller.core.state is State.DEAD
        assert caller.established is None


@pytest.mark.parametrize("which", [1, 2, 3, 4])
def test_a_message_cut_short_or_made_longer_is_refused(which: int) -> None:
    def shorter(number: int, message: bytes) -> bytes:
        return message[:-1] if number == which else message

    def longer(number: int, message: bytes) -> bytes:
        return message + b"\0" if number == which else message

    for tamper in (shorter, longer):
        with pytest.raises(PeerError):
            converse(*pair(), tamper=tamper)


def test_another_cluster_is_a_stranger_before_any_key_agreement() -> None:
    caller, called = pair(cluster=ClusterId(b"x" * 32))

    with pytest.raises(
        PeerError, match=r"another node or another cluster, not for [0-9a-f]{16};"
    ):
        converse(caller, called)


def test_a_non_member_is_refused_by_the_responder() -> None:
    outsider = Player(Initiator(local(STRANGER), B.node), STRANGER.signing_key)
    _, called = pair()

    with pytest.raises(PeerError, match="not admitted"):
        converse(outsider, called)
    assert called.established is None


def test_a_non_member_is_refused_by_the_initiator() -> None:
    caller = Player(Initiator(local(A), STRANGER.node), A.signing_key)
    called = Player(Responder(local(STRANGER)), STRANGER.signing_key)

    with pytest.raises(PeerError, match="not admitted"):
        converse(caller, called)


def test_a_responder_that_is_a_member_but_another_one_is_refused() -> None:
    """B knows the id of STRANGER and answers calls meant for it."""

    class Impostor(Responder):
        def _mac1(self, responder: NodeId, m1: bytes) -> bytes:
            return super()._mac1(STRANGER.node, m1)

    caller = Player(Initiator(local(A), STRANGER.node), A.signing_key)
    called = Player(Impostor(local(B)), B.signing_key)

    with pytest.raises(PeerError, match="answered for another node"):
        converse(caller, called)


def test_a_node_does_not_link_to_itself() -> None:
    caller = Player(Initiator(local(A), A.node), A.signing_key)
    called = Player(Responder(local(A)), A.signing_key)

    with pytest.raises(PeerError, match="this node itself"):
        converse(caller, called)


def test_a_stolen_chain_without_its_key_is_refused() -> None:
    thief = Player(Initiator(local(A), B.node), STRANGER.signing_key)
    _, called = pair()

    with pytest.raises(PeerError, match="signature"):
        converse(thief, called)


def test_a_responders_stolen_chain_without_its_key_is_refused() -> None:
    caller, _ = pair()
    thief = Player(Responder(local(B)), STRANGER.signing_key)

    with pytest.raises(PeerError, match="signature"):
        converse(caller, thief)


@pytest.mark.parametrize("late", [A.chain.not_after_ms + 1, NOW - 200_000])
def test_a_chain_that_does_not_cover_now_is_refused(late: int) -> None:
    with pytest.raises(PeerError, match="not valid"):
        converse(*pair(), now_ms=UnixMs(late))


def test_replayed_messages_open_nothing() -> None:
    said: list[bytes] = []

    def record(_: int, message: bytes) -> bytes:
        said.append(message)
        return message

    converse(*pair(), tamper=record)
    _, called = pair()
    called.hear(Received(said[0]))
    with pytest.raises(PeerError):
        called.hear(Received(said[2]))

    caller, _ = pair()
    caller.hear(Begin())
    with pytest.raises(PeerError):
        caller.hear(Received(said[1]))


def test_messages_out_of_turn_kill_either_side() -> None:
    said: list[bytes] = []

    def record(_: int, message: bytes) -> bytes:
        said.append(message)
        return message

    converse(*pair(), tamper=record)
    for message in (*said[1:], b"", b"\x01", b"\x00" * 26):
        _, called = pair()
        with pytest.raises(PeerError):
            called.hear(Received(message))
    for message in (said[0], said[2], said[3]):
        caller, _ = pair()
        caller.hear(Begin())
        with pytest.raises(PeerError):
            caller.hear(Received(message))


def test_a_finished_handshake_hears_nothing_more() -> None:
    caller, called = pair()
    last: list[bytes] = []

    def keep(_: int, message: bytes) -> bytes:
        last[:] = [message]
        return message

    converse(caller, called, keep)
    with pytest.raises(PeerError):
        caller.hear(Received(last[0]))
    assert caller.core.state is State.DEAD


def test_a_driver_out_of_turn_is_our_own_mistake() -> None:
    caller, called = pair()
    with pytest.raises(LocalError):
        caller.hear(Signed(b"s"))
    with pytest.raises(LocalError):
        called.hear(Begin())


def under_load(address: bytes = b"192.0.2.1") -> tuple[Player, Player]:
    caller, _ = pair()
    core = Responder(local(B), cookie_key=b"k" * 32, address=address)
    return caller, Player(core, B.signing_key)


def test_under_load_a_caller_shows_a_cookie_first() -> None:
    caller, called = under_load()

    said = converse(caller, called)

    assert said[:3] == [1300, 36, 1300]
    assert caller.established is not None
    assert called.established is not None


def test_any_flipped_bit_kills_a_handshake_under_load() -> None:
    dice = random.Random(5)
    for which, size in ((1, 1300), (2, 36), (3, 1300)):
        for _ in range(12):
            tamper = flip(which, dice.randrange(size), dice.randrange(8))
            with pytest.raises(PeerError):
                converse(*under_load(), tamper=tamper)


def test_a_cookie_from_another_address_is_refused() -> None:
    caller, elsewhere = under_load(b"198.51.100.7")
    (m1,) = caller.hear(Begin())
    (cookie,) = elsewhere.hear(Received(m1))
    (again,) = caller.hear(Received(cookie))
    _, called = under_load()
    called.hear(Received(m1))

    with pytest.raises(PeerError, match="cookie"):
        called.hear(Received(again))


def test_a_second_cookie_is_refused() -> None:
    caller, called = under_load()
    (m1,) = caller.hear(Begin())
    (cookie,) = called.hear(Received(m1))
    caller.hear(Received(cookie))

    with pytest.raises(PeerError):
        caller.hear(Received(cookie))


def test_secrets_are_never_shown() -> None:
    caller, called = pair()
    converse(caller, called)
    assert caller.established is not None

    shown = repr(caller.established) + repr(caller.core) + repr(called.core)

    assert caller.established.send_key.hex() not in shown
    assert repr(caller.established.send_key) not in shown


def test_every_move_ends_in_a_state_that_is_final_or_goes_on() -> None:
    for moves in (INITIATOR_MOVES, RESPONDER_MOVES):
        departures = {state for state, _ in moves}
        for arrival in moves.values():
            assert arrival is State.DONE or arrival in departures
