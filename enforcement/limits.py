"""A limit on everything a gate reads or remembers, units last in each name."""

from typing import Final

# One JSON-RPC message
MESSAGE_BYTES_MAX: Final = 4_194_304
DEPTH_MAX: Final = 64
CLIENT_KEYS_MAX: Final = 10_000
SERVER_KEYS_MAX: Final = 65_536
VALUES_MAX: Final = 131_072
NUMBER_CHARS_MAX: Final = 64
METHOD_CHARS_MAX: Final = 128
TOOL_CHARS_MAX: Final = 256
ID_CHARS_MAX: Final = 256
BATCH_MAX: Final = 64
SAFE_INT_MAX: Final = 2**53 - 1
"""Beyond it a double is not exact: servers would read different numbers."""

# One session
PENDING_MAX: Final = 1_024
CANCELLED_MAX: Final = 4_096
OUTBOX_MAX: Final = 1_024
OUTBOX_BYTES_MAX: Final = 16_777_216

# A server's tools
TOOLS_PER_SERVER_MAX: Final = 1_024
PINNED_BYTES_MAX: Final = 8_388_608
MANIFEST_BYTES_MAX: Final = 262_144
SCHEMA_VISITS_MAX: Final = 10_000
SCHEMA_NODES_MAX: Final = 8_192
TAGS_MAX: Final = 64
PAGES_MAX: Final = 64
TASKS_MAX: Final = 4_096
HELD_CALLS_MAX: Final = 64

# Signed requests
LEAVES_MAX: Final = 8_192
ENVELOPE_BYTES_MAX: Final = 16_384
PROOF_BYTES_MAX: Final = 65_536
PROOF_LEAVES_MAX: Final = 1_024
PATH_BYTES_MAX: Final = 2_048
"""Only where hostile rules apply: a proof of absence shows two names."""
FRESH_MS_MAX: Final = 120_000
REPLAY_PER_NODE_MAX: Final = 65_536
OFFER_MS_MAX: Final = 900_000
"""How long a shared key counts after its offer; makers replace it after two thirds."""
SHARED_KEYS_MAX: Final = 1_024

# Policy
POLICY_FILES_MAX: Final = 256
POLICY_BYTES_MAX: Final = 1_048_576
RULES_MAX: Final = 4_096
RULE_DEPTH_MAX: Final = 200
BUNDLE_OVERLAP_MS: Final = 600_000
BUNDLES_KEPT_MAX: Final = 16
SLICES_MAX: Final = 4_096
SLICE_PRINCIPALS_MAX: Final = 256
ANSWERS_MAX: Final = 4_096
ANSWER_CONTEXT_CHARS_MAX: Final = 1_024
HOSTILE_SEVERITY_MIN: Final = 7
SEVERITY_MAX: Final = 9

# What a rule may be shown of one call
FACT_TEXT_CHARS_MAX: Final = 65_536
FACT_CHARS_MAX: Final = 131_072
FACT_VALUES_MAX: Final = 8_192
FACT_WORDS_MAX: Final = 8_192

# What a tool answers
UNSEEN_MAX: Final = 16
"""Invisible characters in one answer; more of them hide something."""

# Trust
TRUSTED_MAX: Final = 16_384
APPROVALS_MAX: Final = 4_096

# Rates and witnesses
BUCKETS_MAX: Final = 16_384
WITNESS_EVERY_MS: Final = 1_000
WITNESSED_MAX: Final = 4_096
AUDIT_REFUSED_BURST: Final = 32
AUDIT_REFUSED_PER_SECOND: Final = 1.0
"""Records of what was refused, for each agent; one stands for those left out."""
JUNK_BURST: Final = 256
JUNK_PER_SECOND: Final = 10.0
"""Messages of one agent to one server that no honest side sends; more are a flood."""
