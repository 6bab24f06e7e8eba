"""Models that clients bring along: kept as files that replicas can open."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fabric.core.cards import Model
from fabric.core.errors import Conflict, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

_PART = ".part-"
_OURS = re.compile(r"[0-9a-f]{64}\.onnx|\.part-.*")


class Uploads:
    """Files in *folder* under their own SHA-256; an empty *folder* takes none."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder).absolute() if folder else None

    def keep(self, content: bytes) -> Model:
        """The model with *content*; blocks.

        Raises:
            Conflict: no folder is set.
            Unavailable: it cannot be written there.
        """
        if self._folder is None:
            raise Conflict(
                "this control plane takes no files: set FABRIC_UPLOADS to a folder "
                "that all replicas can read"
            )
        digest = hashlib.sha256(content).hexdigest()
        path = self._folder / f"{digest}.onnx"
        try:
            if not path.exists():
                _write(path, content)
        except OSError as error:
            why = f"the model cannot be kept in {self._folder}: {error.strerror}"
            raise Unavailable(why) from error
        return Model(uri=str(path), sha256=digest)

    def clear(self, models: Iterable[Model]) -> None:
        """Files kept here that none of *models* needs are gone, all others stay; blocks."""
        if self._folder is None or not self._folder.is_dir():
            return
        needed = {Path(model.uri).name for model in models}
        for path in self._folder.iterdir():
            if _OURS.fullmatch(path.name) and path.name not in needed:
                path.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    """All of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, part = tempfile.mkstemp(prefix=_PART, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(part).chmod(0o644)  # replicas may be another user's
        Path(part).replace(path)
    finally:
        Path(part).unlink(missing_ok=True)
