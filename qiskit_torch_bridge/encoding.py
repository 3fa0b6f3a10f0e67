# SPDX-License-Identifier: Apache-2.0
"""Vectors as the amplitudes of states: the circuit, and what tensors it takes."""

from __future__ import annotations

import functools
from typing import Any

import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from torch import Tensor

from .arguments import require_bool, require_instance, require_whole_number, shown
from .autograd.calls import check_readable
from .autograd.transforms import is_compiling, is_concrete, transformed
from .exceptions import InputError, InputTypeError
from .program.amplitudes import (
    MOST_QUBITS,
    AmplitudePreparation,
    count_angles,
    rotation_angles,
    write_rotations,
)


def amplitude_encoding(
    num_qubits: int, *, is_complex: bool = False, pad: bool = False, name: str = "x"
) -> AmplitudeEncoding:
    r"""Return the encoding of vectors of ``2**n`` numbers as amplitudes of ``n`` qubits.

    A vector :math:`x` stands for the state

    .. math:: |\psi(x)\rangle = \frac{1}{\lVert x\rVert} \sum_k x_k\, |k\rangle

    with the order of ``Statevector.data``: qubit 0 is the last bit of ``k``. Vectors need not be
    normalised. Gradients with respect to them are exact wherever they are not zero as a whole,
    components that are zero or negative included: on the exact engine by the adjoint method, with
    ``gradient="parameter-shift"`` by two evaluations for each component at other vectors, whatever
    estimator or sampler runs the circuit. These are given the rotations that prepare a state.

    Args:
        num_qubits: The number ``n`` of qubits, from 1 to 20.
        is_complex: Whether vectors have imaginary parts.
        pad: Whether vectors may have fewer components, the others being zero.
        name: What the circuit's parameters are called; two encodings in one circuit need two.

    Raises:
        InputError: If the number is none of these.
        InputTypeError: If an argument is of another type.

    Cost:
        On the exact engine that of the states alone. On estimators and samplers ``2**n - 2`` CX and
        about as many rotations before the circuit, twice as many with imaginary parts.

    References:
        M. Mottonen et al., "Transformation of quantum states using uniformly controlled rotations",
        Quantum Inf. Comput. 5, 467 (2005), arXiv:quant-ph/0407010.

    Example:
        >>> import torch
        >>> from qiskit.circuit.library import real_amplitudes
        >>> from qiskit_torch_bridge import TorchQuantumModule, amplitude_encoding
        >>> encoding = amplitude_encoding(2)
        >>> circuit = encoding.circuit.compose(real_amplitudes(2, reps=1))
        >>> node = TorchQuantumModule(circuit, ["ZI", "IZ"], input_params=encoding.parameters)
        >>> images = torch.tensor([[3.0, 0.0, -4.0, 0.0], [0.0, 0.0, 0.0, 1.0]], requires_grad=True)
        >>> values = node(encoding(images))
        >>> values.shape
        torch.Size([2, 2])
        >>> values.sum().backward()
        >>> images.grad.isfinite().all()
        tensor(True)
    """
    return AmplitudeEncoding(num_qubits, is_complex, pad, name)


