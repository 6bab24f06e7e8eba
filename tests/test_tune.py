"""`fabric tune`: what is measured, shown, and written back."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from onnx_models import FLOAT, INT64, STRING, accumulating, copying, doubling, save
from typer.testing import CliRunner

from fabric.cli.commands import app
from fabric.runtime import tuner
from fabric.runtime.workers import Worker

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def tune(tmp_path, monkeypatch):
    """Writes a portfolio of the specialist `m`, and tunes it in short turns."""
    monkeypatch.setattr(tuner, "_LONGEST", 0.005)
    monkeypatch.setattr(tuner, "STAGES", [replace(stage, rounds=3) for stage in tuner.STAGES])

    def run(*options, text="", name="m"):
        file = tmp_path / "portfolio.yaml"
        file.write_text(f"specialists:\n- name: m   # ours\n  model: m.onnx\n{text}")
        arguments = ["tune", name, "-f", file, *options]
        return CliRunner().invoke(app, [str(each) for each in arguments])

    return run


def report(done):
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def steady(monkeypatch):
    """Runs take a millisecond, of however many rows."""
    measure = Worker.measure

    async def measured(worker, rows, seconds):
        return [0.001 for _ in await measure(worker, rows, seconds)]

    monkeypatch.setattr(Worker, "measure", measured)


@pytest.mark.usefixtures("steady")
def test_what_is_better_is_shown_plotted_and_written(tune, tmp_path):
    """The file says so afterwards, and all else in it stays."""
    doubling(tmp_path / "m.onnx")
    done = tune("--write", "--max-size", "32", "--plot", tmp_path / "plot.png")
    assert done.exit_code == 0, done.stderr
    assert "better: batching.max_size: 32; it has 32.00 times the rows/s" in done.stdout
    assert "note: requests of more than 32 rows will be refused" in done.stdout
    assert "· other   o current   X chosen" in done.stdout
    assert done.stdout.splitlines()[-1].split() == [
        *("update", "specialist", "m:1", "batching.max_size", "1", "to", "32"),
    ]
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "portfolio.yaml").read_text() == (
        "specialists:\n- name: m   # ours\n  model: m.onnx\n  batching: {max_size: 32}\n"
    )


@pytest.mark.usefixtures("steady")
def test_where_nothing_is_better_nothing_is_written(tune, tmp_path):
    """What is there is as good."""
    doubling(tmp_path / "m.onnx")
    done = tune("--write", "--max-size", "32", text="  batching: {max_size: 32}\n")
    assert "keep what you have: the best other setting has 1.00 times the rows/s" in done.stdout
    assert (tmp_path / "portfolio.yaml").read_text().endswith("{max_size: 32}\n")


def test_all_that_was_measured_is_told_to_programs(tune, tmp_path):
    """The current setting is one times what it is; for latency runs have one row."""
    doubling(tmp_path / "m.onnx")
    said = report(tune("--goal", "latency", "-o", "json"))
    assert said["specialist"] == "m:1"
    levels = {each["graph_optimization"] for each in said["settings"]}
    assert levels == {"disable", "basic", "extended", "all"}
    assert {each["rows"] for each in said["settings"]} == {1}
    (current,) = (each for each in said["settings"] if each["kind"] == "current")
    assert current["gain"] == 1
    assert 0 < current["p50_ms"] <= current["p99_ms"]


def test_rows_that_depend_on_one_another_are_not_stacked(tune, tmp_path):
    """A first dimension that is no batch is found by what comes out."""
    save(
        tmp_path / "m.onnx",
        [("CumSum", ["x", "axis"], ["y"])],
        [("x", FLOAT, ["steps", 2])],
        [("y", FLOAT, ["steps", 2])],
        [("axis", np.array(0, np.int64))],
    )
    said = report(tune("-o", "json"))
    assert {each["rows"] for each in said["settings"]} == {1}
    note = "requests are not stacked: the answers would not be what they are alone"
    assert note in said["notes"]


def test_sequences_keep_their_batch_size(tune, tmp_path):
    """It is how many of them a run takes."""
    accumulating(tmp_path / "m.onnx")
    states = "states: [{input: sum, output: new_sum}], controls: [{input: start, kind: start}]"
    text = f"  batching: {{max_size: 4}}\n  sequences: {{{states}}}\n"
    assert {each["rows"] for each in report(tune("-o", "json", text=text))["settings"]} == {4}


def test_sizes_that_are_left_open_are_named_and_given(tune, tmp_path):
    """By the model's name, or by input and axis where it has none."""
    copying(tmp_path / "m.onnx", STRING, ("N", "words", None))
    options = ("--goal", "latency", "-o", "json")
    taken = "sizes that the model leaves open are taken as 1: "
    assert f"{taken}words, x.2" in report(tune(*options))["notes"]
    assert f"{taken}x.2" in report(tune(*options, "--size", "words=8"))["notes"]
    given = report(tune(*options, "--size", "words=8", "--size", "x.2=2"))["notes"]
    assert not [note for note in given if note.startswith(taken)]
    done = tune("--size", "word=8")
    assert done.exit_code == 1
    assert "--size word: the model leaves open words, x.2, the batch aside" in done.stderr


