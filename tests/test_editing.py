"""A portfolio file is changed where it has to be, and nowhere else."""

from __future__ import annotations

import difflib

import pytest

from fabric.config import load
from fabric.config.editing import edit, edited
from fabric.core.cards import Evidence
from fabric.core.errors import Conflict, InvalidRequest
from fabric.core.routes import Calibration, Cascade

CHANGES = {"batching.max_size": 8, "onnxruntime.providers": ("CPUExecutionProvider",)}


def differences(before: str, after: str) -> list[str]:
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line for line in lines if line[0] in "+-"]


@pytest.fixture
def write(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"model")

    def written(text):
        file = tmp_path / "portfolio.yaml"
        file.write_text(text)
        return file

    return written


BLOCK = """\
# Ours.
specialists:
  - name: a            # the first
    model:   m.onnx

  # the second
  - model: m.onnx
    name: b
    version: 1.10
    batching:          # a guess
      max_queue:  5
    onnxruntime:
      providers:       # in order
      - CUDAExecutionProvider
      - CPUExecutionProvider
    # that was b
routes: []
"""


def test_comments_order_and_spacing_stay(write):
    """What is new stands behind what its part says already."""
    file = write(BLOCK)
    file.chmod(0o640)
    edit(file, "b:1.10", CHANGES)
    assert differences(BLOCK, file.read_text()) == [
        "+       max_size: 8",
        "-       - CUDAExecutionProvider",
    ]
    assert file.stat().st_mode & 0o777 == 0o640
    assert load(file).specialists[1].hosting.batching.max_size == 8


def test_a_part_that_is_missing_comes_before_the_comments_of_the_next_specialist():
    """It is the last thing that the specialist says."""
    assert differences(BLOCK, edited(BLOCK, "a:1", CHANGES)) == [
        "+     batching: {max_size: 8}",
        "+     onnxruntime: {providers: [CPUExecutionProvider]}",
    ]


TEXT = "description: |\n    two\n    lines\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("batching: { max_size: 4 }  # x", "batching: { max_size: 8 }  # x"),
        ("batching: {max_queue: 5}", "batching: {max_queue: 5, max_size: 8}"),
        ("batching: {}", "batching: {max_size: 8}"),
        ("batching:", "batching: {max_size: 8}"),
        ("batching: {max_size: }", "batching: {max_size: 8 }"),
        (TEXT, f"{TEXT}  batching: {{max_size: 8}}\n"),
    ],
)
def test_all_ways_to_write_a_part_are_kept(write, before, after):
    """And so is a file that ends without a line break."""
    start = "specialists:\n- name: a\n  model: m.onnx\n  "
    file = write(start + before)
    edit(file, "a:1", {"batching.max_size": 8})
    assert file.read_text() == start + after
    assert load(file).specialists[0].hosting.batching.max_size == 8


def test_a_specialist_within_a_line_stays_there(write):
    """Flow style is kept."""
    file = write("specialists: [{name: a, model: m.onnx}] # all")
    edit(file, "a:1", CHANGES)
    said = "batching: {max_size: 8}, onnxruntime: {providers: [CPUExecutionProvider]}"
    assert file.read_text() == f"specialists: [{{name: a, model: m.onnx, {said}}}] # all"


def test_what_is_shared_with_others_is_not_changed_for_one(write):
    """The file stays as it is, and nothing is left beside it."""
    text = """\
specialists:
- {name: a, model: m.onnx, batching: &shared {max_size: 4}}
- {name: b, model: m.onnx, batching: *shared}
"""
    file = write(text)
    with pytest.raises(Conflict, match=r"is shared .* Change it by hand: batching.max_size: 8"):
        edit(file, "a:1", {"batching.max_size": 8})
    assert file.read_text() == text
    assert {path.name for path in file.parent.iterdir()} == {"m.onnx", "portfolio.yaml"}


def test_what_a_link_leads_to_is_changed(write, tmp_path):
    """And not the link."""
    file = write("specialists: [{name: a, model: m.onnx}]")
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.yaml"
    link.symlink_to(file)
    edit(link, "a:1", {"batching.max_size": 8})
    assert link.is_symlink()
    assert load(file).specialists[0].hosting.batching.max_size == 8


def test_a_folder_that_takes_no_files_is_named(write, monkeypatch):
    """The file stays as it is."""
    file = write("specialists: [{name: a, model: m.onnx}]")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fabric.config.editing.tempfile.mkstemp", refuse)
    with pytest.raises(InvalidRequest, match=r"portfolio.yaml cannot be written: Permission"):
        edit(file, "a:1", {"batching.max_size": 8})


