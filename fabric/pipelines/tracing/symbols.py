"""Values of a pipeline while it is traced: what is done with them becomes steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias, TypedDict, TypeGuard

from fabric.core.pipelines import Reference, Source
from fabric.pipelines.operations import OPERATIONS
from fabric.pipelines.tracing.graphs import Scope, refuse, user_frame

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from types import CodeType, EllipsisType

    from fabric.core.pipelines import Argument

    Place = int | slice | EllipsisType | None

Literal = bool | int | float | str
ONLY = "value"
"""The output of what gives one without a name."""


class Value:
    """A tensor, or a list of tensors, that there will be when the pipeline runs.

    Operators are those of numpy: element by element, and `x[:, 1:3]` is a part of it.
    """

    __slots__ = ("_origin", "_reference", "_scope")
    __array_ufunc__ = None  # numpy's operators leave the operation to ours
    __hash__ = None  # type: ignore[assignment] # as `==` gives a value

    def __init__(self, reference: Reference, scope: Scope, origin: Origin | None = None) -> None:
        self._reference = reference
        self._scope = scope
        self._origin = origin

    def _referred(self, where: str) -> Reference:
        """What it is referred to as, by what stands *where*."""
        return self._reference

    def __repr__(self) -> str:
        return f"<value '{self._reference}'>"

    # -------------------------------------------------------------- operators
    def __eq__(self, other: Value | Literal) -> Value:  # type: ignore[override]
        return operation("equal", {"x": self, "y": other})

    def __ne__(self, other: Value | Literal) -> Value:  # type: ignore[override]
        return operation("not_equal", {"x": self, "y": other})

    def __lt__(self, other: Value | Literal) -> Value:
        return operation("less", {"x": self, "y": other})

    def __le__(self, other: Value | Literal) -> Value:
        return operation("less_equal", {"x": self, "y": other})

    def __gt__(self, other: Value | Literal) -> Value:
        return operation("greater", {"x": self, "y": other})

    def __ge__(self, other: Value | Literal) -> Value:
        return operation("greater_equal", {"x": self, "y": other})

    def __and__(self, other: Value | bool) -> Value:
        return operation("logical_and", {"x": self, "y": other})

    def __rand__(self, other: bool) -> Value:
        return operation("logical_and", {"x": other, "y": self})

    def __or__(self, other: Value | bool) -> Value:
        return operation("logical_or", {"x": self, "y": other})

    def __ror__(self, other: bool) -> Value:
        return operation("logical_or", {"x": other, "y": self})

    def __invert__(self) -> Value:
        return operation("logical_not", {"x": self})

    def __add__(self, other: Value | float) -> Value:
        return operation("add", {"x": self, "y": other})

    def __radd__(self, other: float) -> Value:
        return operation("add", {"x": other, "y": self})

    def __sub__(self, other: Value | float) -> Value:
        return operation("subtract", {"x": self, "y": other})

    def __rsub__(self, other: float) -> Value:
        return operation("subtract", {"x": other, "y": self})

    def __mul__(self, other: Value | float) -> Value:
        return operation("multiply", {"x": self, "y": other})

    def __rmul__(self, other: float) -> Value:
        return operation("multiply", {"x": other, "y": self})

    def __truediv__(self, other: Value | float) -> Value:
        return operation("divide", {"x": self, "y": other})

    def __rtruediv__(self, other: float) -> Value:
        return operation("divide", {"x": other, "y": self})

    def __getitem__(self, key: Value | Place | tuple[Place, ...]) -> Value:
        if isinstance(key, Value):
            return operation("select", {"x": self, "indices": key})
        if isinstance(key, str):
            refuse(f"{self!r} has no outputs, so no {key!r}: only steps have")
        return operation("slice", {"x": self}, {"at": _at(key)})

    # -------------------------------------------------------------- what only a run can tell
    def __bool__(self) -> NoReturn:
        refuse(
            f"{self!r} is not known while the pipeline is written: for `if` use branch(…) or "
            "`when=`, for `and`, `or` and `not` use `&`, `|` and `~`"
        )

    def __iter__(self) -> Iterator[Value]:
        refuse(
            f"{self!r} cannot be gone over while the pipeline is written: "
            "use each(…, lambda item: …)"
        )

    def __len__(self) -> int:
        refuse(f"the length of {self!r} is not known while the pipeline is written: use op.size(…)")

    def __contains__(self, item: object) -> bool:
        refuse(f"what {self!r} holds is not known while the pipeline is written: use op.any(…)")

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        refuse(f"{self!r} is no array while the pipeline is written: use operations of `op`")


def _at(key: object) -> str:
    """The places *key*, as they are written between brackets."""
    return ", ".join(map(_place, key if isinstance(key, tuple) else (key,)))


def _place(key: object) -> str:
    if isinstance(key, slice):
        parts = [key.start, key.stop, *([key.step] if key.step is not None else [])]
        return ":".join("" if part is None else _place(part) for part in parts)
    if key is ...:
        return "..."
    if key is None or (isinstance(key, int) and not isinstance(key, bool)):
        return str(key)
    return refuse(f"{key!r} is no place in a value: write numbers, slices, `...` or None")


class Named(Value):
    """An input, an item, or an output of a step.

    It is a class beside `Outputs`: Python turns comparisons with a value of a subclass round.
    """

    __slots__ = ()


class Outputs(Value):
    """What a step gives: a value where it gives one, and each of its outputs by name, as
    `boxes.scores` or `boxes["scores"]`."""

    __slots__ = ("_main", "_outputs")

    def __init__(
        self, name: str, scope: Scope, outputs: Collection[str] = (), main: str = ""
    ) -> None:
        super().__init__(Reference(name), scope, Origin.here())
        self._outputs = tuple(outputs)
        """Empty where it is not known which there are."""
        self._main = main
        """The one that is meant where there are several and none is named."""

    def _referred(self, where: str) -> Reference:
        if len(self._outputs) < 2:
            return self._reference
        name, known = self._reference.giver, " and ".join(self._outputs)
        if not self._main:
            refuse(f"step '{name}' gives {known}: say which, as in .{self._outputs[0]}", where)
        return Reference(name, self._main)

    def __getattr__(self, name: str) -> Value:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, key: str | Value | Place | tuple[Place, ...]) -> Value:
        if not isinstance(key, str):
            return super().__getitem__(key)
        if self._outputs and key not in self._outputs:
            known = " and ".join(self._outputs)
            refuse(f"step '{self._reference.giver}' gives no '{key}', only {known}")
        return Named(Reference(self._reference.giver, key), self._scope, self._origin)


class Origin(NamedTuple):
    """The expression that made a step."""

    code: CodeType
    instruction: int

    @classmethod
    def here(cls) -> Origin:
        frame = user_frame()
        return cls(frame.f_code, frame.f_lasti)

    def is_within(self, other: Origin) -> bool:
        """Whether it is a part of the expression *other*."""
        if self.code is not other.code or self == other:
            return False
        positions = list(self.code.co_positions())
        inner, outer = positions[self.instruction // 2], positions[other.instruction // 2]
        if None in inner or None in outer:  # Python was told to keep no positions
            return False
        (line, end, column, stop), (top, bottom, left, right) = inner, outer
        return (top, left) <= (line, column) and (end, stop) <= (bottom, right)


Given: TypeAlias = Value | Sequence[Value]
"""What an input has: a value, or a list made of several."""
Result: TypeAlias = Value | Mapping[str, Value]
"""What a body or a pipeline gives: its only value, or several by name."""


class Options(TypedDict, total=False):
    """What may be said of any step."""

    name: str
    """Unique in the pipeline; made from what it does without."""
    when: Value | None
    """One BOOL element; false skips the step, and its outputs are missing."""
    optional: bool
    """If it fails its outputs are missing, and the pipeline goes on."""
    timeout: float | None
    """Seconds."""
    share: float
    """Of the time that is left."""
    tries: int


def added(
    scope: Scope,
    derived: str,
    options: Options,
    parts: dict[str, Any],
    outputs: Collection[str] = (),
    main: str = "",
) -> Outputs:
    """A new step of *scope* with *options* and *parts*; see `Scope.add` and `Outputs`."""
    said: dict[str, Any] = {**options, **parts}
    name = said.pop("name", "")
    when = said.pop("when", None)
    if when is not None:
        said["when"] = refer(when, "`when=`")
    return Outputs(scope.add(name, derived, said), scope, outputs, main)


def operation(
    kind: str,
    inputs: Mapping[str, Given | Literal | Sequence[Literal] | None],
    arguments: Mapping[str, Literal | Sequence[Literal]] | None = None,
    options: Options | None = None,
) -> Outputs:
    """The tensor operation *kind*. What of *inputs* is a literal is an argument, and None is left
    out, as are arguments that are what they are without being said."""
    scope = Scope.now(f"op.{kind}(…)")
    known = OPERATIONS[kind]
    given: dict[str, Given] = {}
    said: dict[str, Any] = {**(arguments or {})}
    for name, value in inputs.items():
        if _is_given(value):
            given[name] = value
        elif value is not None:
            said[name] = value
    parts = {
        "operation": kind,
        "inputs": sources(given, kind),
        "arguments": stated(kind, said),
    }
    return added(scope, kind, options or {}, parts, known.outputs)


def stated(kind: str, arguments: Mapping[str, Any]) -> dict[str, Argument]:
    """Those of *arguments* of the operation *kind* that differ from what they are unsaid."""
    parameters = OPERATIONS[kind].parameters if kind in OPERATIONS else {}
    said: dict[str, Argument] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in arguments.items()
    }
    unsaid = {name: each.default for name, each in parameters.items()}
    return {
        name: value
        for name, value in said.items()
        if name not in unsaid or repr(value) != repr(unsaid[name])  # 0 is not False
    }


def _is_given(value: object) -> TypeGuard[Given]:
    values = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(each, Value) for each in values)


def sources(inputs: Mapping[str, Given], what: str) -> dict[str, Source]:
    """*inputs* of *what* as a graph has them."""
    return {name: _source(given, f"input '{name}' of '{what}'") for name, given in inputs.items()}


def _source(given: Given, what: str) -> Source:
    if isinstance(given, list | tuple):
        return Source(values=tuple(refer(value, what) for value in given), is_list=True)
    return Source(values=(refer(given, what),))


def made_within(value: object, expression: Origin) -> bool:
    """Whether *value* comes from a step that was made as a part of *expression*."""
    origin = value._origin if isinstance(value, Value) else None
    return origin is not None and origin.is_within(expression)


def refer(value: object, what: str, where: str = "") -> str:
    """The reference to *value* from where is traced; *what* is to have it, at the line *where*.

    Raises:
        TracingError: it is no value, or is not seen from there.
    """
    if not isinstance(value, Value):
        text = f"{what} is {shown(value)}, and no value of the pipeline: write constant(…)"
        refuse(text, where)
    reference = value._referred(where)
    for scope in Scope.now(what).around:
        if scope is value._scope:
            return str(reference)
        if reference.giver in scope.items:
            refuse(
                f"{what} is {value!r}, which an item of the same name hides here: "
                "give the parameter of the body another name",
                where,
            )
    return refuse(
        f"{what} is {value!r}, which is given within a body, or in another pipeline: "
        "let the body give it",
        where,
    )


def shown(value: object) -> str:
    """*value*, which is not what it must be, in a message."""
    kind = type(value).__name__
    return f"the {kind} {value!r}" if isinstance(value, Literal) else f"a {kind}"
