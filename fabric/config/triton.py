"""A Triton model repository as a portfolio, and all of it that has no place here.

A repository has a folder for each model, with its `config.pbtxt` and a folder for each version
(https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_repository.html).
What Triton completes by itself, where a configuration is short or missing, is completed alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fabric.api.inference.v2.model_config_pb2 import ModelConfig
from fabric.config.onnx_file import read_tensors
from fabric.config.pbtxt import read_config
from fabric.config.portfolio import Portfolio
from fabric.core.cards import NAME, Model
from fabric.core.errors import InvalidRequest
from fabric.core.routes import ChainEntry, Route
from fabric.wire.config_hosting import ON_GPU
from fabric.wire.config_notes import Effect, Note, unread
from fabric.wire.configured import configured, new_specialist

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from fabric.core.cards import Specialist

LEFT_OUT = "left out"
_CONFIG = "config.pbtxt"
_MODEL = "model.onnx"
_FILLED_IN = 4
"""The batch size that Triton fills in where a model takes batches and nothing is said."""
_WAYS_OUT = {
    "python": "write its TritonPythonModel as a class for `python: module:Class`",
    "tensorrt": "export it to ONNX and set `onnxruntime.providers: [TensorrtExecutionProvider]`",
    "pytorch": "export it with torch.onnx.export",
    "tensorflow": "convert it with tf2onnx",
    "openvino": "export it to ONNX and set `onnxruntime.providers: [OpenVINOExecutionProvider]`",
}
_FILES = {"model.py": "python", "model.plan": "tensorrt", "model.pt": "pytorch"}
_FILES |= {"model.savedmodel": "tensorflow", "model.graphdef": "tensorflow"}
_FILES |= {"model.xml": "openvino"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was in the repository."""

    model: str
    """Its name there."""
    path: str
    """In its configuration."""
    effect: str
    text: str


@dataclass(frozen=True, slots=True)
class Imported:
    portfolio: Portfolio
    findings: tuple[Finding, ...]

    @property
    def left_out(self) -> list[str]:
        """Names of the models that are not, or not wholly, in the portfolio."""
        return sorted({each.model for each in self.findings if each.effect == LEFT_OUT})


class _LeftOut(Exception):
    """Why a model, or a version of it, is not in the portfolio."""


def read_repository(folder: Path) -> Imported:
    """The portfolio of the Triton model repository in *folder*.

    Raises:
        InvalidRequest: there is no model repository.
    """
    if not folder.is_dir():
        raise InvalidRequest(f"{folder} is no folder")
    if (folder / _CONFIG).exists() or _versions(folder):
        raise InvalidRequest(f"{folder} is a model: give the folder above, which has all models")
    models = [each for each in folder.iterdir() if each.is_dir() and each.name[0] != "."]
    if not models:
        raise InvalidRequest(f"{folder} has no models: each needs a folder with its versions")
    reading = _Reading()
    # Names that stay are taken before those that change.
    for each in sorted(models, key=lambda path: (not NAME.fullmatch(path.name), path.name)):
        reading.take(each)
    return reading.result()


