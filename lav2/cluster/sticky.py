"""Which replica answers: the one that has seen the photo, as long as it has room. Imported only where Ray is."""

from __future__ import annotations

from typing import Any

from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter

from lav2.assistant.admission import AT_ONCE, WAITING


class StickyRouter(ConsistentHashRouter):
    """Consistent hashing of the session id (the photo's fingerprint) with bounded loads (Mirrokni et al., arXiv
    1608.01350): a replica that answers AT_ONCE questions already comes behind those that have room, a full one last."""

    async def choose_replicas(self, candidate_replicas: list, pending_request: Any = None) -> list[list]:
        ranks = await super().choose_replicas(candidate_replicas, pending_request)

        def load(rank: list) -> int:
            under_way = self.replica_queue_len_cache.get(rank[0].replica_id) or 0
            return (under_way >= AT_ONCE) + (under_way >= AT_ONCE + WAITING)

        return sorted(ranks, key=load)  # stable: else in the order of the ring
