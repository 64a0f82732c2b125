"""What an egress gate has signed: one body for each request that policy allowed."""

import attrs

from enforcement.detect.pins import Manifest
from enforcement.effects import SignRequest
from enforcement.mcp.leaves import SEED_BYTES
from enforcement.mcp.signing import (
    NO_MANIFEST,
    REQUEST_ID_BYTES,
    RequestBody,
    write_body,
)
from enforcement.outbox import Outgoing
from enforcement.post import Post
from enforcement.principal import Principal
from enforcement.verifying import commit_request
from gossip.units import NodeId, UnixMs


@attrs.define(kw_only=True)
class Signatory:
    """Draws up what agent and node sign, and numbers what it asks for."""

    post: Post
    server: str
    audience: NodeId
    session: bytes
    _tickets: int = attrs.field(init=False, default=0)

    def ticket(self) -> int:
        """A fresh number."""
        self._tickets += 1
        return self._tickets

    def ask(
        self,
        item: Outgoing,
        principal: Principal,
        manifest: Manifest | None,
        now_ms: UnixMs,
    ) -> SignRequest:
        """Have a request signed that goes to another node; ``item`` waits for it.

        ``item.shares`` says whether a shared key will do.
        """
        assert item.request is not None, "only requests are signed"
        item.seed = self.post.suite.random(SEED_BYTES)
        leaves = commit_request(item.request, item.seed)
        body = RequestBody(
            cluster=self.post.cluster,
            node=principal.node,
            agent=principal.agent,
            key=principal.chain.key,
            cert=principal.cert_digest,
            audience=self.audience,
            server=self.server,
            method=item.request.method,
            tool=item.request.tool,
            request_id=self.post.suite.random(REQUEST_ID_BYTES),
            issued_at_ms=now_ms,
            bundle=self.post.bundles.current.digest,
            manifest=NO_MANIFEST if manifest is None else manifest.digest,
            root=leaves.root,
            count=leaves.count,
            session=self.session,
        )
        return self.issue(item, body)

    def issue(self, item: Outgoing, body: RequestBody) -> SignRequest:
        """Ask for the signatures under ``body``, perhaps not for the first time."""
        item.ticket = self.ticket()
        item.unsigned, item.body = body, write_body(body)
        return SignRequest(
            item.ticket, item.body, self.audience if item.shares else None
        )