class _Reading:
    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        """Of the models taken: theirs, by ours."""
        self._specialists: list[Specialist] = []
        self._ensembles: dict[str, ModelConfig] = {}
        """By our name."""
        self._routes: dict[str, Route] = {}
        self._findings: dict[Finding, None] = {}

    def take(self, folder: Path) -> None:
        """Takes in one model."""
        name = folder.name
        try:
            config = read_config(folder / _CONFIG) if (folder / _CONFIG).exists() else ModelConfig()
            ours = self._name(name, config)
            if config.HasField("ensemble_scheduling"):
                self._ensembles[ours] = config
            else:
                self._take_versions(folder, ours, config)
        except (_LeftOut, InvalidRequest) as error:
            self._find(name, "", LEFT_OUT, str(error))

    def _name(self, name: str, config: ModelConfig) -> str:
        """The name that a model has here."""
        if config.name not in ("", name):
            raise _LeftOut(f"its configuration names it '{config.name}': rename one of them")
        ours = re.sub(r"[^a-z0-9._-]", "-", name.lower()).strip("._-")[:128].rstrip("._-")
        if not ours or ours in self._names:
            taken = f"'{self._names[ours]}' is called '{ours}' already" if ours else "no valid name"
            raise _LeftOut(f"{taken}: rename its folder to lower-case letters, digits, '.', '-'")
        self._names[ours] = name
        if ours != name:
            text = f"called '{ours}', since names are of lower-case letters, digits, '.', '_', '-'"
            self._find(name, "name", Effect.ANSWERS, text)
        return ours

    def _take_versions(self, folder: Path, ours: str, config: ModelConfig) -> None:
        versions = _chosen(config, _versions(folder))
        _check_backend(config, folder / versions[-1])
        if not config.instance_group:
            text = f"one on the CPU; {ON_GPU}"
            self._find(folder.name, "instance_group", Effect.PERFORMANCE, text)
        for version in versions:
            try:
                self._take_version(folder, ours, version, config)
            except (_LeftOut, InvalidRequest) as error:
                self._find(folder.name, f"version {version}", LEFT_OUT, str(error))

    def _take_version(self, folder: Path, ours: str, version: str, config: ModelConfig) -> None:
        path = folder / version / (config.default_model_filename or _MODEL)
        model = path / _MODEL if path.is_dir() else path
        if not model.is_file():
            raise _LeftOut(f"there is no file {model}")
        completed, notes = _completed(config, model)
        completed.name, completed.default_model_filename = ours, ""
        base = new_specialist(ours, Model(uri=str(folder / version / _MODEL)))
        base = replace(base, card=replace(base.card, version=version))
        try:
            made, more = configured(base, completed)
        except ValueError as error:
            raise _LeftOut(str(error)) from error
        for file in made.hosting.classes.values():
            if not Path(file).is_file():
                raise _LeftOut(f"there is no file {file}")
        hosting = replace(made.hosting, model=Model(uri=str(model)))
        self._specialists.append(replace(made, hosting=hosting))
        self._note(folder.name, [*notes, *more])

    def result(self) -> Imported:
        """All that was taken; ensembles come last, since they name the others."""
        pending = dict(self._ensembles)
        while pending:
            known = {s.card.name for s in self._specialists} | self._routes.keys()
            ready = [n for n, c in pending.items() if self._target(c) in known]
            for name in ready or list(pending):
                self._take_ensemble(name, pending.pop(name), known)
        portfolio = Portfolio(tuple(self._specialists), tuple(self._routes.values()))
        return Imported(portfolio, tuple(self._findings))

    def _target(self, ensemble: ModelConfig) -> str:
        """Our name of the model that an ensemble begins with; empty if there is none."""
        theirs = next((step.model_name for step in ensemble.ensemble_scheduling.step), "")
        return next((ours for ours, name in self._names.items() if name == theirs), "")

    def _take_ensemble(self, name: str, config: ModelConfig, known: set[str]) -> None:
        """Takes in an ensemble that is but another name of its one model."""
        theirs, target = self._names[name], self._target(config)
        steps = config.ensemble_scheduling.step
        try:
            if len(steps) != 1 or not _is_identity(steps[0].input_map, steps[0].output_map):
                raise _LeftOut(
                    "models are not put one behind another, and tensors keep their names: "
                    "call the models from a class for `python: module:Class`"
                )
            version = str(steps[0].model_version) if steps[0].model_version > 0 else ""
            if target not in known or (version and not self._has(target, version)):
                which = f"{steps[0].model_name}:{version}" if version else steps[0].model_name
                raise _LeftOut(f"its model '{which}' is not in the portfolio")
        except _LeftOut as error:
            self._find(theirs, "ensemble_scheduling", LEFT_OUT, str(error))
            return
        self._routes[name] = Route(name=name, chain=(ChainEntry(name=target, version=version),))
        self._note(theirs, [*unread(config), *self._promises(config, target)])

    def _has(self, name: str, version: str) -> bool:
        return any(s.key == f"{name}:{version}" for s in self._specialists)

    def _promises(self, config: ModelConfig, target: str) -> Iterator[Note]:
        """In what the model of an ensemble is not what the ensemble says."""
        for key in sorted(config.parameters):
            yield Note(f"parameters[{key}]", "a route takes no parameters", Effect.NONE)
        model = next((s for s in self._specialists if s.card.name == target), None)
        signature = model and model.card.signature
        said = {output.name for output in config.output}
        more = [o.name for o in (signature.outputs if signature else ()) if o.name not in said]
        if more:
            text = f"answers have {more} as well, unless outputs are asked for"
            yield Note("output", text, Effect.ANSWERS)

    def _note(self, model: str, notes: Iterable[Note]) -> None:
        for note in notes:
            self._find(model, note.path, note.effect, note.text)

    def _find(self, model: str, path: str, effect: str, text: str) -> None:
        self._findings[Finding(model, path, str(effect), text)] = None


