"""`fabric evaluate`: what it reads, shows and writes."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from onnx_models import FLOAT, save
from running import OnnxHost
from typer.testing import CliRunner

from fabric.cli.commands import app
from fabric.config import load

pytestmark = pytest.mark.timeout(120)
QUICK = ("--router", "fixed", "--router", "prior per task")


def run(*arguments):
    return CliRunner().invoke(app, ["evaluate", *[str(each) for each in arguments]])


@pytest.fixture
def table(tmp_path):
    """`sharp` is right in domain x alone, `broad` mostly; a call of `broad` costs twice as much."""
    rng = np.random.default_rng(1)
    domains = np.array(["x", "y"])[np.arange(200) % 2]
    file = tmp_path / "outcomes.csv"
    pl.DataFrame(
        {
            "prompt": [f"about {domain} <{row}>" for row, domain in enumerate(domains)],
            "kind": domains,
            "sharp": (domains == "x").astype(float),
            "broad": (rng.random(200) < 0.8).astype(float),
        }
    ).write_csv(file)
    return file


COLUMNS = ("--quality", "{}", "--text", "prompt", "--domain", "kind")
COSTS = ("--cost", "sharp=1", "--cost", "broad=2")


def test_people_see_who_is_worth_its_place(table):
    """Tables, then what to learn from them."""
    done = run(table, *COLUMNS, *COSTS, *QUICK)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[0] == "Specialists"
    row = next(line for line in done.stdout.splitlines() if line.startswith("x "))
    assert row.split()[:4] == ["x", "100", "sharp", "1.000"]
    assert "sharp beats broad in x, and is worse in y" in done.stdout
    assert "somebody beats broad in 1 of 2 domains" in done.stdout


def test_programs_get_all_of_it(table):
    """As JSON, with every interval."""
    done = run(table, *COLUMNS, *COSTS, *QUICK, "-o", "json")
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["rows"], said["best_single"], said["domains"]) == (200, "broad", ["x", "y"])
    ladder = {rung["router"]: rung for rung in said["ladder"]}
    assert ladder["oracle"]["m"] == {"value": 1, "low": 1, "high": 1}
    assert ladder["prior per task"]["m"]["low"] > 0
    assert {curve["router"] for curve in said["curves"]} == {"by lot", "prior per task", "oracle"}
    verdicts = {(c["specialist"], c["domain"]): c["verdict"] for c in said["cells"]}
    assert verdicts["sharp", "x"] == "better"


def test_what_was_learned_is_among_the_routers(table):
    """It is told of the domain in words only, and finds it."""
    done = run(table, *COLUMNS, "--router", "learned", "--blind", "--folds", 2, "-o", "json")
    assert done.exit_code == 0, done.stderr
    (learned,) = (r for r in json.loads(done.stdout)["ladder"] if r["router"] == "learned")
    assert learned["m"]["low"] > 0
    assert learned["switched"] == pytest.approx(0.5, abs=0.05)


class _Asks(HTMLParser):
    """What a page would ask of others."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.tags = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.asked += [v for k, v in attrs if k in ("src", "href") or k.endswith(":href")]


def test_the_page_asks_nobody_for_anything(table, tmp_path):
    """All plots are in it, and what tables say of themselves is text."""
    odd = tmp_path / "odd.csv"
    odd.write_text(table.read_text().replace("sharp", "<b>sharp"))
    page = tmp_path / "page.html"
    done = run(odd, *COLUMNS, "--cost", "<b>sharp=1", *QUICK, "--html", page)
    assert done.exit_code == 0, done.stderr
    text = page.read_text()
    parser = _Asks()
    parser.feed(text)
    assert parser.tags.count("svg") == 5
    assert "b" not in parser.tags
    assert all(target.startswith(("#", "data:")) for target in parser.asked)
    assert not re.search(r"url\((?!#)|@import", text)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert "prefers-color-scheme: dark" in text
    assert "area (APGR)" in text  # of two specialists
    assert "#010203" not in text


PORTFOLIO = """\
# Ours.
specialists:
  - name: sharp        # the narrow one
    model: m.onnx
    evidence:
      # from the paper
      - {metric: f1, value: 0.5}
      - metric: accuracy
        value: 0.25    # a guess
        dataset: outcomes
        domain: x
  - name: broad
    model: m.onnx

  # not evaluated
  - name: other
    model: m.onnx
"""


@pytest.fixture
def portfolio(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"model")
    file = tmp_path / "portfolio.yaml"
    file.write_text(PORTFOLIO)
    return file


def test_what_was_measured_is_written_into_cards(table, portfolio):
    """What was said of the same is corrected, what is new comes behind it, and all else stays."""
    done = run(table, *COLUMNS, *QUICK, "-f", portfolio, "--write")
    assert done.exit_code == 0, done.stderr
    sharp, broad, other = (s.card for s in load(portfolio).specialists)
    assert [(e.metric, e.domain, e.value, e.rows) for e in sharp.evidence] == [
        ("f1", "", 0.5, 0),
        ("accuracy", "x", 1.0, 100),
        ("accuracy", "", 0.5, 200),
        ("accuracy", "y", 0.0, 100),
    ]
    assert [e.domain for e in broad.evidence] == ["", "x", "y"]
    assert all(e.dataset == "outcomes" and e.measured for e in broad.evidence)
    assert other.evidence == ()
    text = portfolio.read_text()
    assert all(line in text for line in ("# Ours.", "# the narrow one", "# a guess", "# not eval"))
    assert "update  specialist  sharp:1" in done.stdout
    assert "evidence accuracy 0 for y" in done.stdout
    again = run(table, *COLUMNS, *QUICK, "-f", portfolio, "--write")
    assert again.exit_code == 0
    assert "update" not in again.stdout
    assert portfolio.read_text() == text


