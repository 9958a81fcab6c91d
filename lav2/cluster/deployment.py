"""The deployments on Ray Serve: the language model, each expert, and how many copies of them there are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from experts.evidence import BUILT_IN
from lav2.assistant.admission import AT_ONCE, WAITING
from lav2.cluster import engine
from lav2.cluster.parts import Loader
from lav2.cluster.replicas import ExpertReplica, ModelReplica
from lav2.errors import LAV2Error
from lav2.options import setting

NAME = "lav2"  # of the application in Ray Serve
AUTO = "auto"
SLACK = 8  # calls beside the questions that a replica answers or lets wait: they are told that it is busy
DRAIN_SECONDS = 120.0  # for answers of a replica that is rolled over to end


@dataclass(frozen=True)
class Cluster:
    """How many copies answer, on Ray."""

    replicas: str | None = setting(
        None, "of the language model: a number, or auto: as many as the questions under way ask for", metavar="N"
    )
    most: int | None = setting(
        None, "replicas of auto (default: one a GPU, else one for two cores)", option="--max-replicas"
    )
    cluster: str | None = setting(
        None, "address of a running Ray cluster (default: one on this machine, which ends with the app)",
        metavar="ADDRESS",
    )  # fmt: skip
    expert_replicas: int = setting(1, "of each expert")

    def __post_init__(self):
        number = (
            self.replicas is None or self.replicas == AUTO or (self.replicas.isdecimal() and int(self.replicas) > 0)
        )
        if not number:
            raise LAV2Error(
                "--replicas is {given}; it has to be a number above 0 or auto.", "Give one.", given=self.replicas
            )
        if self.expert_replicas < 1 or (self.most is not None and self.most < 1):
            raise LAV2Error("There has to be one replica at least.", "Give a number above 0.")


@dataclass(frozen=True)
class Share:
    """What each replica may use: GPUs, else cores of the cluster's resources."""

    model: dict[str, float]
    expert: dict[str, float]
    most: int  # replicas of the model that there is room for


def share(resources: dict[str, float], cluster: Cluster) -> Share:
    """How the cluster's GPUs or cores are divided.

    A replica of the model gets a GPU; the experts share the GPUs that are left, or a tenth of one with the models.
    Without GPUs all cores are divided among the replicas; experts work while their model waits, so they count as a
    tenth of a core.
    """
    experts = cluster.expert_replicas * len(BUILT_IN)
    gpus, cores = int(resources.get("GPU", 0)), resources.get("CPU", 1.0)
    fixed = None if cluster.replicas in (None, AUTO) else int(cluster.replicas)
    if gpus:
        most = fixed or cluster.most or gpus
        each = 1.0 if gpus >= most + 1 else max(0.1, math.floor(10 * (gpus - 0.1 * experts) / most) / 10)
        return Share({"num_gpus": min(1.0, each), "num_cpus": 1}, {"num_gpus": 0.1, "num_cpus": 0.1}, most)
    most = fixed or cluster.most or max(1, int(cores // 2))
    each = max(0.1, math.floor(10 * (cores - 0.1 * experts) / most) / 10)
    return Share({"num_cpus": each if each < 1 else math.floor(each)}, {"num_cpus": 0.1}, most)


def deploy(loader: Loader, cluster: Cluster, experts: tuple[str, ...] = BUILT_IN) -> Any:
    """Bring the deployments up, or roll them over to `loader` where they run already; the handle of the models'.

    Args:
        experts: that have a deployment of their own; the others are part of each replica.

    Raises:
        LAV2Error: Ray is not installed, or the replicas do not come up.
    """
    ray, serve = engine.required(), engine.required("ray.serve")
    parts = share(ray.cluster_resources(), cluster)
    looking = {
        name: serve.deployment(ExpertReplica)
        .options(
            name=name,
            num_replicas=cluster.expert_replicas,
            max_ongoing_requests=AT_ONCE + WAITING,
            ray_actor_options=parts.expert,
            graceful_shutdown_timeout_s=DRAIN_SECONDS,
        )
        .bind(loader, name)
        for name in experts
    }
    if cluster.replicas == AUTO:
        bounds = {"min_replicas": 1, "max_replicas": parts.most, "target_ongoing_requests": AT_ONCE}
        count = {"autoscaling_config": {**bounds, "upscale_delay_s": 10, "downscale_delay_s": 300}}
    else:
        count = {"num_replicas": int(cluster.replicas or 1)}
    router = serve.config.RequestRouterConfig(
        request_router_class="lav2.cluster.sticky.StickyRouter",
        request_router_kwargs={"num_fallback_replicas": 1000},  # all of them
    )
    model = serve.deployment(ModelReplica).options(
        name="model",
        max_ongoing_requests=AT_ONCE + WAITING + SLACK,
        ray_actor_options=parts.model,
        request_router_config=router,
        graceful_shutdown_timeout_s=DRAIN_SECONDS,
        health_check_period_s=5,
        **count,
    )
    serve.start(proxy_location="Disabled")  # photos go through the doors of this project, not through Serve's
    try:
        return serve.run(model.bind(loader, **looking), name=NAME, route_prefix=None)
    except RuntimeError as error:
        raise LAV2Error(
            "The replicas do not come up ({why}).",
            "Look into the logs of Ray (/tmp/ray/session_latest/logs/serve), and at `serve status`.",
            why=error,
        ) from error
