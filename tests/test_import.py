"""A Triton model repository becomes a portfolio that serves the same."""

from __future__ import annotations

import json
import re
from contextlib import AsyncExitStack
from dataclasses import replace

import numpy as np
import pytest
import tritonclient.grpc as triton
import yaml
from onnx_models import FLOAT, INT64, copying, doubling, save
from typer.testing import CliRunner

from fabric.app import Fabric, FabricSettings
from fabric.cli.commands import app
from fabric.config import load
from fabric.config.onnx_file import read_tensors
from fabric.config.triton import LEFT_OUT, read_repository
from fabric.conformance import writing
from fabric.core.cards import Batching, Control, Replicas, Sequences, StateTensor
from fabric.core.errors import InvalidRequest
from fabric.core.routes import ChainEntry, Route
from fabric.core.tensors import Signature, TensorSpec

X, Y = 'name: "x" data_type: TYPE_FP32 dims: [2]', 'name: "y" data_type: TYPE_FP32 dims: [2]'
IN_OUT = f"input [{{ {X} }}] output [{{ {Y} }}]"
SEQUENCE = """
max_batch_size: 4
input { name: "x" %s }
output { name: "y" label_filename: "labels.txt" %s }
sequence_batching {
  max_sequence_idle_microseconds: 5000000
  oldest {}
  control_input {
    name: "start"
    control { kind: CONTROL_SEQUENCE_START fp32_false_true: [0, 1] }
  }
  state { input_name: "s" output_name: "t" %s }
}
"""


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def model(repository, name, config=None, versions=("1",), make=doubling, file="model.onnx"):
    """Puts a model into *repository*, with a file for each of *versions*."""
    (repository / name).mkdir(exist_ok=True)
    for version in versions:
        (repository / name / version).mkdir()
        make(repository / name / version / file)
    if config is not None:
        (repository / name / "config.pbtxt").write_text(config)
    return repository / name


def touch(path):
    path.write_text("")


def _made(folder):
    folder.mkdir()
    return folder


def counting(path):
    """y = s + x, the new s; x counts from where a sequence starts."""
    tensors = [("x", FLOAT, ["N", 1]), ("start", FLOAT, ["N", 1]), ("s", FLOAT, ["N", 1])]
    nodes = [("Sub", ["one", "start"], ["on"]), ("Mul", ["s", "on"], ["kept"])]
    nodes += [("Add", ["kept", "x"], ["y"]), ("Identity", ["y"], ["t"])]
    outputs = [("y", FLOAT, ["N", 1]), ("t", FLOAT, ["N", 1])]
    return save(path, nodes, tensors, outputs, [("one", np.ones(1, np.float32))])


def run(*arguments):
    return CliRunner().invoke(app, ["import", "triton-repository", *map(str, arguments)])


def found(imported, model):
    return {each.path: each for each in imported.findings if each.model == model}


def spec(name, *shape, datatype="FP32"):
    return TensorSpec(name=name, datatype=datatype, shape=shape)


# ------------------------------------------------------------------ what it makes
def test_a_model_becomes_a_specialist_with_its_version(repository):
    """Its tensors get the batch dimension, and its instances become replicas."""
    model(
        repository,
        "double",
        f'name: "double" platform: "onnxruntime_onnx" max_batch_size: 8 {IN_OUT}'
        "instance_group [{ count: 2 kind: KIND_CPU }] dynamic_batching {}",
        versions=("3",),
    )
    imported = read_repository(repository)
    (made,) = imported.portfolio.specialists
    assert made.key == "double:3"
    assert made.hosting.model.uri == str(repository / "double" / "3" / "model.onnx")
    assert made.hosting.batching == Batching(max_size=8)
    assert made.hosting.replicas == Replicas(min=2, max=2)
    assert made.card.signature == Signature(inputs=(spec("x", -1, 2),), outputs=(spec("y", -1, 2),))
    assert imported.findings == ()


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("", ["10"]),
        ("version_policy { latest { num_versions: 2 } }", ["2", "10"]),
        ("version_policy { all {} }", ["1", "2", "10"]),
        ("version_policy { specific { versions: [1, 10] } }", ["1", "10"]),
    ],
)
def test_the_policy_says_which_versions_are_served(repository, policy, served):
    """The latest by number where it says nothing; folders that are no version are passed over."""
    model(repository, "m", policy + IN_OUT, versions=("1", "2", "10", "0", "old"))
    specialists = read_repository(repository).portfolio.specialists
    assert [each.card.version for each in specialists] == served


