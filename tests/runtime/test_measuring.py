"""What a model is measured with, and how."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx_models import doubling

from fabric.api.catalog.v1 import card_pb2
from fabric.core.cards import Batching, Card, Hosting, Model, OnnxRuntime, Specialist
from fabric.core.errors import Conflict, InvalidRequest
from fabric.core.tensors import Signature, TensorSpec
from fabric.runtime import measuring
from fabric.runtime.made_up import made_up, open_sizes, read
from fabric.runtime.measuring import Bench
from fabric.runtime.settings import MeasuringSettings
from fabric.wire.cards import as_dict, to_message

IDS = Signature(inputs=(TensorSpec(name="ids", datatype="INT64", shape=(-1, -1)),))


def bench_of(path, inputs="", **hosting):
    card = Card(name="m")
    specialist = Specialist(card=card, hosting=Hosting(model=Model(uri=str(path)), **hosting))
    said = json.dumps(as_dict(to_message(specialist, card_pb2.Specialist)))
    return Bench(MeasuringSettings(specialist=said, file=str(path), inputs=str(inputs)))


@pytest.mark.parametrize(
    ("datatype", "value"),
    [("INT32", 1), ("UINT8", 1), ("BOOL", True), ("BYTES", b"text"), ("BF16", 0x3F80)],
)
def test_made_up_inputs_are_ones(datatype, value):
    """Which are within every vocabulary and every mask."""
    spec = TensorSpec(name="x", datatype=datatype, shape=(-1, 2))
    signature = Signature(inputs=(spec,))
    sizes = open_sizes(signature, {"x": ("N", "")}, {}, is_stacked=True)
    assert made_up(signature, sizes)[0]["x"].tolist() == [[value, value]]


def test_made_up_fractions_differ_from_row_to_row_and_not_from_time_to_time():
    """Trees and gates take different ways, the same ones in every process."""
    spec = TensorSpec(name="x", datatype="FP16", shape=(-1, 4))
    signature = Signature(inputs=(spec,))
    sizes = open_sizes(signature, {"x": ("N", "")}, {}, is_stacked=True)
    first, second, *_ = (request["x"] for request in made_up(signature, sizes))
    assert first.dtype == np.float16
    assert first.tolist() != second.tolist()
    assert first.tolist() == made_up(signature, sizes)[0]["x"].tolist()


def test_an_optional_input_is_left_out():
    """As most callers do."""
    spec = TensorSpec(name="x", datatype="FP32", shape=(1,), optional=True)
    signature = Signature(inputs=(spec,))
    assert made_up(signature, open_sizes(signature, {}, {}, is_stacked=False))[0] == {}


def test_real_inputs_are_a_request_a_row(tmp_path):
    """Or one request, where nothing is stacked."""
    file = tmp_path / "real.npz"
    np.savez(file, ids=np.array([[1, 2], [3, 4]]))
    assert [r["ids"].tolist() for r in read(file, IDS, is_stacked=True)] == [[[1, 2]], [[3, 4]]]
    assert [r["ids"].tolist() for r in read(file, IDS, is_stacked=False)] == [[[1, 2], [3, 4]]]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"id": np.array([[1]])}, "has 'id', the model takes ids"),
        ({}, "has no ids, which the model needs"),
        ({"ids": np.array([1])}, r"is \[1\], the model takes \[-1, -1\]"),
        ({"ids": np.array([[1.0]])}, "is FP64, the model takes INT64: save it as numpy's int64"),
        ({"ids": np.array([[1j]])}, "is complex128, the model takes INT64"),
        ({"ids": np.zeros((0, 1), np.int64)}, "has no rows"),
    ],
)
def test_real_inputs_that_do_not_fit_are_refused(tmp_path, arrays, message):
    """The message names what is wrong with them."""
    np.savez(tmp_path / "real.npz", **arrays)
    with pytest.raises(InvalidRequest, match=message):
        read(tmp_path / "real.npz", IDS, is_stacked=True)


def test_a_file_that_is_no_npz_is_refused(tmp_path):
    """So is one with a lone array."""
    (tmp_path / "text.npz").write_text("text")
    np.save(tmp_path / "lone.npy", np.array([1]))
    for name in ("text.npz", "lone.npy"):
        with pytest.raises(InvalidRequest, match=r"cannot be read as \.npz"):
            read(tmp_path / name, IDS, is_stacked=True)


def test_a_turn_has_a_run_at_least(tmp_path):
    """However little time it has."""
    times = bench_of(doubling(tmp_path / "m.onnx")).measure(rows=3, seconds=1e-9)
    assert len(times) == 1
    assert times[0] > 0


def test_a_batch_that_is_declared_has_to_be_one(tmp_path):
    """As it has for a replica."""
    path = doubling(tmp_path / "m.onnx", shape=(2, 2))
    assert not bench_of(path).opened.is_stacked
    with pytest.raises(Conflict, match="its first dimension must be -1"):
        bench_of(path, batching=Batching(max_size=4))


def test_a_provider_that_does_not_start_is_not_measured_as_another(tmp_path, monkeypatch):
    """ONNX Runtime goes on with the next one by itself."""
    here = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(measuring, "providers", lambda *_: here)
    with pytest.raises(Conflict, match="CUDAExecutionProvider does not start here, CPUExec"):
        bench_of(doubling(tmp_path / "m.onnx"), onnxruntime=OnnxRuntime(providers=tuple(here)))
