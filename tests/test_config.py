"""The portfolio file."""

from __future__ import annotations

import json
from textwrap import dedent

import pytest
import yaml

from fabric.cli.output import plain
from fabric.config import PortfolioError, load, schema
from fabric.config.writing import written
from fabric.core.cards import (
    Breaking,
    Caching,
    Card,
    Control,
    Hosting,
    Model,
    Sequences,
    Specialist,
    StateTensor,
)
from fabric.core.errors import Code
from fabric.core.routes import (
    ChainEntry,
    Content,
    Exploration,
    Hedging,
    Learning,
    MinQuality,
    Mixture,
    Requirements,
    Retry,
    Route,
    TensorNeed,
)
from fabric.core.tensors import TensorValue


@pytest.fixture
def folder(tmp_path):
    for name in ("rotated.onnx", "general.onnx", "labels.txt"):
        (tmp_path / name).write_bytes(b"model")
    return tmp_path


@pytest.fixture
def write(folder):
    def write(text):
        file = folder / "portfolio.yaml"
        file.write_text(dedent(text))
        return file

    return write


@pytest.fixture
def refused(write):
    """The mistakes of a file, without its path."""

    def refused(text, known=()):
        file = write(text)
        with pytest.raises(PortfolioError) as caught:
            load(file, known)
        return caught.value.message.replace(f"{file}:", "").splitlines()

    return refused


GOOD = """\
    specialists:
      - name: rotated
        version: 1.10
        owner: no
        domains: [rotated]
        labels: {tier: 1}
        cost: 0.5
        cache: {ttl: 300}
        evidence:
          - {metric: accuracy, value: 0.97, domain: rotated}
        model: rotated.onnx
        classes: {y: labels.txt, z: "s3://labels.txt"}
        batching: {max_size: 8}
        replicas: {min: 1, max: 3}
      - name: general
        model:
          uri: s3://models/general.onnx
    routes:
      - name: digits
        requirements: {domain: rotated}
        chain: [rotated:1.10, general, {name: spare, weight: 0.5}]
      - name: spare
        description:
        chain: [general]
    """


def test_a_file_is_read_into_the_dataclasses_of_core(write, folder):
    """Cards and hosting come apart, shorthands are filled in, paths start at the file."""
    portfolio = load(write(GOOD))

    rotated, general = portfolio.specialists
    assert rotated.key == "rotated:1.10"
    assert (rotated.card.owner, rotated.card.labels) == ("no", {"tier": "1"})
    assert rotated.card.cache == Caching(ttl=300)
    assert rotated.hosting.model == Model(uri=str(folder / "rotated.onnx"))
    assert rotated.hosting.classes == {"y": str(folder / "labels.txt"), "z": "s3://labels.txt"}
    assert (rotated.hosting.batching.max_size, rotated.hosting.replicas.max) == (8, 3)
    assert general == Specialist(
        card=Card(name="general"),
        hosting=Hosting(model=Model(uri="s3://models/general.onnx")),
    )
    assert type(rotated.card) is Card
    assert portfolio.routes[0] == Route(
        name="digits",
        requirements=Requirements(domain="rotated"),
        chain=(
            ChainEntry(name="rotated", version="1.10"),
            ChainEntry(name="general"),
            ChainEntry(name="spare", weight=0.5),
        ),
    )
    assert type(portfolio.routes[1]) is Route


def test_a_stateful_model_is_declared_with_its_tensors(write):
    """`no` and `yes` are keys as they stand."""
    text = """\
        specialists:
          - name: total
            model: general.onnx
            batching: {max_size: 4}
            sequences:
              strategy: direct
              idle_timeout: 5
              states: [{input: sum, output: new_sum}]
              controls:
                - {input: start, kind: start, no: -1, yes: 2}
                - {input: id, kind: id}
          - name: chat
            python: chat:Chat
            sequences: {}
        """
    total, chat = load(write(text)).specialists
    assert total.hosting.sequences == Sequences(
        strategy="direct",
        idle_timeout=5,
        states=(StateTensor(input="sum", output="new_sum"),),
        controls=(
            Control(input="start", kind="start", no=-1, yes=2),
            Control(input="id", kind="id"),
        ),
    )
    assert chat.hosting.sequences == Sequences()