def test_a_model_without_configuration_is_completed_as_triton_does(repository):
    """Four rows a batch where the model takes batches; else shapes as they are."""
    model(repository, "free")
    model(repository, "fixed", make=lambda path: doubling(path, shape=(2, 4)))
    model(repository, "flat", make=lambda path: copying(path, INT64))
    imported = read_repository(repository)
    sizes = {s.card.name: s.hosting.batching.max_size for s in imported.portfolio.specialists}
    assert sizes == {"fixed": 1, "flat": 4, "free": 4}
    assert found(imported, "free")["max_batch_size"].effect == "not needed"
    assert found(imported, "flat")["input"].text.endswith("own [-1], not [-1, 1]")
    assert found(imported, "fixed").keys() == {"instance_group"}


def test_a_model_may_be_a_folder_with_its_weights(repository):
    """And have another name than Triton's own."""
    model(
        repository,
        "wide",
        f"{IN_OUT}",
        make=lambda path: (path.mkdir(), doubling(path / "model.onnx")),
    )
    named = f'default_model_filename: "sub/n.onnx" {IN_OUT}'
    model(
        repository, "named", named, make=lambda path: doubling(_made(path) / "n.onnx"), file="sub"
    )
    uris = {
        s.card.name: s.hosting.model.uri for s in read_repository(repository).portfolio.specialists
    }
    assert uris["wide"].endswith("wide/1/model.onnx/model.onnx")
    assert uris["named"].endswith("named/1/sub/n.onnx")


def test_labels_belong_to_their_output(repository):
    """Their file is beside the versions."""
    config = f'input [{{ {X} }}] output [{{ {Y} label_filename: "labels.txt" }}] max_batch_size: 2'
    folder = model(repository, "m", config)
    assert read_repository(repository).left_out == ["m"]
    (folder / "labels.txt").write_text("no\nyes\n")
    (made,) = read_repository(repository).portfolio.specialists
    assert made.hosting.classes == {"y": str(folder / "labels.txt")}


def test_a_sequence_model_keeps_its_state_and_controls(repository):
    """Which are none of the inputs that clients send."""
    one = "data_type: TYPE_FP32 dims: [1]"
    folder = model(repository, "count", SEQUENCE % (one, one, one), make=counting)
    (folder / "labels.txt").write_text("total\n")
    (made,) = read_repository(repository).portfolio.specialists
    assert made.hosting.sequences == Sequences(
        strategy="oldest",
        idle_timeout=5.0,
        states=(StateTensor(input="s", output="t"),),
        controls=(Control(input="start", kind="start"),),
    )
    assert [each.name for each in made.card.signature.inputs] == ["x"]


def test_an_ensemble_of_one_step_is_a_route(repository):
    """Another name of its model, which may itself be one."""
    step = 'model_name: "{}" model_version: -1 input_map {{ key: "x" value: "x" }}'
    step += ' output_map {{ key: "y" value: "y" }}'
    ensemble = 'platform: "ensemble" max_batch_size: 8 {} ensemble_scheduling {{ step [{{ {} }}] }}'
    model(repository, "double", f"max_batch_size: 8 {IN_OUT}")
    model(repository, "alias", ensemble.format(IN_OUT, step.format("other")), versions=())
    model(repository, "other", ensemble.format(IN_OUT, step.format("double")), versions=())
    imported = read_repository(repository)
    assert imported.left_out == []
    assert sorted(imported.portfolio.routes, key=lambda route: route.name) == [
        Route(name="alias", chain=(ChainEntry(name="other"),)),
        Route(name="other", chain=(ChainEntry(name="double"),)),
    ]


