"""The command line against a real gRPC server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import numpy as np
import pytest
import yaml
from gateways import recording_gateway
from typer.testing import CliRunner

from fabric import __version__
from fabric.api.catalog.v1 import catalog_service_pb2
from fabric.cli.commands import app
from fabric.cli.output import plain
from fabric.core.errors import Overloaded


@pytest.fixture
async def gateway():
    async with recording_gateway() as seen:
        yield seen


@pytest.fixture
def fabric(gateway, monkeypatch):
    """Runs a command in a thread, beside the loop that serves it."""
    monkeypatch.setenv("FABRIC_SERVER", gateway.address)

    async def run(*arguments):
        return await asyncio.to_thread(CliRunner().invoke, app, [str(a) for a in arguments])

    return run


@pytest.fixture
def portfolio(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"model")
    file = tmp_path / "portfolio.yaml"
    file.write_text("specialists: [{name: rotated, model: m.onnx}]")
    return file


async def test_an_answer_is_shown_with_who_gave_it(fabric, tmp_path):
    """Inputs come from files, outputs go to the table and to files."""
    np.save(tmp_path / "x.npy", np.array([[1, 2]], np.float32))
    shown = await fabric(
        "infer", "digits", "-i", f"x={tmp_path}/x.npy", "--save", tmp_path / "saved"
    )
    assert shown.exit_code == 0, shown.stderr
    assert "[[2., 4.]]" in shown.stdout
    last = shown.stdout.splitlines()[-1]
    assert last == "answered by rotated:2 by route digits after 2 attempts, as a fallback"
    assert np.load(tmp_path / "saved" / "y.npy").tolist() == [[2, 4]]


async def test_health_is_shown_for_specialists_and_their_replicas(fabric):
    """What is in flight, how answers came, and what is wrong."""
    shown = await fabric("get", "health")
    head, one, replica = (" ".join(line.split()) for line in shown.stdout.splitlines())
    assert head == (
        "SPECIALIST REPLICA IN FLIGHT QUEUED ANSWERS P50 MS P99 MS ERRORS BREAKER BUDGET"
    )
    wrong = "SPECIALIST_FAILED 5 open"
    assert one == f"rotated:1 2/1024 1 10 1.5 250.0 {wrong} 50% 5 failures in a row"
    assert replica == f"r1234567 2 1 10 1.5 250.0 {wrong} 5 failures in a row"
    (said,) = json.loads((await fabric("get", "health", "noisy", "-o", "json")).stdout)
    assert (said["name"], said["replicas"][0]["failures"]) == ("noisy", {"SPECIALIST_FAILED": 5})


async def test_top_looks_again_and_again(fabric):
    """With answers a second instead of all; as documents where that is asked for."""
    shown = await fabric("top", "--every", "0.1", "--looks", "2")
    lines = shown.stdout.splitlines()
    assert (len(lines), lines[0]) == (6, lines[3])
    assert "RATE" in lines[0]
    rate = float(next(part for part in lines[1].split() if part.endswith("/s"))[:-2])
    assert 0 < rate <= 100
    shown = await fabric("top", "--every", "0.1", "--looks", "2", "-o", "json")
    looks = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [look["specialists"][0]["answers"] for look in looks] == [50, 60]
    assert looks[0]["rates"].keys() == {"rotated:1", "r1234567890"}
    shown = await fabric("top", "--every", "0.1", "--looks", "1", "-o", "yaml")
    assert yaml.safe_load(shown.stdout)["specialists"][0]["name"] == "rotated"


async def test_an_answer_is_shown_with_the_id_to_explain_it_by(fabric, gateway):
    """Where it has one: the id that `fabric explain` and `fabric feedback` take."""
    gateway.learns = True
    shown = await fabric("infer", "digits", "-i", "x=[[1]]")
    assert shown.stdout.splitlines()[-1].endswith(f"; request {'0123456789abcdef' * 2}")


async def test_outputs_that_cannot_be_saved_are_told(fabric, gateway, tmp_path):
    """Before anybody is asked, where there is no folder."""
    (tmp_path / "file").touch()
    shown = await fabric("infer", "digits", "-i", "x=[[1]]", "--save", tmp_path / "file")
    assert f"{tmp_path}/file cannot be written: File exists" in shown.stderr
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert not any(hasattr(each, "raw_input_contents") for each in gateway.requests)


async def test_json_inputs_have_the_datatype_of_the_model(fabric, gateway):
    """Whole numbers become what the model takes."""
    shown = await fabric("infer", "digits", "--input", "x=[[1, 2, 3, 4]]", "--output", "json")
    assert gateway.requests[-1].inputs[0].datatype == "FP32"
    answer = json.loads(shown.stdout)
    assert answer["outputs"]["y"] == {"datatype": "FP32", "shape": [1, 4], "data": [[2, 4, 6, 8]]}
    assert (answer["specialist"], answer["attempts"], answer["fallback"]) == ("rotated", 2, True)


def test_what_json_has_no_number_for_is_null():
    """NaN and infinities would be no JSON."""
    assert plain({"y": np.array([1, np.nan, np.inf])})["y"]["data"] == [1, None, None]


async def test_what_is_required_travels(fabric, gateway):
    """Requirements are parameters of the request, and so is that nobody may step in."""
    options = ("--require", "domain=rotated", "--require", "label.team=a", "--no-substitute")
    await fabric("infer", "digits", "-i", "x=[[1]]", *options)
    assert set(gateway.requests[-1].parameters) == {
        "fabric_domain",
        "fabric_label.team",
        "fabric_substitute",
    }


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("infer", "digits", "-i", "x=none.npy"), 1, "none.npy cannot be read"),
        (("infer", "digits", "-i", "x={"), 1, "is neither a .npy file nor JSON of FP32"),
        (("infer", "digits", "-i", "x"), 2, "must read KEY=VALUE"),
        (("infer", "digits", "-i", "x=[[1]]", "--require", "d=x"), 1, "unknown parameter"),
        (("get", "models"), 2, "specialists"),
        (("get", "routes", "none"), 1, "nothing here"),
        (("get", "pipeline", "none"), 1, "nothing here"),
        (("get", "policies", "none"), 1, "nothing here"),
        (("get", "routes", "--onnx", "x"), 2, "--onnx is for policies"),
        (("get", "policies", "--onnx", "x"), 2, "--onnx needs one policy"),
        (("feedback",), 2, "name a request, or give --file"),
        (("feedback", "7"), 1, "exactly one of label, score and preferred"),
        (("feedback", "7", "--score", "2"), 2, "--score"),
        (("apply", "-f", "none.yaml"), 1, "none.yaml:0: cannot be read: No such file"),
        (("get", "routes", "--server", "127.0.0.1:1"), 1, "no fabric answers at 127.0.0.1:1"),
        (("down", "--state", "/nowhere"), 1, "no fabric runs on /nowhere"),
        (("down", "--state", "/etc/passwd"), 1, "no fabric runs on /etc/passwd"),
        (("up", "--detach", "--state", "/proc/x"), 1, "state directory /proc/x: No such file"),
        (("up", "--port", "70000"), 2, "'--port'"),
    ],
)
async def test_mistakes_are_told_on_stderr(fabric, arguments, status, message):
    """1 is the status of errors, 2 of wrong usage, and stdout stays empty."""
    shown = await fabric(*arguments)
    assert message in shown.stderr
    assert (shown.exit_code, shown.stdout) == (status, "")


async def test_errors_of_the_fabric_are_told_in_its_words(fabric, gateway):
    """The message is that of the error, brackets included."""
    gateway.fail = Overloaded("digits: [3] full queues")
    shown = await fabric("infer", "digits", "-i", "x=[[1]]")
    assert shown.stderr.strip() == "error: digits: [3] full queues"


async def test_applying_shows_what_changes_first(fabric, gateway, portfolio):
    """It is asked what would change, and then told to."""
    shown = await fabric("apply", "-f", portfolio)
    assert shown.exit_code == 0, shown.stderr
    assert [(request.dry_run, request.prune) for request in gateway.requests] == [
        (True, True),
        (False, True),
    ]
    assert shown.stdout.split() == [
        *("CHANGE", "KIND", "NAME", "FIELDS"),
        *("update", "specialist", "rotated:1", "hosting.batching.max_size"),
    ]


async def test_nothing_is_applied_where_nothing_changes(fabric, gateway, portfolio):
    """One dry run is all, and `--dry-run` never goes further."""
    gateway.unchanged = True
    shown = await fabric("apply", "-f", portfolio)
    assert shown.stdout.strip() == "nothing changes"
    gateway.unchanged = False
    await fabric("apply", "-f", portfolio, "--dry-run")
    assert [request.dry_run for request in gateway.requests] == [True, True]


async def test_taking_out_wants_to_be_confirmed(fabric, gateway, portfolio):
    """Off a terminal it needs --yes, while keeping needs nothing."""
    gateway.pruned = True
    shown = await fabric("apply", "-f", portfolio)
    assert shown.exit_code == 2
    assert "give --yes" in shown.stderr
    assert [request.dry_run for request in gateway.requests] == [True]
    assert (await fabric("apply", "-f", portfolio, "--yes")).exit_code == 0
    assert (await fabric("apply", "-f", portfolio, "--no-prune")).exit_code == 0
    assert not gateway.requests[-1].prune


async def test_without_pruning_chains_may_name_what_runs(fabric, gateway, portfolio):
    """What the fabric has is known, and is unknown to a file that says all."""
    portfolio.write_text("routes: [{name: new, chain: ['rotated:1', digits]}]")
    assert (await fabric("apply", "-f", portfolio, "--no-prune")).exit_code == 0
    shown = await fabric("apply", "-f", portfolio)
    assert "nothing is named 'digits'" in shown.stderr


async def test_pipelines_are_applied_with_the_rest(fabric, gateway, portfolio):
    """As the graphs that the file has; they may call what runs where nothing is taken out."""
    portfolio.write_text(
        """
        specialists: [{name: rotated, model: m.onnx}]
        pipelines:
        - name: new
          inputs: [{name: x, datatype: FP32, shape: [n]}]
          steps:
          - {name: first, call: rotated, inputs: {x: x}}
          - {name: then, call: digits, inputs: {x: first.y}}
          - {name: last, call: page, inputs: {image: then.y}}
          outputs: {y: last.y}
        """
    )
    shown = await fabric("apply", "-f", portfolio, "--no-prune")
    assert shown.exit_code == 0, shown.stderr
    (sent,) = gateway.requests[-1].pipelines
    assert [step.call for step in sent.steps] == ["rotated", "digits", "page"]
    assert (await fabric("apply", "-f", portfolio)).exit_code == 1


@pytest.mark.parametrize(
    ("kind", "cells"),
    [
        ("specialists", ["rotated", "1", "ready", "1/1", "rotated", "0.5"]),
        ("replicas", ["r1", "rotated", "1", "0", "h:1", "3", "0"]),
        (
            "routes",
            *[["digits", "fixed", "rotated:1", ">", "general", "task=digit,", "label.team=vision"]],
        ),
        ("pipelines", ["page", "image", "y", "2", "digits", "2.5", "s"]),
    ],
)
async def test_resources_are_tables_for_people(fabric, kind, cells):
    """One line each, under a line of titles."""
    shown = await fabric("get", kind)
    titles, line = shown.stdout.splitlines()
    assert titles.isupper()
    assert line.split()[: len(cells)] == cells


async def test_a_pipeline_is_shown_as_one_writes_it_and_drawn(fabric, tmp_path):
    """As a portfolio file, in Python, in Graphviz's language, and as SVG."""
    shown = {
        form: (await fabric("get", "pipeline", "page", "-o", form)).stdout
        for form in ("yaml", "python", "dot", "svg")
    }
    assert yaml.safe_load(shown["yaml"])["pipelines"][0]["steps"][0]["each"]["body"] == {
        "steps": [{"name": "inner", "call": "digits", "inputs": {"x": "x"}}],
        "outputs": {"y": "inner.y"},
    }
    assert shown["yaml"] == (await fabric("get", "pipelines", "-o", "yaml")).stdout
    assert 'each(image, lambda x: {"y": step("digits"' in shown["python"]
    assert shown["dot"].startswith('digraph "page" {')
    assert shown["svg"].startswith("<svg ")
    refused = await fabric("get", "pipelines", "-o", "svg")
    assert (refused.exit_code, "get pipeline NAME" in refused.stderr) == (2, True)


