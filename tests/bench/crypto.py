"""Both providers side by side, and each beside its bare call: `make bench-crypto`.

Prints JSON. liboqs' bare call is timed from C (needs a C compiler); OpenSSL's C
functions are sealed inside pyca's wheel, so its bare call is pyca's own method.
Ends in 1 where a bar is missed: liboqs at least 4 times as fast at verifying and
6 times at signing, and each provider's at 0.9 of its bare call. Where liboqs is not
installed, OpenSSL is measured alone, and "left out" says so: liboqs' bars are then
neither held nor missed. A liboqs that is there and cannot be used ends it in 1.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

from node.keys.suites.hybrid import HybridSuite
from node.keys.suites.loading import LiboqsSuite
from node.keys.suites.measure import mean_us, measure, operations
from node.keys.suites.openssl import OpensslSuite
from node.keys.suites.probe import Found, Missing, find_liboqs

ROUNDS: Final = 80
ROUND_SECONDS: Final = 0.015
RATIOS_MIN: Final = {"ML-DSA-65 verify": 4.0, "ML-DSA-65 sign": 6.0}
OF_BARE_MIN: Final = 0.9
NAMES: Final = {
    "verify": "ML-DSA-65 verify",
    "sign": "ML-DSA-65 sign",
    "encapsulate": "ML-KEM-768 encapsulate",
    "decapsulate": "ML-KEM-768 decapsulate",
}


def build_bare(folder: Path) -> Path | None:
    """The C program, or None where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    program = folder / "bare"
    source = Path(__file__).with_name("bare.c")
    command = [compiler, "-O2", "-o", str(program), str(source), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    return program


def time_bare(program: Path, library: Path) -> dict[str, float]:
    """One round of the C program, by operation."""
    command = [str(program), str(library), str(ROUND_SECONDS)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=60
    )
    lines = (line.split() for line in done.stdout.splitlines())
    return {name: float(us) for name, us in lines}


def time_pyca() -> dict[str, float]:
    """One round of pyca's own methods."""
    signer, message = MLDSA65PrivateKey.from_seed_bytes(bytes(range(32))), bytes(220)
    public, signature = signer.public_key(), signer.sign(message, b"measure")
    kem = MLKEM768PrivateKey.from_seed_bytes(bytes(range(64)))
    encapsulation_key = kem.public_key()
    _, ciphertext = encapsulation_key.encapsulate()
    calls: dict[str, Callable[[], object]] = {
        "verify": partial(public.verify, signature, message, b"measure"),
        "decapsulate": partial(kem.decapsulate, ciphertext),
        "sign": partial(signer.sign, message, b"measure"),
    }
    return {name: mean_us(call, ROUND_SECONDS) for name, call in calls.items()}


def beside_bare(
    suite: HybridSuite, program: Path | None, library: Path | None
) -> dict[str, dict[str, float]]:
    """Alternating rounds of Picket's call and the bare one, and their quotient.

    The best of many short rounds are compared, which disturbances touch least;
    of signing, whose time is random, the median rounds.
    """
    calls = operations(suite)
    ours: dict[str, list[float]] = {}
    bare: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        if library is None:
            timed = time_pyca()
        elif program is None:
            return {}
        else:
            timed = time_bare(program, library)
        for name, us in timed.items():
            bare.setdefault(name, []).append(us)
            mine = mean_us(calls[NAMES[name]], ROUND_SECONDS)
            ours.setdefault(name, []).append(mine)
    table = {}
    for name, rounds in bare.items():
        typical = statistics.median if name == "sign" else min
        called, plain = typical(ours[name]), typical(rounds)
        table[NAMES[name]] = {
            "us": round(called, 2),
            "bare us": round(plain, 2),
            "overhead us": round(called - plain, 2),
            "of bare": round(plain / called, 3),
        }
    return table


def main() -> int:
    """Measure, print; 1 where a bar is missed."""
    argparse.ArgumentParser(prog="make bench-crypto", description=__doc__).parse_args()
    found = find_liboqs()
    if isinstance(found, Missing) and found.path is not None:
        sys.exit(found.why)  # somebody meant it to be measured
    suites: list[HybridSuite] = [OpensslSuite()]
    if isinstance(found, Found):
        suites.append(LiboqsSuite(found.path))
    figures = measure(suites)
    slow, *others = (figure.microseconds for figure in figures)
    ratios = {
        name: round(slow[name] / us, 2) for fast in others for name, us in fast.items()
    }
    bare = {"openssl": beside_bare(suites[0], None, None)}
    if isinstance(found, Found):
        with tempfile.TemporaryDirectory() as folder:
            program = build_bare(Path(folder))
            bare["liboqs"] = beside_bare(suites[1], program, found.path)
    missed = [
        f"{name}: {ratios[name]} times, not {least}"
        for name, least in RATIOS_MIN.items()
        if ratios and ratios[name] < least
    ]
    missed += [
        f"{provider}, {name}: {row['of bare']} of the bare call, not {OF_BARE_MIN}"
        for provider, table in bare.items()
        for name, row in table.items()
        if name in RATIOS_MIN and row["of bare"] < OF_BARE_MIN
    ]
    report = {
        "microseconds": {figure.provider: figure.microseconds for figure in figures},
        "liboqs times faster": ratios,
        "composite verifications a second, by threads": {
            figure.provider: figure.batch_per_second for figure in figures
        },
        "beside the bare call": bare,
        "missed": missed,
        "left out": {"liboqs": found.why} if isinstance(found, Missing) else {},
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
