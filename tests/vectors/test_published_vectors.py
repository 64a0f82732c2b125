"""Every published vector that a provider can express passes, under both.

Always those of PyPI's `cryptography-vectors`; and, where PICKET_VECTORS names a
folder, whatever lies there.
"""

import importlib.util
import os
from pathlib import Path

import pytest

from tests.node.keys.suites.conftest import EXPECTED
from tests.vectors.__main__ import (
    ProviderMissing,
    load_backend,
    load_cases,
    run_cases,
    vector_files,
)
from tests.vectors.backends import Backend

NOT_OURS = "of an algorithm that is not in suite 1"
NO_RANDOMNESS = "pyca takes no chosen randomness"
SEEDS_ONLY = "pyca takes and gives seeds only"
NEWER_HPKE = "a key schedule newer than RFC 9180, in no provider's interface"


@pytest.fixture(scope="module", params=["openssl", "liboqs"])
def backend(request: pytest.FixtureRequest) -> Backend:
    try:
        return load_backend(str(request.param))
    except ProviderMissing as error:
        if os.environ.get(EXPECTED):
            raise
        pytest.skip(str(error))


def packaged(name: str) -> Path:
    spec = importlib.util.find_spec("cryptography_vectors")
    assert spec is not None, "install cryptography-vectors"
    assert spec.origin is not None
    return Path(spec.origin).parent / name


@pytest.mark.parametrize(
    ("name", "passed", "reasons"),
    [
        ("asymmetric/MLDSA/kat_MLDSA_65_det_pure.rsp", 100, {SEEDS_ONLY}),
        ("asymmetric/MLKEM/kat_MLKEM_768.rsp", 3000, {NO_RANDOMNESS, SEEDS_ONLY}),
        ("HPKE/hpke-pq-test-vectors.json", 8, {NOT_OURS, NEWER_HPKE}),
    ],
)
def test_the_packaged_vectors_pass(
    backend: Backend, name: str, passed: int, reasons: set[str]
) -> None:
    tally = run_cases(load_cases(packaged(name)), backend)
    assert tally.failed == []
    assert tally.passed >= passed
    assert set(tally.not_expressible) <= reasons


def test_the_vectors_of_the_folder_pass(backend: Backend) -> None:
    folder = os.environ.get("PICKET_VECTORS")
    if not folder:
        pytest.skip("PICKET_VECTORS names no folder")
    total = 0
    for path in vector_files(Path(folder)):
        tally = run_cases(load_cases(path), backend)
        assert tally.failed == [], path.name
        total += tally.passed
    assert total > 0
