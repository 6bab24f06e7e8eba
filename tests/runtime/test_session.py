"""ONNX Runtime behind named arrays."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto
from onnx_models import BFLOAT16, STRING, copying, doubling, save, shifting, slow

from fabric.core.cards import OnnxRuntime
from fabric.core.errors import Conflict, InvalidRequest, Unimplemented
from fabric.core.tensors import Signature, TensorSpec
from fabric.runtime.session import Session, providers


def session_of(path, declared=None, **options):
    return Session(path, OnnxRuntime(**options), declared)


def test_a_model_runs_on_named_arrays(tmp_path):
    """Its signature is read from the file, free sizes as -1 and with the names that they have."""
    session = session_of(doubling(tmp_path / "m.onnx"))
    assert session.signature == Signature(
        inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 2), symbols=("N", "")),),
        outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 2), symbols=("N", "")),),
    )
    assert session.run({"x": np.ones((3, 2), np.float32)})["y"].tolist() == [[2, 2]] * 3


def test_dimensions_that_nobody_named_have_no_symbol(tmp_path):
    """What exporters write for them would be one size, and is not."""
    shape = ("rows", "?", "?", "None", "None", "unk__7", "a.b_1", 3)
    signature = session_of(copying(tmp_path / "m.onnx", TensorProto.FLOAT, shape)).signature
    assert signature.inputs[0].symbols == ("rows", "", "", "", "", "", "a.b_1", "")


@pytest.mark.parametrize(
    ("onnx_type", "datatype"),
    [
        ("BOOL", "BOOL"), ("UINT8", "UINT8"), ("UINT16", "UINT16"), ("UINT32", "UINT32"),
        ("UINT64", "UINT64"), ("INT8", "INT8"), ("INT16", "INT16"), ("INT32", "INT32"),
        ("INT64", "INT64"), ("FLOAT16", "FP16"), ("FLOAT", "FP32"), ("DOUBLE", "FP64"),
        ("BFLOAT16", "BF16"), ("STRING", "BYTES"),
    ],
)  # fmt: skip
def test_every_datatype_of_the_protocol_has_its_onnx_type(tmp_path, onnx_type, datatype):
    """The signature speaks the protocol's names."""
    session = session_of(copying(tmp_path / "m.onnx", TensorProto.DataType.Value(onnx_type)))
    assert session.signature.inputs[0].datatype == datatype
    assert session.warm_up() > 0


def test_texts_pass_as_utf8(tmp_path):
    """BYTES are ONNX strings; bytes that are no text are the caller's error."""
    session = session_of(copying(tmp_path / "m.onnx", STRING, (1, 2)))
    x = np.array([["\u00fc".encode(), b"a\0b"]], np.object_)
    assert session.run({"x": x})["y"].tolist() == [["\u00fc", "a\0b"]]
    with pytest.raises(InvalidRequest, match="input 'x' is a text for this model"):
        session.run({"x": np.array([[b"\xff", b""]], np.object_)})


def test_bf16_passes_as_its_bits(tmp_path):
    """numpy has no such dtype, so the runtime is given memory and told what it is."""
    session = session_of(copying(tmp_path / "m.onnx", BFLOAT16))
    assert session.run({"x": np.array([0x3F80, 1], np.uint16)})["y"].tolist() == [0x3F80, 1]


def test_bound_memory_gives_the_same_answers(tmp_path):
    """The way that devices are served is right."""
    session = session_of(doubling(tmp_path / "m.onnx"))
    session._is_bound = True
    assert session.run({"x": np.ones((3, 2), np.float32)})["y"].tolist() == [[2, 2]] * 3


def test_the_card_narrows_what_is_served(tmp_path):
    """Outputs that it leaves out are not computed for the caller."""
    path = save(
        tmp_path / "m.onnx",
        [("Neg", ["x"], ["a"]), ("Abs", ["x"], ["b"])],
        [("x", TensorProto.FLOAT, ["N"])],
        [("a", TensorProto.FLOAT, ["N"]), ("b", TensorProto.FLOAT, ["N"])],
    )
    b = TensorSpec(name="b", datatype="FP32", shape=(2,))
    session = session_of(path, Signature(outputs=(b,)))
    assert session.signature.outputs == (replace(b, symbols=("N",)),)
    assert list(session.run({"x": np.ones(2, np.float32)})) == ["b"]


