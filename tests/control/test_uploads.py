"""Models that clients bring along."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from fabric.control.uploads import Uploads
from fabric.core.cards import Model
from fabric.core.errors import Conflict, Unavailable


def test_a_model_is_kept_under_its_digest(tmp_path):
    """The same content twice is one file, and no other file is there."""
    uploads = Uploads(str(tmp_path / "uploads"))

    model = uploads.keep(b"abc")

    assert uploads.keep(b"abc") == model
    assert model.sha256.startswith("ba7816bf")
    assert Path(model.uri).read_bytes() == b"abc"
    assert list((tmp_path / "uploads").iterdir()) == [Path(model.uri)]


def test_a_disk_without_room_is_named(tmp_path, monkeypatch):
    """And nothing half written stays."""

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fabric.control.uploads.os.fsync", full)
    with pytest.raises(Unavailable, match=rf"cannot be kept in {tmp_path}: No space left"):
        Uploads(str(tmp_path)).keep(b"abc")
    assert not list(tmp_path.iterdir())


def test_what_nobody_needs_is_cleared(tmp_path):
    """Models elsewhere are nobody's business here."""
    uploads = Uploads(str(tmp_path))
    kept, gone = uploads.keep(b"a"), uploads.keep(b"b")

    uploads.clear([kept, Model(uri="s3://elsewhere/model.onnx")])

    assert Path(kept.uri).exists()
    assert not Path(gone.uri).exists()


def test_files_that_nobody_brought_along_stay(tmp_path):
    """The folder may hold other things, and be named by another path."""
    (tmp_path / "uploads").mkdir()
    own = tmp_path / "uploads" / "own.onnx"
    own.write_bytes(b"mine")
    (tmp_path / "uploads" / "folder").mkdir()
    kept = Uploads(str(tmp_path / "uploads")).keep(b"a")
    (tmp_path / "link").symlink_to(tmp_path / "uploads")

    Uploads(str(tmp_path / "link")).clear([kept])

    assert own.exists()
    assert Path(kept.uri).exists()


def test_what_a_keeper_that_died_left_is_cleared(tmp_path):
    """It would fill the disk."""
    (tmp_path / ".part-abc").write_bytes(b"half")
    Uploads(str(tmp_path)).clear([])
    assert not list(tmp_path.iterdir())


def test_replicas_of_another_user_can_read_models(tmp_path):
    """Ray may run as somebody else."""
    assert Path(Uploads(str(tmp_path)).keep(b"a").uri).stat().st_mode & 0o444 == 0o444


def test_without_a_folder_no_files_are_taken():
    """The way out is in the message."""
    with pytest.raises(Conflict, match="set FABRIC_UPLOADS"):
        Uploads("").keep(b"a")
    Uploads("").clear([])
