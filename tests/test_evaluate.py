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


def test_a_route_is_evaluated_by_what_it_is_given():
    """The name of one alone is no table."""
    done = run("digits", *QUICK)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "'digits' is no table; what a route is given is --data FILE" in done.stderr


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


# ------------------------------------------------------------------ cascades
@pytest.fixture
def sure(tmp_path):
    """`cheap` is right as often as it is sure, `dear` nearly always, at ten times the cost."""
    rng = np.random.default_rng(3)
    confidence = np.column_stack([rng.uniform(0.3, 1, 800), rng.uniform(0.9, 1, 800)])
    right = rng.random((800, 2)) < np.column_stack([confidence[:, 0], np.full(800, 0.97)])
    file = tmp_path / "sure.csv"
    columns = {}
    for k, name in enumerate(("dear", "cheap")[::-1]):
        columns |= {name: right[:, k].astype(int), f"{name}|sure": confidence[:, k]}
    pl.DataFrame(columns).write_csv(file)
    return file


SURE = ("--quality", "{}", "--confidence", "{}|sure", "--cost", "cheap=1", "--cost", "dear=10")
FIT = ("--cascade", "--risk", 0.1, "--router", "fixed")


def test_people_see_what_a_cascade_keeps_and_saves(sure):
    """And of which queries that is said."""
    done = run(sure, *SURE, *FIT)
    assert done.exit_code == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert re.search(
        r"cascade: answered from a confidence of 0\.\d+ on; the risk of 0.1 is kept", text
    )
    assert "on the 800 queries that it was fitted to it keeps" in text
    assert re.search(r"and saves [\d.]+ \([\d. ]+\) % of what that costs", text)
    assert re.search(r"cheap [\d.]+ \([\d. ]+\) 100.0 \(100.0 100.0\)", text)


def test_a_cascade_that_saves_nothing_says_what_it_costs(sure):
    """Nobody is sure enough, so that both are asked."""
    done = run(sure, *SURE, "--cascade", "--risk", 0.0, "--router", "fixed")
    assert done.exit_code == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "of dear, and costs 10.0 (10.0 10.0) % more of what that costs" in text


def test_a_saved_table_gives_the_same_cascade(sure, tmp_path):
    """Without saying again which columns have the confidence and the costs."""
    saved = tmp_path / "saved.parquet"
    done = run(sure, *SURE, *FIT, "--save", saved, "-o", "json")
    assert done.exit_code == 0, done.stderr
    fitted = json.loads(done.stdout)["cascade"]
    assert [each["specialist"] for each in fitted["calibrations"]] == ["cheap", "dear"]
    assert fitted["report"]["is_met"] is True
    assert fitted["report"]["saved"]["low"] > 0
    again = json.loads(run(saved, *FIT, "-o", "json").stdout)
    assert again["cascade"] == fitted


def test_the_page_shows_the_cascade(sure, tmp_path):
    """With its own plot and table."""
    page = tmp_path / "page.html"
    plain = tmp_path / "plain.html"
    assert run(sure, *SURE, *FIT, "--html", page).exit_code == 0
    assert run(sure, *SURE, "--router", "fixed", "--html", plain).exit_code == 0
    text = page.read_text()
    assert "<h2>A cascade for a risk of 0.1</h2>" in text
    assert "of these passed on, %" in text
    assert text.count("<svg") == plain.read_text().count("<svg") + 1
    assert "cascade" not in plain.read_text().lower()


ROUTED = """\
specialists:
  - {name: cheap, model: m.onnx, cost: 1}
  - {name: dear, model: m.onnx, cost: 10}
  - {name: other, model: m.onnx}
routes:
  - name: both       # cheap first
    chain: [cheap, dear]
    cascade: {confidence: output, output: sure, risk: 0.1}  # ours
  - {name: plain, chain: [cheap, dear]}
  - {name: more, chain: [cheap, other], cascade: {risk: 0.1}}
  - {name: all, chain: [cheap, dear, other], cascade: {risk: 0.1}}
  - {name: nested, chain: [plain, other], cascade: {risk: 0.1}}
"""


@pytest.fixture
def routed(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"model")
    file = tmp_path / "portfolio.yaml"
    file.write_text(ROUTED)
    return file


