"""From the bytes of files to what kind they are, before and after magika's model.

The model and the names of the kinds are in the package; what is done to the bytes is written here,
since there it cannot be had without the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from examples.documents import models
from examples.documents.answering import InThread, tensor
from fabric.core.tensors import Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fabric.core.tensors import Tensors


class FileFeatures(InThread):
    """The bytes of files that magika's model looks at: 1,024 of the beginning, after white space,
    and 1,024 of the end, before white space, with 256 where there are none."""

    signature = Signature(
        inputs=(tensor("content", "BYTES", -1),), outputs=(tensor("bytes", "INT32", -1, 2048),)
    )

    def __init__(self) -> None:
        self._settings = models.file_types()

    def answer(self, inputs: Tensors) -> Tensors:
        rows = [self._features(content) for content in inputs["content"]]
        return {"bytes": np.array(rows, np.int32).reshape(-1, 2048)}

    def _features(self, content: bytes) -> NDArray[np.int32]:
        block, head, tail = (self._settings[f"{part}_size"] for part in ("block", "beg", "end"))
        start, end = content[:block].lstrip()[:head], content[-block:].rstrip()[-tail:]
        row = np.full(head + tail, self._settings["padding_token"], np.int32)
        row[: len(start)] = np.frombuffer(start, np.uint8)
        row[len(row) - len(end) :] = np.frombuffer(end, np.uint8)
        return row


class FileKind(InThread):
    """What magika says of files: `label`, as `png`, its `group`, as `image`, and how sure it is.

    Under its thresholds it says `txt` or `unknown`. Of files with less than eight bytes it does not
    heed the model; those with nothing but white space are `empty` here, and `txt` to magika.
    """

    signature = Signature(
        inputs=(tensor("bytes", "INT32", -1, 2048), tensor("target_label", "FP32", -1, 214)),
        outputs=(
            tensor("label", "BYTES", -1),
            tensor("group", "BYTES", -1),
            tensor("score", "FP32", -1),
        ),
    )

    def __init__(self) -> None:
        self._settings = models.file_types()
        self._known = models.file_labels()

    def answer(self, inputs: Tensors) -> Tensors:
        pairs = zip(inputs["bytes"], inputs["target_label"], strict=True)
        said = [self._few(row) or self._label(scores) for row, scores in pairs]
        return {
            "label": np.array([label.encode() for label, _ in said], np.object_),
            "group": np.array([self._group(label).encode() for label, _ in said], np.object_),
            "score": np.array([score for _, score in said], np.float32),
        }

    def _few(self, row: NDArray[np.int32]) -> tuple[str, float] | None:
        """What a file is that begins with too few bytes for the model."""
        padding = self._settings["padding_token"]
        if row[self._settings["min_file_size_for_dl"] - 1] != padding:
            return None
        content = bytes(row[row != padding].tolist())
        if not content:
            return "empty", 1.0
        try:
            content.decode()
        except UnicodeDecodeError:
            return "unknown", 1.0
        return "txt", 1.0

    def _label(self, scores: NDArray[np.float32]) -> tuple[str, float]:
        found = self._settings["target_labels_space"][scores.argmax()]
        score, least = float(scores.max()), self._settings["medium_confidence_threshold"]
        label = self._settings["overwrite_map"].get(found, found)
        if score >= self._settings["thresholds"].get(found, least):
            return label, score
        return "txt" if self._known[label]["is_text"] else "unknown", score

    def _group(self, label: str) -> str:
        return self._known[label]["group"] or "unknown"