async def test_resources_are_data_for_programs(fabric):
    """JSON and YAML say the same, with the field names of the portfolio file."""
    as_json = await fabric("get", "specialists", "-o", "json")
    as_yaml = await fabric("get", "specialists", "-o", "yaml")
    (resource,) = json.loads(as_json.stdout)
    assert yaml.safe_load(as_yaml.stdout) == [resource]
    assert resource["specialist"]["hosting"]["model"]["uri"] == "/m.onnx"
    assert resource["status"]["state"] == "ready"


async def test_a_plan_is_shown_with_its_refusals(fabric):
    """Candidates have a place, refusals a reason."""
    shown = await fabric("explain", "digits", "--require", "domain=rotated")
    _, first, refused = shown.stdout.splitlines()
    assert first.split()[:3] == ["1", "rotated", "1"]
    assert refused.split() == ["-", "noisy", "1", "domain"]


async def test_a_request_is_shown_with_what_came_of_it(fabric, gateway):
    """Who was asked, how likely that was, how it went, and what was said of it later."""
    shown = await fabric("explain", "0123456789abcdef" * 2)
    _, first, decided, _, answered, shadow, *said = shown.stdout.splitlines()
    assert gateway.requests[-1].request_id == "0123456789abcdef" * 2
    assert first.split()[:3] == ["1", "rotated", "1"]
    assert decided == (
        "decided 2027-01-15 08:00:00 UTC by policy 2; "
        "first with probability: rotated:1 0.75, noisy:1 0.25; noisy:1 was asked too"
    )
    assert answered.split() == ["rotated:1", "1.5", "0", "7", "0.50"]
    assert shadow.split() == ["noisy:1", "0.0", "0", "UNAVAILABLE", "shadow"]
    assert said == [
        "said later: the right label is 7",
        "said of noisy:1 later: score 0.5",
        "said later: [noisy]:1 did better",
    ]


