"""Cuts a byte stream into lines, one MCP message each, within a limit."""


class LineSplitter:
    """Bytes in, whole lines out; a line over the limit is skipped and told."""

    def __init__(self, line_bytes_max: int) -> None:
        self._max = line_bytes_max
        self._rest = bytearray()
        self._skipping = False

    def take_rest(self) -> bytes:
        """Take out what has no line's end yet."""
        rest = bytes(self._rest)
        self._rest.clear()
        return rest

    def feed(self, data: bytes) -> list[bytes | None]:
        """The lines completed by ``data``, without their line ends.

        Blank lines are left out. None stands for a line that was too long.
        """
        if not self._rest and not self._skipping and data.find(b"\n") == len(data) - 1:
            line = data[:-1]
            if len(line) <= self._max:
                return [line] if line.strip() else []
        lines: list[bytes | None] = []
        *ended, rest = data.split(b"\n")
        for piece in ended:
            self._take(piece, lines)
            if not self._skipping and self._rest.strip():
                lines.append(bytes(self._rest))
            self._rest.clear()
            self._skipping = False
        self._take(rest, lines)
        return lines

    def _take(self, piece: bytes, lines: list[bytes | None]) -> None:
        """Collect a piece of a line, unless the line has become too long."""
        if self._skipping:
            return
        if len(self._rest) + len(piece) > self._max:
            self._rest.clear()
            self._skipping = True
            lines.append(None)
            return
        self._rest += piece
