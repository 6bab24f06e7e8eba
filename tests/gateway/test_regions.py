"""Regions are read and written within their bounds, whatever becomes of the memory."""

from __future__ import annotations

import gc
import os

import pytest

from fabric.core.errors import AlreadyExists, InvalidRequest, NotFound, Overloaded
from fabric.gateway.regions import Regions


@pytest.fixture
def regions(tmp_path):
    """Of a folder with one object of 16 bytes."""
    (tmp_path / "object").write_bytes(bytes(range(16)))
    return Regions(tmp_path)


def test_a_region_is_a_part_of_an_object(regions, tmp_path):
    """Offsets count from its beginning; what is around it stays as it is."""
    regions.register("r", "/object", 4, 8)
    region = regions.get("r")
    assert region.read(1, 3) == bytes((5, 6, 7))
    region.write(6, b"ab")
    assert region.read(0, 8) == bytes(range(4, 10)) + b"ab"
    assert (tmp_path / "object").read_bytes()[12:] == bytes(range(12, 16))
    assert region.read(0, 0) == b""


@pytest.mark.parametrize(
    ("offset", "size", "text"),
    [
        (8, 0, "Invalid offset for shared memory region: 'r'"),
        (-1, 1, "Invalid offset for shared memory region: 'r'"),
        (2**63, 1, "Invalid offset for shared memory region: 'r'"),
        (0, 9, "Invalid offset \\+ byte size for shared memory region: 'r'"),
        (7, 2**63, "Invalid offset \\+ byte size for shared memory region: 'r'"),
        (0, -1, "Invalid offset \\+ byte size for shared memory region: 'r'"),
    ],
)
def test_nothing_beyond_it_is_touched(regions, offset, size, text):
    """Also where the object goes on."""
    regions.register("r", "object", 4, 8)
    with pytest.raises(InvalidRequest, match=text):
        regions.get("r").read(offset, size)


def test_an_object_that_was_cut_is_no_danger(regions, tmp_path):
    """A mapping would kill the process; and the object does not grow again."""
    regions.register("r", "object", 0, 16)
    os.truncate(tmp_path / "object", 8)
    for use in (lambda region: region.read(0, 16), lambda region: region.write(8, b"x")):
        with pytest.raises(InvalidRequest, match="the object 'object' is smaller than when"):
            use(regions.get("r"))
    assert (tmp_path / "object").stat().st_size == 8


def test_who_uses_a_region_may_go_on_when_it_is_gone(regions, tmp_path):
    """Its descriptor is closed with the last use, and is no other file's before."""
    regions.register("r", "object", 0, 16)
    region = regions.get("r")
    (tmp_path / "object").unlink()
    regions.unregister("r")
    assert region.read(0, 4) == bytes(range(4))
    number = region._file
    del region
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


ELSEWHERE = ("", "/", ".", "..", "/..", "//object", "../object", "a/b", "a\0b")


@pytest.mark.parametrize("key", [*ELSEWHERE, "no", "link", "folder", "pipe"])
def test_a_key_names_an_object_and_nothing_else(regions, tmp_path, key):
    """No path leads out of the folder, and only plain files are objects."""
    (tmp_path / "link").symlink_to(tmp_path / "object")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidRequest, match="Unable to open shared memory region: "):
        regions.register("r", key, 0, 1)
    assert not regions


def test_objects_of_envoy_are_not_for_clients(regions, tmp_path):
    """What is written there would be read by a gateway."""
    (tmp_path / "envoy_shared_memory_0").write_bytes(b"x")
    with pytest.raises(InvalidRequest, match="contains the reserved prefix 'envoy_shared_memory'"):
        regions.register("r", "/envoy_shared_memory_0", 0, 1)


@pytest.mark.parametrize(
    ("name", "offset", "byte_size"),
    [("r", 0, 17), ("r", 16, 1), ("r", 0, 0), ("r", 2**64 - 1, 1), ("", 0, 1)],
)
def test_a_region_is_within_its_object(regions, name, offset, byte_size):
    """And has a name and a size."""
    with pytest.raises(InvalidRequest, match=f"register shared memory region '{name}': invalid"):
        regions.register(name, "object", offset, byte_size)
    assert not regions


def test_names_are_known_once(regions):
    """Until they are unregistered; what is not there need not be."""
    regions.register("r", "object", 0, 1)
    regions.register("s", "object", 0, 1)
    with pytest.raises(AlreadyExists, match="shared memory region 'r' already in manager"):
        regions.register("r", "object", 0, 1)
    assert [region.name for region in regions.find("")] == ["r", "s"]
    regions.unregister("r")
    regions.unregister("r")
    with pytest.raises(NotFound, match="Unable to find system shared memory region: 'r'"):
        regions.find("r")
    with pytest.raises(InvalidRequest, match="Unable to find shared memory region: 'r'"):
        regions.get("r")
    regions.unregister("")
    assert not regions


def test_regions_are_bounded(regions, monkeypatch):
    """Each holds a descriptor."""
    monkeypatch.setattr("fabric.gateway.regions._MOST", 1)
    regions.register("r", "object", 0, 1)
    with pytest.raises(Overloaded, match="1 shared memory regions are registered"):
        regions.register("s", "object", 0, 1)