def test_mistakes_in_sequences_are_named(refused):
    """By place, with what is right."""
    text = """\
        specialists:
          - name: total
            model: general.onnx
            sequences:
              max_sequence: 3
              states:
                - input: sum
              controls:
                - {input: end, kind: end, maybe: 3}
          - name: chat
            python: chat:Chat
            sequences: {strategy: newest, controls: [{input: start, kind: begin}]}
          - name: count
            python: count:Count
            sequences: {strategy: newest}
        """
    kinds, strategies = "use start, end, ready or id", "use direct or oldest"
    assert refused(text) == [
        "5: specialists[0].sequences.max_sequence: unknown key; did you mean 'max_sequences'?",
        "7: specialists[0].sequences.states[0].output: is missing",
        "9: specialists[0].sequences.controls[0].maybe: unknown key; did you mean 'yes'?",
        f"12: specialists[1].sequences.controls[0].kind: kind is 'begin'; {kinds}",
        f"12: specialists[1].sequences.strategy: strategy is 'newest'; {strategies}",
        f"15: specialists[2].sequences.strategy: strategy is 'newest'; {strategies}",
    ]


def test_a_specialist_says_when_its_replicas_are_ejected(write, refused):
    """What it does not say stays as it is; what makes no sense is named."""
    text = """\
        specialists:
          - {name: a, model: general.onnx, breaker: {consecutive: 3, slower: 0}}
        """
    (a,) = load(write(text)).specialists
    assert a.hosting.breaker == Breaking(consecutive=3, slower=0.0)
    text = """\
        specialists:
          - name: a
            model: general.onnx
            breaker:
              failing: 50
          - {name: b, model: general.onnx, breaker: {consecutiv: 3}}
        """
    assert refused(text) == [
        "5: specialists[0].breaker.failing: failing is 50.0, it must be from 0 to 1",
        "6: specialists[1].breaker.consecutiv: unknown key; did you mean 'consecutive'?",
    ]


def test_all_mistakes_are_named_at_once_with_their_lines(refused, folder):
    """Each mistake says its line, its key, and the nearest right word."""
    text = """\
        specialists:
          - name: rotated
            model: rotate.onnx
            batching:
              max: 8
              max_queue: many
            cost: cheap
          - name: general
            domains: all
            resources: {cpus: .nan}
            evidence: [{value: 1}]
            model: {sha: 12}
        route: []
        """
    assert refused(text) == [
        f"3: specialists[0].model: no file {folder}/rotate.onnx; did you mean 'rotated.onnx'?",
        "5: specialists[0].batching.max: unknown key; did you mean 'max_size'?",
        '6: specialists[0].batching.max_queue: must be a whole number, not "many"',
        '7: specialists[0].cost: must be a number, not "cheap"',
        '9: specialists[1].domains: must be a list, not "all"',
        '10: specialists[1].resources.cpus: must be a number, not ".nan"',
        "11: specialists[1].evidence[0].metric: is missing",
        "12: specialists[1].model.sha: unknown key; did you mean 'sha256'?",
        "12: specialists[1].model.uri: is missing",
        "13: route: unknown key; did you mean 'routes'?",
    ]


def test_what_a_dataclass_refuses_is_an_error_of_its_place(refused):
    """The rules of core hold in the file, at the line of the key that they name."""
    assert refused("""\
        specialists:
          - name: general
            model: general.onnx
            cost: -1
          - name: rotated
            model: rotated.onnx
            replicas:
              min: 3
              max: 2
        """) == [
        "4: specialists[0].cost: cost is -1.0, it cannot be negative",
        "8: specialists[1].replicas.min: min is 3 replicas, it cannot be above max, 2",
    ]


