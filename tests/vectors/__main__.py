"""Run every test vector file in a folder through both providers.

    python -m tests.vectors FOLDER [--provider NAME]

prints, for each file and provider, how many vectors passed, failed, or could
not be expressed, and why. Ends in 1 if one failed, if a file could not be read,
if a provider is missing that was to run, or if the folder holds no vectors at all.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import attrs

from node.keys.suites.loading import LiboqsRefused, load_lattice
from node.keys.suites.probe import Missing, find_liboqs
from tests.vectors.acvp import acvp_cases, is_acvp, merged
from tests.vectors.backends import (
    Backend,
    LiboqsBackend,
    NotExpressible,
    OpensslBackend,
)
from tests.vectors.cases import Case, Cases, collected
from tests.vectors.hybrids import (
    composite_cases,
    hpke_cases,
    is_composite,
    is_hpke,
    is_xwing,
    xwing_cases,
)
from tests.vectors.plain import plain_cases
from tests.vectors.reading import Unreadable, blocks, read_bytes, read_json
from tests.vectors.wycheproof import is_wycheproof, wycheproof_cases

_SUFFIXES: Final = (".json", ".txt", ".rsp", ".json.gz", ".txt.gz", ".rsp.gz")
_FORMATS: Final[
    tuple[tuple[Callable[[object], bool], Callable[[object], Cases]], ...]
] = (
    (is_wycheproof, wycheproof_cases),
    (is_acvp, acvp_cases),
    (is_composite, composite_cases),
    (is_xwing, xwing_cases),
    (is_hpke, hpke_cases),
)
_ANSWERS: Final = "expectedResults.json"
FAILURES_SHOWN_MAX: Final = 5


@attrs.define
class Tally:
    """What became of one file's vectors under one provider."""

    passed: int = 0
    failed: list[str] = attrs.Factory(list)
    not_expressible: Counter[str] = attrs.Factory(Counter)

    def __str__(self) -> str:
        line = (
            f"passed {self.passed}, failed {len(self.failed)}, "
            f"not expressible {self.not_expressible.total()}"
        )
        reasons = [f"{n}: {why}" for why, n in self.not_expressible.most_common()]
        return f"{line} ({'; '.join(reasons)})" if reasons else line


def load_cases(path: Path) -> list[Case]:
    """The vectors of one file; empty where it holds none of ours.

    Raises:
        Unreadable: the file cannot be read, or does not parse.
    """
    data = read_bytes(path)
    if path.name.removesuffix(".gz").endswith(".json"):
        try:
            document = read_json(data)
            answers = path.with_name(_ANSWERS)
            if path.name == "prompt.json" and answers.is_file():
                document = merged(document, read_json(read_bytes(answers)))
        except ValueError as error:
            raise Unreadable(f"it is no JSON: {error}") from error
        for recognises, cases in _FORMATS:
            if recognises(document):
                return collected(cases(document))
        return []
    content = data.decode("utf-8", "replace")
    in_blocks = blocks(content)
    if is_xwing(in_blocks):
        return collected(xwing_cases(in_blocks))
    return collected(plain_cases(content))


def run_cases(cases: list[Case], backend: Backend) -> Tally:
    """Every vector; whatever is raised but `NotExpressible` is a failure."""
    tally = Tally()
    for case in cases:
        try:
            if case.check(backend):
                tally.passed += 1
            else:
                tally.failed.append(case.name)
        except NotExpressible as reason:
            tally.not_expressible[str(reason)] += 1
        except Exception as error:
            tally.failed.append(f"{case.name}: {type(error).__name__}: {error}")
    return tally


def vector_files(folder: Path) -> Iterator[Path]:
    """The files that may hold vectors, sorted; prompts carry their answers."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name.endswith(_SUFFIXES):
            paired = path.name == _ANSWERS and path.with_name("prompt.json").is_file()
            if not paired:
                yield path


class ProviderMissing(Exception):
    """The provider to be tested is not usable here; the message says why."""


def load_backend(name: str) -> Backend:
    """The provider under test.

    Raises:
        ProviderMissing: there is none, or it is no good.
    """
    if name == "openssl":
        return OpensslBackend()
    found = find_liboqs()
    if isinstance(found, Missing):
        raise ProviderMissing(found.why)
    try:
        return LiboqsBackend(load_lattice(found.path))
    except LiboqsRefused as error:
        raise ProviderMissing(str(error)) from error


def _say(line: str) -> None:
    """One line, whatever is in the name of a file or of a vector."""
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in line
    )
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(shown.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Parse the command line, run, print; the process's exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.vectors", description=__doc__
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--provider", choices=("openssl", "liboqs"))
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    if not folder.is_dir():
        parser.error(f"{folder} is no folder")
    chosen: str | None = arguments.provider
    backends, missing = [], False
    for provider in [chosen] if chosen else ["openssl", "liboqs"]:
        try:
            backends.append(load_backend(provider))
        except ProviderMissing as why:
            missing = True
            _say(f"{provider} cannot be tested: {why}")
    total, failed = 0, 0
    for path in vector_files(folder):
        name = path.relative_to(folder)
        try:
            cases = load_cases(path)
        except Unreadable as why:
            failed += 1
            _say(f"{name}: cannot be read: {why}")
            continue
        if not cases:
            _say(f"{name}: no vectors of suite 1 recognised")
            continue
        for backend in backends:
            tally = run_cases(cases, backend)
            total += tally.passed + len(tally.failed)
            failed += len(tally.failed)
            _say(f"{name}: {backend.name}: {tally}")
            for failure in tally.failed[:FAILURES_SHOWN_MAX]:
                _say(f"    failed: {failure[:200]}")
    if total == 0:
        _say(f"{folder} holds no test vectors that a provider can run")
    return 1 if failed or missing or total == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