class AmplitudeEncoding:
    """A circuit that prepares a vector, and the map from tensors to its parameters.

    :func:`amplitude_encoding` makes it.

    Attributes:
        num_qubits: The number ``n`` of qubits.
        is_complex: Whether vectors have imaginary parts.
        pad: Whether vectors may have fewer components than there are amplitudes.
        parameters: The circuit's parameters, ``2**n``; with imaginary parts twice as many, first
            the real parts.
        circuit: The circuit that prepares the state, to be composed with what comes after.
    """

    def __init__(
        self, num_qubits: int, is_complex: bool = False, pad: bool = False, name: str = "x"
    ) -> None:
        self.num_qubits = require_whole_number(num_qubits, "num_qubits", 1, MOST_QUBITS)
        self.is_complex = require_bool(is_complex, "is_complex")
        self.pad = require_bool(pad, "pad")
        if not require_instance(name, "name", str, "text"):
            raise InputError("Expected name to be text of at least one character; got ''.")
        self.parameters = ParameterVector(name, (1 + is_complex) << num_qubits)
        self.circuit = QuantumCircuit(num_qubits)
        self.circuit.append(AmplitudePreparation(self.parameters, is_complex), range(num_qubits))

    def __repr__(self) -> str:
        kind = "complex" if self.is_complex else "real"
        return f"AmplitudeEncoding(qubits={self.num_qubits}, {kind} amplitudes)"

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return the inputs ``(*batch, I)`` of a module that has :attr:`parameters` as its inputs.

        They are unit vectors, real and imaginary parts side by side: ``I`` is ``2**n``, or twice
        that. Derivatives of any order lead through.

        Args:
            vectors: Shape ``(*batch, 2**n)``, or with fewer components if they may be padded; real,
                or complex if the encoding is.

        Raises:
            InputError: If the size is another one, or a vector is zero or not finite; its row is
                named.
            InputTypeError: If this is no tensor of numbers, or a complex one for real amplitudes.
        """
        given = self._numbers(vectors)
        largest = given.detach().abs().amax(-1, keepdim=True)
        if not is_compiling() and not transformed() and is_concrete(given):
            _check_rows(largest, given)
        scaled = given / largest
        return scaled / torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)

    def angles(self, vectors: Tensor) -> Tensor:
        """Return the angles ``(*batch, A)`` with which :attr:`rotations` prepare vectors.

        They are differentiable where no part of a vector vanishes. Where one does, such as in a
        vector with a single component, rotations inside of it turn nothing, and the derivative of
        their angles is not defined: it is infinite or ``nan``. Inputs made by calling the encoding
        have no such points.

        Args:
            vectors: As for a call.
        """
        return rotation_angles(self(vectors), self.is_complex, torch)

    @functools.cached_property
    def rotations(self) -> QuantumCircuit:
        """The circuit of rotations, whose parameters are the ``A`` angles in their order.

        It prepares the same states, up to a global phase if there are imaginary parts.
        """
        count = count_angles(self.num_qubits, self.is_complex)
        angles = ParameterVector("angle", count)
        return write_rotations(self.num_qubits, self.is_complex, list(angles))

    def draw(self, *args: Any, **options: Any) -> Any:
        """Draw the circuit with the vector's name in place of all its components.

        Args:
            *args: As for :meth:`qiskit.circuit.QuantumCircuit.draw`.
            **options: Likewise.
        """
        label = f"Amplitudes of {self.parameters.name}"
        shown_circuit = QuantumCircuit(self.num_qubits)
        gate = QuantumCircuit(self.num_qubits, name=label).to_gate()
        shown_circuit.append(gate, range(self.num_qubits))
        return shown_circuit.draw(*args, **options)

    def _numbers(self, vectors: Any) -> Tensor:
        """Return vectors as real numbers ``(*batch, I)``, or raise unless they are such."""
        check_readable(vectors, "vectors")
        if not isinstance(vectors, Tensor):
            raise InputTypeError(
                f"Expected vectors to be a torch.Tensor; got {shown(vectors)}. Convert them with "
                "torch.as_tensor(...)."
            )
        if vectors.dtype == torch.bool:
            raise InputTypeError(
                "Expected vectors of numbers; got a tensor of truth values (torch.bool). Convert "
                "them with vectors.double()."
            )
        if vectors.is_complex() and not self.is_complex:
            raise InputTypeError(
                f"Expected real vectors; got {vectors.dtype}. Complex ones are encoded by "
                "amplitude_encoding(..., is_complex=True)."
            )
        size, given = 1 << self.num_qubits, vectors.shape[-1] if vectors.dim() else 0
        if given != size and not (self.pad and 0 < given < size):
            few = f"at most {size}" if self.pad else f"{size}"
            hint = "" if self.pad or given > size else " Shorter ones are padded with pad=True."
            raise InputError(
                f"Expected vectors of shape (..., {size}), the amplitudes of {self.num_qubits} "
                f"qubits, with {few} components; got {tuple(vectors.shape)}.{hint}"
            )
        if not vectors.is_complex() and not vectors.is_floating_point():
            vectors = vectors.to(torch.get_default_dtype())
        if given < size:
            vectors = torch.nn.functional.pad(vectors, (0, size - given))
        if not self.is_complex:
            return vectors
        if not vectors.is_complex():
            return torch.cat([vectors, torch.zeros_like(vectors)], -1)
        return torch.cat([vectors.real, vectors.imag], -1)


def _check_rows(largest: Tensor, vectors: Tensor) -> None:
    """Raise :class:`.InputError` where the largest component of a row is zero or not finite."""
    bad = ~(largest.isfinite() & (largest > 0)).squeeze(-1)
    if bad.any():
        row = tuple(bad.nonzero()[0].tolist())
        what = "zero" if (largest[row] == 0).all() else "not finite"
        where = f"row {row[0] if len(row) == 1 else row}" if row else "the vector"
        raise InputError(
            "Expected vectors with a norm, to prepare the states that they point to; the norm of "
            f"{where} is {what}: got {shown(vectors[row].tolist())}. Leave out such rows, or give "
            "them one component that is not zero."
        )
