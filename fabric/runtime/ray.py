"""A replica as a Ray Serve deployment.

Ray imports this module where it builds an application, in its controller, which calls `policy`,
and in every replica; what only a replica needs is imported when one starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray
from ray import serve

from fabric.runtime.load import wanted_replicas

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

    from fabric.runtime.load import MeanLoad
    from fabric.runtime.replica import Replica

DEPLOYMENT = "specialist"
"""The name of the one deployment in each application."""
REGISTERING = 10.0
"""Seconds that a start waits for the control plane at most; replicas serve without it, too."""
LOAD = "load"
"""What a replica reports to autoscaling: its mean load as a share of its target load."""


def build(args: dict[str, Any]) -> serve.Application:
    """The application of one specialist.

    *args* are `specialist`, a `fabric.api.catalog.v1.Specialist` as JSON, and `control`, the
    `host:port` of the control plane.
    """
    deployment = serve.deployment(name=DEPLOYMENT)(HostedReplica)
    return deployment.bind(args["specialist"], args["control"])


class HostedReplica:
    """Opens a replica in `__init__` and closes it, drained, in `__del__`, which Ray awaits."""

    async def __init__(  # type: ignore[misc] # Ray awaits it
        self, specialist: dict[str, Any], control: str
    ) -> None:
        from google.protobuf.json_format import ParseDict

        from fabric import telemetry
        from fabric.api.catalog.v1 import card_pb2
        from fabric.core.cards import Specialist
        from fabric.runtime.replica import Replica
        from fabric.wire.cards import from_message

        telemetry.configure("fabric-replica")
        declared = from_message(ParseDict(specialist, card_pb2.Specialist()), Specialist)
        replica = Replica(
            declared,
            control,
            host=ray.util.get_node_ip_address(),  # type: ignore[no-untyped-call]
            node=ray.get_runtime_context().get_node_id(),
        )
        await replica.open()
        self._replica: Replica = replica
        self._load: MeanLoad = replica.mean_load()
        self._target = declared.hosting.replicas.target_load
        # An older replica drains as soon as Ray knows this one, so gateways must know it before.
        await replica.registered(REGISTERING)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Takes what may change in place: the fields of a `Hosting` message as JSON.

        Ray calls it at every start and change.
        """
        from google.protobuf.json_format import ParseDict

        from fabric.api.catalog.v1 import card_pb2
        from fabric.core.cards import Batching, Replicas, Timeouts
        from fabric.wire.cards import from_message

        said = ParseDict(user_config, card_pb2.Hosting())
        self._replica.reconfigure(
            from_message(said.batching, Batching), from_message(said.timeouts, Timeouts)
        )
        self._target = from_message(said.replicas, Replicas).target_load

    async def check_health(self) -> None:
        self._replica.check()

    def record_autoscaling_stats(self) -> dict[str, float]:
        return {LOAD: self._load.read() / self._target}

    async def __del__(self) -> None:
        if hasattr(self, "_replica"):  # else `__init__` has failed, and closed what it had opened
            from fabric import telemetry

            await self._replica.close()
            telemetry.shutdown()


def policy(context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
    """How many replicas there should be by the load that they report; Serve adds its delays."""
    shares = (context.aggregated_metrics or {}).get(LOAD)
    if not shares:
        return context.target_num_replicas, {}
    wanted = wanted_replicas(
        shares.values(),
        context.target_num_replicas,
        context.capacity_adjusted_min_replicas,
        context.capacity_adjusted_max_replicas,
    )
    return wanted, {}
