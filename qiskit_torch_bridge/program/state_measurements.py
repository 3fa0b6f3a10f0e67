# SPDX-License-Identifier: Apache-2.0
"""What can be asked of the amplitudes of the state, where it is simulated."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from qiskit.circuit import QuantumCircuit, Qubit
from qiskit.exceptions import QiskitError
from qiskit.quantum_info import DensityMatrix, Statevector
from typing_extensions import Self, override

from ..arguments import UNREADABLE, as_real, shown
from ..exceptions import MeasurementError
from .analysis import AnalysedCircuit
from .measured_qubits import QubitsLike, find_qubits, list_qubits, visible_qubits
from .measurements import Bound, Measurement
from .observables import Layout
from .operators import Observable
from .readouts import Amplitudes, Readout

NORMALISED = 1e-6
"""A norm that differs from one by less does so by rounding, perhaps in single precision."""
SAME_STATE = 1e-9
"""Amplitudes that differ by less are those of the same state."""


class _OfState(Measurement):
    """A measurement that is computed from the amplitudes of the state."""

    reads = Amplitudes
    is_read = False

    def _read(self, circuit: QuantumCircuit, layout: Layout, used: Sequence[int]) -> Amplitudes:
        """Return the amplitudes of the visible qubits, or of all if others are used."""
        visible = visible_qubits(circuit, layout)
        if not set(used) <= set(visible):
            visible = tuple(range(circuit.num_qubits))
        return Amplitudes(visible)


@dataclass(frozen=True, repr=False)
class _OfSubsystem(_OfState):
    """A measurement of some of the qubits; bound, of positions in the index of amplitudes."""

    qubits: QubitsLike

    def __post_init__(self) -> None:
        object.__setattr__(self, "qubits", list_qubits(self.qubits))

    @override
    def bind(self, circuit: QuantumCircuit, layout: Layout) -> Bound:
        places = find_qubits(cast("tuple[int | Qubit, ...]", self.qubits), circuit, layout)
        readout = self._read(circuit, layout, places)
        positions = sorted(readout.qubits.index(place) for place in places)
        return Bound(replace(self, qubits=positions), readout, (1,), circuit)

    @override
    def accepts(self, readout: Readout, shape: tuple[int, ...]) -> bool:
        return shape == (1,) and _are_positions(self.qubits, readout)

    @override
    def settings(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def positions(self) -> tuple[int, ...]:
        """The bits of the index of an amplitude that are the subsystem's, of a bound one."""
        return cast("tuple[int, ...]", self.qubits)


