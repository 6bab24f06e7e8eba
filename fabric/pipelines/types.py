"""Types of the values that flow: what is known of their datatypes, shapes and lengths.

What is not known yet is an `Unknown`, which may turn out to be known, or the same as another
(Martelli and Montanari, "An Efficient Unification Algorithm", 1982).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from fabric.core.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

T = TypeVar("T")


class TypeProblem(InvalidRequest):
    """A value is not what is needed, or an argument is not what can be asked for."""

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key
        """Which part of the step it is about, as `inputs.x`; empty if it is all of it."""


class Unknown(Generic[T]):
    """A size, a datatype, a shape or a type that is not known; equal to itself alone."""

    __slots__ = ("known", "name")

    def __init__(self, name: str = "") -> None:
        self.known: T | Unknown[T] | None = None
        self.name = name
        """What it is called where it is shown; empty where nobody named it."""

    def __repr__(self) -> str:
        return self.name or "?"


Size = int | Unknown[int]
Datatype = str | Unknown[str]
Sizes = tuple[Size, ...]
Shape = Sizes | Unknown[Sizes]


@dataclass(frozen=True, slots=True)
class TensorType:
    datatype: Datatype = field(default_factory=Unknown)
    shape: Shape = field(default_factory=Unknown)

    def __repr__(self) -> str:
        datatype, sizes = settled(self.datatype), sizes_of(self)
        name = "a tensor of any datatype " if isinstance(datatype, Unknown) else datatype
        if sizes is None:
            return name.rstrip() if isinstance(datatype, Unknown) else f"{name} of any shape"
        return f"{name}[{', '.join(map(str, sizes))}]"


@dataclass(frozen=True, slots=True)
class ListType:
    item: Type = field(default_factory=Unknown)
    """Of all of its values: sizes in which they differ are unknown."""
    length: Size = field(default_factory=Unknown)

    def __repr__(self) -> str:
        item = settled(self.item)
        return "a list" if isinstance(item, Unknown) else f"a list of {item}"


Type = TensorType | ListType | Unknown[TensorType | ListType]


def settled(value: T | Unknown[T]) -> T | Unknown[T]:
    """What is known of *value*, or the one `Unknown` for all that are the same."""
    while isinstance(value, Unknown) and value.known is not None:
        known = value.known
        if isinstance(known, Unknown) and known.known is not None:
            value.known = known.known  # so that ways do not grow long
        value = known
    return value


def _settled_type(value: Type) -> Type:
    return settled(value)


def tensor_type(datatype: str, sizes: Sizes | None) -> TensorType:
    """The tensor with *datatype* and *sizes*, either unknown where it is empty or None."""
    return TensorType(datatype or Unknown(), Unknown() if sizes is None else sizes)


def sizes_of(tensor: TensorType) -> Sizes | None:
    """The sizes of *tensor*, settled; None where not even their number is known."""
    shape = settled(tensor.shape)
    return None if isinstance(shape, Unknown) else tuple(map(settled, shape))


def datatype_of(tensor: TensorType) -> str:
    """The datatype of *tensor*; empty where it is not known."""
    datatype = settled(tensor.datatype)
    return "" if isinstance(datatype, Unknown) else datatype


def tensor_of(value: Type) -> TensorType:
    """*value*, which is a tensor from here on.

    Raises:
        TypeProblem: it is a list.
    """
    value = settled(value)
    if isinstance(value, ListType):
        raise TypeProblem(f"it is {value}, and a tensor is needed: stack or concat the list")
    if isinstance(value, Unknown):
        value.known = made = TensorType()
        return made
    return value


def list_of(value: Type) -> ListType:
    """*value*, which is a list from here on.

    Raises:
        TypeProblem: it is a tensor.
    """
    value = settled(value)
    if isinstance(value, TensorType):
        raise TypeProblem(f"it is {value}, and a list is needed: unstack the tensor")
    if isinstance(value, Unknown):
        value.known = made = ListType()
        return made
    return value


def unify(given: Type, taken: Type) -> None:
    """Makes *given* and *taken* the same type.

    Raises:
        TypeProblem: they cannot be.
    """
    given, taken = settled(given), settled(taken)
    if isinstance(given, Unknown) or isinstance(taken, Unknown):
        _bind(given, taken)
    elif isinstance(taken, TensorType):
        _unify_tensors(tensor_of(given), taken)
    else:
        made = list_of(given)
        unify(made.item, taken.item)
        if not same_size(made.length, taken.length):
            has, needed = settled(made.length), settled(taken.length)
            raise TypeProblem(f"the list has {has} values, and {needed} are needed")


def _bind(one: Type, other: Type) -> None:
    if one is other:
        return
    unknown, known = (one, other) if isinstance(one, Unknown) else (other, one)
    inner = known
    while isinstance(inner, ListType):
        inner = settled(inner.item)
        if inner is unknown:
            raise TypeProblem("it is a list of itself")
    assert isinstance(unknown, Unknown)  # noqa: S101 - one of them is
    unknown.known = known


def _unify_tensors(given: TensorType, taken: TensorType) -> None:
    if not _same(given.datatype, taken.datatype):
        raise TypeProblem(f"it is {given}, and {datatype_of(taken)} is needed: cast it")
    one, other = settled(given.shape), settled(taken.shape)
    if isinstance(one, Unknown) or isinstance(other, Unknown):
        _same(one, other)
    elif len(one) != len(other) or not all(map(same_size, one, other)):
        raise TypeProblem(f"it is {given}, and {taken} is needed")


def same_size(one: Size, other: Size) -> bool:
    """Whether they can be the same size, which they are from here on."""
    return _same(one, other)


def _same(one: T | Unknown[T], other: T | Unknown[T]) -> bool:
    one, other = settled(one), settled(other)
    if isinstance(one, Unknown):
        if one is not other:
            if isinstance(other, Unknown):
                other.name = one.name or other.name
            one.known = other
        return True
    if isinstance(other, Unknown):
        other.known = one
        return True
    return one == other


def joined(types: Sequence[Type]) -> Type:
    """What a value is that is one of *types*: sizes in which they differ are unknown.

    Raises:
        TypeProblem: they differ in more than sizes.
    """
    known: list[TensorType | ListType] = []
    unknown: list[Type] = []
    for each in map(_settled_type, types):
        if isinstance(each, Unknown):
            unknown.append(each)
        else:
            known.append(each)
    for each in unknown:
        _bind(each, loosened(known[0]) if known else unknown[0])
    if not known:
        return unknown[0] if unknown else Unknown()
    tensors = [each for each in known if isinstance(each, TensorType)]
    lists = [each for each in known if isinstance(each, ListType)]
    if tensors and lists:
        raise TypeProblem(f"it is {tensors[0]} or {lists[0]}: stack or concat the list")
    if tensors:
        return _joined_tensors(tensors)
    length = _joined_sizes(each.length for each in lists)
    return ListType(joined([each.item for each in lists]), length)


def _joined_tensors(tensors: Sequence[TensorType]) -> TensorType:
    first = tensors[0]
    for other in tensors[1:]:
        if not _same(first.datatype, other.datatype):
            raise TypeProblem(f"it is {first} or {other}: cast one of them")
    shaped = next((each for each in tensors if sizes_of(each) is not None), first)
    for other in tensors:
        shape = settled(other.shape)
        if isinstance(shape, Unknown) and other is not shaped:
            _same(shape, _loosened_tensor(shaped).shape)
    shapes = [sizes_of(each) for each in tensors]
    known = [shape for shape in shapes if shape is not None]
    if not known:
        return first
    if different := next((at for at, s in enumerate(known) if len(s) != len(known[0])), 0):
        raise TypeProblem(
            f"it is {first} or {tensors[different]}: give both the same number of dimensions"
        )
    return TensorType(first.datatype, tuple(map(_joined_sizes, zip(*known, strict=True))))


def _joined_sizes(sizes: Iterable[Size]) -> Size:
    different = set(map(settled, sizes))
    return different.pop() if len(different) == 1 else Unknown()


def loosened(value: TensorType | ListType) -> TensorType | ListType:
    """*value* with sizes that nobody knows."""
    if isinstance(value, TensorType):
        return _loosened_tensor(value)
    item = _settled_type(value.item)
    return ListType(item if isinstance(item, Unknown) else loosened(item))


def _loosened_tensor(tensor: TensorType) -> TensorType:
    sizes = sizes_of(tensor)
    shape = tensor.shape if sizes is None else tuple(Unknown[int]() for _ in sizes)
    return TensorType(tensor.datatype, shape)