def test_no_mistake_hides_another(refused):
    """Of one object all are named, with those of its parts, and nothing is that only follows."""
    assert refused(
        """\
        specialists:
          - version: a b
            model: general.onnx
            cost: -1
            evidence:
              - {value: high, rows: -1, measured: today}
            batching: {max_size: 0, max_queue: many, priorities: few, default_priority: 2}
            resources: {cpus: -1, gpus: -1}
            timeouts: {request: 0}
          - name: B
            model: {sha256: 12}
        routes:
          - name: r
            order: best
            chain:
              - {name: a, select: {max_cost: -1}, weight: -1, share: 2}
              - {static: [{name: y, datatype: F32, shape: [-1], numbers: [1]}]}
            content: {input: x}
            learning: {mode: apply, canary: 3, min_labels: 0}
            timeout: 0
          - name: s
            order: scored
            requirements: {max_latency: -1, min_quality: {metric: accuracy, value: .inf}}
            preferences: {preset: fast, weights: {cost: -1}}
            exploration: {share: 2, method: none}
          - name: t
            order: scored
            preferences: {weights: {similarity: 1}}
        """,
        known=["a:1"],
    ) == [
        "2: specialists[0].name: is missing",
        (
            "2: specialists[0].version: version is 'a b'; use 1 to 64 letters, digits, '.', '-' or "
            "'_'"
        ),
        "4: specialists[0].cost: cost is -1.0, it cannot be negative",
        (
            "6: specialists[0].evidence[0].measured: measured is 'today', it must be a day such as "
            "2026-01-31"
        ),
        "6: specialists[0].evidence[0].metric: is missing",
        "6: specialists[0].evidence[0].rows: rows is -1, it cannot be negative",
        '6: specialists[0].evidence[0].value: must be a number, not "high"',
        '7: specialists[0].batching.max_queue: must be a whole number, not "many"',
        "7: specialists[0].batching.max_size: max_size is 0, it is at least 1",
        '7: specialists[0].batching.priorities: must be a whole number, not "few"',
        "8: specialists[0].resources.cpus: cpus is -1.0, it cannot be negative",
        "8: specialists[0].resources.gpus: gpus is -1.0, it cannot be negative",
        "9: specialists[0].timeouts.request: request is 0.0, it must be above zero",
        (
            "10: specialists[1].name: name is 'B'; use 1 to 128 lower-case letters, digits, '-', "
            "'_' or '.', with a letter or digit at both ends"
        ),
        "11: specialists[1].model.sha256: sha256 is not 64 hexadecimal digits",
        "11: specialists[1].model.uri: is missing",
        "14: routes[0].order: order is 'best'; use fixed, weighted or scored",
        "16: routes[0].chain[0]: an entry has exactly one of name, select, cached and static",
        "16: routes[0].chain[0].select.max_cost: max_cost is -1.0, it cannot be negative",
        "16: routes[0].chain[0].share: share is 2.0, it must be above 0 and at most 1",
        "16: routes[0].chain[0].weight: weight is -1.0, it cannot be negative",
        (
            "17: routes[0].chain[1].static[0].datatype: datatype is 'F32'; use BOOL, UINT8, "
            "UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, FP32, FP64, BF16 or BYTES"
        ),
        "17: routes[0].chain[1].static[0].shape: shape is [-1], its sizes cannot be negative",
        "19: routes[0].learning.canary: canary is 3.0, it must be from 0 to 1",
        "19: routes[0].learning.min_labels: min_labels is 0, it is at least 1",
        "20: routes[0].timeout: timeout is 0.0, it must be above zero",
        "23: routes[1].requirements.max_latency: max_latency is -1.0, it cannot be negative",
        '23: routes[1].requirements.min_quality.value: must be a number, not ".inf"',
        (
            "24: routes[1].preferences.preset: preset is 'fast'; use quality, balanced, cheapest "
            "or fastest"
        ),
        (
            "24: routes[1].preferences.weights: weights has cost: -1.0, it cannot be negative or "
            "infinite"
        ),
        "25: routes[1].exploration.method: method is 'none'; use thompson or linucb",
        "25: routes[1].exploration.share: share is 2.0, it must be from 0 to 1",
        (
            "28: routes[2].preferences: preferences has a weight for similarity, which needs "
            "content: say its input"
        ),
    ]


def test_a_specialist_has_a_model_or_a_class(refused):
    """Neither and both are refused."""
    assert refused("""\
        specialists:
          - name: neither
          - {name: both, model: general.onnx, python: "package:Class"}
        """) == [
        "2: specialists[0]: give exactly one of 'model' and 'python'",
        "3: specialists[1]: give exactly one of 'model' and 'python'",
    ]