def test_the_conformance_models_are_the_same_for_triton_and_for_fabric(tmp_path):
    """Imported they are what their own portfolio declares, but for what Triton says otherwise."""
    writing.write(tmp_path)
    imported = read_repository(tmp_path / "triton")
    said = {each.key: each.hosting for each in imported.portfolio.specialists}
    own = {each.key: each.hosting for each in load(tmp_path / "portfolio.yaml").specialists}
    in_python = {key for key, hosting in own.items() if hosting.python}
    for_triton = {key for key in own if (tmp_path / "triton" / key.partition(":")[0]).is_dir()}
    assert for_triton - said.keys() == in_python
    assert sorted(f"{name}:1" for name in imported.left_out) == sorted(in_python)
    for key, hosting in said.items():
        sequences = own[key].sequences and replace(own[key].sequences, idle_timeout=1.0)
        assert (hosting.batching, hosting.sequences) == (own[key].batching, sequences)
        assert hosting.classes.keys() == own[key].classes.keys()


def test_names_are_made_valid_and_told(repository):
    """A name that is valid already is never taken by another."""
    for name in ("Résumé Net", "double", "Double"):
        model(repository, name, IN_OUT)
    imported = read_repository(repository)
    assert {s.card.name for s in imported.portfolio.specialists} == {"double", "r-sum--net"}
    assert found(imported, "Résumé Net")["name"].effect == "changes answers"
    assert imported.left_out == ["Double"]


# ------------------------------------------------------------------ what it cannot
@pytest.mark.parametrize(
    ("config", "file", "reason"),
    [
        ('backend: "python"', "model.py", "backend 'python' is not served: write its"),
        (None, "model.py", "as a class for `python: module:Class`"),
        ('platform: "tensorrt_plan"', "model.plan", "TensorrtExecutionProvider"),
        (None, "model.pt", "export it with torch.onnx.export"),
        ('platform: "tensorflow_savedmodel"', "x", "convert it with tf2onnx"),
        ('backend: "vllm"', "model.json", "backend 'vllm' is not served: export the model"),
        (None, "readme.txt", "nothing says which backend runs it"),
        ('name: "other"', "model.onnx", "its configuration names it 'other'"),
        ("max_batch_size: 4", "model.onnx", "model.onnx is no ONNX model"),
        ("version_policy { specific { versions: 7 } }", "model.onnx", r"names \['7'\]"),
        ('backend: "onnxruntime"', "m.onnx", "there is no file"),
        (f"max_batch_size: -1 {IN_OUT}", "model.onnx", "max_batch_size is -1"),
        ("max_batchsize: 4", "model.onnx", "config.pbtxt:1:1: .*did you mean 'max_batch_size'"),
        ("input [{ data_type: FP32 }]", "model.onnx", ":1:21: .*did you mean 'TYPE_FP32'"),
        ("input [{ ", "model.onnx", 'config.pbtxt:1:8: Expected "}"'),
        (
            "ensemble_scheduling { step { model_name: 'a' } step { model_name: 'b' } }",
            "x",
            "models are not put one behind another",
        ),
        ("ensemble_scheduling { step { model_name: 'none' } }", "x", "its model 'none' is not"),
    ],
)
def test_a_model_that_cannot_be_served_says_why(repository, config, file, reason):
    """With the way out, and the others are served without it."""
    model(repository, "m", config, make=touch, file=file)
    model(repository, "double", IN_OUT)
    imported = read_repository(repository)
    assert [s.card.name for s in imported.portfolio.specialists] == ["double"]
    (finding,) = [each for each in imported.findings if each.effect == LEFT_OUT]
    assert finding.model == "m"
    assert re.search(reason, finding.text)


def test_a_model_that_takes_no_batches_cannot_be_told_to(repository):
    """Triton would not load it either."""
    model(repository, "m", "max_batch_size: 4", make=lambda path: doubling(path, shape=(2, 2)))
    assert read_repository(repository).left_out == ["m"]


