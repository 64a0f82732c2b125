"""The control protocol's lines, and the asking side. Imports no event loop."""

import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias, cast

from gossip.errors import PeerError, UserError

VERSION: Final = 1
_TIMEOUT_S: Final = 10.0
_ANSWER_BYTES_MAX: Final = 16 << 20

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None


def read_line_untrusted(line: bytes) -> dict[str, Json]:
    """Read one line.

    Raises:
        PeerError: not a JSON object, or half a character in it.
    """
    try:
        value = json.loads(line)
        if b"\\u" in line:  # half a surrogate pair would fail wherever it is written
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise PeerError("not a line of JSON") from None
    if not isinstance(value, dict):
        raise PeerError("not a JSON object")
    return cast("dict[str, Json]", value)


def ask(path: Path, do: str, args: Mapping[str, Json] | None = None) -> Json:
    """Ask the daemon one thing and wait for the answer.

    Raises:
        UserError: no daemon there, or its own sentence why not.
    """
    answers = list(ask_many(path, do, args))
    return answers[-1]


def ask_many(
    path: Path, do: str, args: Mapping[str, Json] | None = None
) -> Iterator[Json]:
    """Ask for a stream of answers; the last one closes it.

    Raises:
        UserError: no daemon there, or its own sentence why not.
    """
    request = {"v": VERSION, "id": 1, "do": do, "args": dict(args or {})}
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(_TIMEOUT_S)
            sock.connect(str(path))
            sock.sendall(json.dumps(request).encode() + b"\n")
            with sock.makefile("rb") as lines:
                more = True
                while more:
                    line = lines.readline(_ANSWER_BYTES_MAX)
                    if not line:
                        raise UserError(f"{path}: the daemon hung up in mid-answer")
                    answer = read_line_untrusted(line)
                    error = answer.get("error")
                    if isinstance(error, dict):
                        raise UserError(str(error.get("sentence")))
                    more = answer.get("more") is True
                    yield answer.get("ok")
    except PeerError as wrong:
        raise UserError(f"{path}: does not speak the control protocol") from wrong
    except OSError as wrong:
        raise UserError(
            f"{path}: no daemon answers ({wrong.strerror or wrong}); start it with"
            " `picket run`, or ask again in a moment if it is just starting"
        ) from None
