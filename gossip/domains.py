"""Every domain-separation label, one per use, all in this file.

A label never means two things: a signature or digest made for one use cannot
be shown as another. Changing a label's bytes is a change of the protocol.
"""

from enum import Enum


class Domain(bytes, Enum):
    """Context of a signature, or prefix of a digest or key derivation."""

    # digests
    KEY_ID = b"picket key id v1"
    NODE_ID = b"picket node id v1"
    AGENT_ID = b"picket agent id v1"
    AGENT_CERT_ID = b"picket agent certificate id v1"
    CLUSTER_ID = b"picket cluster id v1"
    CARD_ID = b"picket member card id v1"
    BATCH_ID = b"picket batch id v1"
    ENTRIES = b"picket batch entries v1"
    ENTRY_ID = b"picket entry id v1"
    SYNC_ROOT = b"picket sync root v1"
    SYNC_BUCKET = b"picket sync bucket v1"
    EQUIVOCATION = b"picket equivocation v1"
    ACT_ID = b"picket operator act id v1"
    APPEAL_ID = b"picket appeal id v1"
    TWO_FACES = b"picket two-faced manifest v1"
    AUDIT_ROW = b"picket audit row v1"
    MESSAGE = b"picket mcp message v1"
    BUNDLE = b"picket policy bundle v1"
    RULE = b"picket policy rule v1"
    MANIFEST_ID = b"picket manifest id v1"
    LEAF = b"picket parameter leaf v1"
    LEAF_VALUE = b"picket parameter value v1"
    LEAF_SALT = b"picket parameter salt v1"
    SHARED_KEY = b"picket shared request key v1"
    # signatures
    RENEWAL_CERT = b"picket renewal certificate v1"
    OPERATIONAL_CERT = b"picket operational certificate v1"
    AGENT_CERT = b"picket agent certificate v1"
    BATCH = b"picket batch v1"
    ACT = b"picket operator act v1"
    APPEAL = b"picket appeal v1"
    MANIFEST = b"picket manifest v1"
    REQUEST_AGENT = b"picket request, agent v1"
    REQUEST_NODE = b"picket request, node v1"
    OFFER_AGENT = b"picket shared request key, agent v1"
    OFFER_NODE = b"picket shared request key, node v1"
    CHALLENGE = b"picket agent challenge v1"
    LINK_INITIATOR = b"picket link initiator v1"
    LINK_RESPONDER = b"picket link responder v1"
    # key derivation
    LINK = b"picket link v1"
    LINK_MAC1 = b"picket link mac1 v1"

    def __repr__(self) -> str:
        return f"Domain.{self.name}"