@pytest.mark.parametrize("arguments", [("policies",), ("policies", "digits"), ("policy", "digits")])
async def test_policies_are_a_table_with_what_became_of_them(fabric, gateway, arguments):
    """The one in use is the latest that has not lost; a lost one has its reason."""
    gateway.learns = True
    shown = await fabric("get", *arguments)
    _, latest, first = shown.stdout.splitlines()
    assert latest.split() == ["digits:2", "90", "lost", "it", "is", "worse"]
    assert first.split()[:3] == ["digits:1", "60", "2026-01-31T12:00:00Z"]
    assert "+0.020 [+0.010, +0.030]  in use" in first


async def test_a_policy_is_shown_without_its_bytes(fabric, gateway):
    """With its report as data."""
    gateway.policy = b"numbers"
    one = json.loads((await fabric("get", "policy", "digits:1", "-o", "json")).stdout)
    assert one["report"]["gain"]["low"] == 0.01
    assert "data" not in one
    listed = json.loads((await fabric("get", "policies", "-o", "json")).stdout)
    assert [each["version"] for each in listed] == [2, 1]
    assert listed[1] == one


async def test_a_policy_that_cannot_be_written_is_named(fabric, gateway, tmp_path):
    """With the file, and why."""
    gateway.policy = b"numbers"
    shown = await fabric("get", "policy", "digits:1", "--onnx", tmp_path / "x.onnx")
    assert "digits:1 cannot be written to" in shown.stderr
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert not (tmp_path / "x.onnx").exists()


