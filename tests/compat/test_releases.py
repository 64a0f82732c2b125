"""What earlier releases said and stored is read by this one."""

import base64
import json
import shutil
from pathlib import Path

import pytest

from gossip import events
from gossip.domains import Domain
from gossip.effects import Admitted, Fact, Note, Store
from gossip.engine import Engine
from gossip.ledger.batch import read_batch_untrusted
from gossip.ledger.entries import EntryKind
from gossip.link.handshake import Responder
from gossip.link.session import Session
from gossip.link.steps import Local, Received, Sign
from gossip.membership.founders import parse_founders
from gossip.membership.identity import read_chain_untrusted
from gossip.membership.roster import Roster
from gossip.spread import frames
from gossip.units import MonoMs, UnixMs
from node.database import Database, IdentitySealer
from tests.compat.write import (
    HOME,
    NAMES,
    RECEIVE_KEY,
    SAID,
    SEND_KEY,
    SUITE,
    UNKNOWN_KIND,
    write,
)
from tests.support.members import NOW

RELEASES = sorted(path.parent for path in HOME.glob("*/wire.json"))
LATER = UnixMs(NOW + 60_000)


@pytest.fixture(params=RELEASES, ids=lambda path: path.name)
def release(request: pytest.FixtureRequest) -> Path:
    path = request.param
    assert isinstance(path, Path)
    return path


class Wire:
    """One release's wire fixture, decoded."""

    def __init__(self, release: Path) -> None:
        read = json.loads((release / "wire.json").read_text())
        self.roster = Roster(parse_founders(read["founders"], "founders.toml"))
        self.chains = {n: base64.b64decode(c) for n, c in read["chains"].items()}
        self.batches = [base64.b64decode(b) for b in read["batches"]]
        self.frames = {n: base64.b64decode(f) for n, f in read["frames"].items()}
        self.link = {n: base64.b64decode(f) for n, f in read["link"].items()}


def test_this_release_has_left_a_fixture() -> None:
    assert [path.name for path in RELEASES] == ["0.1.0"]


def test_every_batch_is_admitted(release: Path) -> None:
    wire = Wire(release)
    reader = read_chain_untrusted(wire.chains["ledger"], SUITE).node
    carrier = wire.roster.by_name("branch")
    assert carrier is not None
    engine = Engine(reader, wire.roster, SUITE)
    admitted: list[int] = []
    stored = 0
    for data in wire.batches:
        batch = read_batch_untrusted(data)
        frame = events.Frame(carrier, frames.give(data))
        for effect in engine.handle(frame, LATER):
            if isinstance(effect, Admitted):
                admitted.append(effect.entry.kind)
            stored += isinstance(effect, Store)
            if isinstance(effect, Note):
                assert effect.fact is Fact.BATCH_ACCEPTED, effect.why
        chain = wire.roster.chain(batch.author, batch.key)
        assert chain is not None
        SUITE.verify(chain.operational, batch.header, batch.signature, Domain.BATCH)
    assert stored == len(wire.batches)
    assert {*admitted} >= {*range(EntryKind.KEYS, EntryKind.CHECKPOINT), UNKNOWN_KIND}


def test_every_frame_is_read(release: Path) -> None:
    for name, frame in Wire(release).frames.items():
        assert type(frames.read_frame_untrusted(frame)).__name__ == name


def test_a_call_is_answered(release: Path) -> None:
    wire = Wire(release)
    local = Local(
        suite=SUITE,
        cluster=wire.roster.cluster,
        chain=read_chain_untrusted(wire.chains["ledger"], SUITE),
        members=wire.roster,
    )
    (answer,) = Responder(local).handle(Received(wire.link["m1"]), NOW)
    assert isinstance(answer, Sign)


def test_a_session_is_understood(release: Path) -> None:
    session = Session(SUITE, RECEIVE_KEY, SEND_KEY, MonoMs(0), asks=False)
    assert session.feed(Wire(release).link["session"], MonoMs(1)) == SAID


def test_a_store_is_opened_and_nothing_in_it_is_lost(
    release: Path, tmp_path: Path
) -> None:
    path = tmp_path / "store.sqlite"
    shutil.copy(release / "store.sqlite", path)
    database = Database(path, IdentitySealer())
    try:
        assert [*database.batches()] == Wire(release).batches
        assert [record for _seq, _at, record in database.audit(10)] == [b"decided"]
        assert database.meta("born_ms") == b"early"
    finally:
        database.close()


def test_a_fixture_can_be_written_for_the_next_release(tmp_path: Path) -> None:
    write(tmp_path / "next")
    assert len(Wire(tmp_path / "next").batches) == len(Wire(RELEASES[-1]).batches)
    assert sorted(Wire(tmp_path / "next").chains) == NAMES