def test_what_was_fitted_is_written_into_the_route(sure, routed):
    """To the risk that it says, and its measure and comments stay."""
    options = (*SURE, "--cascade", "--router", "fixed", "--route", "both", "-f", routed, "--write")
    said = json.loads(run(sure, *options[:-1], "-o", "json").stdout)["cascade"]
    done = run(sure, *options)
    assert done.exit_code == 0, done.stderr
    assert re.search(r"update +route +both +cascade: threshold 0\.\d+, calibrations", done.stdout)
    both, *others = load(routed).routes
    assert (both.cascade.confidence, both.cascade.output) == ("output", "sure")
    assert (both.cascade.threshold, both.cascade.risk) == (said["threshold"], 0.1)
    assert [c.specialist for c in both.cascade.calibrations] == ["cheap", "dear"]
    assert list(both.cascade.calibrations[0].accuracy) == said["calibrations"][0]["accuracy"]
    assert [route.cascade and route.cascade.calibrations for route in others] == [None, (), (), ()]
    text = routed.read_text()
    assert all(comment in text for comment in ("# cheap first", "# ours"))
    again = run(sure, *options)
    assert again.exit_code == 0
    assert "update" not in again.stdout
    assert routed.read_text() == text


def test_a_route_of_routes_takes_any_table(sure, routed):
    """Whom it leads to is known to a running fabric only."""
    done = run(sure, *SURE, *FIT, "--route", "nested", "-f", routed)
    assert done.exit_code == 0, done.stderr


def test_a_risk_that_cannot_be_certified_is_not_written(sure, routed):
    """The report says so, and the whole file stays as it is."""
    options = (*FIT[:1], "--risk", 0.001, *FIT[3:], "--route", "both", "-f", routed, "--write")
    done = run(sure, *SURE, *options)
    assert done.exit_code == 1
    assert "the risk of 0.001 CANNOT be certified by 800 queries" in " ".join(done.stdout.split())
    message = " ".join(done.stderr.split())
    assert "the cascade is not written into route 'both': no threshold is sure" in message
    assert "0.10% of answers at most" in message
    assert routed.read_text() == ROUTED


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--risk", 0.1), 2, "--risk, --route, and --confidence of --data, need --cascade"),
        (("--cascade",), 1, "--cascade needs --risk"),
        (("--cascade", "--route", "both"), 2, "--route needs --file"),
        (("--cascade", "-f", "FILE", "--write"), 2, "--write of a cascade needs --route"),
        (("--cascade", "--route", "bath", "-f", "FILE"), 1, "no route 'bath'; did you mean 'both'"),
        (("--cascade", "--route", "plain", "-f", "FILE"), 1, "route 'plain' has no cascade"),
        (("--cascade", "--route", "more", "-f", "FILE"), 1, "route 'more' does not lead to dear"),
        (("--cascade", "--route", "all", "-f", "FILE"), 1, "the table lacks other of route 'all'"),
    ],
)
def test_a_cascade_that_makes_no_sense_is_refused(sure, routed, options, status, message):
    """Before anything is measured."""
    done = run(sure, *SURE, *(routed if each == "FILE" else each for each in options))
    assert done.exit_code == status
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert routed.read_text() == ROUTED


def test_a_table_without_confidence_gives_no_cascade(table):
    """It says what is missing."""
    done = run(table, *COLUMNS, *COSTS, *FIT)
    assert done.exit_code == 1
    assert "name its columns" in done.stderr


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
def test_a_running_fabric_says_how_sure_it_is(tmp_path):
    """As the gateway reads it before it is calibrated, into the table that is kept."""
    rng = np.random.default_rng(4)
    likely = rng.uniform(0, 1, 100).astype(np.float32)
    x = np.column_stack([1 - likely, likely])
    np.savez(tmp_path / "d.npz", x=x, label=(likely > 0.5).astype(int))
    saved = tmp_path / "saved.parquet"
    options = ("eval-both", "--data", tmp_path / "d.npz", "-i", "x", "--save", saved, "-o", "json")
    done = run(*options, *FIT, "--confidence", "margin=y")
    assert done.exit_code == 0, done.stderr
    cascade = json.loads(done.stdout)["cascade"]
    assert cascade["report"]["wrong"]["value"] == 0
    frame = pl.read_parquet(saved)
    for name in ("eval-plain:1", "eval-turned:1"):
        margins = frame[f"{name}|confidence"].to_numpy()
        np.testing.assert_allclose(margins, np.abs(x[:, 1] - x[:, 0]), atol=1e-6)
    again = json.loads(run(saved, *FIT, "-o", "json").stdout)
    assert again["cascade"] == cascade
    refused = run(*options, *FIT)
    assert refused.exit_code == 1
    assert "route 'eval-both' has no cascade: declare one, or say how" in refused.stderr


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