# ------------------------------------------------------------------ versions and backends
def _versions(folder: Path) -> list[str]:
    """Triton passes over folders whose names are no numbers, or begin with 0."""
    names = (each.name for each in folder.iterdir() if each.is_dir())
    return sorted((n for n in names if re.fullmatch(r"[1-9][0-9]*", n)), key=int)


def _chosen(config: ModelConfig, versions: list[str]) -> list[str]:
    """Those of *versions* that the policy serves, the latest last."""
    policy = config.version_policy
    if not versions:
        raise _LeftOut("it has no version: put its files in a folder `1`")
    if policy.HasField("all"):
        return versions
    if policy.HasField("specific"):
        wanted = [str(version) for version in sorted(policy.specific.versions)]
        if missing := [version for version in wanted if version not in versions]:
            raise _LeftOut(f"its version_policy names {missing}, and there are {versions}")
        return wanted
    return versions[-(policy.latest.num_versions or 1) :]


def _check_backend(config: ModelConfig, version: Path) -> None:
    """Raises _LeftOut unless ONNX Runtime runs it, as Triton finds out what does."""
    said = config.backend or config.platform.partition("_")[0]
    file = config.default_model_filename
    if not said:
        found = (name for name in (_MODEL, *_FILES) if (version / name).exists())
        file = file or next(found, "")
        said = "onnxruntime" if file.endswith(".onnx") else _FILES.get(file, "")
    if said == "onnxruntime":
        return
    if not said:
        raise _LeftOut(f"nothing says which backend runs it, and {version} has no {_MODEL}")
    way_out = next((way for name, way in _WAYS_OUT.items() if said.startswith(name)), None)
    raise _LeftOut(f"backend '{said}' is not served: {way_out or 'export the model to ONNX'}")


def _completed(config: ModelConfig, model: Path) -> tuple[ModelConfig, list[Note]]:
    """*config* with the batch size that Triton fills in where tensors are not said."""
    made = ModelConfig()
    made.CopyFrom(config)
    if config.input and config.output:
        return made, []
    tensors = read_tensors(model)
    if config.max_batch_size and not tensors.can_batch:
        raise _LeftOut("max_batch_size is set, and not all tensors of the model take batches")
    notes = [] if config.input else list(_scalars("input", tensors.inputs, tensors.can_batch))
    notes += [] if config.output else _scalars("output", tensors.outputs, tensors.can_batch)
    if tensors.can_batch and not config.max_batch_size:
        made.max_batch_size = _FILLED_IN
        text = f"{_FILLED_IN}, which Triton fills in; more is faster: set `batching.max_size`"
        notes.append(Note("max_batch_size", text, Effect.NONE))
    return made, notes


def _scalars(
    kind: str, shapes: Mapping[str, tuple[int, ...] | None], batched: bool
) -> Iterator[Note]:
    """Triton knows no scalars: it gives them a dimension of one element."""
    for name, shape in shapes.items():
        if shape is not None and len(shape) == batched:
            text = f"the shape of '{name}' is the model's own {[*shape]}, not {[*shape, 1]}"
            yield Note(kind, text, Effect.ANSWERS)


def _is_identity(*maps: Mapping[str, str]) -> bool:
    return all(key == value for each in maps for key, value in each.items())
