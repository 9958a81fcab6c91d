"""The deployments on Ray Serve: the language model, each expert, and how many copies of them there are."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from experts.evidence import BUILT_IN
from lav2 import config
from lav2.assistant.admission import AT_ONCE, WAITING
from lav2.cluster import engine
from lav2.cluster.parts import Loader
from lav2.cluster.replicas import ExpertReplica, ModelReplica
from lav2.errors import LAV2Error
from lav2.options import setting

NAME = "lav2"  # of the application in Ray Serve
AUTO = "auto"
RUNNING = "running"
EXPERTS = 0.5  # of the cores are the experts'; of these, each one's part, by its seconds at a photo (docs/scale.md):
PARTS = {"caption": 0.3, "detection": 0.1, "ocr": 0.6}
SLACK = 8  # calls beside the questions that a replica answers or lets wait: they are told that it is busy
DRAIN_SECONDS = 120.0  # for answers of a replica that is rolled over to end


@dataclass(frozen=True)
class Cluster:
    """How many copies answer, on Ray."""

    replicas: str | None = setting(
        None, "of the language model: a number; auto: as many as the questions under way ask for; running: those "
        "that are there, by `serve run lav2/cluster/serve.yaml` or another front end", metavar="N",
    )  # fmt: skip
    most: int | None = setting(
        None, "replicas of auto (default: one a GPU, else one for two cores)", option="--max-replicas"
    )
    cluster: str | None = setting(
        None, "address of a running Ray cluster (default: one on this machine, which ends with the app)",
        metavar="ADDRESS",
    )  # fmt: skip
    expert_replicas: int = setting(1, "of each expert")

    def __post_init__(self):
        named = self.replicas in (None, AUTO, RUNNING)
        if not named and not (self.replicas.isdecimal() and int(self.replicas) > 0):
            raise LAV2Error(
                "--replicas is {given}; it has to be a number above 0, auto or running.",
                "Give one.",
                given=self.replicas,
            )
        if self.expert_replicas < 1 or (self.most is not None and self.most < 1):
            raise LAV2Error("There has to be one replica at least.", "Give a number above 0.")


@dataclass(frozen=True)
class Share:
    """What each replica may use: GPUs, else cores of the cluster's resources. A replica computes on as many threads as
    it has cores, on one where it has less."""

    model: dict[str, float]
    experts: dict[str, dict[str, float]]  # by name
    most: int  # replicas of the model that there is room for


def share(resources: dict[str, float], cluster: Cluster) -> Share:
    """How the cluster's GPUs or cores are divided.

    A replica of the model gets a GPU; the experts share the GPUs that are left, or a tenth of one with the models.
    Without GPUs the replicas of the model share one half of the cores, and the sets of experts the other.
    """
    sets = cluster.expert_replicas
    gpus, cores = int(resources.get("GPU", 0)), resources.get("CPU", 1.0)
    fixed = int(cluster.replicas) if (cluster.replicas or "").isdecimal() else None
    if gpus:
        most = fixed or cluster.most or gpus
        left = gpus - 0.1 * sets * len(BUILT_IN)
        each = 1.0 if gpus >= most + 1 else max(0.1, math.floor(10 * left / most) / 10)
        looking = {name: {"num_gpus": 0.1, "num_cpus": 0.1} for name in BUILT_IN}
        return Share({"num_gpus": min(1.0, each), "num_cpus": 1}, looking, most)
    most = fixed or cluster.most or max(1, int(cores // 2))
    looking = {name: {"num_cpus": rounded(cores * EXPERTS * part / sets)} for name, part in PARTS.items()}
    return Share({"num_cpus": rounded(cores * (1 - EXPERTS) / most)}, looking, most)


def rounded(cores: float) -> float:
    """Cores as Ray takes them: tenths below one, whole ones above."""
    return math.floor(cores) if cores >= 1 else max(0.1, math.floor(10 * cores + 1e-6) / 10)


def application(loader: Loader, cluster: Cluster, experts: tuple[str, ...] = BUILT_IN) -> Any:
    """The deployments, bound to each other as Ray Serve takes them; nothing comes up yet. Ray is connected.

    Args:
        experts: that have a deployment of their own; the others are part of each replica.
    """
    ray, serve = engine.required(), engine.required("ray.serve")
    parts = share(ray.cluster_resources(), cluster)
    looking = {
        name: serve.deployment(ExpertReplica)
        .options(
            name=name,
            num_replicas=cluster.expert_replicas,
            max_ongoing_requests=AT_ONCE + WAITING,
            ray_actor_options=parts.experts[name],
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
    return model.bind(loader, **looking)


def build(given: dict[str, str]) -> Any:
    """What serve.yaml names as its application; Ray Serve calls it with the file's `args`.

    Args:
        given: `preset` and `detector` of config.Models, and what config.Placing has.

    Raises:
        LAV2Error: another name, or an unknown preset.
    """
    known = ("preset", "detector", *(made.name for made in fields(config.Placing)))
    for name in given:
        if name not in known:
            raise LAV2Error(
                "The replicas have no setting {name}.", "Choose of: {known}.", name=repr(name), known=", ".join(known)
            )
    placing = {name: value for name, value in given.items() if name not in ("preset", "detector")}
    preset = config.preset(given.get("preset", config.DEFAULT_PRESET))
    return application(Loader(preset, given.get("detector"), placing), Cluster())


def deploy(loader: Loader, cluster: Cluster, experts: tuple[str, ...] = BUILT_IN) -> Any:
    """Bring the deployments up, or roll them over to `loader` where they run already; the handle of the models'.

    Args:
        experts: see `application`.

    Raises:
        LAV2Error: Ray is not installed, or the replicas do not come up.
    """
    serve = engine.required("ray.serve")
    serve.start(proxy_location="Disabled")  # photos go through the front ends of this project, not through Serve's
    try:
        return serve.run(application(loader, cluster, experts), name=NAME, route_prefix=None)
    except RuntimeError as error:
        raise LAV2Error(
            "The replicas do not come up ({why}).",
            "Look into the logs of Ray (/tmp/ray/session_latest/logs/serve), and at `serve status`.",
            why=error,
        ) from error


def running() -> Any:
    """The handle of the models' deployment that was brought up before.

    Raises:
        LAV2Error: Ray is not installed, or there is none.
    """
    serve = engine.required("ray.serve")
    try:
        return serve.get_app_handle(NAME)
    except serve.exceptions.RayServeException as error:
        raise LAV2Error(
            "No replicas run on this cluster.",
            "Run `serve run lav2/cluster/serve.yaml`, or give --replicas a number; --cluster says which cluster.",
        ) from error
