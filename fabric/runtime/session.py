"""A model that is open: ONNX Runtime behind named arrays."""

from __future__ import annotations

import ctypes
import logging
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from fabric.core.errors import Conflict, InvalidRequest, Unimplemented
from fabric.core.tensors import DTYPES, Signature, Tensors, TensorSpec
from fabric.runtime.signatures import kept, narrowed, without, zeros

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from fabric.core.cards import OnnxRuntime, Sequences

log = logging.getLogger(__name__)

CPU = "CPUExecutionProvider"
_DEVICES = {"CUDAExecutionProvider": "cuda", "TensorrtExecutionProvider": "cuda"}
_BFLOAT16 = 16  # TensorProto.BFLOAT16
_DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float": "FP32",
    "double": "FP64",
    "bfloat16": "BF16",
    "string": "BYTES",
}
_NAME = re.compile(r"(?!unk__\d|None$)[A-Za-z_][\w.]*")
_LEVELS = {
    "disable": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


class Session:
    """Runs the model at *path*; opening it blocks.

    The states and controls of *sequences* are in its signature, behind what is *declared*.

    Raises:
        Conflict: *path* is no model that ONNX Runtime opens, or what is declared does not fit it.
        Unimplemented: an input or output is no tensor.
    """

    def __init__(
        self,
        path: Path,
        options: OnnxRuntime,
        declared: Signature | None = None,
        sequences: Sequences | None = None,
    ) -> None:
        wanted = providers(options.providers, onnxruntime.get_available_providers())
        if wanted[0] != options.providers[0]:
            log.warning("%s is not available here: %s serves", options.providers[0], wanted[0])
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), _session_options(options), providers=wanted
            )
        except Exception as error:
            # ONNX Runtime's errors share no base class.
            raise Conflict(f"ONNX Runtime cannot open the model {path}: {error}") from error
        self.provider: str = self._session.get_providers()[0]
        self.signature = self._signature(declared or Signature(), sequences)
        self._names = [spec.name for spec in self.signature.outputs]
        specs = (*self.signature.inputs, *self.signature.outputs)
        self._strings = [s.name for s in self.signature.inputs if s.datatype == "BYTES"]
        self._device = _DEVICES.get(self.provider, "cpu")
        self._is_bound = self._device != "cpu" or any(s.datatype == "BF16" for s in specs)

    def run(self, tensors: Tensors, options: Any = None) -> Tensors:
        """The outputs for *tensors*; *options* is one of `options()`, to stop the run by.

        Raises:
            InvalidRequest: a BYTES element is no UTF-8 text, which ONNX strings are.
            Exception: the run failed, in ONNX Runtime's words.
        """
        if self._strings:
            given = [name for name in self._strings if name in tensors]
            tensors = {**tensors, **{name: _texts(tensors[name], name) for name in given}}
        if self._is_bound:
            return self._run_bound(tensors, options)
        outputs = self._session.run(self._names, tensors, options)
        return dict(zip(self._names, outputs, strict=True))

    def options(self) -> Any:
        """For one run that may be stopped: set `terminate` on them, from any thread."""
        return onnxruntime.RunOptions()

    def dimensions(self) -> dict[str, tuple[str, ...]]:
        """By input, what the model calls the sizes that it leaves open; else an empty text."""
        nodes = (*self._session.get_inputs(), *self._session.get_overridable_initializers())
        return {
            node.name: tuple(size if isinstance(size, str) else "" for size in node.shape)
            for node in nodes
        }

    def warm_up(self) -> float:
        """Runs twice on zeros; returns how many seconds the second run took.

        Sizes that the signature leaves open are taken as 1. A model that refuses such inputs is
        not wrong for it: its first requests are slower.
        """
        inputs = {spec.name: zeros(spec) for spec in self.signature.inputs if not spec.optional}
        seconds = 0.0
        try:
            for _ in range(2):
                start = time.perf_counter()
                self.run(inputs)
                seconds = time.perf_counter() - start
        except Exception as error:  # noqa: BLE001 - whatever the model makes of zeros
            log.warning("no warm-up, the model does not run on zeros: %s", error)
        return seconds

    def _signature(self, declared: Signature, sequences: Sequences | None) -> Signature:
        inputs = _specs(self._session.get_inputs(), "input", declared.inputs)
        # Inputs that the graph has values for; those of all other values are constants.
        given = _specs(self._session.get_overridable_initializers(), "input", declared.inputs)
        inputs += tuple(replace(spec, optional=True) for spec in given)
        outputs = _specs(self._session.get_outputs(), "output", declared.outputs)
        model = Signature(inputs=inputs, outputs=outputs)
        own = kept(model, sequences)
        public = narrowed(without(model, own), declared)
        return replace(
            public,
            inputs=(*public.inputs, *own.inputs),
            outputs=(*public.outputs, *own.outputs),
        )

    def _run_bound(self, tensors: Tensors, options: Any) -> Tensors:
        """Inputs and outputs are bound to memory of the device, copied once each way."""
        binding = self._session.io_binding()
        for spec in self.signature.inputs:
            if spec.name not in tensors:  # optional
                continue
            array = np.ascontiguousarray(tensors[spec.name])
            if spec.datatype == "BF16":
                value = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, _BFLOAT16)
                binding.bind_ortvalue_input(spec.name, value)
            elif spec.optional:  # unknown to `bind_cpu_input`
                value = onnxruntime.OrtValue.ortvalue_from_numpy(array)
                binding.bind_ortvalue_input(spec.name, value)
            else:
                binding.bind_cpu_input(spec.name, array)
        for name in self._names:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding, options)
        outputs = zip(self.signature.outputs, binding.get_outputs(), strict=True)
        return {spec.name: _array(value, spec) for spec, value in outputs}


