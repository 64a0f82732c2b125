"""Who still owes whom an answer in one session, so that nobody answers unasked."""

import attrs

from enforcement import limits
from enforcement.mcp.strictjson import Json, RequestKey


@attrs.define
class Exchange:
    """Requests of one side that the other has not answered yet."""

    _pending: dict[RequestKey, str] = attrs.field(init=False, factory=dict)
    _cancelled: dict[RequestKey, None] = attrs.field(init=False, factory=dict)

    @property
    def is_full(self) -> bool:
        """Whether one more request would be too many."""
        return len(self._pending) >= limits.PENDING_MAX

    def is_used(self, key: RequestKey) -> bool:
        """Whether an answer to this id may still come."""
        return key in self._pending or key in self._cancelled

    @property
    def tools(self) -> list[str]:
        """The tools that work on these requests, each once."""
        return [tool for tool in dict.fromkeys(self._pending.values()) if tool]

    def ask(self, key: RequestKey, tool: str = "") -> None:
        """Note a request that was let through, and the tool that works on it."""
        assert not self.is_used(key), "the caller has looked"
        self._pending[key] = tool

    def cancel(self, key: RequestKey) -> None:
        """The asker lost interest; the answer may or may not come.

        Until it does, its id stays taken: an answer to what was asked before must
        not be read as one to what is asked next. Beyond ``CANCELLED_MAX`` such
        requests count as pending, until no more fit into the session.
        """
        if key in self._pending and len(self._cancelled) < limits.CANCELLED_MAX:
            del self._pending[key]
            self._cancelled[key] = None

    def withdraw(self, params: dict[str, Json] | None) -> RequestKey | None:
        """Cancel what a ``notifications/cancelled`` names, and return its id."""
        key = (params or {}).get("requestId")
        if not isinstance(key, str) and type(key) is not int:
            return None
        self.cancel(key)
        return key

    def answer(self, key: RequestKey) -> bool:
        """Take an answer; False if nobody asked."""
        if key in self._cancelled:
            del self._cancelled[key]
            return True
        return self._pending.pop(key, None) is not None

    def abandon(self) -> list[RequestKey]:
        """No answer will come any more: whom to tell."""
        waiting = [*self._pending]
        self._pending.clear()
        self._cancelled.clear()
        return waiting
