"""Pipelines of all kinds, made up: nobody could run most of them, but every form can say them."""

from __future__ import annotations

from math import prod
from random import Random
from typing import Any, TypeVar

from hypothesis import strategies as st

from fabric.core.pipelines import (
    Body,
    Branch,
    Each,
    First,
    Loop,
    Pipeline,
    PipelineInput,
    PipelineOutput,
    Source,
    Step,
)
from fabric.core.routes import MinQuality, Requirements, TensorNeed
from fabric.core.tensors import TensorValue
from fabric.pipelines.operations import OPERATIONS

T = TypeVar("T")

STEPS = ("a", "a-2", "b", "step", "value", "each", "equal-2", "when", "0", "x_y", "x-y", "mean")
"""Names of steps, some that are something else in Python."""
NAMES = ("x", "image", "timeout", "name", "INPUT__0", "input-ids", "class", "0", "a b", "é", "_x")
"""Names of inputs, outputs and items."""
CALLS = ("detector", "detector:2", "text.reader", "step", "vote", "x:1.10")
TEXTS = (
    "",
    "a",
    "no",
    "1",
    "1.0",
    "é \\ \"'",
    "日本",
    "{}",
    "# x",
    "true",
    "\t",
    "\0",
    "~",
    "a: b",
)
CASES = ("true", "false", "1", "-3", "pdf", "no", "a b", "1.10", "")
PLACES = ("0", ":, 1:3", "...", "..., ::-1", "x y", "01:", "None")
CALLED = ("boxes", "value", "a b", "class", "0", "_x")
"""What whoever is called gives."""


def pipelines() -> st.SearchStrategy[Pipeline]:
    """Any pipeline, its steps in an order in which each comes after those that it refers to."""
    seeds = st.integers(0, 1 << 32)  # hypothesis takes a hundred times as long for single choices
    return seeds.map(lambda seed: Maker(Random(seed)).pipeline())


