"""Names for the numbers and byte strings that must never be mixed up."""

from typing import NewType

UnixMs = NewType("UnixMs", int)
"""Wall-clock milliseconds since 1970. May jump; only for stamps that travel."""

MonoMs = NewType("MonoMs", int)
"""Monotonic milliseconds since this node started. Only for timers."""

NodeId = NewType("NodeId", bytes)
"""32 bytes: SHA-256 over label, suite and the node's root public key."""

AgentId = NewType("AgentId", bytes)
"""32 bytes: SHA-256 over label, suite and the agent's public key."""

KeyId = NewType("KeyId", bytes)
"""32 bytes: SHA-256 over label, suite and any public key; a reference to it."""

ClusterId = NewType("ClusterId", bytes)
"""32 bytes: digest of the founders' file, in its canonical form."""

Incarnation = NewType("Incarnation", bytes)
"""16 random bytes, fresh at every start of a daemon."""

EntryId = NewType("EntryId", bytes)
"""32 bytes: digest of an entry's place and body, never of its signature."""

ID_BYTES = 32
INCARNATION_BYTES = 16
UNIX_MS_MAX = 2**53  # Exact in every language a peer may be written in.
