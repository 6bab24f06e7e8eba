"""What Ray Serve is told; how it hosts a replica is tested where a fabric runs on it."""

from __future__ import annotations

import warnings

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own, on import
    from ray.serve._private.common import DeploymentID, ReplicaID
    from ray.serve.config import AutoscalingContext

    from fabric.runtime.ray import DEPLOYMENT, LOAD, build, policy

ID = DeploymentID(name=DEPLOYMENT, app_name="s:1")


def context(shares, target):
    metrics = {LOAD: {ReplicaID(str(n), ID): share for n, share in enumerate(shares)}}
    return AutoscalingContext(
        deployment_id=ID,
        deployment_name=ID.name,
        app_name=ID.app_name,
        current_num_replicas=target,
        target_num_replicas=target,
        running_replicas=[],
        total_num_requests=0.0,
        total_queued_requests=0.0,
        aggregated_metrics=metrics if shares else {},
        raw_metrics={},
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=3,
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=None,
        config=None,
    )


@pytest.mark.parametrize(
    ("shares", "target", "wanted"),
    [([2.5], 1, 3), ([9.0], 1, 3), ([0.5, 0.4], 2, 2), ([0.1, 0.1, 0.1], 3, 1)],
)
def test_autoscaling_follows_the_load_that_replicas_report(shares, target, wanted):
    """Each reports its share of the target load; together they are the replicas wanted."""
    assert policy(context(shares, target)) == (wanted, {})


def test_without_reports_nothing_changes():
    """Replicas that have only just started do not scale their deployment."""
    assert policy(context([], 2)) == (2, {})


def test_an_application_has_one_deployment():
    """The control plane configures it by name."""
    application = build({"specialist": {}, "control": "127.0.0.1:1"})
    assert application._bound_deployment.name == DEPLOYMENT
