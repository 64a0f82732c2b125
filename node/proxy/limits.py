"""A limit on everything a client or server may make the proxies hold."""

from typing import Final

# HTTP
BODY_MAX: Final = 4_194_304
HEADER_BYTES_MAX: Final = 32_768
CONNECTIONS_MAX: Final = 1_024
PIPELINED_MAX: Final = 16
FIRST_REQUEST_S: Final = 5.0
"""Until a stranger's first request has its head; then `REQUEST_S`."""
STRANGERS_PER_ADDRESS_MAX: Final = 256
"""Connections without an answer below 400 yet; the oldest makes room."""
IDLE_S: Final = 60.0
"""Nothing to do, or a client that takes no byte: closed after this."""
REQUEST_S: Final = 60.0
"""From a request's first byte to its last."""
LINGER_S: Final = 2.0
EVENTS_PING_S: Final = 30.0
CONNECT_S: Final = 5.0
TLS_HANDSHAKE_S: Final = 10.0
TLS_READ_BYTES: Final = 65_536
IDLE_CONNECTIONS_MAX: Final = 64
"""To one server behind a URL, while nobody uses them."""

# MCP
MESSAGE_BYTES_MAX: Final = 4_194_304
SESSIONS_MAX: Final = 1_024
SESSIONS_PER_AGENT_MAX: Final = 64
SESSION_IDLE_S: Final = 1_800.0
PENDING_MAX: Final = 1_024
"""Requests of one session that wait for their answers."""
PARKED_MESSAGES_MAX: Final = 256
PARKED_BYTES_MAX: Final = 4_194_304
"""Server messages of one session that wait for a stream to travel on."""

LONE_CHILDREN_MAX: Final = 32
"""Children that serve one agent's requests of the stateless revision at once."""
LONE_CHILDREN_IN_ALL_MAX: Final = 256
"""Of all agents and servers, at work or at rest."""
LONE_CHILD_REST_S: Final = 60.0

# Mesh and wrap
OPENING_BYTES_MAX: Final = 65_536
FRAME_BYTES_MAX: Final = MESSAGE_BYTES_MAX + 65_536
SESSIONS_PER_PEER_MAX: Final = 256
STREAMS_PER_PEER_MAX: Final = 1_024
IDLE_STREAM_S: Final = 30.0
"""A stream at rest is used again within this; the provider waits twice as long."""
LETTERS_MAX: Final = 64
"""Messages in one POST: a batch's."""
UNREAD_BYTES_MAX: Final = 16_777_216
"""Sent to a wrapped server that does not read."""
OPENING_S: Final = 5.0
