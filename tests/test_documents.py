"""The parts of the desk that reads documents: real models, and what is done before and after each.

Pages are read as a whole by the example itself.
"""

from __future__ import annotations

import io
import zipfile

import numpy as np
import onnxruntime
import pytest
import yaml
from magika import Magika
from PIL import Image, ImageDraw, ImageFont

from examples.documents import check, models, pages
from examples.documents.files import FileFeatures, FileKind
from examples.documents.images import CropBoxes, DecodeImage, DetectorInput, TextBoxes
from examples.documents.lines import LineText, OrientationInput, PageText, RecognizerInput, Turn
from examples.documents.portfolio import PYTHON, portfolio
from fabric.config import load
from fabric.core.cards import OnnxRuntime
from fabric.core.errors import InvalidRequest
from fabric.core.tensors import datatype_of
from fabric.runtime import specialist as hosted
from fabric.runtime.session import Session

MINUTES = next(page for page in pages.PAGES if page.is_turned)
UPRIGHT_OR_NOT = "save_infer_model/scale_0.tmp_1"


def answer(specialist, **inputs):
    """What *specialist* answers to read-only *inputs*; both are as its signature says."""
    is_as_said(specialist.signature.inputs, inputs)
    for array in inputs.values():
        array.setflags(write=False)
    outputs = specialist.answer(inputs)
    is_as_said(specialist.signature.outputs, outputs)
    return outputs


def is_as_said(specs, tensors):
    assert {spec.name for spec in specs} == set(tensors)
    for spec in specs:
        array = tensors[spec.name]
        assert datatype_of(array) == spec.datatype
        assert len(array.shape) == len(spec.shape)
        assert all(said in (-1, size) for said, size in zip(spec.shape, array.shape, strict=True))


def contents(*files: bytes):
    return np.array(files, np.object_)


def opened(path):
    return Session(path, OnnxRuntime())


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    pages.write(folder, seed=7)
    return folder


@pytest.fixture(scope="module")
def file_type():
    return opened(models.FILE_TYPE)


@pytest.fixture(scope="module")
def orientation():
    return opened(models.ORIENTATION)


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "recognizer.onnx"
    models.save_recognizer(path)
    return opened(path)


@pytest.fixture(scope="module")
def crops(desk):
    """The lines of the page that is upside down, as they lie on it."""
    image = answer(DecodeImage(), content=contents((desk / MINUTES.file).read_bytes()))["image"]
    given = answer(DetectorInput(), image=image)
    likely = opened(models.DETECTOR).run({"x": given["x"]})["fetch_name_0"]
    boxes = answer(TextBoxes(), map=likely, size=given["size"])["boxes"]
    return answer(CropBoxes(), image=image, boxes=boxes)


def read(recognizer, crops):
    given = answer(RecognizerInput(), **crops)
    return answer(LineText(), **recognizer.run(given))


# ------------------------------------------------------------------ the desk
def test_equal_seeds_give_equal_folders(desk, tmp_path):
    """Another seed gives other noise, and the same files."""
    pages.write(tmp_path, seed=7)
    same = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert same == {path.name: path.read_bytes() for path in desk.iterdir()}
    pages.write(tmp_path, seed=8)
    assert (tmp_path / MINUTES.file).read_bytes() != same[MINUTES.file]
    assert {path.name for path in tmp_path.iterdir()} == set(same)


# ------------------------------------------------------------------ files
def archive() -> bytes:
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as made:
        made.writestr("long.txt", "a line of text\n" * 1000)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        b"  \n a  ",
        b"\xff\xfe\xfd",
        b"seven b",
        b"eight by",
        b"\n" * 5000 + b"import os\n",
        bytes(range(256)) * 40,
        pages.SOURCE.encode() * 20,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        archive(),
    ],
    ids=lambda content: repr(content[:12]),
)
def test_a_file_is_what_magika_says(content, file_type):
    """Also where it has too few bytes for the model, or the model is unsure."""
    is_as_magika_says([content], file_type)


def test_many_files_are_told_apart_at_a_time(desk, file_type):
    """Those of the desk, some of which the model looks at and others not."""
    files = [path.read_bytes() for path in sorted(desk.iterdir())]
    labels = is_as_magika_says([*files, b"tiny"], file_type)
    assert set(labels) == {"zip", "png", "python", "jpeg", "txt", "json"}
    assert is_as_magika_says([], file_type) == []


def is_as_magika_says(files, file_type):
    given = answer(FileFeatures(), content=contents(*files))
    kind = answer(FileKind(), **given, **file_type.run(given))
    said = [Magika().identify_bytes(content) for content in files]
    labels = [label.decode() for label in kind["label"]]
    assert labels == [each.output.label for each in said]
    assert [group.decode() for group in kind["group"]] == [each.output.group for each in said]
    assert kind["score"] == pytest.approx([each.score for each in said], abs=1e-3)
    return labels


