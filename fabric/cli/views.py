"""Tables: what people see of resources, plans and answers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from fabric.client import Answer, Explanation, ReplicaHealth, SpecialistHealth
    from fabric.config.triton import Finding
    from fabric.core.changes import Hosted
    from fabric.core.decisions import Decision, Feedback, Outcome
    from fabric.core.pipelines import Pipeline
    from fabric.core.policies import Policy
    from fabric.core.replicas import Replica
    from fabric.core.routes import Requirements, Route

View = tuple[tuple[str, ...], "Iterable[tuple[Any, ...]]"]
"""Columns and rows."""


def specialists(found: Iterable[Hosted]) -> View:
    columns = ("name", "version", "state", "ready", "task", "domains", "cost", "reason")
    return columns, (
        (
            hosted.specialist.card.name,
            hosted.specialist.card.version,
            hosted.status.state,
            f"{hosted.status.ready}/{hosted.status.wanted}",
            hosted.specialist.card.task,
            ", ".join(hosted.specialist.card.domains),
            f"{hosted.specialist.card.cost:g}",
            hosted.status.reason,
        )
        for hosted in found
    )


def replicas(found: Iterable[Replica]) -> View:
    columns = ("id", "specialist", "version", "node", "pid", "address", "running", "queued", "")
    return columns, (
        (
            *(replica.id, replica.specialist, replica.version, replica.node, replica.pid),
            *(replica.address, replica.load.running, replica.load.queued),
            f"draining: {replica.why}" if replica.why else "draining" if replica.draining else "",
        )
        for replica in found
    )


def routes(found: Iterable[Route]) -> View:
    columns = ("name", "order", "chain", "requires", "timeout", "description")
    return columns, (
        (
            route.name,
            route.order,
            " > ".join(map(str, route.chain)) or "*",
            ", ".join(_stated(route.requirements)),
            f"{route.timeout:g} s",
            route.description,
        )
        for route in found
    )


def pipelines(found: Iterable[Pipeline]) -> View:
    columns = ("name", "inputs", "outputs", "steps", "calls", "timeout", "description")
    return columns, (
        (
            pipeline.name,
            ", ".join(each.name for each in pipeline.inputs),
            ", ".join(each.name for each in pipeline.outputs),
            sum(1 for _ in pipeline.all_steps),
            ", ".join(pipeline.calls),
            f"{pipeline.timeout:g} s",
            pipeline.description,
        )
        for pipeline in found
    )


def policies(found: Iterable[Policy], used: Collection[str]) -> View:
    """What was learned; *used* are the keys of those that routes go by."""
    columns = ("policy", "labels", "trained", "gain", "state", "reason")
    return columns, (
        (
            *(policy.key, policy.labels, policy.trained, _gain(policy)),
            "lost" if policy.lost else "in use" if policy.key in used else "",
            policy.lost or policy.note,
        )
        for policy in found
    )


def _gain(policy: Policy) -> str:
    """Over the best single candidate, with its interval, where the training could tell."""
    gain = json.loads(policy.report or "{}").get("gain")
    return f"{gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]" if gain else ""


def _stated(requirements: Requirements) -> Iterator[str]:
    for name, value in vars(requirements).items():
        if name == "labels":
            yield from (f"label.{key}={text}" for key, text in value.items())
        elif name == "min_quality" and value:
            yield f"{value.metric}>={value.value:g}"
        elif name in ("inputs", "outputs"):
            yield from (f"{name.removesuffix('s')} {need.name}" for need in value)
        elif isinstance(value, tuple):
            yield from (f"{name}={each}" for each in value)
        elif value not in ("", None):
            yield f"{name}={value}"


def health(found: Iterable[SpecialistHealth], rates: Mapping[str, float] | None = None) -> View:
    """Each specialist, and behind it its replicas; with *rates* the answers a second of each, by
    `name:version` and by id, instead of all answers."""
    rated = rates if rates is not None else {}
    columns = (
        *("specialist", "replica", "in flight", "queued", "answers" if rates is None else "rate"),
        *("p50 ms", "p99 ms", "errors", "breaker", "budget", ""),
    )

    def row(each: SpecialistHealth | ReplicaHealth, key: str) -> tuple[Any, ...]:
        rate = f"{rated.get(key, 0.0):.1f}/s" if rates is not None else each.answers
        errors = ", ".join(f"{reason} {count}" for reason, count in each.failures.items())
        return (rate, _milliseconds(each.p50), _milliseconds(each.p99), errors, each.breaker or "-")

    def rows() -> Iterator[tuple[Any, ...]]:
        for one in found:
            key = f"{one.name}:{one.version}"
            in_flight = f"{one.in_flight}/{one.limit}" if one.limit else one.in_flight
            queued = sum(replica.queued for replica in one.replicas)
            yield (key, "", in_flight, queued, *row(one, key), f"{one.budget:.0%}", one.why)
            for replica in one.replicas:
                parts = row(replica, replica.id)
                waiting = (replica.in_flight, replica.queued)
                yield ("", replica.id[:8], *waiting, *parts, "", replica.why)

    return columns, rows()


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{1000 * seconds:.1f}"


def plan(explanation: Explanation) -> View:
    """With a column for each scorer where the route ranks its candidates: its weight, and what
    each has from it."""
    from fabric.core.routes import SCORERS

    weights = {n: explanation.weights[n] for n in SCORERS if n in explanation.weights}
    scorers = [f"{name} × {weight:g}" for name, weight in weights.items()]
    columns = ("place", "specialist", "version", "replicas", "cost", *scorers, "score", "reason")
    candidates = [
        (
            *(place, c.specialist, c.version, c.replicas, f"{c.cost:g}"),
            *(f"{c.parts[name]:.2f}" if name in c.parts else "" for name in weights),
            *(f"{c.score:.2f}", c.reason),
        )
        for place, c in enumerate(explanation.candidates, 1)
    ]
    empty = ("",) * (len(scorers) + 3)
    behind = len(candidates) + 1
    candidates += [
        (place, str(entry), "", *empty, f"on {', '.join(entry.on) or 'failure'}")
        for place, entry in enumerate(explanation.given, behind)
    ]
    refusals = [("-", r.specialist, r.version, *empty, r.reason) for r in explanation.refusals]
    rows = candidates + refusals
    if weights:
        return columns, rows
    at = columns.index("score")
    return (*columns[:at], *columns[at + 1 :]), [(*row[:at], *row[at + 1 :]) for row in rows]


def decided(decision: Decision) -> str:
    """What was decided, in a sentence."""
    when = datetime.fromtimestamp(decision.time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    policy = f" {decision.policy}" if decision.policy else ""
    chances = zip(decision.candidates, decision.propensities, strict=False)
    likely = ", ".join(f"{name} {chance:.3g}" for name, chance in chances if chance)
    shadow = f"; {decision.shadow} was asked too" if decision.shadow else ""
    return f"decided {when} by {decision.kind}{policy}; first with probability: {likely}{shadow}"


def outcomes(found: Iterable[Outcome]) -> View:
    columns = ("asked", "ms", "cost", "label", "confidence", "error", "")
    return columns, (
        (
            *(each.specialist, f"{1000 * each.seconds:.1f}", f"{each.cost:g}", each.label),
            "" if each.confidence is None else f"{each.confidence:.2f}",
            *(each.error, "shadow" if each.is_shadow else ""),
        )
        for each in found
    )


def feedback(said: Feedback) -> str:
    """What was said of a request later, in a sentence."""
    of = f"of {said.specialist} " if said.specialist else ""
    what = f"score {said.score}"
    if said.label:
        what = f"the right label is {said.label}"
    elif said.preferred:
        what = f"{said.preferred} did better"
    return f"said {of}later: {what}"


def findings(found: Iterable[Finding]) -> View:
    columns = ("model", "what", "effect", "here")
    return columns, ((each.model, each.path, each.effect, each.text) for each in found)


def answer(given: Answer) -> View:
    from fabric.core.tensors import datatype_of

    rows = (
        (name, datatype_of(array), list(array.shape), _shortened(array))
        for name, array in given.outputs.items()
    )
    return ("output", "datatype", "shape", "values"), rows


def _shortened(array: Any) -> str:
    import numpy as np

    return np.array2string(array, threshold=20, precision=4, separator=", ").replace("\n", "")


def provenance(given: Answer) -> str:
    """Who answered, in a sentence."""
    by = f"{given.specialist}:{given.version}"
    if given.mixture:
        by = " and ".join(given.mixture)
    if given.confidence is not None:
        by += f", {given.confidence:.0%} sure,"
    way = f" by route {given.route}" if given.route else ""
    tries = "1 attempt" if given.attempts == 1 else f"{given.attempts} attempts"
    ago = f", {given.age:.3g} s ago" if given.cached else ""
    why = f": {given.failed}" if given.failed else ""
    last = ", as a fallback" if given.fallback else ""
    said = f"answered by {by}{way} after {tries}{last}{ago}{why}"
    return f"{said}; request {given.request}" if given.request else said