def test_names_are_given_once(refused):
    """A key of a mapping, a version of a specialist and a name of a route stand once."""
    assert refused("""\
        specialists:
          - {name: a, model: general.onnx}
          - {name: a, version: 1, model: general.onnx}
          - {name: b, model: general.onnx, owner: x, owner: y}
        routes:
          - {name: b, chain: [a]}
          - {name: c, chain: [a]}
          - {name: c, chain: [a]}
        """) == [
        "3: specialists[1].name: 'a:1' is declared twice",
        "4: specialists[2].owner: is given twice",
        "6: routes[0].name: 'b' is a specialist already",
        "8: routes[2].name: 'c' is declared twice",
    ]


def test_chains_name_what_exists(refused, write):
    """A name that is neither in the file nor known is refused with the nearest that is."""
    text = """\
        specialists:
          - {name: rotated, model: rotated.onnx}
        routes:
          - name: digits
            chain:
              - rotate
              - rotated:2
              - elsewhere
        """
    assert refused(text, known=["elsewhere:3"]) == [
        "6: routes[0].chain[0]: nothing is named 'rotate'; did you mean 'rotated'?",
        "7: routes[0].chain[1]: nothing is named 'rotated:2'; did you mean 'rotated:1'?",
    ]
    assert load(write(text), known=["elsewhere:3", "rotate", "rotated:2"]).routes


def test_routes_lead_somewhere(refused):
    """A circle of routes is refused on every route in it, and shown."""
    assert refused("""\
        specialists:
          - {name: s, model: general.onnx}
        routes:
          - {name: a, chain: [s, b]}
          - {name: b, chain: [c]}
          - {name: c, chain: [a]}
          - {name: into, chain: [a]}
        """) == [
        "4: routes[0].chain: goes in a circle: a -> b -> c -> a",
        "5: routes[1].chain: goes in a circle: b -> c -> a -> b",
        "6: routes[2].chain: goes in a circle: c -> a -> b -> c",
    ]


RANKED = """\
    specialists:
      - name: cursive
        model: rotated.onnx
        region: eu
        data_classes: [public, personal]
        examples: [a letter]
        evidence:
          - {metric: accuracy, value: 0.93, domain: cursive, rows: 200, measured: 2026-01-31}
      - {name: encoder, model: general.onnx}
    routes:
      - name: letters
        order: scored
        requirements:
          region: eu
          data_classes: [personal]
          versions: [1, 2]
          max_cost: 2
          max_latency: 0.5
          min_quality: {metric: accuracy, value: 0.9}
          inputs: [{name: x, datatype: FP32, shape: [-1, 64]}]
          outputs: [{name: y}]
          expression: card.cost < 2 && 'personal' in card.data_classes
        preferences: {preset: quality, weights: {freshness: 0.1}, metric: accuracy, region: eu}
        content: {input: text, encoder: encoder, encoder_input: t, encoder_output: e}
        learning: {mode: canary, canary: 0.2, policy: 3, guard: no, min_labels: 10, discount: 0.9}
        exploration: {shadow: 0.02, share: 0.05, method: linucb}
        cascade:
          confidence: entropy
          output: y
          threshold: 0.7
          risk: 0.05
          calibrations: [{specialist: cursive, confidence: [0, 1], accuracy: [0.1, 0.9]}]
      - {name: mixed, order: scored, mixture: {top: 3, combine: vote, output: y}}
    """


def test_a_ranked_route_says_what_decides(write):
    """A chain is not needed, and a scalar is read as its field asks."""
    portfolio = load(write(RANKED))
    letters, mixed = portfolio.routes
    assert portfolio.specialists[0].card.evidence[0].measured == "2026-01-31"
    assert (letters.chain, mixed.chain) == ((), ())
    assert letters.requirements == Requirements(
        region="eu",
        data_classes=("personal",),
        versions=("1", "2"),
        max_cost=2.0,
        max_latency=0.5,
        min_quality=MinQuality(metric="accuracy", value=0.9),
        inputs=(TensorNeed(name="x", datatype="FP32", shape=(-1, 64)),),
        outputs=(TensorNeed(name="y"),),
        expression="card.cost < 2 && 'personal' in card.data_classes",
    )
    assert letters.preferences.weighted["freshness"] == 0.1
    assert letters.content == Content(
        input="text", encoder="encoder", encoder_input="t", encoder_output="e"
    )
    assert letters.learning == Learning(
        mode="canary", canary=0.2, policy=3, guard=False, min_labels=10, discount=0.9
    )
    assert letters.exploration == Exploration(shadow=0.02, share=0.05, method="linucb")
    assert letters.cascade.calibrations[0].accuracy == (0.1, 0.9)
    assert mixed.mixture == Mixture(top=3, combine="vote", output="y")


