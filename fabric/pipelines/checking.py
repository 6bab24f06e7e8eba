"""Whether the values of a pipeline fit together, before it runs: names, types, what may be missing.

All problems are found at once. What nobody knows yet, such as the signature of a specialist that
has not registered, fits anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from fabric.core.pipelines import Body, Pipeline, Reference, Source, Step
from fabric.core.tensors import Signature
from fabric.pipelines import branching
from fabric.pipelines.callees import Callee, called
from fabric.pipelines.givers import Given, Givers, Outputs
from fabric.pipelines.operations import OPERATIONS
from fabric.pipelines.signatures import given_types, signature_of
from fabric.pipelines.types import (
    ListType,
    Size,
    TensorType,
    Type,
    TypeProblem,
    Unknown,
    datatype_of,
    joined,
    settled,
    sizes_of,
    tensor_of,
    unify,
)
from fabric.pipelines.wiring import cycles, instead, needs, ordered, reached

__all__ = ["Callee", "Checked", "Find", "Problem", "check"]

Find = Callable[[str], Callee | None]
"""Who is declared as `name` or `name:version`, if anybody is."""


@dataclass(frozen=True, slots=True)
class Problem:
    step: str
    """Where it is; empty for the pipeline itself."""
    key: str
    """Which part of that, as `inputs.boxes` or `each.over.crop`."""
    message: str

    def __str__(self) -> str:
        where = f"step '{self.step}', {self.key}" if self.step else self.key
        return f"{where}: {self.message}"


@dataclass(frozen=True, slots=True)
class Checked:
    signature: Signature | None
    """What the pipeline takes and gives; None where not all of that is known."""
    problems: tuple[Problem, ...]
    types: Mapping[str, Type]
    """Of all that is referred to, by the reference, and of outputs of steps as `step.output`."""


def check(pipeline: Pipeline, find: Find) -> Checked:
    """What *pipeline* is, and what is wrong with it, where *find* knows whom it calls."""
    return Checking(pipeline, find).checked()


class Checking:
    """One check of *pipeline*."""

    def __init__(self, pipeline: Pipeline, find: Find) -> None:
        self.problems: list[Problem] = []
        self.types: dict[str, Type] = {}
        self._pipeline = pipeline
        self._find = find
        self._found: dict[str, Callee | None] = {}
        self._names: set[str] = set()
        """Of inputs and steps so far."""
        self._used: set[tuple[str, str]] = set()
        """Steps and outputs of theirs that somebody refers to."""

    def checked(self) -> Checked:
        pipeline = self._pipeline
        types = given_types(pipeline.inputs)
        items: dict[str, Given] = {}
        for each in pipeline.inputs:
            self._name("", f"inputs.{each.name}", each.name)
            items[each.name] = Given(
                types[each.name], f"input '{each.name}' is optional" if each.optional else ""
            )
        references = {f"outputs.{each.name}": each.source for each in pipeline.outputs}
        if len(references) < len(pipeline.outputs):
            self.problem("", "outputs", "two have the same name")
        given = self.graph("", pipeline.steps, references, items, None)
        outputs = []
        for output in pipeline.outputs:
            key = f"outputs.{output.name}"
            if (why := given[key].missing) and not output.optional:
                text = f"it may be missing, as {why}: declare it optional, or use default"
                self.problem("", key, text)
            type_ = self.tensor(given[key].type, "", key)
            outputs.append((output.name, type_, output.optional))
        inputs = [(each.name, types[each.name], each.optional) for each in pipeline.inputs]
        if not self.problems and not self._is_open:
            for name, type_, _ in inputs:
                if not datatype_of(type_) or sizes_of(type_) is None:
                    text = "nothing it is given to says what it is: say its datatype and shape"
                    self.problem("", f"inputs.{name}", text)
        place = {step.name: number for number, step in enumerate(pipeline.all_steps, 1)}
        self.problems.sort(key=lambda problem: place.get(problem.step, len(place) + 1))
        return Checked(signature_of(inputs, outputs), tuple(self.problems), self.types)

    @property
    def _is_open(self) -> bool:
        """Whether there is somebody of whom nobody knows what it takes."""
        return any(each is None or each.signature is None for each in self._found.values())

    def callee(self, name: str) -> Callee | None:
        """Who is declared as *name*."""
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def problem(self, step: str, key: str, message: str) -> None:
        self.problems.append(Problem(step, key, message))

    # ------------------------------------------------------------------ graphs
    def body(
        self,
        step: Step,
        key: str,
        body: Body,
        items: Mapping[str, Given],
        scope: Givers,
        *,
        together: bool = False,
    ) -> dict[str, Given]:
        """What *body* of *step* gives, by name."""
        references = {f"{key}.outputs.{name}": text for name, text in body.outputs.items()}
        given = self.graph(step.name, body.steps, references, items, scope, together=together)
        return {name: given[f"{key}.outputs.{name}"] for name in body.outputs}

    def graph(
        self,
        within: str,
        steps: Sequence[Step],
        outputs: Mapping[str, str],
        items: Mapping[str, Given],
        above: Givers | None,
        *,
        together: bool = False,
    ) -> dict[str, Given]:
        """What a graph gives, whose *outputs* are references by the key they have in the step that
        it is *within*. It is called for several items *together* where its step says so."""
        for step in steps:
            self._name(step.name, "name", step.name)
        by_name = {step.name: step for step in steps}
        waits = {step.name: needs(step) for step in steps}
        ready, rest = ordered(waits)
        for way in cycles(waits, rest):
            self.problem(way[0], "inputs", f"it waits for itself: {' -> '.join(way)}")
        scope = Givers({**items, **{name: Outputs(others=Unknown) for name in rest}}, above)
        self.types |= {name: given.type for name, given in items.items()}
        for name in (*ready, *rest):
            found = self._step(by_name[name], scope, together=together)
            scope.known[name] = found
            self.types |= {f"{name}.{output}": each.type for output, each in found.values.items()}
        gives = {key: self.value(text, within, key, scope) for key, text in outputs.items()}
        self._unused(by_name, reached(waits, (Reference.of(t).giver for t in outputs.values())))
        return gives

    def _name(self, step: str, key: str, name: str) -> None:
        if name in self._names:
            self.problem(
                step, key, f"'{name}' is used twice: give each step and input its own name"
            )
        self._names.add(name)

    def _unused(self, steps: Mapping[str, Step], needed: set[str]) -> None:
        for name, step in steps.items():
            if name not in needed:
                text = "nobody needs what it gives: refer to it, or leave it out"
                self.problem(name, step.kind, text)
                continue
            for output in branching.own_outputs(step):
                if (name, output) not in self._used and (name, "") not in self._used:
                    text = f"nobody needs its output '{output}': leave it out of the outputs"
                    self.problem(name, step.kind, text)

    # ------------------------------------------------------------------ values
    def value(self, text: str, step: str, key: str, scope: Givers) -> Given:
        """What the reference *text* is to, or anything where there is a problem with it."""
        reference = Reference.of(text)
        giver = scope.find(reference.giver)
        if giver is None:
            self.problem(step, key, self._unknown(reference.giver, scope))
            return Given(Unknown())
        if isinstance(giver, Given):
            if reference.output:
                name = reference.giver
                self.problem(step, key, f"'{name}' is no step, and so has no '{reference.output}'")
            return giver
        self._used.add((reference.giver, reference.output))
        try:
            given = giver.find(reference)
        except TypeProblem as problem:
            self.problem(step, key, problem.message)
            given = Given(Unknown())
        self.types[text] = given.type
        return given

    def _unknown(self, name: str, scope: Givers) -> str:
        if not name:
            return "a reference is empty"
        if any(step.name == name for step in self._pipeline.all_steps):
            return f"step '{name}' is within another body: make it an output of that"
        return f"there is no step or input '{name}'{instead(name, scope.names)}"

    def source(self, step: str, key: str, source: Source, scope: Givers) -> Given:
        """What an input is given; of a list in a list it is what that holds."""
        given = [self.value(text, step, key, scope) for text in source.values]
        if not source.is_list:
            return given[0]
        if not given:
            self.problem(step, key, "the list has no values")
        items: list[Type] = []
        lengths: list[Size] = []
        for each in given:
            type_ = settled(each.type)
            if isinstance(type_, ListType):
                items.append(type_.item)
                lengths.append(Unknown() if each.missing else settled(type_.length))
            elif isinstance(type_, TensorType):
                items.append(type_)
                lengths.append(Unknown() if each.missing else 1)
            else:
                lengths.append(Unknown())
        try:
            item = joined(items)
        except TypeProblem as problem:
            self.problem(step, key, problem.message)
            item = Unknown()
        known = [each for each in lengths if isinstance(each, int)]
        length: Size = sum(known) if len(known) == len(lengths) else Unknown()
        # Of several one is there, or else the run says why none is: that depends on the request.
        missing = given[0].missing if len(given) == 1 else ""
        return Given(ListType(item, length), missing)

    def tensor(self, type_: Type, step: str, key: str) -> TensorType:
        """*type_*, or any tensor where that is none, which is a problem."""
        try:
            return tensor_of(type_)
        except TypeProblem as problem:
            self.problem(step, key, problem.message)
            return TensorType()

    def truth(self, given: Given, step: str, key: str) -> None:
        """That it is one BOOL element."""
        type_ = self.tensor(given.type, step, key)
        if datatype_of(type_) not in ("BOOL", ""):
            self.problem(step, key, f"it is {type_}, and BOOL is needed: compare it")
            return
        unify(type_, TensorType("BOOL"))
        self.one(type_, step, key)

    def one(self, type_: TensorType, step: str, key: str) -> None:
        """That it may be one element."""
        if any(isinstance(size, int) and size != 1 for size in sizes_of(type_) or ()):
            text = f"it is {type_}, and one element is needed: use all, any, max or slice"
            self.problem(step, key, text)

    # ------------------------------------------------------------------ steps
    def _step(self, step: Step, scope: Givers, *, together: bool) -> Outputs:
        missing = f"step '{step.name}' is optional" if step.optional else ""
        if step.when:
            self.truth(self.value(step.when, step.name, "when", scope), step.name, "when")
            missing = missing or f"step '{step.name}' is skipped by its when"
        inputs = {
            name: self.source(step.name, f"inputs.{name}", source, scope)
            for name, source in step.inputs.items()
        }
        missing = missing or next((each.missing for each in inputs.values() if each.missing), "")
        if step.call:
            outputs = called(self, step, inputs, together=together)
        elif step.operation:
            outputs = self._operation(step, inputs)
        elif step.constant is not None:
            constant = step.constant
            type_ = TensorType(constant.datatype, tuple(constant.shape))
            outputs = Outputs({constant.name: Given(type_)})
        else:
            outputs = Outputs(branching.given_by(self, step, scope))
        if missing:
            outputs.missing = missing
            for name, given in outputs.values.items():
                if not given.missing:
                    outputs.values[name] = replace(given, missing=missing)
        return outputs

    def _operation(self, step: Step, inputs: Mapping[str, Given]) -> Outputs:
        operation = OPERATIONS.get(step.operation)
        if operation is None:
            text = f"there is no operation '{step.operation}'{instead(step.operation, OPERATIONS)}"
            self.problem(step.name, "operation", text)
            return Outputs(others=Unknown)
        types = {name: given.type for name, given in inputs.items()}
        try:
            found = operation.typed(types, step.arguments)
        except TypeProblem as problem:
            self.problem(step.name, problem.key or "operation", problem.message)
            found = {name: Unknown() for name in operation.outputs}
        return Outputs({name: Given(type_) for name, type_ in found.items()})

    def joined(self, given: Sequence[Given], step: str, key: str) -> Given:
        """A value that is one of those."""
        missing = next((each.missing for each in given if each.missing), "")
        try:
            return Given(joined([each.type for each in given]), missing)
        except TypeProblem as problem:
            self.problem(step, key, problem.message)
            return Given(Unknown(), missing)