class Maker:
    """Makes one pipeline, as *random* has it."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.names: set[str] = set()

    def chance(self) -> bool:
        return self.random.random() < 0.5

    def one(self, of: Any) -> Any:
        return self.random.choice(tuple(of))

    def several(self, of: Any, least: int, most: int) -> list[Any]:
        return self.random.sample(tuple(of), self.random.randint(least, most))

    def seconds(self) -> float:
        return self.random.randint(1, 9999) / 1000

    def pipeline(self) -> Pipeline:
        inputs = [self.input(name) for name in self.several(NAMES, 0, 3)]
        names = [each.name for each in inputs]
        self.names.update(names)
        steps = self.steps(names, 5, depth=2)
        seen = [*names, *(self.value(step) for step in steps)]
        if not seen:
            steps, seen = (Step(name="only", constant=self.tensor()),), ["only"]
        outputs = tuple(
            PipelineOutput(name=name, source=self.one(seen), optional=self.chance())
            for name in self.several((*NAMES, "value"), 1, 3)
        )
        descriptions = ("", "Does it.", 'A "word"', "Two\n\nlines", " x", "\\d", "end\n", "日本")
        said: dict[str, Any] = {
            "description": self.one(descriptions),
            "timeout": self.seconds(),
            "parallel": self.random.randint(1, 99),
            "max_bytes": self.random.randint(1, 1 << 40),
            "streams": True,
            "loaded": False,
        }
        return Pipeline(
            name=self.one(("p", "read-page", "read_page", "step", "v1.2", "9")),
            inputs=tuple(inputs),
            steps=steps,
            outputs=outputs,
            **{name: value for name, value in said.items() if self.chance()},
        )

    def input(self, name: str) -> PipelineInput:
        if self.chance():
            return PipelineInput(name=name, optional=self.chance())
        shape = tuple(self.several(("1", "-1", "h", "w", "007"), 0, 3))
        datatype = self.one(("FP32", "BYTES"))
        return PipelineInput(name=name, datatype=datatype, shape=shape, optional=self.chance())

    def tensor(self) -> TensorValue:
        shape = tuple(self.random.choices(range(3), k=self.random.randint(0, 2)))
        datatype, total = self.one(("BYTES", "INT64", "FP32", "BOOL", "BF16")), prod(shape)
        said: dict[str, Any] = {"name": self.one(("value", "x")), "shape": shape}
        if datatype == "BYTES":
            texts = tuple(self.random.choices(TEXTS, k=total))
            return TensorValue(datatype=datatype, texts=texts, **said)
        numbers = (0, 1) if datatype in ("INT64", "BOOL") else (0.5, -1.0, 1e-9, 3e38)
        chosen = tuple(self.random.choices(numbers, k=total))
        return TensorValue(datatype=datatype, numbers=chosen, **said)

    def requirements(self) -> Requirements:
        said: dict[str, Any] = {
            "task": "read",
            "labels": {self.one(TEXTS): self.one(TEXTS)},
            "versions": ("1", "2.10"),
            "max_cost": self.seconds(),
            "min_quality": MinQuality(metric="f1", value=0.5),
            "inputs": (TensorNeed(name="x", shape=(-1, 3)),),
        }
        return Requirements(**{name: value for name, value in said.items() if self.chance()})

    # -------------------------------------------------------------- steps
    def steps(self, seen: list[str], most: int, depth: int) -> tuple[Step, ...]:
        """Steps that refer to what is *seen*, and to one another."""
        made: list[Step] = []
        for _ in range(self.random.randint(0, most)):
            given = [self.value(step) for step in made]
            made.append(self.step([*seen, *given, *given], depth))
        return tuple(made)

    def value(self, step: Step) -> str:
        """A reference to something that *step* gives."""
        known = {name for body in step.bodies.values() for name in body.outputs}
        if step.call:
            known = set(CALLED)
        elif step.operation:
            known = set(OPERATIONS[step.operation].outputs)
        elif step.constant is not None:
            known = {step.constant.name}
        if self.chance() and (step.call or len(known) == 1):
            return step.name
        return f"{step.name}.{self.one(sorted(known))}"

    def step(self, seen: list[str], depth: int) -> Step:
        kinds = ["call", "call", "operation", "operation"] if seen else ["constant"]
        if seen and depth:
            kinds += ["constant", "branch", "each", "loop", "first"]
        parts = getattr(self, self.one(kinds))(seen, depth)
        said = {
            "when": self.one(seen or [""]),
            "optional": True,
            "timeout": self.seconds(),
            "share": 0.5,
            "tries": 3,
        }
        parts |= {name: value for name, value in said.items() if self.random.random() < 0.15}
        free = [name for name in STEPS if name not in self.names]
        # Half of the names are those that are made where none is said.
        derived = parts.get("call", "").partition(":")[0] or parts.get("operation", "")
        name = derived.replace(".", "-") if self.chance() else self.one(free or ["z"])
        while not name or name in self.names:
            name = f"{name or 'z'}-2"
        self.names.add(name)
        return Step(name=name, **parts)

    def source(self, seen: list[str]) -> Source:
        if self.chance():
            return Source(values=(self.one(seen),))
        many = self.random.choices(seen, k=self.random.randint(0, 3))
        return Source(values=tuple(many), is_list=True)

    def call(self, seen: list[str], depth: int) -> dict[str, Any]:
        names = self.several(NAMES, 0, 2)
        said: dict[str, Any] = {
            "fallback": ("small", "tiny:1"),
            "cache": self.seconds(),
            "requirements": self.requirements(),
        }
        return {
            "call": self.one(CALLS),
            "inputs": {name: self.source(seen) for name in names},
            **{name: value for name, value in said.items() if self.random.random() < 0.2},
        }

    def constant(self, seen: list[str], depth: int) -> dict[str, Any]:
        return {"constant": self.tensor()}

    def operation(self, seen: list[str], depth: int) -> dict[str, Any]:
        operation = OPERATIONS[self.one(OPERATIONS)]
        inputs: dict[str, Source] = {}
        arguments: dict[str, Any] = {}
        for each in operation.inputs:
            parameter = operation.parameters.get(each.name)
            others = len(operation.inputs) - len(arguments) > 1
            if parameter is not None and others and self.chance():
                arguments[each.name] = self.argument(parameter.kind)
            elif not each.optional or self.chance():
                given = self.source(seen)
                is_list = each.takes.name in ("TENSORS", "LIST") and given.values
                inputs[each.name] = given if is_list else Source(values=(self.one(seen),))
        for name, parameter in operation.parameters.items():
            if name in inputs or name in arguments:
                continue
            value = self.argument(parameter.kind)
            if parameter.default is None or repr(value) != repr(parameter.default):
                is_input = any(each.name == name for each in operation.inputs)
                if not is_input and (parameter.default is None or self.chance()):
                    arguments[name] = value
        return {"operation": operation.name, "inputs": inputs, "arguments": arguments}

    def argument(self, kind: str) -> Any:
        number, literal = self.random.randint(-3, 300), self.one((True, 3, -0.5, 1e-9, *TEXTS))
        some = tuple(self.random.choices((-1, 0, 1, 2), k=self.random.randint(1, 3)))
        if kind == "str":
            return self.one((*PLACES, *TEXTS))
        if kind.startswith("tuple[str"):
            return tuple(self.several(TEXTS, 0, 3))
        if kind.startswith("tuple"):
            return some
        if kind in ("bool", "float", "int"):
            return {"bool": True, "float": number / 8, "int": number}[kind]
        return literal if "str" in kind or kind == "Literal" else self.one((number, some))

    # -------------------------------------------------------------- bodies
    def body(
        self, seen: list[str], depth: int, items: list[str], names: tuple[str, ...] = ()
    ) -> Body:
        inner = [each for each in seen if each.partition(".")[0] not in items] + items
        steps = self.steps(inner, 3, depth - 1)
        given = [self.value(step) for step in steps]
        names = names or self.one((("value",), ("x", "value"), ("é",)))
        return Body(steps=steps, outputs={name: self.one(inner + given + given) for name in names})

    def branch(self, seen: list[str], depth: int) -> dict[str, Any]:
        cases = ["true"] if self.chance() else self.several(CASES, 1, 2)
        bodies = {case: self.body(seen, depth, []) for case in cases}
        last = self.body(seen, depth, []) if self.chance() else None
        return {"branch": Branch(on=self.one(seen), cases=bodies, otherwise=last)}

    def items(self, seen: list[str]) -> dict[str, str]:
        """Items, some of which hide what is seen of the same name."""
        free = [name for name in NAMES if name not in self.names or name in seen]
        self.names.update(names := self.several(free, 1, 2))
        return {name: self.one(seen) for name in names}

    def each(self, seen: list[str], depth: int) -> dict[str, Any]:
        over = self.items(seen)
        body = self.body(seen, depth, list(over))
        said = {"parallel": self.random.randint(1, 20), "batch": self.chance()}
        return {"each": Each(over=over, body=body, **said)}

    def loop(self, seen: list[str], depth: int) -> dict[str, Any]:
        state = self.items(seen)
        until = self.one(["until", "done", *state])
        names = tuple(dict.fromkeys([*state, until]))
        body = self.body(seen, depth, list(state), names)
        most = self.random.randint(1, 9)
        return {"loop": Loop(state=state, body=body, until=until, most=most)}

    def first(self, seen: list[str], depth: int) -> dict[str, Any]:
        names = self.one((("value",), ("value", "sure"), ("x", "é")))
        bodies = [self.body(seen, depth, [], names) for _ in range(self.random.randint(1, 3))]
        return {"first": First(bodies=tuple(bodies), sure=self.one(["", *names]))}