def _are_positions(qubits: Any, readout: Readout) -> bool:
    """Whether qubits are positions in the index of amplitudes."""
    count = (readout.size // 2).bit_length() - 1
    return all(type(qubit) is int and qubit < count for qubit in qubits)


@dataclass(frozen=True, repr=False)
class Purity(_OfSubsystem):
    r"""The purity of some of the qubits.

    .. math:: \operatorname{tr} \rho_A^2, \qquad
              \rho_A = \operatorname{tr}_B |\psi\rangle\langle\psi|

    It measures how little they are entangled with the others: one for a product state, and
    :math:`2^{-k}` where ``k`` qubits are entangled as much as can be. Exact engine only.

    Args:
        qubits: The subsystem: numbers of qubits, or ``Qubit`` objects. Numbers are those of the
            qubits before transpilation unless ``observables_layout="physical"``.

    Raises:
        MeasurementError: If the circuit has no such qubits.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge import Purity, TorchQuantumModule
        >>> circuit = QuantumCircuit(2)
        >>> _ = circuit.ry(Parameter("a"), 0), circuit.cx(0, 1)
        >>> module = TorchQuantumModule(circuit, Purity([0]), initial_weights=[0.5])
        >>> print(f"{module().item():.4f}")  # 1 - sin(0.5)**2 / 2
        0.8851
    """


@dataclass(frozen=True, repr=False)
class Entropy(_OfSubsystem):
    r"""The entanglement entropy of some of the qubits with the others.

    .. math:: S = -\operatorname{tr} \rho_A \log \rho_A, \qquad
              \rho_A = \operatorname{tr}_B |\psi\rangle\langle\psi|

    It is zero for a product state, with the gradient zero. From the singular values of the state as
    a matrix of ``A`` and ``B``, of which first and second derivatives are right whether or not they
    are distinct or zero. There is one exception: where an eigenvalue of :math:`\rho_A` is zero and
    grows, the second derivative is infinite, and what is given is that of an amplitude of
    :math:`2^{-53}`, the smallest beside one in double precision.

    Exact engine only. The cost is that of singular values of a matrix of the size of the state:
    :math:`2^{n + k}` operations for a subsystem of ``k`` qubits up to half of all.

    Args:
        qubits: The subsystem: numbers of qubits, or ``Qubit`` objects. Numbers are those of the
            qubits before transpilation unless ``observables_layout="physical"``.
        base: Of the logarithm; default: the natural one. With 2, the entropy is in bits.

    Raises:
        MeasurementError: If the circuit has no such qubits, or if the base is not above 1.

    Example:
        >>> import numpy as np
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge import Entropy, TorchQuantumModule
        >>> circuit = QuantumCircuit(2)
        >>> _ = circuit.ry(Parameter("a"), 0), circuit.cx(0, 1)
        >>> bits = Entropy([0], base=2)
        >>> module = TorchQuantumModule(circuit, bits, initial_weights=[np.pi / 2])
        >>> print(f"{module().item():.4f}")
        1.0000
    """

    base: float = math.e

    def __post_init__(self) -> None:
        super().__post_init__()
        base = as_real(self.base)
        if not 1 < base < math.inf:
            raise MeasurementError(
                f"Expected base to be a finite number above 1; got {shown(self.base)}."
            )
        object.__setattr__(self, "base", base)


@dataclass(frozen=True, eq=False, repr=False)
class Fidelity(_OfState):
    r"""The fidelity of the state with a fixed one.

    .. math:: F = |\langle \varphi | \psi \rangle|^2 \quad\text{or}\quad
              \langle \varphi | \rho_A | \varphi \rangle \text{ of a subsystem}

    as ``qiskit.quantum_info.state_fidelity`` has it. Exact engine only.

    Args:
        target: The fixed state :math:`\varphi`: a ``Statevector``, an array of ``2**k`` amplitudes,
            or a circuit without parameters. For all qubits also a ``DensityMatrix`` or an array of
            shape ``(2**n, 2**n)``. It is normalised if it is so up to rounding.
        qubits: Which qubits are compared; bit ``j`` of the index of an amplitude is that of
            ``qubits[j]``. Default: all, in order.

    Raises:
        MeasurementError: If the target is no state, or one of another number of qubits; or if it is
            a mixed one of a subsystem.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge import Fidelity, TorchQuantumModule
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(Parameter("a"), 0)
        >>> module = TorchQuantumModule(circuit, Fidelity([0, 1]), initial_weights=[0.5])
        >>> print(f"{module().item():.4f}")  # sin(0.25)**2
        0.0612
    """

    target: Statevector | DensityMatrix | QuantumCircuit | ArrayLike
    qubits: QubitsLike | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", _read_state(self.target))
        if self.qubits is not None:
            object.__setattr__(self, "qubits", list_qubits(self.qubits))

    @property
    def positions(self) -> tuple[int, ...]:
        """The bits of the index of an amplitude that are compared, of a bound one."""
        return cast("tuple[int, ...]", self.qubits)

    @override
    def bind(self, circuit: QuantumCircuit, layout: Layout) -> Bound:
        if self.qubits is None:
            places = visible_qubits(circuit, layout)
        else:
            places = find_qubits(cast("tuple[int | Qubit, ...]", self.qubits), circuit, layout)
        if len(self.amplitudes) != 1 << len(places):
            width = len(self.amplitudes).bit_length() - 1
            given = None if self.qubits is None else list(self.positions)
            raise MeasurementError(
                f"Expected the target to be a state of {len(places)} qubits, as many as are "
                f"compared; got one of {width} with qubits={given}."
            )
        readout = self._read(circuit, layout, places)
        if self.amplitudes.ndim == 2 and len(places) < len(readout.qubits):
            raise MeasurementError(
                "Expected the target to be a pure state, since it is compared with a subsystem; "
                "got a mixed one. Compare all qubits, or with a pure state."
            )
        positions = tuple(readout.qubits.index(place) for place in places)
        return Bound(Fidelity(self.amplitudes, positions), readout, (1,), circuit)

    @override
    def accepts(self, readout: Readout, shape: tuple[int, ...]) -> bool:
        whole = readout.size == 2 * len(self.amplitudes)
        return (
            shape == (1,)
            and self.qubits is not None
            and _are_positions(self.qubits, readout)
            and len(self.amplitudes) == 1 << len(self.positions)
            and (self.amplitudes.ndim == 1 or whole)
        )

    @override
    def check_mixed(self) -> None:
        if self.amplitudes.ndim == 2:
            raise MeasurementError(
                "Expected the target to be a pure state, since the circuit measures, resets or "
                "branches and ends in a mixed one; got a mixed target. Compare with a pure state."
            )

    @property
    @override
    def amplitudes(self) -> NDArray[np.complex128]:
        """The target's amplitudes ``(2**k,)``, or the density matrix of a mixed one."""
        return cast("NDArray[np.complex128]", self.target)

    @override
    def settings(self) -> dict[str, Any]:
        return {"qubits": self.qubits}

    @classmethod
    @override
    def from_parts(
        cls,
        settings: dict[str, Any],
        operators: tuple[Observable, ...],
        amplitudes: NDArray[np.complex128] | None,
    ) -> Self:
        return cls(cast("NDArray[np.complex128]", amplitudes), **settings)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Fidelity)
            and self.qubits == other.qubits
            and self.amplitudes.shape == other.amplitudes.shape
            and bool(np.abs(self.amplitudes - other.amplitudes).max() < SAME_STATE)
        )

    def __hash__(self) -> int:
        return hash((Fidelity, self.amplitudes.shape, self.qubits))

    def __repr__(self) -> str:
        kind = "mixed" if self.amplitudes.ndim == 2 else "pure"
        of = "" if self.qubits is None else f", qubits={list(self.positions)}"
        return f"Fidelity(<{kind} state of {len(self.amplitudes).bit_length() - 1} qubits>{of})"


