"""Whether what pipelines call fits together, by the signatures known when it is declared."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fabric.catalog.catalog import latest_first
from fabric.catalog.declared import reaching
from fabric.catalog.declaring import Action
from fabric.core.changes import Kind
from fabric.core.errors import FabricError, InvalidRequest
from fabric.pipelines.checking import Callee, check
from fabric.routing.candidates import Known
from fabric.routing.planner import Planner

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from fabric.catalog.declared import Declared
    from fabric.catalog.declaring import Decision
    from fabric.control.store import Entry
    from fabric.core.cards import Specialist
    from fabric.pipelines.checking import Checked, Problem

_UNKNOWN = Callee(None, batched=False)


def check_pipelines(before: Declared, decision: Decision, entries: Mapping[str, Entry]) -> None:
    """Raises InvalidRequest with all that is wrong with the pipelines that *decision* changes, or
    that what it changes makes wrong.

    *entries* have the signatures that replicas have read; not those of replicas that are replaced.
    """
    made = [change for change in decision.changes if change.action is not Action.NONE]
    reached = reaching(decision.declared, {c.key.name.partition(":")[0] for c in made})
    if not reached:
        return
    stale = {change.key.name for change in made if change.action is Action.REPLACE}
    then, now = Callees(decision.declared, entries, stale), Callees(before, entries)
    changed = {change.key.name for change in made if change.key.kind is Kind.PIPELINE}
    wrong = []
    for name in sorted(reached):
        known = () if name in changed else now.problems(name)
        wrong += [f"pipeline '{name}', {p}" for p in then.problems(name) if p not in known]
    if wrong:
        raise InvalidRequest("\n".join(wrong))


class Callees:
    """Whom the pipelines of *declared* call, by the signatures that are declared, or in *entries*
    but of those that are *stale*."""

    def __init__(
        self, declared: Declared, entries: Mapping[str, Entry], stale: Collection[str] = ()
    ) -> None:
        self._declared = declared
        self._specialists = {
            key: replace(entries[key], specialist=specialist).signed
            if key in entries and key not in stale
            else specialist
            for key, specialist in declared.specialists.items()
        }
        self._versions: dict[str, list[Specialist]] = {}
        for each in latest_first(self._specialists.values()):
            self._versions.setdefault(each.card.name, []).append(each)
        known = Known(declared.routes, self._specialist, lambda: self._versions)
        self._planner = Planner(lambda: known)
        self._checked: dict[str, Checked] = {}
        self._found: dict[str, Callee | None] = {}

    def problems(self, pipeline: str) -> tuple[Problem, ...]:
        """All that is wrong with it."""
        return self._check(pipeline).problems

    def _check(self, pipeline: str) -> Checked:
        if pipeline not in self._checked:
            self._checked[pipeline] = check(self._declared.pipelines[pipeline], self.find)
        return self._checked[pipeline]

    def find(self, named: str) -> Callee | None:
        """What is known of *named*; None where there is none such."""
        if named not in self._found:
            self._found[named] = self._callee(named)
        return self._found[named]

    def _callee(self, named: str) -> Callee | None:
        if named in self._declared.pipelines:
            checked = self._check(named)
            return _UNKNOWN if checked.problems else Callee(checked.signature, batched=False)
        if named in self._declared.routes:
            return self._of_route(named)
        name, _, version = named.partition(":")
        specialist = self._specialist(name, version)
        return None if specialist is None else _callee(specialist)

    def _of_route(self, name: str) -> Callee:
        """That of the first who may answer for it and has a signature."""
        try:
            candidates = self._planner.explained(name, "", None).candidates
        except FabricError:
            return _UNKNOWN
        keys = (each.card.key for each in candidates if each.card.signature is not None)
        return next((_callee(self._specialists[key]) for key in keys), _UNKNOWN)

    def _specialist(self, name: str, version: str) -> Specialist | None:
        """One version, or the latest that is to be loaded, or at all."""
        if version:
            return self._specialists.get(f"{name}:{version}")
        versions = self._versions.get(name, ())
        return next((s for s in versions if s.hosting.loaded), versions[0] if versions else None)


def _callee(specialist: Specialist) -> Callee:
    return Callee(specialist.card.signature, batched=specialist.hosting.batching.max_size > 1)