def test_what_is_read_can_be_written_and_shown(write):
    """And read again: in the shortest form, and as `fabric get route` shows it."""
    portfolio = load(write(RANKED))
    said = written(portfolio)
    assert "chain" not in said["routes"][1]
    assert load(write(yaml.safe_dump(said))) == portfolio
    shown = {**said, "routes": [plain(route) for route in portfolio.routes]}
    assert load(write(yaml.safe_dump(shown))) == portfolio


def test_mistakes_in_what_decides_are_named(refused):
    """At their places, with the nearest name or all there are."""
    assert refused("""\
        specialists:
          - {name: a, model: general.onnx, evidence: [{metric: m, value: x, measured: today}]}
        routes:
          - name: r
            order: scored
            requirements:
              expression: card.cost >
              reginn: eu
            preferences: {preset: fast}
            content: {input: x, encoder: encode}
            learning: {mode: applied}
          - name: s
            chain: [a]
            learning: {}
          - name: t
            order: scored
            requirements: {expression: cost < 1}
            content: {input: x, encoder: t}
            cascade:
              calibrations: [{specialist: b, confidence: [0], accuracy: [1]}]
          - {name: u}
        """) == [
        (
            "2: specialists[0].evidence[0].measured: measured is 'today', it must be a day such as "
            "2026-01-31"
        ),
        '2: specialists[0].evidence[0].value: must be a number, not "x"',
        (
            "7: routes[0].requirements.expression: expression `card.cost >` is no expression: "
            "column 12: mismatched input '<EOF>'"
        ),
        "8: routes[0].requirements.reginn: unknown key; did you mean 'region'?",
        (
            "9: routes[0].preferences.preset: preset is 'fast'; use quality, balanced, cheapest or "
            "fastest"
        ),
        "10: routes[0].content.encoder: nothing is named 'encode'",
        "11: routes[0].learning.mode: mode is 'applied'; use observe, canary, apply or bypass",
        "14: routes[1].learning: learning needs order: scored, it is fixed",
        "15: routes[2].chain: goes in a circle: t -> t",
        (
            "17: routes[2].requirements.expression: expression `cost < 1` names 'cost'; "
            "did you mean 'card.cost'?"
        ),
        "20: routes[2].cascade.calibrations[0].specialist: nothing is named 'b'",
        (
            "21: routes[3]: route 'u' has an empty chain: name at least one specialist, or use "
            "order: scored for all that meet the requirements"
        ),
    ]


CHAINED = """\
    specialists:
      - {name: rotated, model: rotated.onnx}
      - {name: general, model: general.onnx}
    routes:
      - name: read
        retry: {attempts: 6, budget: 0.1, backoff: 0.02}
        hedging: {quantile: 0.9, least: 0.01}
        chain:
          - {name: rotated, tries: 3, share: 0.5}
          - {name: "general", version: "1", on: [overloaded, late], substitute: false}
          - {select: {task: digit, labels: {size: small}}, on: [unavailable]}
          - {cached: 60}
          - static:
              - {name: y, datatype: FP32, shape: [1, 2], numbers: [0.5, 0.5]}
              - {name: why, datatype: BYTES, shape: [1], texts: [unknown]}
            on: [unsure, late]
    """