def test_a_model_that_does_not_run_on_made_up_inputs_runs_on_real_ones(tune, tmp_path):
    """The error names both ways out."""
    table = np.arange(4, dtype=np.float32)
    save(
        tmp_path / "m.onnx",
        [("Sub", ["x", "off"], ["i"]), ("Gather", ["table", "i"], ["y"])],
        [("x", INT64, ["N"])],
        [("y", FLOAT, ["N"])],
        [("table", table), ("off", np.array([100]))],
    )
    done = tune()
    assert done.exit_code == 1
    assert "the model does not run on made-up inputs: " in done.stderr
    assert "--inputs FILE.npz" in done.stderr
    np.savez(tmp_path / "real.npz", x=np.array([100, 101, 103]))
    real = ("--inputs", tmp_path / "real.npz")
    assert report(tune(*real, "--goal", "latency", "-o", "json"))["settings"]
    np.savez(tmp_path / "real.npz", x=np.array([100, 101], np.int32))
    assert "is INT32, the model takes INT64: save it as numpy's int64" in tune(*real).stderr


def test_what_ends_a_process_costs_one_setting(tune, tmp_path, monkeypatch):
    """Its row says so, and the rest is measured."""
    doubling(tmp_path / "m.onnx")
    measure = Worker.measure

    async def killed(worker, rows, seconds):
        if rows == 16:
            os.kill(worker._process.pid, signal.SIGKILL)
        return await measure(worker, rows, seconds)

    monkeypatch.setattr(Worker, "measure", killed)
    said = report(tune("-o", "json", "--max-size", "16"))
    failures = {each["rows"]: each["failure"] for each in said["settings"]}
    assert failures[16] == "the process that measures it ended (SIGKILL)"
    assert failures[1] == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("n", "no specialist 'n' in "),
        ("two", "'two' has several versions: name one of two:1, two:2"),
        ("way", "'way' is a route: tune a specialist of its chain, m, python"),
        ("python", "python:1 is Python, and `fabric tune` chooses how ONNX Runtime runs a model"),
        ("pythn", "did you mean 'python'?"),
    ],
)
def test_what_cannot_be_tuned_is_told_at_once(tune, tmp_path, name, message):
    """With the way out."""
    doubling(tmp_path / "m.onnx")
    text = """\
- {name: python, python: "package.module:Class"}
- {name: two, model: m.onnx}
- {name: two, version: 2, model: m.onnx}
routes: [{name: way, chain: [m, python]}]
"""
    done = tune(name=name, text=text)
    assert done.exit_code == 1
    assert message in done.stderr


def test_too_little_time_to_measure_anything_is_told(tune, tmp_path, monkeypatch):
    """Instead of a table of nothing."""

    async def measure(worker, rows, seconds):
        raise TimeoutError

    monkeypatch.setattr(Worker, "measure", measure)
    doubling(tmp_path / "m.onnx")
    done = tune("--seconds", "20")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "nothing of m:1 was measured within 20 s: give it more seconds" in done.stderr


def test_a_size_that_is_no_number_is_refused(tune, tmp_path):
    """Before anything is opened."""
    done = tune("--size", "N=0")
    assert done.exit_code == 2
    assert "--size 'N=0' must read NAME=N" in done.stderr
