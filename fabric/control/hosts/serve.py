"""What Ray Serve's REST API is told of specialists, and what it says of them.

Checked against Ray 2.60: a PUT names all applications and takes out the others, changes nothing
where nothing differs, changes `user_config` and the limits of autoscaling in place, and replaces
replicas when `args` differ. Unknown keys are ignored without a word.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from fabric.api.catalog.v1 import card_pb2
from fabric.catalog.health import Report
from fabric.control.hosts.reasons import reason_of
from fabric.core.cards import Card, Hosting, Timeouts
from fabric.wire.cards import as_dict, to_message

if TYPE_CHECKING:
    from fabric.core.cards import Specialist

LEAVING = 5.0
"""Seconds that a drained replica has for telling the control plane and closing."""
SCALING = 0.5
"""Seconds between the reports of a replica's load, each of which is a call of an actor."""
FIXED = 5.0
"""The same where nothing follows from them; until it is over, a change to scaling waits."""
BUILDER = "fabric.runtime.ray:build"
POLICY = "fabric.runtime.ray:policy"
DEPLOYMENT = "specialist"
"""The name of the one deployment that the builder makes."""


def application_name(specialist: Specialist) -> str:
    return specialist.key


def application(specialist: Specialist, control: str, attempt: int = 0) -> dict[str, Any]:
    """The Ray Serve application of a specialist whose replicas register at *control*.

    `args` hold what a replica reads once, so that nothing else restarts it, and the number of the
    *attempt*, because Ray Serve does not try again what failed until `args` differ. What a replica
    takes in while it runs is its `user_config`.
    """
    args: dict[str, Any] = {"specialist": _started_with(specialist), "control": control}
    if attempt:
        args["attempt"] = attempt
    return {
        "name": application_name(specialist),
        "route_prefix": None,
        "import_path": BUILDER,
        "args": args,
        "deployments": [_deployment(specialist.hosting)],
    }


def _started_with(specialist: Specialist) -> dict[str, Any]:
    card, hosting = specialist.card, specialist.hosting
    bare = replace(
        specialist,
        card=Card(
            name=card.name, version=card.version, signature=card.signature, checks=card.checks
        ),
        hosting=Hosting(
            model=hosting.model,
            python=hosting.python,
            arguments=hosting.arguments,
            runtime_env=hosting.runtime_env,
            resources=hosting.resources,
            onnxruntime=hosting.onnxruntime,
            timeouts=Timeouts(startup=hosting.timeouts.startup),
            sequences=hosting.sequences,
            classes=hosting.classes,
            canary=hosting.canary,
        ),
    )
    said = as_dict(to_message(bare, card_pb2.Specialist))
    for name in ("replicas", "batching", "loaded", "breaker"):
        said["hosting"].pop(name, None)
    return said


def _deployment(hosting: Hosting) -> dict[str, Any]:
    resources, replicas = hosting.resources, hosting.replicas
    options: dict[str, Any] = {"num_cpus": resources.cpus, "num_gpus": resources.gpus}
    if resources.memory:
        options["memory"] = resources.memory
    if environment := {key: said for key, said in asdict(hosting.runtime_env).items() if said}:
        options["runtime_env"] = environment
    scales = replicas.min < replicas.max
    return {
        "name": DEPLOYMENT,
        "ray_actor_options": options,
        "max_surge_percent": 100,
        "rolling_update_percentage": 1.0,
        "graceful_shutdown_wait_loop_s": 0.1,
        "graceful_shutdown_timeout_s": hosting.timeouts.drain + LEAVING,
        "health_check_period_s": 1.0,
        "health_check_timeout_s": 10.0,
        "autoscaling_config": {
            "min_replicas": replicas.min,
            "max_replicas": replicas.max,
            "target_ongoing_requests": replicas.target_load,
            "upscale_delay_s": 0.0,
            "downscale_delay_s": 2.0,
            "metrics_interval_s": SCALING if scales else FIXED,
            "look_back_period_s": 1.0,
            "policy": {"policy_function": POLICY},
        },
        "user_config": {
            "batching": as_dict(to_message(hosting.batching, card_pb2.Batching)),
            "replicas": as_dict(to_message(replicas, card_pb2.Replicas)),
            "timeouts": as_dict(to_message(hosting.timeouts, card_pb2.Timeouts)),
        },
        "logging_config": {"log_level": "WARNING", "enable_access_log": False},
    }


def configuration(applications: list[dict[str, Any]]) -> dict[str, Any]:
    """The body of a PUT."""
    return {"proxy_location": "Disabled", "applications": applications}


def args_of(details: dict[str, Any]) -> dict[str, Any]:
    """The `args` that an application was deployed with."""
    config = details.get("deployed_app_config") or {}
    return config.get("args") or {}


def attempt_of(details: dict[str, Any]) -> int:
    """The number of the attempt that Ray Serve made at an application."""
    return int(args_of(details).get("attempt", 0))


def is_ours(details: dict[str, Any]) -> bool:
    """Whether a fabric put an application."""
    config = details.get("deployed_app_config") or {}
    return bool(config.get("import_path") == BUILDER)


def has_failed(details: dict[str, Any]) -> bool:
    """Whether Ray Serve has given an application up."""
    return details.get("status") == "DEPLOY_FAILED"


def is_settled(details: dict[str, Any]) -> bool:
    """Whether an application runs as it was put."""
    return details.get("status") == "RUNNING"


def report_of(specialist: Specialist, details: dict[str, Any], is_replacing: bool) -> Report:
    """How a specialist fares by *details*, what a GET has of its application, or nothing.

    An application is DEPLOYING for a moment after every PUT, so that this alone says nothing.
    """
    deployment = (details.get("deployments") or {}).get(DEPLOYMENT, {})
    messages = deployment.get("message") or "", details.get("message") or ""
    reason = reason_of(messages[0]) or reason_of(messages[1])
    minimum = specialist.hosting.replicas.min
    return Report(
        wanted=max(minimum, int(deployment.get("target_num_replicas") or 0)),
        updating=is_replacing or has_failed(details),
        failure=reason if has_failed(details) else "",
        waiting="" if has_failed(details) or is_settled(details) else reason,
    )
