"""A node's keys: a fresh operational key each start, under a 90 day certificate."""

from pathlib import Path

import pytest

from gossip.errors import UserError
from gossip.limits import DAY_MS
from gossip.units import UnixMs
from node.keys.keystore import Keystore
from node.keys.node_keys import (
    agent_keys,
    agent_secret,
    bear_node,
    certified_node,
    fresh_keys,
    renew_node,
    renewal_ends_ms,
)
from node.keys.suites.registry import load_suite

NOW = UnixMs(1_800_000_000_000)
SUITE = load_suite("openssl")


def test_each_start_signs_with_a_fresh_key_of_the_same_node(tmp_path: Path) -> None:
    node = bear_node(tmp_path, SUITE, NOW)
    one, two = fresh_keys(tmp_path, SUITE, NOW), fresh_keys(tmp_path, SUITE, NOW)
    assert one.chain.node == two.chain.node == node == certified_node(tmp_path)
    assert one.chain.key != two.chain.key
    assert one.chain.covers(NOW + DAY_MS - 1)
    assert not one.chain.covers(NOW + DAY_MS + 1)


def test_an_expired_certificate_says_how_to_renew(tmp_path: Path) -> None:
    bear_node(tmp_path, SUITE, NOW)
    late = UnixMs(NOW + 91 * DAY_MS)
    with pytest.raises(UserError, match="picket renew"):
        fresh_keys(tmp_path, SUITE, late)
    renew_node(tmp_path, Keystore(tmp_path / "keys").load("root"), SUITE, late)
    assert fresh_keys(tmp_path, SUITE, late).chain.covers(late)
    assert renewal_ends_ms(tmp_path, SUITE) == late + 90 * DAY_MS


def test_another_root_key_cannot_renew(tmp_path: Path) -> None:
    bear_node(tmp_path, SUITE, NOW)
    with pytest.raises(UserError, match="another root key"):
        renew_node(tmp_path, SUITE.generate_seed(), SUITE, NOW)


def test_the_root_key_is_not_needed_to_start(tmp_path: Path) -> None:
    bear_node(tmp_path, SUITE, NOW)
    Keystore(tmp_path / "keys").path("root").unlink()
    fresh_keys(tmp_path, SUITE, NOW)


def test_a_broken_certificate_is_one_sentence(tmp_path: Path) -> None:
    bear_node(tmp_path, SUITE, NOW)
    path = tmp_path / "renewal.cert"
    good = path.read_bytes()
    path.write_bytes(good[:100])
    with pytest.raises(UserError, match=r"renewal\.cert: cannot be read"):
        fresh_keys(tmp_path, SUITE, NOW)
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(UserError, match="does not certify"):
        fresh_keys(tmp_path, SUITE, NOW)


def test_an_agent_keeps_its_id_when_its_node_rotates(tmp_path: Path) -> None:
    bear_node(tmp_path, SUITE, NOW)
    Keystore(tmp_path / "keys").store(agent_secret("bot"), SUITE.generate_seed())
    one = agent_keys(tmp_path, "bot", ("r",), fresh_keys(tmp_path, SUITE, NOW), SUITE)
    two = agent_keys(tmp_path, "bot", ("r",), fresh_keys(tmp_path, SUITE, NOW), SUITE)
    assert one.certificate.agent == two.certificate.agent
    assert one.certificate.issuer != two.certificate.issuer


def test_secrets_do_not_show(tmp_path: Path) -> None:
    bear_node(tmp_path, SUITE, NOW)
    keys = fresh_keys(tmp_path, SUITE, NOW)
    assert keys.seed.hex() not in repr(keys)
    assert repr(keys.seed) not in repr(keys)
