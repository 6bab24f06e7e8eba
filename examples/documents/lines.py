"""From lines of text in pixels to their letters, before and after the models that look at lines.

Any number of lines may be given at a time, also none, and each is treated alone. They are as
`crop-boxes` gives them. rapidocr's own functions do the work.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from rapidocr.ch_ppocr_cls import TextClassifier
from rapidocr.ch_ppocr_rec import TextRecognizer
from rapidocr.ch_ppocr_rec.utils import CTCLabelDecode

from examples.documents import models
from examples.documents.answering import InThread, tensor
from examples.documents.images import CROPS, HEIGHT, WIDTHS
from fabric.core.tensors import Signature

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fabric.core.tensors import Tensors


class _Classifier(TextClassifier):
    """What it does to images, without the model."""

    def __init__(self) -> None:
        self.cls_image_shape = models.reading()["Cls"]["cls_image_shape"]


class _Recognizer(TextRecognizer):
    """What it does to images, without the model."""

    def __init__(self) -> None:
        self.rec_image_shape = models.reading()["Rec"]["rec_img_shape"]


def each_line(inputs: Tensors) -> Iterator[NDArray[np.uint8]]:
    """The crops, each as wide as it is."""
    for crop, width in zip(inputs["crops"], inputs["widths"].tolist(), strict=True):
        yield crop[:, :width]


class OrientationInput(InThread):
    """Lines as the model takes them that says which way up they are: 192 columns of their middle.

    rapidocr squeezes a whole line into as many. Of 259 long lines that were upside down it then
    missed 65, and of their middles none.
    """

    signature = Signature(
        inputs=(CROPS, WIDTHS), outputs=(tensor("x", "FP32", -1, 3, HEIGHT, 192),)
    )

    def __init__(self) -> None:
        self._classifier = _Classifier()

    def answer(self, inputs: Tensors) -> Tensors:
        x = np.zeros((len(inputs["crops"]), 3, HEIGHT, 192), np.float32)
        for row, line in zip(x, each_line(inputs), strict=True):
            left = max(line.shape[1] - 192, 0) // 2
            row[:] = self._classifier.resize_norm_img(line[:, left : left + 192])
        return {"x": x}


class Turn(InThread):
    """Lines turned by 180 degrees."""

    signature = Signature(inputs=(CROPS, WIDTHS), outputs=(CROPS,))

    def answer(self, inputs: Tensors) -> Tensors:
        crops = np.zeros_like(inputs["crops"])
        for row, line in zip(crops, each_line(inputs), strict=True):
            row[:, : line.shape[1]] = line[::-1, ::-1]
        return {"crops": crops}


class RecognizerInput(InThread):
    """Lines as the recognizer takes them, all as wide as the widest, up to a multiple of 48.

    How much is empty behind a line hardly changes what it is read as: lines that are given one by
    one are read as well as together, and take less time. Those of about one width share a run.
    """

    signature = Signature(inputs=(CROPS, WIDTHS), outputs=(tensor("x", "FP32", -1, 3, HEIGHT, -1),))

    def __init__(self) -> None:
        self._recognizer = _Recognizer()
        self._least = math.ceil(self._recognizer.rec_image_shape[2] / HEIGHT)

    def answer(self, inputs: Tensors) -> Tensors:
        widest = inputs["widths"].max(initial=1)
        squares = max(math.ceil(widest / HEIGHT), self._least)
        x = np.zeros((len(inputs["crops"]), 3, HEIGHT, HEIGHT * squares), np.float32)
        for row, line in zip(x, each_line(inputs), strict=True):
            row[:] = self._recognizer.resize_norm_img(line, squares)
        return {"x": x}


class LineText(InThread):
    """What stands on each line, and how sure that is, by the best class at each of its places.

    Equal neighbours are one character, and class 0 is none: connectionist temporal classification.
    """

    signature = Signature(
        inputs=(tensor("index", "INT64", -1, -1), tensor("score", "FP32", -1, -1)),
        outputs=(tensor("text", "BYTES", -1), tensor("confidence", "FP32", -1)),
    )

    def __init__(self) -> None:
        self._decoder = CTCLabelDecode(character=models.characters())

    def answer(self, inputs: Tensors) -> Tensors:
        read, _ = self._decoder.decode(inputs["index"], inputs["score"], remove_duplicate=True)
        return {
            "text": np.array([text.encode() for text, _ in read], np.object_),
            "confidence": np.array([score for _, score in read], np.float32),
        }


class PageText(InThread):
    """The text of a page, a line each, without those that rapidocr leaves out: empty, or unsure.

    `orientation` FP32 [lines, 2] is how likely each was upright or upside down. If most were upside
    down, so was the page, and it is read from its other end.
    """

    signature = Signature(
        inputs=(
            tensor("text", "BYTES", -1),
            tensor("confidence", "FP32", -1),
            tensor("orientation", "FP32", -1, 2),
        ),
        outputs=(tensor("page", "BYTES", 1),),
    )

    def __init__(self) -> None:
        settings = models.reading()
        self._least = settings["Global"]["text_score"]
        self._turned = settings["Cls"]["cls_thresh"]

    def answer(self, inputs: Tensors) -> Tensors:
        pairs = zip(inputs["text"], inputs["confidence"], strict=True)
        kept = [text for text, score in pairs if text.strip() and score >= self._least]
        turned = inputs["orientation"][:, 1] > self._turned
        if 2 * turned.sum() > len(turned):
            kept.reverse()
        return {"page": np.array([b"\n".join(kept)], np.object_)}
