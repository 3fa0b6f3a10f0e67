# SPDX-License-Identifier: Apache-2.0
"""What a circuit's qubits are found to be: samples of all shots, and the likeliest outcome."""

from __future__ import annotations

import functools
import weakref
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.primitives import BitArray
from torch import Tensor

from .algorithms import unpack_bits
from .arguments import require_instance
from .autograd import Node
from .autograd.calls import Call
from .autograd.tensor_engines import numbers, weight_rows
from .autograd.transforms import is_compiling, is_concrete, transformed
from .engines import Place
from .engines.evaluators import Sampling
from .engines.likeliest import find_likeliest
from .engines.sampled import make_sampling
from .exceptions import ResultError, TracingError
from .execution import Exact, Execution
from .primitives.precision import precision_to_shots, validate_shots
from .program import CircuitProgram

Counts: TypeAlias = "dict[str, int] | list[Counts]"

WORD = 8
"""Bytes of the numbers that NumPy sorts fast."""


class Samples:
    """The outcomes of all shots for each row of a batch: what ``module.sample`` returns.

    Args:
        bit_array: The outcomes as Qiskit has them, of shape ``(*batch,)``.

    Attributes:
        bit_array: As given.

    Raises:
        InputTypeError: If it is something else.

    Example:
        >>> from qiskit.circuit import QuantumCircuit
        >>> from qiskit_torch_bridge import TorchQuantumModule
        >>> circuit = QuantumCircuit(3)
        >>> _ = circuit.x(0), circuit.h(2)
        >>> samples = TorchQuantumModule(circuit, seed=1).sample(shots=100)
        >>> samples.bits.shape
        torch.Size([100, 3])
        >>> sorted(samples.counts())  # qubit 0 comes last, as everywhere in Qiskit
        ['001', '101']
    """

    def __init__(self, bit_array: BitArray) -> None:
        self.bit_array = require_instance(bit_array, "bit_array", BitArray, "a BitArray of Qiskit")

    @property
    def shots(self) -> int:
        """How many there are for each row."""
        return self.bit_array.num_shots

    @functools.cached_property
    def bits(self) -> Tensor:
        """Zeros and ones, ``(*batch, shots, n)``: entry ``k`` is qubit ``k``, of dtype int8.

        ``int8`` has a sign, so that ``1 - 2 * bits`` are the values of Z. Sums are of dtype int64,
        as PyTorch has it; means take ``bits.double()``.
        """
        return torch.from_numpy(unpack_bits(self.bit_array))

    @property
    def most_frequent(self) -> Tensor:
        """The outcome found most often in each row, as bits ``(*batch, n)`` of dtype int8.

        Of several found equally often it is the smallest as a number.
        """
        packed = self.bit_array.array
        found = np.zeros((*packed.shape[:-2], 1, packed.shape[-1]), np.uint8)
        for row in np.ndindex(packed.shape[:-2]):
            found[row] = _most_frequent(packed[row])
        bits = unpack_bits(BitArray(found, self.bit_array.num_bits))
        return torch.from_numpy(bits[..., 0, :])

    def counts(self) -> Counts:
        """Return how often each bit string was found, in Qiskit's order: qubit 0 last.

        Returns:
            A dictionary; nested lists of dictionaries, ``(*batch,)``, if there is a batch.
        """
        found = np.empty(self.bit_array.shape, dtype=object)
        for row in np.ndindex(found.shape):
            found[row] = self.bit_array.get_counts(row)
        counts: Counts = found.tolist()
        return counts

    def __repr__(self) -> str:
        return (
            f"Samples(batch={tuple(self.bit_array.shape)}, shots={self.shots}, "
            f"qubits={self.bit_array.num_bits})"
        )


class Deployed(Protocol):
    """An execution in use."""

    @property
    def execution(self) -> Execution:
        """How a program is evaluated."""

    @property
    def node(self) -> Node:
        """What evaluates it."""

    @property
    def place(self) -> Place:
        """Where it runs."""