def test_cards_are_held_against_what_came_out(table, portfolio):
    """Who the card says is best in a domain is a router like any other."""
    run(table, *COLUMNS, *QUICK, "-f", portfolio, "--write")
    options = ("--router", "declared evidence", "-f", portfolio, "-o", "json")
    said = json.loads(run(table, *COLUMNS, *options).stdout)
    ladder = {rung["router"]: rung for rung in said["ladder"]}
    assert ladder["declared evidence"]["quality"] == ladder["task oracle"]["quality"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ((), 1, "no column has the quality of a specialist"),
        (("--quality", "{}", "--domain", "kid"), 1, "no column 'kid'; did you mean 'kind'?"),
        (("--quality", "s=sharp", "--generalist", "sharp"), 1, "no specialist 'sharp'"),
        ((*COLUMNS, "--router", "knn"), 1, "no router 'knn'; use fixed, prior per task"),
        ((*COLUMNS, "--write"), 2, "--write needs --file"),
        ((*COLUMNS, "--html", "none/page.html"), 1, "--html: there is no folder"),
        (("--data", "d.npz"), 2, "--data needs --input NAME"),
        (("--input", "x"), 2, "--input needs --data FILE"),
        (("--data", "d.npz", "--input", "x"), 1, "there is no file d.npz"),
        ((*COLUMNS, "--train", "none.csv"), 1, "there is no file none.csv"),
        ((*COLUMNS, *QUICK, "--save", "t.doc"), 1, "use .parquet, .csv or .jsonl"),
    ],
)
def test_what_cannot_be_is_refused(table, arguments, status, message):
    """With the way out."""
    done = run(table, *arguments)
    assert done.exit_code == status
    assert message in " ".join(done.stderr.replace("│", " ").split())


def test_a_portfolio_without_any_of_the_specialists_is_refused(table, portfolio):
    """Nothing would be written."""
    portfolio.write_text("specialists: [{name: else, model: m.onnx}]")
    done = run(table, *COLUMNS, *QUICK, "-f", portfolio, "--write")
    assert done.exit_code == 1
    assert "declares none of sharp, broad" in done.stderr


# ------------------------------------------------------------------ a running fabric
@pytest.fixture
def serving(running, tmp_path, monkeypatch):
    """A route to two classifiers: one takes x as it is, the other takes it the other way round."""
    text = "specialists:\n"
    for name, weights in (("plain", [[1, 0], [0, 1]]), ("turned", [[0, 1], [1, 0]])):
        save(
            tmp_path / f"{name}.onnx",
            [("MatMul", ["x", "w"], ["y"])],
            [("x", FLOAT, ["N", 2])],
            [("y", FLOAT, ["N", 2])],
            [("w", np.array(weights, np.float32))],
        )
        text += f"  - {{name: eval-{name}, model: {name}.onnx, cost: 3}}\n"
    text += "routes: [{name: eval-both, chain: [eval-plain, eval-turned]}]\n"
    file = tmp_path / "portfolio.yaml"
    file.write_text(text)
    declared = load(file)
    monkeypatch.setenv("FABRIC_SERVER", running.address)
    from fabric import Client

    with Client(running.address) as client, OnnxHost(running.control_address) as host:
        client.apply(declared.specialists, declared.routes)
        host.serve(declared.specialists, running.address)
        yield


@pytest.mark.usefixtures("serving")
def test_a_running_fabric_is_asked_row_by_row(tmp_path):
    """Every specialist answers every row, and the numbers tell who is right where."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 120)
    sign = np.where(np.arange(120) % 2, 1.0, -1.0)  # of the odd rows, x is the other way round
    x = np.where(np.arange(2) == labels[:, None], 1.0, 0.0)
    x = np.where(sign[:, None] > 0, x, x[:, ::-1])
    kinds = np.where(sign > 0, "as it is", "turned")
    np.savez(tmp_path / "d.npz", pixels=x, label=labels, kind=kinds)
    saved = tmp_path / "saved.parquet"
    options = ("--data", tmp_path / "d.npz", "--input", "x=pixels", "--domain", "kind")
    done = run("eval-both", *options, "--save", saved, *QUICK, "-o", "json")
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    cells = {(c["specialist"], c["domain"]): c["quality"]["value"] for c in said["cells"]}
    assert cells["eval-plain:1", "as it is"] == cells["eval-turned:1", "turned"] == 1
    assert cells["eval-plain:1", "turned"] == cells["eval-turned:1", "as it is"] == 0
    assert {worth["cost"] for worth in said["worth"]} == {3}
    assert min(worth["seconds"] for worth in said["worth"]) > 0
    again = json.loads(run(saved, *QUICK, "-o", "json").stdout)
    assert again["cells"] == said["cells"]


@pytest.mark.usefixtures("serving")
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("eval-bath", (), "'eval-bath'"),
        ("eval-both", ("--input", "z=x"), "eval-plain:1 has no input 'z'"),
        ("eval-both", ("--input", "x", "--answer", "z"), "--answer: no output 'z'"),
        ("eval-both", ("--input", "x", "--label", "word"), "label 'a' is no number of a class"),
        ("eval-both", ("--input", "x", "--label", "labels"), "did you mean 'label'?"),
    ],
)
def test_a_question_that_makes_no_sense_ends_it(tmp_path, name, options, message):
    """At the first answer, or before it."""
    np.savez(tmp_path / "d.npz", x=np.ones((20, 2)), label=np.ones(20, int), word=["a"] * 20)
    chosen = options if "--input" in options else ("--input", "x", *options)
    done = run(name, "--data", tmp_path / "d.npz", *chosen)
    assert done.exit_code == 1
    assert message in done.stderr