async def test_learning_shows_what_came_of_it(fabric, gateway):
    """The policy, or why there is none, with status 1."""
    shown = await fabric("learn", "digits")
    assert shown.exit_code == 0, shown.stderr
    assert "digits:1" in shown.stdout
    as_json = await fabric("learn", "digits", "-o", "json")
    assert json.loads(as_json.stdout) == {"version": 1, "report": {"switched": 0.25}}
    gateway.unchanged = True
    shown = await fabric("learn", "digits")
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert "nothing was learned: 3 requests tell, it takes 50" in shown.stderr


async def test_feedback_is_given_by_request_or_by_file(fabric, gateway, tmp_path):
    """JSON lines have the names of the options."""
    shown = await fabric("feedback", "7", "--label", "3", "--specialist", "rotated:1")
    assert shown.stdout == "1 kept; 1 wait for requests that are not known yet\n"
    assert gateway.requests[-1].feedback[0].label == "3"
    file = tmp_path / "said.jsonl"
    file.write_text('{"request": "7", "score": 1}\n\n{"request": "8", "label": "x"}\n')
    shown = await fabric("feedback", "-f", file, "-o", "json")
    assert json.loads(shown.stdout) == {"kept": 2, "unmatched": 1}
    assert [each.request for each in gateway.requests[-1].feedback] == ["7", "8"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"request": "7"}', "said.jsonl:2: feedback has exactly one of label, score"),
        ('{"request": "7", "stars": 5}', "unexpected keyword argument 'stars'"),
        ("7 is right", "said.jsonl:2: Extra data"),
    ],
)
async def test_a_line_that_is_wrong_is_named_and_nothing_is_sent(
    fabric, gateway, tmp_path, line, message
):
    """All of a file is read before any of it is sent."""
    file = tmp_path / "said.jsonl"
    file.write_text('{"request": "6", "score": 1}\n' + line)
    shown = await fabric("feedback", "--file", file)
    assert message in shown.stderr
    assert (shown.exit_code, gateway.requests) == (1, [])