def test_white_space_alone_is_an_empty_file(file_type):
    """Where magika says that it is text."""
    given = answer(FileFeatures(), content=contents(b" \n\t "))
    kind = answer(FileKind(), **given, **file_type.run(given))
    assert kind["label"].tolist() == [b"empty"]


# ------------------------------------------------------------------ images
async def test_an_image_is_what_was_drawn():
    """Grey levels of a PNG come back in three channels, and a colour as BGR."""
    grey = np.arange(200 * 300, dtype=np.uint8).reshape(200, 300)
    png = pages.encoded(Image.fromarray(grey), "a.png")
    image = (await DecodeImage().infer({"content": contents(png)}))["image"]
    assert (image == grey[..., None]).all()
    red = pages.encoded(Image.new("RGB", (40, 40), (255, 0, 0)), "a.png")
    assert answer(DecodeImage(), content=contents(red))["image"][0, 0].tolist() == [0, 0, 255]


def test_a_large_image_is_made_smaller():
    """To the longest side that rapidocr takes."""
    png = pages.encoded(Image.new("L", (3000, 1500)), "a.png")
    assert answer(DecodeImage(), content=contents(png))["image"].shape == (992, 1984, 3)


@pytest.mark.parametrize(
    "broken",
    [
        lambda png: png[: len(png) // 2],
        lambda png: png[:60],
        lambda png: png[:8],
        lambda png: b"",
        lambda png: png[:40] + b"x" * 20 + png[60:],
        lambda png: pages.SOURCE.encode(),
    ],
)
def test_what_is_no_whole_image_is_refused(broken):
    """The error says so, whatever Pillow makes of it."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    png = pages.encoded(Image.fromarray(noise), "a.png")
    with pytest.raises(InvalidRequest, match="'content' is no image that can be read: "):
        answer(DecodeImage(), content=contents(broken(png)))


def test_the_detector_takes_sizes_of_32():
    """A small image grows, and its own size goes along."""
    given = answer(DetectorInput(), image=np.zeros((300, 400, 3), np.uint8))
    assert given["x"].shape == (1, 3, 736, 992)
    assert given["size"].tolist() == [300, 400]


def test_boxes_are_in_pixels_of_the_image():
    """They are wider than what is likely text, and stand in the order of reading."""
    likely = np.zeros((1, 1, 736, 992), np.float32)
    for top, left in ((600, 50), (200, 500), (202, 40)):
        likely[0, 0, top : top + 20, left : left + 300] = 0.9
    boxes = answer(TextBoxes(), map=likely, size=np.array([368, 496], np.int32))["boxes"]
    assert boxes.shape == (3, 4, 2)
    upper_left = np.array([[20, 101], [250, 100], [25, 300]])
    assert (boxes[:, 0] < upper_left).all()
    assert (boxes[:, 2] > upper_left + np.array([150, 10])).all()
    assert (abs(boxes[:, 0] - upper_left) < 10).all()


def test_an_empty_page_has_no_lines():
    """Nor any crops, and its text is empty."""
    likely = np.zeros((1, 1, 64, 64), np.float32)
    boxes = answer(TextBoxes(), map=likely, size=np.array([64, 64], np.int32))["boxes"]
    assert boxes.shape == (0, 4, 2)
    none = answer(CropBoxes(), image=np.zeros((64, 64, 3), np.uint8), boxes=boxes)
    assert len(none["crops"]) == len(none["widths"]) == 0
    assert len(answer(OrientationInput(), **none)["x"]) == 0
    assert len(answer(RecognizerInput(), **none)["x"]) == 0
    assert len(answer(Turn(), **none)["crops"]) == 0
    text = {"text": contents(), "confidence": np.zeros(0, np.float32)}
    page = answer(PageText(), **text, orientation=np.zeros((0, 2), np.float32))
    assert page["page"].tolist() == [b""]


def test_crops_are_as_high_as_models_want_them():
    """Whatever is beyond the width of a line is black, and upright boxes lie on their side."""
    image = np.full((200, 400, 3), 200, np.uint8)
    lying = [[10, 10], [210, 10], [210, 34], [10, 34]]
    upright = [[300, 10], [320, 10], [320, 90], [300, 90]]
    boxes = np.array([lying, upright], np.float32)
    found = answer(CropBoxes(), image=image, boxes=boxes)
    assert found["widths"].tolist() == [400, 192]
    assert found["crops"].shape == (2, 48, 400, 3)
    assert (found["crops"][1, :, :192] == 200).all()
    assert not found["crops"][1, :, 192:].any()


def test_a_hairline_does_not_make_all_lines_wide():
    """It is squeezed to the most columns that a line may have."""
    box = np.array([[[0, 5], [1990, 5], [1990, 9], [0, 9]]], np.float32)
    found = answer(CropBoxes(), image=np.zeros((20, 2000, 3), np.uint8), boxes=box)
    assert found["widths"].tolist() == [4096]


# ------------------------------------------------------------------ lines
def test_every_line_of_a_page_is_found(crops):
    """Each is a line of the crops."""
    assert len(crops["widths"]) == len(MINUTES.lines)


def test_lines_are_seen_to_be_upside_down(crops, orientation):
    """And no longer so when they were turned; turned twice they are as they were."""
    turned = answer(Turn(), **crops)
    again = answer(Turn(), crops=turned["crops"], widths=crops["widths"])
    assert (again["crops"] == crops["crops"]).all()
    for lines, index in ((crops, 1), (turned, 0)):
        given = answer(OrientationInput(), crops=lines["crops"], widths=crops["widths"])
        assert (orientation.run(given)[UPRIGHT_OR_NOT][:, index] > 0.9).all()


def test_lines_are_read_alone_as_together(crops, recognizer):
    """What stands on them is what was written, from the end of the page."""
    turned = {**crops, **answer(Turn(), **crops)}
    written = [line.encode() for line in reversed(MINUTES.lines)][-3:]
    chosen = {name: array[-3:] for name, array in turned.items()}
    assert read(recognizer, chosen)["text"].tolist() == written
    alone = [
        read(recognizer, {name: array[i : i + 1] for name, array in chosen.items()})
        for i in range(3)
    ]
    assert [each["text"][0] for each in alone] == written
    assert min(each["confidence"][0] for each in alone) > 0.9


def test_the_saved_recognizer_gives_the_best_classes(recognizer):
    """As they are by all probabilities."""
    x = np.random.default_rng(0).random((2, 3, 48, 336), np.float32)
    session = onnxruntime.InferenceSession(models.RECOGNIZER, providers=["CPUExecutionProvider"])
    (all_of_them,) = session.run(None, {"x": x})
    best = recognizer.run({"x": x})
    assert (best["index"] == all_of_them.argmax(axis=2)).all()
    assert best["score"] == pytest.approx(all_of_them.max(axis=2), abs=1e-6)


def test_equal_neighbours_are_one_letter():
    """Unless the class that is none stands between them."""
    known = models.characters()
    h, e, o = (known.index(letter) + 1 for letter in "heo")
    space = len(known) + 1
    index = np.array([[h, h, 0, e, e, 0, e, space, o], [0] * 9], np.int64)
    score = np.full((2, 9), 0.5, np.float32)
    text = answer(LineText(), index=index, score=score)
    assert text["text"].tolist() == [b"hee o", b""]
    assert text["confidence"].tolist() == [0.5, 0.0]


def test_a_page_is_read_from_the_end_that_is_up():
    """Lines that are empty or unsure are left out."""
    lines = {
        "text": contents(b"one", b" ", b"tw?", b"three"),
        "confidence": np.array([0.9, 0.9, 0.4, 0.9], np.float32),
    }
    upright, turned = np.array([[0.99, 0.01]] * 4, np.float32), np.array([[0, 1]] * 4, np.float32)
    assert answer(PageText(), **lines, orientation=upright)["page"].tolist() == [b"one\nthree"]
    assert answer(PageText(), **lines, orientation=turned)["page"].tolist() == [b"three\none"]


# ------------------------------------------------------------------ the portfolio
def test_the_portfolio_holds_together(tmp_path):
    """Its Python specialists are there, and say what they take and give."""
    path = tmp_path / "portfolio.yaml"
    path.write_text(yaml.safe_dump(portfolio(tmp_path)))
    declared = {each.card.name: each.hosting for each in load(path).specialists}
    assert len(declared) == 4 + len(PYTHON)
    for name in PYTHON:
        made = hosted.load(declared[name].python, declared[name].arguments)
        assert hosted.signature_of(made, None, declared[name].python).inputs


# ------------------------------------------------------------------ the check
@pytest.mark.parametrize(
    ("a", "b", "most"),
    [
        ("", "", 0),
        ("", "abc", 3),
        ("abc", "", 3),
        ("kitten", "sitting", 3),
        ("intention", "execution", 5),
        ("abcdef", "bcdefa", 2),
        ("same", "same", 0),
    ],
)
def test_the_distance_is_levenshteins(a, b, most):
    """It is the same the other way round."""
    assert check.distance(a, b) == check.distance(b, a) == most


def test_white_space_is_one_space():
    """A character that is missing counts as a share of what was written."""
    assert check.error_rate("a  page\nof text ", "a page of text") == 0.0
    assert check.error_rate("a page of tet", "a page of text") == 1 / 14


def test_lines_may_come_from_either_end():
    """The nearer order is taken."""
    assert check.in_best_order("c\nb\na", "a b c") == "a\nb\nc"
    assert check.in_best_order("a\nb\nx", "a b c") == "a\nb\nx"


def test_rapidocr_reads_a_page_by_itself(tmp_path):
    """In this process, with the models of its package."""
    image = Image.new("L", (740, 740), pages.PAPER)
    font = ImageFont.load_default(40)
    ImageDraw.Draw(image).text((60, 60), "Twelve short words", font=font, fill=pages.INK)
    path = tmp_path / "page.png"
    image.save(path)
    found = check.read_by_rapidocr([path])["page.png"]
    assert found.text == "Twelve short words"
    assert found.seconds > 0
