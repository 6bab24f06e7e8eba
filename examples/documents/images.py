"""From images to the lines of text in them, before and after the detector.

rapidocr's own functions do the work. Images are BGR, as it has them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image
from rapidocr.ch_ppocr_det import TextDetector
from rapidocr.ch_ppocr_det.utils import DBPostProcess, DetPreProcess
from rapidocr.utils.load_image import LoadImage, LoadImageError
from rapidocr.utils.process_img import (
    ResizeImgError,
    apply_vertical_padding,
    get_rotate_crop_image,
    resize_image_within_bounds,
)

from examples.documents import models
from examples.documents.answering import InThread, tensor
from fabric.core.errors import InvalidRequest
from fabric.core.tensors import Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fabric.core.tensors import Tensors

IMAGE = tensor("image", "UINT8", -1, -1, 3)
HEIGHT = 48
"""Of a line, in pixels, for the models that look at lines."""
MOST_COLUMNS = 4096
"""That a line may be wide; longer ones are squeezed."""
CROPS = tensor("crops", "UINT8", -1, HEIGHT, -1, 3)
"""Lines of text, each at the left of its row, and black beyond its own width."""
WIDTHS = tensor("widths", "INT32", -1)
"""How wide each line is in its row."""
_UNREADABLE = (
    OSError,
    SyntaxError,  # Pillow's for a broken PNG
    ValueError,
    Image.DecompressionBombError,
    LoadImageError,
    ResizeImgError,
)


class DecodeImage(InThread):
    """The image in a PNG, JPEG or whatever Pillow reads, within the bounds that rapidocr keeps.

    Raises InvalidRequest for what is no whole image.
    """

    signature = Signature(inputs=(tensor("content", "BYTES", 1),), outputs=(IMAGE,))

    def __init__(self) -> None:
        self._settings = models.reading()["Global"]

    def answer(self, inputs: Tensors) -> Tensors:
        bounds = self._settings["min_side_len"], self._settings["max_side_len"]
        padding = self._settings["width_height_ratio"], self._settings["min_height"]
        try:
            image, _, _ = resize_image_within_bounds(LoadImage()(inputs["content"][0]), *bounds)
        except _UNREADABLE as error:
            raise InvalidRequest(f"'content' is no image that can be read: {error}") from error
        return {"image": apply_vertical_padding(image, {}, *padding)[0]}


class DetectorInput(InThread):
    """An image as the detector takes it, in sizes that are multiples of 32, and its own `size`
    INT32 [2], which is height and width."""

    signature = Signature(
        inputs=(IMAGE,), outputs=(tensor("x", "FP32", 1, 3, -1, -1), tensor("size", "INT32", 2))
    )

    def __init__(self) -> None:
        settings = models.reading()["Det"]
        names = "limit_side_len", "limit_type", "mean", "std"
        self._prepared = DetPreProcess(*(settings[name] for name in names))

    def answer(self, inputs: Tensors) -> Tensors:
        image = inputs["image"]
        x = np.ascontiguousarray(self._prepared(image))
        return {"x": x, "size": np.array(image.shape[:2], np.int32)}


class TextBoxes(InThread):
    """Where lines of text are, by the detector's `map` of how likely each pixel is text.

    `boxes` FP32 [lines, 4, 2] are the corners in pixels of an image of *size*, x before y, from the
    upper left one clockwise; lines go from top to bottom, and from left to right.
    """

    signature = Signature(
        inputs=(tensor("map", "FP32", 1, 1, -1, -1), tensor("size", "INT32", 2)),
        outputs=(tensor("boxes", "FP32", -1, 4, 2),),
    )

    def __init__(self) -> None:
        settings = models.reading()["Det"]
        names = "thresh", "box_thresh", "max_candidates", "unclip_ratio", "score_mode"
        self._found = DBPostProcess(
            **{name: settings[name] for name in names}, use_dilation=settings["use_dilation"]
        )

    def answer(self, inputs: Tensors) -> Tensors:
        height, width = inputs["size"].tolist()
        boxes, _ = self._found(inputs["map"], (height, width))
        boxes = TextDetector.sorted_boxes(boxes.reshape(-1, 4, 2))
        return {"boxes": boxes.astype(np.float32)}


class CropBoxes(InThread):
    """Lines of text cut out of an image and straightened, each as high as the models want it.

    The height of a line becomes 48, and its width grows as much; upright ones are laid on the side.
    """

    signature = Signature(
        inputs=(IMAGE, tensor("boxes", "FP32", -1, 4, 2)), outputs=(CROPS, WIDTHS)
    )

    def answer(self, inputs: Tensors) -> Tensors:
        found = [self._crop(inputs["image"], box) for box in inputs["boxes"]]
        widths = np.array([crop.shape[1] for crop in found], np.int32)
        crops = np.zeros((len(found), HEIGHT, widths.max(initial=1), 3), np.uint8)
        for row, crop in zip(crops, found, strict=True):
            row[:, : crop.shape[1]] = crop
        return {"crops": crops, "widths": widths}

    def _crop(self, image: NDArray[np.uint8], box: NDArray[np.float32]) -> NDArray[np.uint8]:
        crop = np.ascontiguousarray(get_rotate_crop_image(image, box))
        width = min(math.ceil(HEIGHT * crop.shape[1] / crop.shape[0]), MOST_COLUMNS)
        return cv2.resize(crop, (width, HEIGHT))
