"""Settings of the processes that open a specialist: its replicas, and those that measure it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class ReplicaSettings:
    specialist: str
    """JSON of `fabric.api.catalog.v1.Specialist`."""
    control: str
    """`host:port` of the control plane."""
    node: str = ""
    """The machine, as the host names it."""


@dataclass(frozen=True, kw_only=True)
class MeasuringSettings:
    specialist: str
    """JSON of `fabric.api.catalog.v1.Specialist`, with the options to measure."""
    file: str
    """The model, fetched."""
    inputs: str = ""
    """An .npz file with real inputs, instead of those that are made up."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """What made-up inputs have for sizes that the model leaves open."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What is known of a model when it is open."""

    here: tuple[str, ...]
    """The providers that are wanted and available, the first first."""
    is_stacked: bool
    """Whether rows of several requests may be run together."""
    note: str = ""
    """On the inputs that it is measured with, or why nothing is stacked."""
