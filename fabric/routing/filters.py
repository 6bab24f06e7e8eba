"""Hard requirements: which cards may answer, and why the others may not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from fabric.routing.evidence import by_domain, stated
from fabric.routing.expressions import check_of
from fabric.routing.live import NOTHING

if TYPE_CHECKING:
    from fabric.core.cards import Card
    from fabric.core.routes import MinQuality, Requirements, TensorNeed
    from fabric.core.tensors import TensorSpec
    from fabric.routing.live import Live

Check = Callable[["Card"], str]
"""From a card to why it may not answer, naming both sides; empty if it may."""


def checks(
    wanted: Requirements,
    domain: str = "",
    live: Live = NOTHING,
    expressed: Callable[[str], Check] = check_of,
) -> list[Check]:
    """One check for each thing that is *wanted*, the dearest last.

    Args:
        domain: The one that is asked for, if *wanted* does not say.
        live: What the limit of latency is held against.
        expressed: Makes the check of an expression.

    Raises:
        InvalidRequest: the expression is none.
    """
    said = vars(wanted)
    found = [partial(check, said[name]) for name, check in _CHECKS.items() if said[name]]
    if wanted.max_cost is not None:
        found.append(partial(_cost, wanted.max_cost))
    if wanted.max_latency is not None:
        found.append(partial(_latency, wanted.max_latency, live))
    if wanted.min_quality is not None:
        found.append(partial(_quality, wanted.min_quality, wanted.domain or domain))
    return [*found, expressed(wanted.expression)] if wanted.expression else [*found]


def refusal(card: Card, wanted: Requirements, domain: str = "", live: Live = NOTHING) -> str:
    """Why *card* does not meet what is *wanted*, naming both sides; empty if it does."""
    return refused(card, checks(wanted, domain, live))


def refused(card: Card, by: list[Check]) -> str:
    """The first reason that one of the checks *by* has against *card*; empty without any."""
    for check in by:
        if reason := check(card):
            return reason
    return ""


def _stated(what: str, asked: str, card: Card) -> str:
    found = getattr(card, what)
    return "" if found == asked else f"{what} is {found or 'not stated'}, not {asked}"


def _labels(asked: Mapping[str, str], card: Card) -> str:
    for key, value in asked.items():
        found = card.labels.get(key, "")
        if value and found != value:
            return f"label {key} is {found or 'not stated'}, not {value}"
    return ""


def _within(what: str, field: str, asked: str, card: Card) -> str:
    """Who states no limits is not limited."""
    limits = getattr(card, field)
    if not limits or asked in limits:
        return ""
    return f"{what} {asked} is not among {', '.join(limits)}"


def _modality(asked: str, card: Card) -> str:
    if card.modality in ("", asked):
        return ""
    return f"modality {asked} is not among {card.modality}"


def _data_classes(asked: tuple[str, ...], card: Card) -> str:
    reasons = (_within("data class", "data_classes", each, card) for each in asked)
    return next(filter(None, reasons), "")


def _versions(asked: tuple[str, ...], card: Card) -> str:
    return "" if card.version in asked else f"version is {card.version}, not {' or '.join(asked)}"


def _cost(most: float, card: Card) -> str:
    return "" if card.cost <= most else f"cost is {card.cost:g}, above max_cost {most:g}"


def _latency(most: float, live: Live, card: Card) -> str:
    seconds = live.latencies.get(card.key, 0.0)
    if seconds <= most:
        return ""
    return f"nine of ten answers take up to {seconds:.2g} s, above max_latency {most:g}"


def _quality(asked: MinQuality, domain: str, card: Card) -> str:
    metric = asked.metric
    found = (stated(card, metric, domain) if domain else None) or stated(card, metric)
    if found is None and not domain:  # then it has to hold for any
        found = min(by_domain(card, metric), key=lambda e: e.value, default=None)
    if found is None:
        which = f" for {domain}" if domain else ""
        return f"states no {metric}{which}, which min_quality asks for; add it to its evidence"
    if found.value >= asked.value:
        return ""
    which = f" for {found.domain}" if found.domain else ""
    return f"{metric}{which} is {found.value:g}, below min_quality {asked.value:g}"


def _tensors(kind: str, asked: tuple[TensorNeed, ...], card: Card) -> str:
    if card.signature is None:
        return f"has no signature yet, of which {kind}s are asked; a replica brings it along"
    specs = {spec.name: spec for spec in getattr(card.signature, f"{kind}s")}
    for need in asked:
        spec = specs.get(need.name)
        if spec is None:
            return f"has no {kind} {need.name}; its {kind}s are {', '.join(specs) or 'none'}"
        if not _suits(need, spec):
            wanted = f"{need.datatype} {list(need.shape) if need.shape else ''}".strip()
            return f"{kind} {need.name} is {spec.datatype} {list(spec.shape)}, not {wanted}"
    return ""


def _suits(need: TensorNeed, spec: TensorSpec) -> bool:
    if need.datatype not in ("", spec.datatype):
        return False
    if not need.shape:
        return True
    sizes = zip(need.shape, spec.shape, strict=False)
    return len(need.shape) == len(spec.shape) and all(
        -1 in pair or len({*pair}) == 1 for pair in sizes
    )


_CHECKS: Mapping[str, Callable[[Any, Card], str]] = {
    "task": partial(_stated, "task"),
    "owner": partial(_stated, "owner"),
    "region": partial(_stated, "region"),
    "labels": _labels,
    "domain": partial(_within, "domain", "domains"),
    "language": partial(_within, "language", "languages"),
    "modality": _modality,
    "data_classes": _data_classes,
    "versions": _versions,
    "inputs": partial(_tensors, "input"),
    "outputs": partial(_tensors, "output"),
}
"""Those that need to know nothing but the card, by the field of the requirements."""
