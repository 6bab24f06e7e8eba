"""The models inside the packages `magika` and `rapidocr`, and what is known of them there.

    magika standard_v3_3   bytes INT32 [n, 2048]          target_label FP32 [n, 214]
    PP-OCRv6 detection     x FP32 [n, 3, height, width]   fetch_name_0 FP32 [n, 1, height, width]
    PP-OCR orientation     x FP32 [n, 3, 48, 192]         save_infer_model/scale_0.tmp_1 FP32 [n, 2]
    PP-OCRv6 recognition   x FP32 [n, 3, 48, width]       fetch_name_0 FP32 [n, width / 8, 18710]

All outputs are probabilities, and any number of rows is taken, but no recognition of none at all.
Height and width for the detection are multiples of 32. Nothing is downloaded for these models.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import yaml
from onnx import TensorProto, helper

if TYPE_CHECKING:
    from collections.abc import Mapping


def _inside(package: str, pattern: str) -> Path:
    """The one file of *package* whose path fits *pattern*; the package is not imported."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"there is no package {package}: run 'uv sync'")
    (path,) = Path(spec.submodule_search_locations[0]).glob(pattern)
    return path


FILE_TYPE = _inside("magika", "models/*/model.onnx")
DETECTOR = _inside("rapidocr", "models/*_det_*.onnx")
ORIENTATION = _inside("rapidocr", "models/*_cls_*.onnx")
RECOGNIZER = _inside("rapidocr", "models/*_rec_*.onnx")


def reading() -> Mapping[str, Any]:
    """How rapidocr reads unless it is told otherwise: its `Global`, `Det`, `Cls` and `Rec`."""
    settings: Mapping[str, Any] = yaml.safe_load(_inside("rapidocr", "config.yaml").read_text())
    return settings


def file_types() -> Mapping[str, Any]:
    """How magika makes features and labels: sizes, thresholds, `target_labels_space`."""
    settings: Mapping[str, Any] = json.loads(FILE_TYPE.with_name("config.min.json").read_text())
    return settings


def file_labels() -> Mapping[str, Any]:
    """By magika's labels what it knows of them: `group`, such as image, code or text, `is_text`."""
    known: Mapping[str, Any] = json.loads(
        _inside("magika", "config/content_types_kb.min.json").read_text()
    )
    return known


def characters() -> list[str]:
    """What the recognizer knows; its class 0 is no character, and the last one a space."""
    metadata = {entry.key: entry.value for entry in onnx.load(RECOGNIZER).metadata_props}
    return metadata["character"].splitlines()


def save_recognizer(path: Path) -> None:
    """The recognizer with the best class at each place of a line as its outputs: `index` INT64 and
    `score` FP32, both [n, width / 8].

    The probabilities of all 18,710 are 11 MB for a line of 1,200 pixels: with them a request takes
    half as long again.
    """
    model = onnx.load(RECOGNIZER)
    (output,) = model.graph.output
    sizes = [size.dim_param for size in output.type.tensor_type.shape.dim[:2]]
    best = {"index": ("ArgMax", TensorProto.INT64), "score": ("ReduceMax", TensorProto.FLOAT)}
    for name, (operator, datatype) in best.items():
        over = {"axis": 2} if operator == "ArgMax" else {"axes": [2]}
        node = helper.make_node(operator, [output.name], [name], keepdims=0, **over)
        model.graph.node.append(node)
        model.graph.output.append(helper.make_tensor_value_info(name, datatype, sizes))
    model.graph.output.remove(output)
    onnx.save(model, path)
