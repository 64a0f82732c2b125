"""Times as the commands show them."""

from datetime import UTC, datetime

from node.jsonlines import Json


def show_time(at_ms: Json) -> str:
    """A Unix time in milliseconds as people everywhere read it: UTC."""
    at = datetime.fromtimestamp(int(str(at_ms)) / 1_000, UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}Z"