async def test_a_ranked_plan_has_a_column_for_each_scorer(fabric):
    """With its weight, and what each candidate has from it; programs get the same."""
    shown = await fabric("explain", "ranked", "--require", "max_cost=2")
    titles, first, refused = shown.stdout.splitlines()
    assert "QUALITY × 1  SIMILARITY × 0.5  SCORE" in titles
    assert first.split() == ["1", "rotated", "1", "0", "0", "0.93", "0.93", "quality", "0.93"]
    assert refused.split() == ["-", "noisy", "1", "domain"]
    as_json = json.loads((await fabric("explain", "ranked", "-o", "json")).stdout)
    assert as_json["weights"] == {"quality": 1.0, "similarity": 0.5}
    assert as_json["candidates"][0]["parts"] == {"quality": 0.925}


async def test_deleting_names_a_kind(fabric, gateway):
    """Routes and specialists can be taken out."""
    shown = await fabric("delete", "route", "digits", "-o", "json")
    assert json.loads(shown.stdout) == {"changes": [], "revision": 8}
    assert gateway.requests[-1].key.kind == catalog_service_pb2.KIND_ROUTE


async def test_what_needs_no_fabric_answers_alone(fabric):
    """The schema is JSON, and the version is the package's."""
    assert json.loads((await fabric("schema")).stdout)["title"] == "fabric portfolio"
    assert (await fabric("version")).stdout.strip() == __version__
    assert json.loads((await fabric("version", "-o", "json")).stdout) == {"version": __version__}


def test_help_loads_nothing_heavy():
    """Neither gRPC nor numpy nor pydantic is imported before a command runs."""
    code = (
        "import sys, fabric.cli.commands;"
        "print(sorted({'grpc', 'numpy', 'pydantic', 'rich', 'ray'} & sys.modules.keys()))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
