"""The cascade that `fabric evaluate` fits: which route it is for, and what is written of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from fabric.catalog.catalog import suggestion
from fabric.cli import output as out
from fabric.cli.output import Output
from fabric.client import AsyncClient
from fabric.config.editing import edit
from fabric.core.errors import Conflict, InvalidRequest, NotFound
from fabric.core.routes import Cascade, Route
from fabric.routing.confidence import unusable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fabric.config import Portfolio
    from fabric.learning.cascades import FittedCascade
    from fabric.learning.evaluation import Evaluation


# ------------------------------------------------------------------ before anything is measured
def check(
    cascade: bool,
    risk: float | None,
    confidence: list[str] | None,
    data: str,
    route: str,
    file: Path | None,
    write: bool,
) -> None:
    """What a cascade needs is given, and what only a cascade needs is given with one alone."""
    if not cascade:
        if risk is not None or (route and not data) or (confidence and data):
            raise typer.BadParameter("--risk, --route, and --confidence of --data, need --cascade")
        return
    if data and len(confidence or ()) > 1:
        raise typer.BadParameter("with --data there is one --confidence")
    if route and not data and file is None:
        raise typer.BadParameter("--route needs --file, the portfolio file that declares it")
    if write and not route:
        raise typer.BadParameter("--write of a cascade needs --route, which it is written into")


def target(
    server: str,
    route: str,
    data: str,
    confidence: list[str] | None,
    portfolio: Portfolio,
    write: bool,
) -> Route | None:
    """The route that a cascade is for, and that has it; None for a table alone.

    Raises:
        FabricError: there is no such route, nothing to judge by, or the function cannot be asked.
    """
    if not route:
        return None
    if write or not data:
        found = _declared(portfolio, route)
    if data:
        found = asyncio.run(_running(server, route))
        if confidence:
            found = replace(found, cascade=_judging(found.cascade, confidence[0]), mixture=None)
    if found.cascade is None:
        raise InvalidRequest(
            f"route '{route}' has no cascade: declare one"
            + ", or say how sure an answer is, such as --confidence 'margin=OUTPUT'" * bool(data)
        )
    if why_not := unusable(found.cascade):
        raise InvalidRequest(why_not)
    return found


def _declared(portfolio: Portfolio, name: str) -> Route:
    names = {route.name: route for route in portfolio.routes}
    if name not in names:
        raise NotFound(f"the portfolio file declares no route '{name}'{suggestion(name, names)}")
    return names[name]


async def _running(server: str, name: str) -> Route:
    async with AsyncClient(server) as client:
        route = await client.get("route", name)
    assert isinstance(route, Route)  # noqa: S101 - what is asked for
    return route


def _judging(cascade: Cascade | None, confidence: str) -> Cascade:
    """*cascade* by another measure, such as `margin=probabilities` or `python=module:function`."""
    kind, _, what = confidence.partition("=")
    python, output = (what, "") if kind == "python" else ("", what)
    try:
        return replace(cascade or Cascade(), confidence=kind, python=python, output=output)
    except ValueError as error:
        raise InvalidRequest(f"--confidence '{confidence}': {error}") from error


def check_table(target: Route | None, portfolio: Portfolio, specialists: Sequence[str]) -> None:
    """A table is of just those whom the chain of *target* names, where it names no other route.

    Raises:
        InvalidRequest: it is not.
    """
    asked = {e.name for e in target.chain if not e.is_given} if target is not None else set()
    if target is None or not asked or asked & {"", *(route.name for route in portfolio.routes)}:
        return
    told = {name.partition(":")[0] for name in specialists}
    if odd := sorted(told - asked):
        raise InvalidRequest(
            f"route '{target.name}' does not lead to {', '.join(odd)}: name those it leads to by "
            "--quality 'NAME=COLUMN'"
        )
    if missing := sorted(asked - told):
        raise InvalidRequest(f"the table lacks {', '.join(missing)} of route '{target.name}'")


def goal(target: Route | None, risk: float | None) -> dict[str, Any]:
    """What a cascade is fitted to."""
    if risk is None and target is not None and target.cascade is not None:
        risk = target.cascade.risk
    if risk is None:
        raise InvalidRequest("--cascade needs --risk, the share of wrong answers that is accepted")
    return {"risk": risk, "most": target.retry.attempts if target is not None else 0}


# ------------------------------------------------------------------ afterwards
def write(
    report: Evaluation, file: Path, portfolio: Portfolio, target: Route, output: Output
) -> None:
    """Puts what was fitted into the route in *file*, and shows it as `fabric apply` does.

    Raises:
        Conflict: no threshold is certified, or the file cannot be changed.
    """
    fitted, name = report.cascade, target.name
    assert fitted is not None  # noqa: S101 - as there is a target
    assert target.cascade is not None  # noqa: S101
    if not fitted.report.is_met:
        raise Conflict(
            f"the cascade is not written into route '{name}': no threshold is sure to be wrong in "
            f"{fitted.report.risk:.2%} of answers at most"
        )
    changed = changes(_declared(portfolio, name).cascade, target.cascade, fitted)
    if changed:
        edit(file, name, changed)
    if changed and output is Output.TABLE:
        fields = f"cascade: threshold {fitted.threshold:g}, calibrations"
        out.table(("change", "kind", "name", "fields"), [("update", "route", name, fields)])


def changes(before: Cascade | None, after: Cascade, fitted: FittedCascade) -> dict[str, Any]:
    """What makes a route with the cascade *before* one with *after* as it was fitted, by places."""
    after = fitted.settings(after)
    kept = {name: getattr(after, name) for name in ("threshold", "risk", "calibrations")}
    if before is None or replace(before, **kept) != after:
        return {"cascade": after}
    found = {name: value for name, value in kept.items() if getattr(before, name) != value}
    return {f"cascade.{name}": value for name, value in found.items()}