def test_an_ensemble_that_gives_less_than_its_model_is_told(repository):
    """A route answers with all outputs of who answers for it."""
    z = 'name: "z" data_type: TYPE_FP32 dims: [2]'
    model(repository, "m", f"input [{{ {X} }}] output [{{ {Y} }}, {{ {z} }}]")
    model(
        repository,
        "e",
        f"{IN_OUT} ensemble_scheduling {{ step {{ model_name: 'm' model_version: 1 }} }}",
        versions=(),
    )
    imported = read_repository(repository)
    assert found(imported, "e")["output"].text == (
        "answers have ['z'] as well, unless outputs are asked for"
    )
    assert imported.portfolio.routes[0].chain == (ChainEntry(name="m", version="1"),)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: None, "has no models"),
        (lambda folder: model(folder.parent, folder.name), "is a model: give the folder above"),
        (lambda folder: folder.rmdir(), "is no folder"),
    ],
)
def test_what_is_no_repository_is_refused(repository, make, reason):
    """Before anything of it is taken."""
    make(repository)
    with pytest.raises(InvalidRequest, match=reason):
        read_repository(repository)


def test_an_onnx_file_is_read_without_opening_the_model(tmp_path):
    """Weights that are inputs as well are no inputs, as ONNX Runtime sees it."""
    nodes = [("Add", ["x", "w"], ["y"])]
    inputs = [("x", FLOAT, ["N", 3, None]), ("w", FLOAT, [1])]
    path = save(
        tmp_path / "m.onnx", nodes, inputs, [("y", FLOAT, None)], [("w", np.ones(1, np.float32))]
    )
    tensors = read_tensors(path)
    assert (tensors.inputs, tensors.outputs) == ({"x": (-1, 3, -1)}, {"y": None})
    assert not tensors.can_batch
    whole = path.read_bytes()
    for end in range(len(whole)):  # cut anywhere, it is refused or read, and nothing else
        path.write_bytes(whole[:end])
        try:
            read_tensors(path)
        except InvalidRequest:
            continue


# ------------------------------------------------------------------ the command
def test_the_report_is_on_stderr_and_the_file_holds_only_what_differs(repository, tmp_path):
    """Paths are relative to the file, and defaults are left out."""
    model(repository, "double", f"max_batch_size: 8 optimization {{ cuda {{}} }} {IN_OUT}")
    shown = run(repository, "-f", tmp_path / "portfolio.yaml")
    assert (shown.exit_code, shown.stdout) == (0, "")
    titles, *lines = shown.stderr.splitlines()
    assert titles.split() == ["MODEL", "WHAT", "EFFECT", "HERE"]
    assert [line.split()[1] for line in lines] == ["instance_group", "optimization.cuda"]
    assert yaml.safe_load((tmp_path / "portfolio.yaml").read_text()) == {
        "specialists": [
            {
                "name": "double",
                "signature": {
                    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
                    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
                },
                "model": "models/double/1/model.onnx",
                "batching": {"max_size": 8},
                "onnxruntime": {"intra_op_threads": 0},
            }
        ]
    }


def test_nothing_is_written_without_a_model_unless_told(repository, tmp_path):
    """The report names it either way, and is data for programs."""
    model(repository, "double", IN_OUT)
    model(repository, "py", make=touch, file="model.py")
    file = tmp_path / "portfolio.yaml"
    shown = run(repository, "-f", file)
    assert shown.exit_code == 1
    assert "left out: py; to go on without, give --skip" in shown.stderr
    assert not file.exists()
    shown = run(repository, "--output", "json")
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert "py" in {each["model"] for each in json.loads(shown.stderr)}
    shown = run(repository, "--skip", "--output", "json")
    assert shown.exit_code == 0
    assert {f["model"]: f["effect"] for f in json.loads(shown.stderr)}["py"] == "left out"
    (entry,) = yaml.safe_load(shown.stdout)["specialists"]
    assert entry["model"] == str(repository / "double" / "1" / "model.onnx")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--skip",), "nothing is left of"),
        (("-f", "/proc/x/portfolio.yaml", "--skip"), "nothing is left of"),
    ],
)
def test_an_empty_portfolio_is_an_error(repository, arguments, message):
    """There is nothing to serve."""
    model(repository, "py", make=touch, file="model.py")
    shown = run(repository, *arguments)
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert message in shown.stderr


