"""The checks find what is wrong with a server, and nothing else."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from servers import BROKEN, LosesTheId, NeverRefuses, Server, serving
from typer.testing import CliRunner

from fabric.cli.commands import app
from fabric.conformance.areas import CHECKS
from fabric.conformance.checks import Status
from fabric.conformance.report import failures, scores, write_junit
from fabric.conformance.suite import chosen, run
from fabric.core.errors import InvalidRequest, Unavailable

UNARY = ("server.*", "models.*", "data.*", "inputs.*", "outputs.*", "versions.*", "errors.*")


def status_of(report, name):
    (status,) = (outcome.status for outcome in report.outcomes if outcome.name == name)
    return status


def test_every_check_has_a_name_a_clause_and_a_source():
    """Names are unique; clauses are sentences."""
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert check.source
        assert check.clause.endswith("."), check.name


@pytest.mark.parametrize("pattern", UNARY)
async def test_a_server_that_keeps_the_rules_passes(pattern):
    """Of what it does not have, it says so, and that is no failure."""
    async with serving(Server()) as address:
        report = await run(address, only=pattern)
    assert failures(report)[1] == []
    assert report.passed
    assert report.count(Status.PASS) >= 5


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_broken_rule_is_found(broken):
    """By the check that is about it, with what was expected and what came."""
    async with serving(broken()) as address:
        report = await run(address, only=BROKEN[broken], dialect="triton", patience=1.0)
    assert status_of(report, BROKEN[broken]) is Status.FAIL
    assert not report.passed
    ((_, _, _, expected, got),) = [row for row in failures(report)[1] if row[0] == BROKEN[broken]]
    assert expected
    assert got


async def test_rules_of_another_dialect_do_not_count():
    """Triton's words are asked of nobody who speaks otherwise."""
    assert any(check.name == "triton.unknown-model" for check in chosen())
    assert not any(check.dialect for check in chosen(dialect="mlserver"))
    async with serving(Server()) as address:
        report = await run(address, only="server", dialect="any")
    assert {outcome.name for outcome in report.outcomes} == {
        check.name for check in chosen("server", "any")
    }


async def test_the_dialect_is_found():
    """By what the server does."""
    async with serving(Server()) as address:
        found = (await run(address, only="server.live")).dialect
    assert (found.name, found.server) == ("triton", "small 1")
    assert (found.echo, found.stream, found.load) == ("raw", "none", "none")
    assert found.versions == "any text"
    assert found.errors["unknown model"] == "NOT_FOUND"
    assert found.errors["wrong input"] == "INVALID_ARGUMENT"


async def test_what_a_server_does_not_have_is_not_offered():
    """Neither a model that is not there nor an extension counts against it."""
    async with serving(Server()) as address:
        report = await run(address, only="statistics")
        models = await run(address, only="sequences")
    assert {outcome.status for outcome in report.outcomes} == {Status.NOT_OFFERED}
    assert {outcome.status for outcome in models.outcomes} <= {Status.NOT_OFFERED, Status.PASS}


async def test_a_server_that_hangs_is_not_waited_for():
    """Every call has a deadline."""
    async with serving(NeverRefuses()) as address:
        report = await run(address, only="inputs.missing", patience=0.2)
    assert status_of(report, "inputs.missing") is Status.FAIL


async def test_nobody_at_the_address_is_an_error():
    """That names it."""
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        await run("127.0.0.1:1")


def test_a_pattern_that_fits_nothing_is_an_error():
    """That names the areas."""
    with pytest.raises(InvalidRequest, match=r"no check is named 'nonsense'.*sequences"):
        chosen("nonsense")


# ------------------------------------------------------------------ reports
async def test_the_scores_add_up():
    """Each check is counted once, under its area."""
    async with serving(LosesTheId()) as address:
        report = await run(address, only="parameters.id")
    columns, rows = scores(report)
    assert columns == ("area", "pass", "fail", "not offered", "error")
    assert rows[-1][0] == "all"
    assert sum(map(int, rows[-1][1:])) == len(report.outcomes)


async def test_junit_has_every_check(tmp_path):
    """Failures with what was expected and what came."""
    async with serving(LosesTheId()) as address:
        report = await run(address, only="parameters.id")
    write_junit(report, tmp_path / "report.xml")
    suite = ElementTree.parse(tmp_path / "report.xml").getroot()[0]  # noqa: S314 - our own file
    assert (suite.get("name"), suite.get("tests")) == ("parameters", str(len(report.outcomes)))
    assert suite.get("failures") == str(report.count(Status.FAIL))
    failed = {case.get("name"): case.find("failure").text for case in suite if len(case)}
    assert "request-1" in failed["parameters.id.comes-back"]


@pytest.mark.parametrize("broken", [False, True])
async def test_the_command_says_by_its_status_whether_all_is_well(broken, tmp_path):
    """And prints the report."""
    import asyncio

    async with serving(LosesTheId() if broken else Server()) as address:
        options = ["--only", "parameters.id", "--junit", str(tmp_path / "j.xml")]
        invoked = [
            await asyncio.to_thread(
                CliRunner().invoke, app, ["conformance", address, *options, "-o", output]
            )
            for output in ("json", "table")
        ]
    assert [result.exit_code for result in invoked] == [int(broken)] * 2
    report = json.loads(invoked[0].stdout)
    assert report["dialect"]["name"] == "triton"
    assert len(report["outcomes"]) == len(chosen("parameters.id"))
    assert ("parameters.id.comes-back" in invoked[1].stdout) is broken
    assert "checks passed" in invoked[1].stdout
    assert (tmp_path / "j.xml").is_file()


def test_the_command_needs_an_address():
    """Or a folder for the models."""
    assert CliRunner().invoke(app, ["conformance"]).exit_code == 2
