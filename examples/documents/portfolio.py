"""Write the portfolio document of the desk: four models, and what is done before and after each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from examples.documents import models

if TYPE_CHECKING:
    from pathlib import Path

FILE_TYPE = "file-type"
DETECTOR = "text-detector"
ORIENTATION = "line-orientation"
RECOGNIZER = "text-recognizer"

MODELS = {
    FILE_TYPE: "What kind of file it is, by its first and last bytes: magika.",
    DETECTOR: "How likely each pixel of an image is text: PP-OCRv6.",
    ORIENTATION: "How likely a line of text is upside down: PP-OCR.",
    RECOGNIZER: "Which character stands at each place of a line: PP-OCRv6.",
}
STACKED = {FILE_TYPE: 64, ORIENTATION: 64, RECOGNIZER: 8}
"""Rows that a model looks at together, where it is not one at a time."""
PYTHON = {
    "file-features": ("files:FileFeatures", "The bytes of a file that say what kind it is."),
    "file-kind": ("files:FileKind", "What a file is, such as a png, and of which group."),
    "decode-image": ("images:DecodeImage", "The pixels of a PNG or JPEG."),
    "detector-input": ("images:DetectorInput", "An image as the detector takes it."),
    "text-boxes": ("images:TextBoxes", "Where lines of text are."),
    "crop-boxes": ("images:CropBoxes", "Lines of text cut out of an image."),
    "orientation-input": ("lines:OrientationInput", "Lines as the orientation model takes them."),
    "turn": ("lines:Turn", "Lines turned by 180 degrees."),
    "recognizer-input": ("lines:RecognizerInput", "Lines as the recognizer takes them."),
    "line-text": ("lines:LineText", "What stands on each line."),
    "page-text": ("lines:PageText", "The text of a page."),
}


def portfolio(folder: Path) -> dict[str, object]:
    """The portfolio as plain values; models that are not as they were in their packages are written
    to *folder*."""
    recognizer = folder / "recognizer.onnx"
    models.save_recognizer(recognizer)
    paths = {
        FILE_TYPE: models.FILE_TYPE,
        DETECTOR: models.DETECTOR,
        ORIENTATION: models.ORIENTATION,
        RECOGNIZER: recognizer,
    }
    return {
        "specialists": [
            *(_model(name, path) for name, path in paths.items()),
            *(_python(name) for name in PYTHON),
        ]
    }


def _model(name: str, path: Path) -> dict[str, object]:
    """One of the models, on as many threads as ONNX Runtime likes, for a page is waited for."""
    return {
        "name": name,
        "description": MODELS[name],
        "task": name,
        "modality": "document",
        "owner": "examples",
        "model": str(path),
        "resources": {"cpus": 0.1},
        "onnxruntime": {"intra_op_threads": 0},
        "batching": {"max_size": STACKED.get(name, 1)},
    }


def _python(name: str) -> dict[str, object]:
    python, description = PYTHON[name]
    return {
        "name": name,
        "description": description,
        "task": name,
        "modality": "document",
        "owner": "examples",
        "python": f"examples.documents.{python}",
        "resources": {"cpus": 0.1},
    }