def providers(wanted: tuple[str, ...], available: Iterable[str]) -> list[str]:
    """Those of *wanted* that are *available*, in order, and CPU last."""
    available = set(available)
    return [*(name for name in wanted if name in available and name != CPU), CPU]


def _session_options(options: OnnxRuntime) -> Any:
    made = onnxruntime.SessionOptions()
    made.intra_op_num_threads = options.intra_op_threads
    made.inter_op_num_threads = options.inter_op_threads
    made.graph_optimization_level = _LEVELS[options.graph_optimization]
    made.log_severity_level = 3
    # Threads that spin between two runs take the cores of the gateway and of other replicas.
    made.add_session_config_entry("session.intra_op.allow_spinning", "0")
    made.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return made


def _specs(nodes: Any, kind: str, declared: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """The specifications of *nodes*; those that are no tensors may be there if not declared."""
    names = {spec.name for spec in declared}
    specs = []
    for node in nodes:
        datatype = _DATATYPES.get(node.type.removeprefix("tensor(").removesuffix(")"))
        if datatype is not None:
            shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
            symbols = tuple(map(_symbol, node.shape))
            specs.append(
                TensorSpec(
                    name=node.name,
                    datatype=datatype,
                    shape=shape,
                    symbols=symbols if any(symbols) else (),
                )
            )
        elif kind == "input" or not names or node.name in names:
            raise Unimplemented(
                f"{kind} '{node.name}' of the model is a {node.type}, only tensors are served: "
                "export the model without it, or declare a signature with the outputs to serve"
            )
    return tuple(specs)


def _symbol(size: int | str | None) -> str:
    """The name of a free dimension, if it is one: exporters write `?` or `None` for each of several
    that have nothing to do with each other, and `unk__12` where nobody named it."""
    is_name = isinstance(size, str) and _NAME.fullmatch(size) is not None
    return str(size) if is_name else ""


def _texts(array: NDArray[Any], name: str) -> NDArray[Any]:
    texts = np.empty(array.size, np.object_)
    try:
        texts[:] = [
            element if isinstance(element, str) else element.decode() for element in array.flat
        ]
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"input '{name}' is a text for this model: {error}") from error
    return texts.reshape(array.shape)


def _array(value: Any, spec: TensorSpec) -> NDArray[Any]:
    if spec.datatype != "BF16":
        return np.asarray(value.numpy())
    array = np.empty(value.shape(), DTYPES["BF16"])
    ctypes.memmove(array.ctypes.data, value.data_ptr(), array.nbytes)
    return array
