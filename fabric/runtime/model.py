"""Model files: fetched once by URI, kept by content, checked before they are opened."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec
from fsspec.implementations.local import LocalFileSystem

from fabric.core.errors import Conflict, FabricError, NotFound, Unavailable, Unimplemented
from fabric.processes import MODELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fabric.core.cards import Model

_FULL = (errno.ENOSPC, errno.EDQUOT)
_PART = ".part-"
_MOST_LABELS = 16 << 20
_ABANDONED_AFTER = 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    path: Path
    digest: str
    """SHA-256 of the file, in hex."""


def cache_folder() -> Path:
    """Where fetched models are kept: `FABRIC_MODELS`, else in the user's cache folder."""
    if folder := os.environ.get(MODELS):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fabric" / "models"


def fetch(model: Model, cache: Path, max_bytes: int = 64 << 30) -> ModelFile:
    """The file of *model*: itself where it is local, else a copy in *cache*; blocks.

    The cache holds whole files only, each under its own digest, whoever else uses it and whenever
    one of them dies. The longest unused go when all would take more than *max_bytes*.

    Raises:
        NotFound: there is no such file.
        Unavailable: it cannot be read now, or there is no room for a copy.
        Unimplemented: nothing here reads such URIs.
        Conflict: the file is not the one whose SHA-256 is declared.
    """
    declared = model.sha256.lower()
    with _explained(model.uri):
        filesystem, path = fsspec.core.url_to_fs(model.uri)
        if isinstance(filesystem, LocalFileSystem):
            return _checked(ModelFile(path=Path(path), digest=_digest(Path(path))), model)
        kept = cache / f"{declared}.onnx"
        if declared and kept.exists() and _digest(kept) == declared:
            os.utime(kept)
            return ModelFile(path=kept, digest=declared)
        return _copied(model, cache, max_bytes)


def labels(uri: str) -> tuple[str, ...]:
    """The lines of the text file at *uri*, each the name of a class; blocks.

    Raises:
        NotFound: there is no such file.
        Unavailable: it cannot be read now.
        Unimplemented: nothing here reads such URIs.
        Conflict: it is no text of at most 16 MiB.
    """
    with _explained(uri, "label file"):
        with fsspec.open(uri, "rb") as source:
            text = source.read(_MOST_LABELS + 1)
        try:
            lines = text.decode().splitlines()
        except UnicodeDecodeError as error:
            raise Conflict(f"the label file at {uri} is no UTF-8 text: {error}") from error
        if len(text) > _MOST_LABELS:
            raise Conflict(f"the label file at {uri} has more than {_MOST_LABELS} bytes")
        return tuple(line.strip() for line in lines)


def _copied(model: Model, cache: Path, max_bytes: int) -> ModelFile:
    cache.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=_PART, dir=cache)
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as target, fsspec.open(model.uri, "rb") as source:
            digest = hashlib.sha256()
            while chunk := source.read(1 << 20):
                digest.update(chunk)
                target.write(chunk)
            target.flush()
            os.fsync(target.fileno())
        path = cache / f"{digest.hexdigest()}.onnx"
        file = _checked(ModelFile(path=path, digest=digest.hexdigest()), model)
        part.replace(path)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise Unavailable(
            f"the model at {model.uri} has no room in {cache}: {os.strerror(error.errno)}; "
            f"make some, or set {MODELS} to a folder with more"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    _make_room(cache, path, max_bytes)
    return file


def _make_room(cache: Path, newest: Path, max_bytes: int) -> None:
    """Other processes do the same at the same time: what is gone already is no error."""
    kept: list[tuple[float, int, Path]] = []
    for path in cache.iterdir():
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            if not path.name.startswith(_PART):
                kept.append((stat.st_mtime, stat.st_size, path))
            elif stat.st_mtime < time.time() - _ABANDONED_AFTER:
                path.unlink()
    total = sum(size for _, size, _ in kept)
    for _, size, path in sorted(kept):
        if total <= max_bytes:
            return
        if path != newest:
            path.unlink(missing_ok=True)
            total -= size


def _checked(file: ModelFile, model: Model) -> ModelFile:
    if model.sha256 and file.digest != model.sha256.lower():
        raise Conflict(
            f"the model at {model.uri} has SHA-256 {file.digest}, declared is "
            f"{model.sha256.lower()}: correct 'model.sha256' or put the right file there"
        )
    return file


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _explained(uri: str, what: str = "model") -> Iterator[None]:
    try:
        yield
    except FabricError:
        raise
    except FileNotFoundError as error:
        why = f": {error.__cause__}" if error.__cause__ else ""  # fsspec's for every HTTP failure
        raise NotFound(f"there is no {what} at {uri}{why}") from error
    except (ValueError, ImportError) as error:  # fsspec: unknown scheme, package not installed
        raise Unimplemented(f"{what}s at {uri} cannot be read here: {error}") from error
    except Exception as error:
        # Each kind of storage has its own errors.
        raise Unavailable(f"the {what} at {uri} cannot be read: {error!r}") from error