@dataclass(frozen=True, repr=False)
class State(_OfState):
    r"""The state vector: ``(2**n,)`` complex amplitudes, in the order of Qiskit's ``Statevector``.

    The global phase counts. A loss has to be real, such as ``(target @ state).abs() ** 2``; its
    gradient goes through the complex numbers as PyTorch has it. Of a transpiled circuit, the state
    is that of the qubits before transpilation unless ``observables_layout="physical"``. A circuit
    that ends in a mixed state, since it measures in its middle, has none and is refused. Exact
    engine only.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge import State, TorchQuantumModule
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.rx(Parameter("a"), 0)
        >>> module = TorchQuantumModule(circuit, State(), initial_weights=[0.5])
        >>> print(module().detach().numpy().round(4))
        [0.9689+0.j     0.    -0.2474j]
    """

    @override
    def bind(self, circuit: QuantumCircuit, layout: Layout) -> Bound:
        readout = self._read(circuit, layout, ())
        return Bound(self, readout, (readout.size // 2,), circuit)

    @override
    def accepts(self, readout: Readout, shape: tuple[int, ...]) -> bool:
        return shape == (readout.size // 2,)

    @override
    def check_mixed(self) -> None:
        raise MeasurementError(
            "The circuit measures, resets or branches and ends in a mixed state, which has no "
            "amplitudes. Ask for observables, Probabilities, Fidelity, Purity or Entropy, or "
            "leave the measurements out."
        )


def _read_state(target: Any) -> NDArray[np.complex128]:
    """Return the amplitudes of a pure state, or the density matrix of a mixed one."""
    array = _numbers_of(target)
    dimension = len(array) if array.ndim in (1, 2) else 0
    matrix = array.ndim == 1 or array.shape == (dimension, dimension)
    if dimension < 2 or dimension.bit_count() != 1 or not matrix or not np.isfinite(array).all():
        raise MeasurementError(
            "Expected target to be a Statevector, a DensityMatrix, a circuit without parameters, "
            f"or an array of 2**k amplitudes or of shape (2**k, 2**k); got {shown(target)}."
        )
    if array.ndim == 1:
        norm = float(np.linalg.norm(array))
        _check_normalised(norm, target)
        array = array / norm
    else:
        array = _read_density_matrix(array, target)
    return array


def _read_density_matrix(matrix: NDArray[np.complex128], target: Any) -> NDArray[np.complex128]:
    trace = complex(np.trace(matrix))
    _check_normalised(trace.real, target)
    weights, vectors = np.linalg.eigh(matrix)
    if np.abs(matrix - matrix.conj().T).max() > NORMALISED or weights[0] < -NORMALISED:
        raise MeasurementError(
            f"Expected target to be a density matrix, Hermitian and positive; got {shown(target)}."
        )
    if weights[-1] > 1 - SAME_STATE:  # it is pure
        return np.ascontiguousarray(vectors[:, -1])
    return matrix / trace.real


def _check_normalised(size: float, target: Any) -> None:
    if not abs(size - 1) < NORMALISED:
        raise MeasurementError(
            f"Expected target to be a normalised state; got one of norm {size:g}: {shown(target)}."
        )


def _numbers_of(target: Any) -> NDArray[np.complex128]:
    """Return the numbers of a state in any form; an empty array if there are none."""
    if isinstance(target, QuantumCircuit):
        if target.parameters:
            raise MeasurementError(
                f"Expected target to be a circuit without parameters; got one with "
                f"{shown([p.name for p in target.parameters])}. Bind them with "
                "circuit.assign_parameters."
            )
        # Evolutions mean here what they mean in the circuit that is compared.
        circuit = AnalysedCircuit(target).circuit
        try:
            return np.asarray(Statevector(circuit).data)
        except (*UNREADABLE, MemoryError, QiskitError) as error:
            raise MeasurementError(
                f"Expected target to be a circuit whose state can be computed; got one of "
                f"{circuit.num_qubits} qubits: {error}"
            ) from error
    if isinstance(target, (Statevector, DensityMatrix)):
        return np.asarray(target.data, dtype=np.complex128)
    array = np.zeros(0)
    if isinstance(target, (list, tuple)) or hasattr(target, "__array__"):
        with contextlib.suppress(*UNREADABLE):
            array = np.asarray(target)
    return array.astype(np.complex128) if array.dtype.kind in "iufc" else np.zeros(0, complex)