def draw_samples(
    program: CircuitProgram,
    deployed: Deployed,
    inputs: Tensor | None,
    weights: Tensor,
    shots: int | None = None,
) -> Samples:
    """Return outcomes of a circuit's qubits for each row of inputs.

    Args:
        program: The program as it was given.
        deployed: Where and how it is evaluated.
        inputs: Shape ``(*batch, I)``.
        weights: Shape ``(W,)``.
        shots: The shots for each row; default: those of a forward pass, or of the sampler.
    """
    call, points = _read_call(program, inputs, weights)
    shots = None if shots is None else validate_shots(shots)
    sampling = _sampling_of(program, deployed)
    if shots is None and deployed.node.engine.precision is not None:
        shots = precision_to_shots(deployed.node.engine.precision) or None
    found = sampling.draw(points, shots)
    if found.bits is None:
        raise ResultError(
            f"{type(sampling.primitive).__name__} returned quasi-probabilities, which no shots "
            "can be told from. Ask for Probabilities, or use a sampler without mitigation of "
            "outcomes."
        )
    packed = found.bits.array
    shape = (*call.batch, *packed.shape[-2:])
    return Samples(BitArray(packed.reshape(shape), found.bits.num_bits))


def find_most_likely(
    program: CircuitProgram,
    deployed: Deployed,
    inputs: Tensor | None,
    weights: Tensor,
    shots: int | None = None,
) -> Tensor:
    """Return the likeliest outcome for each row, as bits ``(*batch, n)``; arguments as above."""
    if shots is not None or deployed.place.primitive is not None or deployed.execution.maker:
        return draw_samples(program, deployed, inputs, weights, shots).most_frequent
    call, points = _read_call(program, inputs, weights)
    exact = deployed.execution.exact or Exact()
    asked = _sampling_of(program, deployed).program
    if asked.analysed.encoded:  # rotations, for samplers
        asked = program.with_readout(asked.readout)
    found = find_likeliest(asked, exact, points)
    return torch.from_numpy(found.reshape(*call.batch, found.shape[1]))


def _read_call(
    program: CircuitProgram, inputs: Tensor | None, weights: Tensor
) -> tuple[Call, NDArray[np.float64]]:
    """Return checked inputs and weights, and the points ``(B, P)``."""
    given: tuple[Any, ...] = (inputs, weights)
    tensors = (tensor for tensor in given if isinstance(tensor, Tensor))
    if is_compiling() or transformed() or not is_concrete(*tensors):
        raise TracingError(
            "Outcomes are drawn anew at each call, so they cannot be recorded by torch.compile, "
            "torch.export or another tracer, nor transformed by torch.func. Call sample and "
            "most_likely outside of what is recorded."
        )
    with torch.no_grad():
        call = Call.of(program, inputs, weights)
        return call, program.placed(numbers(call.inputs), weight_rows(call.weights))


_samplings: weakref.WeakKeyDictionary[Node, Sampling] = weakref.WeakKeyDictionary()
"""What draws outcomes beside an engine, made when it is first asked; its random numbers go on."""


def _sampling_of(program: CircuitProgram, deployed: Deployed) -> Sampling:
    sampling = _samplings.get(deployed.node)
    if sampling is None:
        made = make_sampling(program, deployed.execution, deployed.place)
        sampling = _samplings.setdefault(deployed.node, made)
    return sampling


def _most_frequent(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the smallest of the outcomes ``(shots, bytes)`` that are there most often."""
    shots, size = packed.shape
    if size > WORD:
        outcomes, counts = np.unique(packed, axis=0, return_counts=True)  # in ascending order
        most: NDArray[np.uint8] = outcomes[counts.argmax()]
        return most
    words = np.zeros((shots, WORD), np.uint8)
    words[:, WORD - size :] = packed
    _, first, counts = np.unique(
        words.view(">u8").astype(np.uint64), return_index=True, return_counts=True
    )
    return packed[first[counts.argmax()]]
