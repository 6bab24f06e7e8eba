"""What the programs of all peers share: sessions as fabric's own replicas open them."""

import os
from pathlib import Path

import onnxruntime

NAMES = ("small", "medium")


def open_session(name):
    """The session of one model in the folder that MODELS names."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = Path(os.environ["MODELS"]) / f"{name}.onnx"
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