def test_a_file_that_cannot_be_written_is_told(repository):
    """In a sentence."""
    model(repository, "double", IN_OUT)
    shown = run(repository, "-f", "/proc/x/portfolio.yaml")
    assert shown.exit_code == 1
    assert "/proc/x/portfolio.yaml cannot be written: No such file" in shown.stderr


# ------------------------------------------------------------------ served
@pytest.fixture
async def served(repository, tmp_path):
    """Imports the repository with the command, and serves what it wrote on the local host."""
    async with AsyncExitStack() as stack:

        async def serve():
            file = tmp_path / "portfolio.yaml"
            assert run(repository, "-f", file).exit_code == 0
            portfolio = load(file)
            assert portfolio == read_repository(repository).portfolio
            settings = FabricSettings(state=tmp_path / "state", host="local", listen="127.0.0.1:0")
            running = await stack.enter_async_context(Fabric(settings, portfolio))
            assert await running.ready() == {}
            return stack.enter_context(triton.InferenceServerClient(running.server))

        yield serve


def row(name, *elements):
    given = triton.InferInput(name, [1, len(elements)], "FP32")
    given.set_data_from_numpy(np.array([elements], np.float32))
    return given


@pytest.mark.timeout(180)
async def test_what_was_imported_is_served_as_it_was_promised(repository, served):
    """Every model answers an unmodified client by its name, with the tensors it was declared."""
    alias = "ensemble_scheduling { step { model_name: 'double' model_version: -1 } }"
    model(repository, "double", f"max_batch_size: 8 {IN_OUT}")
    two = f"version_policy {{ all {{}} }} max_batch_size: 2 {IN_OUT}"
    model(repository, "two", two, versions=("1", "2"))
    model(repository, "lone", f"max_batch_size: 1 {IN_OUT}")
    model(repository, "free")
    model(repository, "vague", f"max_batch_size: 3 {IN_OUT.replace('[2]', '[-1]')}")
    model(repository, "alias", f"{IN_OUT} {alias}", versions=())
    client = await served()
    sizes = {"double": 8, "two": 2, "lone": 0, "free": 4, "vague": 3, "alias": 8}
    for name, size in sizes.items():
        config = client.get_model_config(name).config
        assert (config.name, config.max_batch_size) == (name, size)
        assert list(config.input[0].dims) == ([1, 2] if name == "lone" else [2])
        assert client.infer(name, [row("x", 1, 2)]).as_numpy("y").tolist() == [[2, 4]]
    assert list(client.get_model_metadata("two").versions) == ["2", "1"]


@pytest.mark.timeout(180)
async def test_an_imported_sequence_model_counts_and_names_its_classes(repository, served):
    """Its state and controls stay inside, and the labels are those of its file."""
    one = "data_type: TYPE_FP32 dims: [1]"
    folder = model(repository, "count", SEQUENCE % (one, one, one), make=counting)
    (folder / "labels.txt").write_text("total\n")
    client = await served()
    assert [each.name for each in client.get_model_metadata("count").inputs] == ["x"]
    totals = [
        client.infer("count", [row("x", x)], sequence_id=7, sequence_start=x == 1).as_numpy("y")
        for x in (1, 2, 3)
    ]
    assert np.ravel(totals).tolist() == [1, 3, 6]
    wanted = [triton.InferRequestedOutput("y", class_count=1)]
    last = client.infer("count", [row("x", 4)], sequence_id=7, sequence_end=True, outputs=wanted)
    assert last.as_numpy("y").ravel().tolist() == [b"10.000000:0:total"]
    config = client.get_model_config("count").config.sequence_batching
    assert [each.input_name for each in config.state] == ["s"]
