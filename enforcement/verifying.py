"""Whether a request from another node is genuine, fresh and new."""

from collections.abc import Sequence

import attrs

from enforcement.defend.policy import Policy
from enforcement.effects import Subject, SubjectKind
from enforcement.mcp.jsonrpc import Reason, Request
from enforcement.mcp.leaves import Leaves, TooManyValuesError, commit
from enforcement.mcp.signing import (
    Envelope,
    check_signatures_untrusted,
    check_signer_untrusted,
    read_envelope_untrusted,
)
from enforcement.post import DeniedError, Post
from enforcement.principal import Principal
from gossip.errors import PeerError
from gossip.units import NodeId, UnixMs


@attrs.frozen
class Verified:
    """A signed request that is genuine, fresh and new; nothing is said of policy."""

    envelope: Envelope
    leaves: Leaves
    principal: Principal
    policy: Policy


@attrs.frozen
class Verifier:
    """Verifies the envelopes of one server's requests, at the node that provides it."""

    post: Post
    server: str
    audience: NodeId

    def verify_untrusted(
        self,
        request: Request,
        data: bytes,
        principals: Sequence[Principal],
        now_ms: UnixMs,
    ) -> Verified:
        """Every check of an envelope; the signatures last, for they cost most.

        ``principals`` are the agent as certified now, and as before its renewal.

        Raises:
            PeerError: it does not hold.
            DeniedError: it holds, but not here or not now.
        """
        envelope = read_envelope_untrusted(data)
        body = envelope.body
        principal = next((p for p in principals if p.cert_digest == body.cert), None)
        if principal is None:  # a renewal may be on its way: nobody's fault
            raise DeniedError(
                Reason.ENVELOPE, "the request names a certificate not shown before"
            )
        _check_in_force(principal, body.issued_at_ms)
        check_signer_untrusted(body, principal, self.post.cluster)
        if self.post.is_refused(Subject(SubjectKind.SESSION, body.session)):
            raise quarantined(SubjectKind.SESSION, f"session:{body.session.hex()}")
        if (body.audience, body.server) != (self.audience, self.server):
            raise PeerError("the request is signed for another node or server")
        if (body.method, body.tool) != (request.method, request.tool):
            raise PeerError("the request is signed for another method or tool")
        policy = self._check_time(envelope, principal.node_name, now_ms)
        leaves = commit_request(request, envelope.seed)
        if (body.root, body.count) != (leaves.root, leaves.count):
            raise PeerError("the request is signed over other parameters")
        self._check_authentic_untrusted(envelope, principal, now_ms)
        if not self.post.replay.remember(body.node, body.request_id, now_ms):
            raise DeniedError(Reason.BUSY, "too many requests from this node of late")
        return Verified(envelope, leaves, principal, policy)

    def _check_authentic_untrusted(
        self, envelope: Envelope, principal: Principal, now_ms: UnixMs
    ) -> None:
        """What vouches for the body: two signatures, or a shared key's mac.

        Raises:
            PeerError: it does not hold.
            DeniedError: the shared key is sealed to a key that we do not have.
        """
        if envelope.mac:
            opened = self.post.shared_keys.check_untrusted(
                envelope.encoded_body,
                envelope.mac,
                envelope.offer,
                principal,
                self.post.cluster,
                self.audience,
                self.post.suite,
                now_ms,
            )
            if opened:
                return
            raise DeniedError(
                Reason.STALE,
                "the key that the request is under cannot be opened here",
                advice="the agent's node hears of this node's present key by itself",
            )
        check_signatures_untrusted(
            envelope.encoded_body,
            envelope.agent_signature,
            envelope.node_signature,
            principal,
            self.post.suite,
        )

    def _check_time(self, envelope: Envelope, signer: str, now_ms: UnixMs) -> Policy:
        """Fresh, new, and under a bundle that counts; faults an honest node may have."""
        body = envelope.body
        if not self.post.replay.is_fresh(body.issued_at_ms, now_ms):
            raise DeniedError(
                Reason.STALE,
                "the request was signed too long ago, or in the future",
                advice="compare the clocks of both nodes; two minutes are allowed",
            )
        if self.post.replay.is_known(body.node, body.request_id):
            raise DeniedError(Reason.REPLAYED, "this signed request was here before")
        policy = self.post.bundles.accepted(body.bundle, now_ms)
        if policy is None:
            raise DeniedError(
                Reason.BUNDLE,
                f"node `{signer}` allowed the request under policy"
                f" {body.bundle.hex()[:16]}, which is not in force where"
                f" `{self.server}` is",
                advice=f"compare `picket status` on `{signer}` and there;"
                " `picket policy push` gives all nodes one policy",
            )
        return policy


def _check_in_force(principal: Principal, at_ms: UnixMs) -> None:
    """Keys that ran out are an honest node's trouble: denied, but no witness."""
    if not principal.chain.covers(at_ms) or not principal.cert.covers(at_ms):
        raise DeniedError(
            Reason.STALE,
            "the certificate of the agent or of its node is not in force",
            advice="see `picket doctor` on the agent's node: keys rotate by themselves",
        )


def quarantined(
    kind: SubjectKind, name: str, *, withdraws: bool = False
) -> DeniedError:
    return DeniedError(
        Reason.QUARANTINED,
        f"{kind.value} `{name}` is quarantined",
        advice=f"run `picket quarantine why {name}` to see the evidence",
        withdraws=withdraws,
    )


def commit_request(request: Request, seed: bytes) -> Leaves:
    """Commit to a request's parameters, or deny it."""
    try:
        return commit(request.params, seed)
    except TooManyValuesError:
        raise DeniedError(
            Reason.TOO_MANY_VALUES,
            "the request holds more values than can be signed",
            advice="send it in parts",
        ) from None
