"""What one specialist takes and gives: requests checked and decoded, responses encoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric.wire.decoding import Decoder
from fabric.wire.encoding import Encoder
from fabric.wire.heads import parted
from fabric.wire.kinds import kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fabric.core.tensors import Signature
    from fabric.wire.kinds import Inputs, Kind

_MAX_LENGTHS = 64
_KINDS_OF_ONE_LENGTH = 4
"""Kinds of requests remembered at most; callers differ in heads of the same length."""
_MAX_MET = 256


class Codec:
    """The codec of the specialist *model*.

    With *max_rows* above 1 the first dimension of every tensor is the batch and at most that;
    else shapes are taken as they are. *queue_timeout* is as `Decoder` has it. *labels* are the
    names of classes, by output. With *lends* outputs may be encoded without a copy, see `Encoder`.
    """

    def __init__(
        self,
        signature: Signature,
        model: str,
        version: str,
        max_rows: int = 1,
        labels: Mapping[str, Sequence[str]] | None = None,
        *,
        queue_timeout: float = 0.0,
        lends: bool = False,
    ) -> None:
        self._decoder = Decoder(signature, model, max_rows, queue_timeout)
        encoder = Encoder(
            *(signature, model, version, labels or {}), batched=max_rows > 1, lends=lends
        )
        self.encode = encoder.encode
        self.parts = encoder.parts
        self._kinds: dict[int, tuple[Kind, ...]] = {}
        """By the length of the request, the newest first."""
        self._met: set[int] = set()
        """Heads with parameters that came once."""

    def decode(self, payload: bytes | memoryview) -> Inputs:
        """The inputs of the `ModelInferRequest` *payload*.

        Arrays are read-only, and may share the memory of *payload* at any alignment.

        Raises:
            InvalidRequest: the request is not one that the signature takes.
        """
        for kind in self._kinds.get(len(payload), ()):
            if (inputs := kind.read(payload)) is not None:
                return inputs
        request, raw = parted(payload)
        inputs = self._decoder.decode(request, raw)
        learnt = kind_of(payload, request, raw, inputs)
        if learnt is not None and (not request.parameters or self._has_met(learnt)):
            self._remember_kind(len(payload), learnt)
        return inputs

    def _has_met(self, kind: Kind) -> bool:
        """Parameters may differ from request to request: only what comes again is a kind."""
        head = hash(kind.head)
        if head in self._met:
            return True
        if len(self._met) >= _MAX_MET:
            self._met.clear()
        self._met.add(head)
        return False

    def _remember_kind(self, length: int, kind: Kind) -> None:
        if len(self._kinds) >= _MAX_LENGTHS:
            self._kinds.clear()
        self._kinds[length] = (kind, *self._kinds.get(length, ()))[:_KINDS_OF_ONE_LENGTH]
