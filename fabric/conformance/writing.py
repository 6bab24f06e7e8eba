"""Writes the samples as files, with what each server needs to serve them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from fabric.conformance.samples import (
    CLASSES,
    CONTROLS,
    LABELS,
    MAX_BATCH,
    OPTIONAL,
    SAMPLES,
    SEQUENCE,
    Sample,
)
from fabric.core.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fabric.core.tensors import TensorSpec

_BACKENDS = Path(__file__).parent / "backends"
_SPECIALISTS = "fabric.conformance.specialists"
_SEQUENCES: dict[str, dict[str, Any]] = {
    SEQUENCE: {"states": [{"input": "state", "output": "state_out"}]},
    CONTROLS: {
        "controls": [
            {"input": "start", "kind": "start", "yes": 1.0},
            {"input": "end", "kind": "end", "yes": 1.0},
            {"input": "corrid", "kind": "id"},
        ]
    },
}
_TRITON_SEQUENCES = {
    SEQUENCE: """
  state [ {
    input_name: "state" output_name: "state_out" data_type: TYPE_FP32 dims: [ 1 ]
    initial_state { data_type: TYPE_FP32 dims: [ 1 ] zero_data: true name: "zero" }
  } ]""",
    CONTROLS: """
  control_input [
    { name: "start" control [
      { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] },
    { name: "end" control [
      { kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ] } ] },
    { name: "corrid" control [
      { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } ] }
  ]""",
}


def write(folder: Path) -> list[Path]:
    """Writes everything under *folder* and returns what there is for each server:

    * `onnx/`: the models, and the names of classes;
    * `portfolio.yaml`: for `fabric up -f`;
    * `triton/`: a model repository for the ONNX Runtime backend;
    * `triton-python/`: one for the Python backend, where that is all a server has;
    * `mlserver/`: for `mlserver start`;
    * `kserve_server.py`: for `python kserve_server.py`.

    Raises:
        Unavailable: the package `onnx` is not installed.
    """
    try:
        from fabric.conformance.graphs import graph
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"the models cannot be made: {error}; pip install 'fabric-specialists[conformance]'"
        ) from error
    models = folder / "onnx"
    models.mkdir(parents=True, exist_ok=True)
    (models / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    for sample in SAMPLES:
        for version in sample.versions:
            if not sample.python:
                path = models / _file(sample, version)
                path.write_bytes(graph(sample, version).SerializeToString())
    _write_portfolio(folder)
    for backend in ("onnxruntime", "python"):
        _write_triton(folder, backend)
    _write_mlserver(folder)
    server = folder / "kserve_server.py"
    shutil.copy(_BACKENDS / "kserve_server.py", server)
    names = ("portfolio.yaml", "triton", "triton-python", "mlserver", server.name)
    return [models, *(folder / name for name in names)]


def _file(sample: Sample, version: str) -> str:
    return f"{sample.name}-{version}.onnx"


# ------------------------------------------------------------------ fabric
def _write_portfolio(folder: Path) -> None:
    entries = [_entry(sample, version) for sample in SAMPLES for version in sample.versions]
    text = yaml.safe_dump({"specialists": entries}, sort_keys=False, width=100)
    (folder / "portfolio.yaml").write_text(text)


def _entry(sample: Sample, version: str) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": sample.name,
        "version": version,
        "description": sample.does,
        "resources": {"cpus": 0.05},
    }
    if sample.python:
        return {**entry, "python": f"{_SPECIALISTS}:{sample.python}"}
    entry["model"] = f"onnx/{_file(sample, version)}"
    if sample.batches:
        entry["batching"] = {"max_size": MAX_BATCH}
    if sample.sequences:
        entry["sequences"] = _SEQUENCES[sample.name]
    if sample.name == CLASSES:
        entry["classes"] = {"y": "onnx/labels.txt"}
    if sample.name == OPTIONAL:
        entry["signature"] = {
            "inputs": [_tensor(spec) for spec in sample.inputs],
            "outputs": [_tensor(spec) for spec in sample.outputs],
        }
    return entry


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    said = {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}
    return {**said, "optional": True} if spec.optional else said


# ------------------------------------------------------------------ Triton
def _write_triton(folder: Path, backend: str) -> None:
    repository = folder / ("triton" if backend == "onnxruntime" else "triton-python")
    for sample in SAMPLES:
        if any(not spec.shape for spec in sample.inputs):
            continue  # Triton has no scalars
        if backend == "python" and any(spec.datatype == "BF16" for spec in sample.inputs):
            continue  # nor has NumPy BF16
        own = "python" if sample.python else backend
        for version in sample.versions:
            place = repository / sample.name / version
            place.mkdir(parents=True, exist_ok=True)
            if own == "python":
                shutil.copy(_BACKENDS / "triton_model.py", place / "model.py")
            if not sample.python:
                shutil.copy(folder / "onnx" / _file(sample, version), place / "model.onnx")
        (repository / sample.name / "config.pbtxt").write_text(_pbtxt(sample, own))
        if sample.name == CLASSES:
            shutil.copy(folder / "onnx" / "labels.txt", repository / sample.name)


def _pbtxt(sample: Sample, backend: str) -> str:
    lines = [
        f'name: "{sample.name}"',
        f'backend: "{backend}"',
        f"max_batch_size: {MAX_BATCH if sample.batches else 0}",
        *_pbtxt_tensors("input", sample.inputs, sample),
        *_pbtxt_tensors("output", sample.outputs, sample),
        "version_policy { all { } }",
        "instance_group [ { kind: KIND_CPU count: 1 } ]",
    ]
    if sample.sequences:
        # The Python backend keeps states itself, and is told whose they are.
        which = CONTROLS if backend == "python" else sample.name
        lines.append(f"sequence_batching {{ oldest {{ }}{_TRITON_SEQUENCES[which]}\n}}")
    elif sample.batches:
        lines.append("dynamic_batching { }")
    if sample.decoupled:
        lines.append("model_transaction_policy { decoupled: true }")
    return "\n".join(lines) + "\n"


def _pbtxt_tensors(kind: str, specs: Iterable[TensorSpec], sample: Sample) -> list[str]:
    lines = []
    for spec in specs:
        datatype = "STRING" if spec.datatype == "BYTES" else spec.datatype
        dims = ", ".join(map(str, spec.shape[1:] if sample.batches else spec.shape))
        said = f'name: "{spec.name}" data_type: TYPE_{datatype} dims: [ {dims} ]'
        if spec.optional:
            said += " optional: true"
        if sample.name == CLASSES and kind == "output":
            said += ' label_filename: "labels.txt"'
        lines.append(f"{kind} [ {{ {said} }} ]")
    return lines


# ------------------------------------------------------------------ MLServer
def _write_mlserver(folder: Path) -> None:
    """The models that MLServer can serve: it has no sequences."""
    home = folder / "mlserver"
    home.mkdir(exist_ok=True)
    shutil.copy(_BACKENDS / "mlserver_model.py", home / "mlserver_model.py")
    for sample in SAMPLES:
        for version in () if sample.python or sample.sequences else sample.versions:
            place = home / f"{sample.name}-{version}"
            place.mkdir(exist_ok=True)
            shutil.copy(folder / "onnx" / _file(sample, version), place / "model.onnx")
            settings = {
                "name": sample.name,
                "implementation": "mlserver_model.OnnxModel",
                "platform": "onnx_onnxv1",
                "inputs": [_mlserver_tensor(spec) for spec in sample.inputs],
                "outputs": [_mlserver_tensor(spec) for spec in sample.outputs],
                "parameters": {"version": version, "uri": "./model.onnx"},
            }
            (place / "model-settings.json").write_text(json.dumps(settings, indent=2) + "\n")


def _mlserver_tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}
