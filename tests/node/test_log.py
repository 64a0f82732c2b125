"""The log: one line each, whatever is in it; and the clerk's records carry no payload."""

import io
import json

from hypothesis import given
from hypothesis import strategies as st

from enforcement.effects import Audit, Position, Verdict
from gossip.units import AgentId, NodeId, UnixMs
from node.clerk import write_audit
from node.log import Log, printable


class StoppedClock:
    def unix_ms(self) -> UnixMs:
        return UnixMs(1_800_000_000_123)

    def mono_ms(self) -> int:
        return 0


def test_a_line_has_time_level_sentence_and_pairs() -> None:
    stream = io.StringIO()
    log = Log("info", clock=StoppedClock(), stream=stream)  # type: ignore[arg-type]  # a plain int is a fine time here
    log.info("linked with ledger", peer=b"\xab" * 32, ms=1.5, why="a b", none="")
    log.debug("not shown")
    assert stream.getvalue() == (
        "2027-01-15T08:00:00.123Z info  linked with ledger"
        '  peer=abababababababab ms=1.500 why="a b" none=""\n'
    )


@given(st.text(), st.text())
def test_nothing_from_outside_starts_a_line_or_moves_the_cursor(
    sentence: str, value: str
) -> None:
    stream = io.StringIO()
    Log("info", stream=stream).info(sentence, value=value)
    line = stream.getvalue()
    assert line.endswith("\n")
    assert line[:-1].isprintable()


def test_a_reader_that_is_gone_does_not_stop_us() -> None:
    stream = io.StringIO()
    stream.close()
    Log("info", stream=stream).info("said to nobody")


@given(st.text(min_size=2_000))
def test_a_long_text_is_cut(text: str) -> None:
    assert len(printable(text)) <= 10 * 1_025


def test_an_audit_record_names_who_and_what_and_no_parameter() -> None:
    record = Audit(
        at_ms=UnixMs(7),
        position=Position.EGRESS,
        agent=AgentId(b"a" * 32),
        node=NodeId(b"n" * 32),
        server="sql",
        method="tools/call",
        tool="write_query",
        verdict=Verdict.DENIED,
        rule="ledger-admin-only",
        reason="rule",
        request_id=b"r" * 16,
        digest=b"d" * 32,
        session=b"s" * 32,
        count=3,
    )
    assert json.loads(write_audit(record)) == {
        "at_ms": 7,
        "position": "egress",
        "agent": "61" * 32,
        "node": "6e" * 32,
        "server": "sql",
        "method": "tools/call",
        "tool": "write_query",
        "verdict": "denied",
        "rule": "ledger-admin-only",
        "reason": "rule",
        "request_id": "72" * 16,
        "digest": "64" * 32,
        "session": "73" * 32,
        "count": 3,
    }