@pytest.mark.parametrize("is_bound", [False, True])
def test_an_input_with_an_initializer_is_optional_once_it_is_declared(tmp_path, is_bound):
    """Without a card nobody outside may set what the graph has a value for."""
    path = shifting(tmp_path / "m.onnx")
    x, by = np.zeros((2, 2), np.float32), np.full((2, 2), 5, np.float32)
    assert [spec.name for spec in session_of(path).signature.inputs] == ["x"]
    specs = [TensorSpec(name=name, datatype="FP32", shape=(-1, 2)) for name in ("x", "by")]
    session = session_of(path, Signature(inputs=tuple(specs)))
    session._is_bound = is_bound
    assert [spec.optional for spec in session.signature.inputs] == [False, True]
    assert session.warm_up() > 0
    assert session.run({"x": x})["y"].tolist() == [[1, 1]] * 2
    assert session.run({"x": x, "by": by})["y"].tolist() == [[5, 5]] * 2


def test_an_output_that_is_no_tensor_must_be_left_out(tmp_path):
    """The error names the way out, and the way out works."""
    path = save(
        tmp_path / "m.onnx",
        [("SequenceConstruct", ["x"], ["s"]), ("Identity", ["x"], ["y"])],
        [("x", TensorProto.FLOAT, [1])],
        [("y", TensorProto.FLOAT, [1])],
    )
    import onnx

    model = onnx.load(path)
    kind = onnx.helper.make_tensor_type_proto(TensorProto.FLOAT, [1])
    sequence = onnx.helper.make_sequence_type_proto(kind)
    model.graph.output.append(onnx.helper.make_value_info("s", sequence))
    onnx.save(model, path)

    with pytest.raises(Unimplemented, match=r"output 's' of the model is a seq.*declare a sign"):
        session_of(path)
    y = TensorSpec(name="y", datatype="FP32", shape=(1,))
    assert session_of(path, Signature(outputs=(y,))).signature.outputs == (y,)


def test_a_file_that_is_no_model_is_refused(tmp_path):
    """The error names the file."""
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(Conflict, match=r"cannot open the model .*m\.onnx"):
        session_of(tmp_path / "m.onnx")


def test_providers_are_taken_in_order_of_preference():
    """Those that this machine lacks are passed over; CPU is always there, and last."""
    here = ["CPUExecutionProvider", "CUDAExecutionProvider"]
    wanted = ("TensorrtExecutionProvider", "CPUExecutionProvider", "CUDAExecutionProvider")
    assert providers(wanted, here) == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert providers((), here) == ["CPUExecutionProvider"]


def test_a_missing_provider_is_logged(tmp_path, caplog):
    """The model runs elsewhere, and the operator can see it."""
    session = session_of(doubling(tmp_path / "m.onnx"), providers=("NoExecutionProvider",))
    assert session.provider == "CPUExecutionProvider"
    assert "NoExecutionProvider is not available here" in caplog.text


def test_a_run_can_be_stopped(tmp_path):
    """A run whose caller has left ends at its next operator."""
    session = session_of(slow(tmp_path / "m.onnx"), graph_optimization="disable")
    options = session.options()
    timer = threading.Timer(0.01, lambda: setattr(options, "terminate", True))
    timer.start()
    with pytest.raises(Exception, match="terminate"):
        session.run({"x": np.ones((256, 256), np.float32)}, options)
    timer.join()


def test_a_model_that_refuses_zeros_is_still_served(tmp_path, caplog):
    """Warming up is a help, not a test."""
    path = save(
        tmp_path / "m.onnx",
        [("Reshape", ["x", "s"], ["y"])],
        [("x", TensorProto.FLOAT, ["N"])],
        [("y", TensorProto.FLOAT, [2, "M"])],
        [("s", np.array([2, -1]))],
    )
    session = session_of(path)
    assert session.warm_up() == 0
    assert "no warm-up" in caplog.text
    assert session.run({"x": np.zeros(4, np.float32)})["y"].shape == (2, 2)