def test_a_chain_says_on_what_each_entry_is_tried(write):
    """And how: read, written and read again."""
    portfolio = load(write(CHAINED))
    (route,) = portfolio.routes
    assert route.retry == Retry(attempts=6, budget=0.1, backoff=0.02)
    assert route.hedging == Hedging(quantile=0.9, least=0.01)
    outputs = (
        TensorValue(name="y", datatype="FP32", shape=(1, 2), numbers=(0.5, 0.5)),
        TensorValue(name="why", datatype="BYTES", shape=(1,), texts=("unknown",)),
    )
    small = Requirements(task="digit", labels={"size": "small"})
    assert route.chain == (
        ChainEntry(name="rotated", tries=3, share=0.5),
        ChainEntry(name="general", version="1", on=("overloaded", "late"), substitute=False),
        ChainEntry(select=small, on=("unavailable",)),
        ChainEntry(cached=60.0),
        ChainEntry(static=outputs, on=("unsure", "late")),
    )
    assert [str(entry) for entry in route.chain] == [
        "rotated",
        "general:1",
        "all of task digit, labels {'size': 'small'}",
        "cached for 60 s",
        "static",
    ]
    assert load(write(yaml.safe_dump(written(portfolio)))) == portfolio


def test_mistakes_in_a_chain_are_named(refused):
    """Before anything is applied, at their places."""
    assert refused("""\
        specialists:
          - {name: a, model: general.onnx}
        routes:
          - name: r
            chain:
              - {name: a, on: [slow]}
              - {name: a, select: {task: t}}
              - {cached: 0}
              - {name: a, share: 2}
              - {select: {expression: card.cost >}}
              - {static: [{name: y, datatype: FP32, shape: [2], numbers: [1]}]}
              - {static: [{name: y, datatype: F32, shape: [1], numbers: [1]}]}
          - {name: s, chain: [{cached: 9}, a]}
          - {name: t, chain: [a], hedging: {quantile: 95}, retry: {budget: 20}}
        """) == [
        (
            "6: routes[0].chain[0].on: on is 'slow'; use unavailable, overloaded, late, failed, "
            "invalid or unsure"
        ),
        ("7: routes[0].chain[1]: an entry has exactly one of name, select, cached and static"),
        "8: routes[0].chain[2].cached: cached is 0.0, it must be above zero",
        "9: routes[0].chain[3].share: share is 2.0, it must be above 0 and at most 1",
        (
            "10: routes[0].chain[4].select.expression: expression `card.cost >` is no expression: "
            "column 12: mismatched input '<EOF>'"
        ),
        (
            "11: routes[0].chain[5].static[0]: a tensor of FP32 and shape [2] has 2 numbers, "
            "got 1 and 0 texts"
        ),
        (
            "12: routes[0].chain[6].static[0].datatype: datatype is 'F32'; use BOOL, UINT8, "
            "UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, FP32, FP64, BF16 or BYTES"
        ),
        "13: routes[1].chain: chain has a cached or static answer before others: they come last",
        "14: routes[2].hedging.quantile: quantile is 95.0, it must be between 0 and 1",
        "14: routes[2].retry.budget: budget is 20.0, it must be from 0 to 1",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "1: declares no specialists and no routes"),
        ("specialists: [", "1: not YAML: expected the node content, but found '<stream end>'"),
        ("- name: a", "1: must be a mapping, not a list"),
        ("specialists: &a\n  - *a", "1: contains itself"),
    ],
)
def test_a_file_that_is_no_portfolio_is_refused(refused, text, line):
    """What is not YAML, or not a mapping, is refused where it begins."""
    assert line in refused(text)


def test_a_missing_file_is_named(tmp_path):
    """The error is of the request, and names the file."""
    with pytest.raises(PortfolioError, match=r"none\.yaml.*No such file") as caught:
        load(tmp_path / "none.yaml")
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_the_schema_describes_what_is_read():
    """Editors get every key with its description, the shorthands, and no key besides."""
    made = schema()
    entry = made["$defs"]["SpecialistEntry"]

    assert json.dumps(made)
    assert set(made["properties"]) == {"specialists", "routes", "pipelines"}
    assert entry["additionalProperties"] is False
    assert "Per call" in entry["properties"]["cost"]["description"]
    for name in ("Requirements", "Preferences", "Content", "Learning", "Exploration", "Cascade"):
        assert made["$defs"][name]["description"]
    assert "CEL" in made["$defs"]["Requirements"]["properties"]["expression"]["description"]
    assert {"type": "string"} in entry["properties"]["model"]["anyOf"]
    assert "package.module:Class" in entry["properties"]["python"]["description"]
    assert {"type": "string"} in made["$defs"]["RouteEntry"]["properties"]["chain"]["items"][
        "anyOf"
    ]
