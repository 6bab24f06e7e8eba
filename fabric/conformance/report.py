"""What a run found: a table for people, JUnit for CI."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

from fabric.conformance.checks import Status
from fabric.conformance.suite import grouped

if TYPE_CHECKING:
    from pathlib import Path

    from fabric.conformance.checks import Outcome
    from fabric.conformance.suite import Report

Rows = list[tuple[str, ...]]


def scores(report: Report) -> tuple[tuple[str, ...], Rows]:
    """Columns and rows: how many checks of each area ended how."""
    columns = ("area", *(status.value for status in Status))
    rows = [
        (area, *(str(report.count(status, area)) for status in Status)) for area in report.areas
    ]
    return columns, [*rows, ("all", *(str(report.count(status)) for status in Status))]


def failures(report: Report) -> tuple[tuple[str, ...], Rows]:
    """Columns and rows: what was expected and what came, where a check failed."""
    failed = [o for o in report.outcomes if o.status in (Status.FAIL, Status.ERROR)]
    return ("failed", "clause", "source", "expected", "got"), [
        (o.name, o.clause, o.source, o.expected, o.got) for o in failed
    ]


def dialect(report: Report) -> tuple[tuple[str, ...], Rows]:
    """Columns and rows: what the server does its own way."""
    found = report.dialect
    rows = [
        ("dialect", found.name),
        ("server", found.server),
        ("extensions", ", ".join(found.extensions)),
        ("typed inputs are answered", found.echo),
        ("message of ModelStreamInfer", found.stream),
        ("field of the model to load", found.load),
        ("versions", found.versions),
        ("messages", found.messages),
        *((f"status of: {kind}", code) for kind, code in found.errors.items()),
        ("statuses given", ", ".join(found.codes)),
    ]
    return ("found", ""), [(name, value or "not known") for name, value in rows]


def write_junit(report: Report, file: Path) -> None:
    """Writes *report* as JUnit's XML, one test suite for each area."""
    suites = ElementTree.Element("testsuites", name=f"Open Inference Protocol at {report.server}")
    for area, outcomes in grouped(report.outcomes).items():
        counts = {
            "tests": len(outcomes),
            "failures": report.count(Status.FAIL, area),
            "errors": report.count(Status.ERROR, area),
            "skipped": report.count(Status.NOT_OFFERED, area),
        }
        said = {"name": area, **{key: str(n) for key, n in counts.items()}}
        suite = ElementTree.SubElement(suites, "testsuite", said)
        for outcome in outcomes:
            _write_case(suite, outcome)
    ElementTree.indent(suites)
    ElementTree.ElementTree(suites).write(file, encoding="utf-8", xml_declaration=True)


_ELEMENTS = {Status.FAIL: "failure", Status.ERROR: "error", Status.NOT_OFFERED: "skipped"}


def _write_case(suite: ElementTree.Element, outcome: Outcome) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=outcome.area,
        name=outcome.name,
        time=f"{outcome.seconds:.4f}",
    )
    if outcome.status in _ELEMENTS:
        said = ElementTree.SubElement(case, _ELEMENTS[outcome.status], message=_safe(outcome.got))
        said.text = _safe(
            f"{outcome.clause} ({outcome.source}) Expected {outcome.expected}; got {outcome.got}"
        )


def _safe(text: str) -> str:
    """*text* without what XML cannot say."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)