EVIDENCE = """\
specialists:
- name: a
  model: m.onnx
  evidence:
    - metric: accuracy   # of the paper
      value: 0.5
    - {metric: f1, value: 0.5}  # ours
- {name: b, model: m.onnx, evidence: [{metric: f1, value: 0.5}]}
- name: c
  model: m.onnx
"""
B = "{name: b, model: m.onnx, evidence: ["
FOUND = Evidence(metric="f1", value=0.75, domain="x")


@pytest.mark.parametrize(
    ("key", "changes", "lines"),
    [
        ("a:1", {"evidence.0.value": 0.25}, ["-       value: 0.5", "+       value: 0.25"]),
        (
            "a:1",
            {"evidence.1.value": 0.25, "evidence.1.rows": 8, "evidence.2": FOUND},
            [
                "-     - {metric: f1, value: 0.5}  # ours",
                "+     - {metric: f1, value: 0.25, rows: 8}  # ours",
                "+     - {metric: f1, value: 0.75, domain: x}",
            ],
        ),
        (
            "b:1",
            {"evidence.1": FOUND},
            [
                f"- - {B}{{metric: f1, value: 0.5}}]}}",
                f"+ - {B}{{metric: f1, value: 0.5}}, {{metric: f1, value: 0.75, domain: x}}]}}",
            ],
        ),
        (
            "c:1",
            {"evidence": (FOUND,)},
            ["+   evidence:", "+     - {metric: f1, value: 0.75, domain: x}"],
        ),
    ],
)
def test_items_of_lists_are_changed_one_by_one(write, key, changes, lines):
    """Those that stay keep their comments, and new ones come behind them."""
    file = write(EVIDENCE)
    edit(file, key, changes)
    assert differences(EVIDENCE, file.read_text()) == lines


ROUTES = """\
specialists:
- {name: a, model: m.onnx}
- {name: b, model: m.onnx}
routes:
  - name: r          # ours
    chain: [a, b]
    cascade: {confidence: margin, threshold: 0.5}  # for now
  - name: s
    chain: [a, b]
    cascade:
      threshold: 0.5   # for now
      calibrations:
      - {specialist: a, confidence: [0.5], accuracy: [0.5]}
      - {specialist: b, confidence: [0.5], accuracy: [0.5]}
    # the last
  - name: t
    chain: [a, b]
"""
CALIBRATIONS = (
    Calibration(specialist="a:1", confidence=(0.25, 0.75), accuracy=(0.5, 1.0)),
    Calibration(specialist="b", confidence=(0.5,), accuracy=(0.75,)),
)
A = "{specialist: 'a:1', confidence: [0.25, 0.75], accuracy: [0.5, 1.0]}"
B_TOO = "{specialist: b, confidence: [0.5], accuracy: [0.75]}"


@pytest.mark.parametrize(
    ("key", "changes", "lines"),
    [
        (
            "r",
            {"cascade.threshold": 0.75, "cascade.risk": 0.05, "cascade.calibrations": CALIBRATIONS},
            [
                "-     cascade: {confidence: margin, threshold: 0.5}  # for now",
                "+     cascade: {confidence: margin, threshold: 0.75, risk: 0.05, calibrations: [",
                f"+       {A},",
                f"+       {B_TOO}]}}  # for now",
            ],
        ),
        (
            "s",
            {"cascade.threshold": 0.75, "cascade.risk": 0.05, "cascade.calibrations": CALIBRATIONS},
            [
                "-       threshold: 0.5   # for now",
                "+       threshold: 0.75   # for now",
                "-       - {specialist: a, confidence: [0.5], accuracy: [0.5]}",
                "-       - {specialist: b, confidence: [0.5], accuracy: [0.5]}",
                f"+       - {A}",
                f"+       - {B_TOO}",
                "+       risk: 0.05",
            ],
        ),
        (
            "t",
            {"cascade": Cascade(threshold=0.75, calibrations=CALIBRATIONS)},
            [
                "+     cascade: {threshold: 0.75, calibrations: [",
                f"+       {A},",
                f"+       {B_TOO}]}}",
            ],
        ),
    ],
)
def test_routes_are_changed_like_specialists(write, key, changes, lines):
    """Records within a line get lines of their own."""
    file = write(ROUTES)
    edit(file, key, changes)
    assert sorted(differences(ROUTES, file.read_text())) == sorted(lines)
    (route,) = (route for route in load(file).routes if route.name == key)
    assert (route.cascade.threshold, route.cascade.calibrations) == (0.75, CALIBRATIONS)
