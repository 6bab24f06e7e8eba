"""Model files from anywhere, whole and checked."""

from __future__ import annotations

import errno
import functools
import hashlib
import http.server
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest

from fabric.core.cards import Model
from fabric.core.errors import Conflict, NotFound, Unavailable, Unimplemented
from fabric.runtime.model import cache_folder, fetch, labels

CONTENT = b"a model" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def remote():
    """A file on fsspec's in-memory storage."""
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe("/models/m.onnx", CONTENT)
    yield "memory://models/m.onnx"
    filesystem.store.clear()


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_local_files_are_used_in_place(tmp_path, prefix):
    """Nothing is copied."""
    path = tmp_path / "m.onnx"
    path.write_bytes(CONTENT)
    file = fetch(Model(uri=f"{prefix}{path}", sha256=DIGEST.upper()), tmp_path / "cache")
    assert (file.path, file.digest) == (path, DIGEST)
    assert not (tmp_path / "cache").exists()


def test_remote_files_are_kept_by_content(tmp_path, remote):
    """The copy's name is its digest, and nothing else is left behind."""
    file = fetch(Model(uri=remote), tmp_path)
    assert file.path.read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == [f"{DIGEST}.onnx"]
    assert file.digest == DIGEST


def test_files_come_over_http(tmp_path):
    """Any fsspec URI will do."""
    (tmp_path / "m.onnx").write_bytes(CONTENT)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        uri = f"http://127.0.0.1:{server.server_port}/m.onnx"
        try:
            assert fetch(Model(uri=uri), tmp_path / "cache").digest == DIGEST
            with pytest.raises(NotFound, match="there is no model at http"):
                fetch(Model(uri=uri + ".no"), tmp_path / "cache")
        finally:
            server.shutdown()
            thread.join()


def test_a_kept_file_is_not_fetched_again(tmp_path, remote):
    """With a declared digest, the storage need not even be there."""
    model = Model(uri=remote, sha256=DIGEST)
    first = fetch(model, tmp_path)
    fsspec.filesystem("memory").store.clear()
    assert fetch(model, tmp_path) == first


def test_a_kept_file_that_is_damaged_is_fetched_again(tmp_path, remote):
    """The name of a file is not believed."""
    model = Model(uri=remote, sha256=DIGEST)
    fetch(model, tmp_path).path.write_bytes(b"half")
    assert fetch(model, tmp_path).path.read_bytes() == CONTENT


def test_another_file_than_declared_is_refused(tmp_path, remote):
    """Both digests are named; the wrong file is not kept."""
    with pytest.raises(Conflict, match=f"has SHA-256 {DIGEST}, declared is {'0' * 64}"):
        fetch(Model(uri=remote, sha256="0" * 64), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_replicas_that_start_together_share_the_cache(tmp_path, remote):
    """All of them get the whole file."""
    with ThreadPoolExecutor(8) as pool:
        files = list(pool.map(lambda _: fetch(Model(uri=remote), tmp_path), range(16)))
    assert {file.path.read_bytes() for file in files} == {CONTENT}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_cache_without_room_says_so(tmp_path, remote, monkeypatch):
    """And how to make some; nothing of the file stays."""

    def fails(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fabric.runtime.model.os.fsync", fails)
    text = rf"the model at {remote} has no room in {tmp_path}: No space left.*set FABRIC_MODELS to"
    with pytest.raises(Unavailable, match=text):
        fetch(Model(uri=remote), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_cache_is_bounded(tmp_path, remote):
    """The longest unused files go, and what abandoned downloads left."""
    old, older, part, fresh = (tmp_path / name for name in ("b", "a", ".part-x", ".part-y"))
    for days, path in ((1, old), (3, older), (2, part), (0, fresh)):
        path.write_bytes(CONTENT)
        at = time.time() - days * 86400 - 60 * (days > 0)
        os.utime(path, (at, at))
    file = fetch(Model(uri=remote), tmp_path, max_bytes=2 * len(CONTENT))
    assert set(tmp_path.iterdir()) == {file.path, old, fresh}


@pytest.mark.parametrize(
    ("uri", "error", "text"),
    [
        ("/no/such/model.onnx", NotFound, "there is no model at /no/such/model.onnx"),
        ("memory://no.onnx", NotFound, "there is no model at memory://no.onnx"),
        ("nowhere://m.onnx", Unimplemented, "Protocol not known: nowhere"),
        ("http://127.0.0.1:1/m.onnx", NotFound, "Cannot connect to host 127.0.0.1:1"),
        ("/", Unavailable, "the model at / cannot be read"),
    ],
)
def test_errors_name_the_uri(tmp_path, uri, error, text):
    """What is wrong, and where."""
    with pytest.raises(error, match=text):
        fetch(Model(uri=uri), tmp_path)


def test_labels_are_the_lines_of_a_file(tmp_path):
    """An empty one is a class without a name; what follows the last line is none."""
    (tmp_path / "l.txt").write_bytes("a b\r\n\n\u00fc\n".encode())
    assert labels(str(tmp_path / "l.txt")) == ("a b", "", "\u00fc")
    (tmp_path / "b.txt").write_bytes(b"\xff")
    with pytest.raises(Conflict, match=r"the label file at .*b.txt is no UTF-8 text"):
        labels(str(tmp_path / "b.txt"))
    with pytest.raises(NotFound, match="there is no label file at /no/labels"):
        labels("/no/labels")


def test_a_label_file_has_a_limit(tmp_path, monkeypatch):
    """A model named in its place is not read into memory."""
    monkeypatch.setattr("fabric.runtime.model._MOST_LABELS", 3)
    (tmp_path / "l.txt").write_text("abcd")
    with pytest.raises(Conflict, match="has more than 3 bytes"):
        labels(str(tmp_path / "l.txt"))


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    """`FABRIC_MODELS`, then the user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("FABRIC_MODELS", raising=False)
    assert cache_folder() == tmp_path / "fabric" / "models"
    monkeypatch.setenv("FABRIC_MODELS", str(tmp_path / "c"))
    assert cache_folder() == tmp_path / "c"
