# SPDX-License-Identifier: Apache-2.0
"""What can be asked of measured outcomes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import QuantumCircuit, Qubit
from typing_extensions import Self, override

from ..arguments import as_real, require_whole_number, shown
from ..arrays import FloatArray
from ..exceptions import MeasurementError, ObservableError
from .control_flow import written_bits
from .final_measurements import split_final_measurements
from .interpretations import Interpret, check_interpretation, interpretation_for
from .measured_qubits import QubitsLike, find_qubits, list_qubits, refuse_doubled, visible_qubits
from .measurements import Bound, Measurement, Operators
from .observables import Layout, ObservablesLike
from .operators import (
    Observable,
    axes_of,
    diagonal_of,
    restrict_operator,
)
from .readouts import Interpretation, Outcomes, Readout, RecordedBits, brief

MOST_BITS = 30
"""Probabilities of outcomes of more bits are more than any memory holds."""
MOST_VALUES = 1 << 25
"""Values of observables, all outcomes of each, that a conditional value at risk keeps: 256 MiB."""
MOST_READ = 1 << 20
"""More of them than these are computed when they are needed first, if a file says what of."""


@dataclass(frozen=True, repr=False)
class Probabilities(Measurement):
    r"""Probabilities of measured outcomes, or of what outcomes count for.

    .. math:: p_i = \sum_{j} |\langle j | \psi \rangle|^2

    over the basis states :math:`j` in which the bits of the measured qubits are those of outcome
    :math:`i`, or whose outcome counts for :math:`i`. The output has the shape ``(2**k,)`` for ``k``
    qubits, in the order of ``Statevector.probabilities``, or ``(output_size,)``.

    The exact engine takes one sweep for all probabilities and one for the gradient of any loss of
    them. A sampler takes one job for each; an estimator measures strings of Z in one basis.

    Args:
        qubits: Which qubits are measured: their numbers, or ``Qubit`` objects. Bit ``j`` of an
            outcome is that of ``qubits[j]``. Numbers are those of the qubits before transpilation
            unless ``observables_layout="physical"``. Default: those that final measurements of the
            circuit read, in the order of the classical bits, first register first; without any, all
            qubits. Of a circuit that writes classical bits before its end, the final values of all
            bits that it writes are read, in order.
        interpret: What an outcome counts for: a function of the outcome as a number, an array with
            an output for each outcome, or ``"parity"``, the number of ones modulo 2. A function is
            called once for each outcome of up to 20 bits, and becomes an array. With more bits,
            samplers call it for the outcomes they find; such a program cannot be saved.
        output_size: The number of outputs; default: one more than the largest. Several numbers are
            the shape of the output of a row, whose entries count in C order.

    Raises:
        MeasurementError: If the circuit has no such qubits, if ``interpret`` gives anything but
            whole numbers from 0 up and below ``output_size``, or if there are more than ``2**30``
            outputs.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge import Probabilities, TorchQuantumModule
        >>> circuit = QuantumCircuit(2)
        >>> _ = circuit.ry(Parameter("a"), 0), circuit.cx(0, 1)
        >>> module = TorchQuantumModule(circuit, Probabilities(), initial_weights=[0.5])
        >>> print([round(p, 4) for p in module().tolist()])  # of 00, 01, 10 and 11
        [0.9388, 0.0, 0.0, 0.0612]
        >>> even = TorchQuantumModule(circuit, Probabilities(interpret="parity"), seed=1)
        >>> print([round(p, 4) for p in even().tolist()])
        [1.0, 0.0]
    """

    qubits: QubitsLike | None = None
    interpret: Interpret | None = None
    output_size: int | tuple[int, ...] | None = None

    reads = Outcomes

    def __post_init__(self) -> None:
        if self.qubits is not None:
            object.__setattr__(self, "qubits", list_qubits(self.qubits))
        interpret = check_interpretation(self.interpret, _count_outputs(self.output_size))
        object.__setattr__(self, "interpret", interpret)

    @override
    def bind(self, circuit: QuantumCircuit, layout: Layout) -> Bound:
        split = split_final_measurements(circuit)
        if self.qubits is None and (written := written_bits(split.circuit)):
            recorded = {split.circuit.find_bit(bit).index for bit in written}
            return self._bind_bits(circuit, tuple(sorted({*recorded, *split.qubit_of})))
        if self.qubits is not None:
            qubits = find_qubits(cast("tuple[int | Qubit, ...]", self.qubits), circuit, layout)
        else:
            qubits = tuple(split.qubit_of.values()) or visible_qubits(circuit, layout)
            refuse_doubled(qubits)
        readout = Outcomes(qubits, self._interpretation_of(len(qubits)))
        return Bound(Probabilities(), readout, self._shape_of(readout), split.circuit)

    def _bind_bits(self, circuit: QuantumCircuit, bits: tuple[int, ...]) -> Bound:
        """Read what classical bits hold in the end, since some are written before it."""
        readout = RecordedBits(bits, self._interpretation_of(len(bits)))
        return Bound(Probabilities(), readout, self._shape_of(readout), circuit)

    def _interpretation_of(self, count: int) -> Interpretation | None:
        size = _count_outputs(self.output_size)
        interpretation = interpretation_for(self.interpret, size, count)
        if interpretation is None and count > MOST_BITS:
            raise MeasurementError(
                f"Expected at most {MOST_BITS} qubits, whose outcomes have 2**{MOST_BITS} "
                f"probabilities; got {count}. Measure fewer qubits, or say by interpret= what "
                "outcomes count for."
            )
        return interpretation

    def _shape_of(self, readout: Readout) -> tuple[int, ...]:
        return self.output_size if isinstance(self.output_size, tuple) else (readout.size,)

    @override
    def accepts(self, readout: Readout, shape: tuple[int, ...]) -> bool:
        room = readout.size <= 1 << MOST_BITS
        return self == Probabilities() and room and math.prod(shape) == readout.size

    @override
    def describe(self, readout: Readout) -> str:
        interpretation = cast("Outcomes | RecordedBits", readout).interpretation
        counted = "" if interpretation is None else f", interpret={interpretation!r}"
        read = [*map(str, readout.measured), *(f"bit {bit}" for bit in readout.bits_read)]
        return f"measurement=Probabilities([{', '.join(read)}]{counted})"


@dataclass(frozen=True)
class CVaR(Measurement):
    r"""The conditional value at risk: the mean over the lowest values of a diagonal observable.

    .. math:: \operatorname{CVaR}_\alpha = \max_q \Bigl( q - \frac{1}{\alpha}
              \sum_i p_i \max(q - v_i, 0) \Bigr)

    where :math:`v_i` is the value of outcome :math:`i`: the mean of the part :math:`\alpha` of the
    distribution that has the lowest values. It is qiskit-algorithms' ``aggregation=alpha``; with
    :math:`\alpha = 1` it is the expectation value. Trained on, it rewards good bit strings rather
    than a good average.

    It is linear in the probabilities as long as the quantile :math:`q` stays the value of one
    outcome. Where the lowest outcomes have a probability of exactly :math:`\alpha`, the gradient
    is that of one side, and second derivatives do not see the change of :math:`q`.

    Args:
        observable: A sum of products of Z and of projectors on 0 and 1 in any form that
            :class:`.TorchQuantumModule` takes, or nested lists of these. The qubits that they act
            on, together at most 25, are measured; the output has the shape in which they are
            nested.
        alpha: The part of the distribution, above 0 and at most 1.

    Raises:
        MeasurementError: If ``alpha`` is something else, or too many qubits would be measured.
        ObservableError: If an observable is not diagonal, or does not fit the circuit.

    References:
        R. T. Rockafellar, S. Uryasev, Journal of Risk 2(3), 21 (2000); P. K. Barkoutsos et al.,
        Quantum 4, 256 (2020), arXiv:1907.04769.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge import CVaR, TorchQuantumModule
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(Parameter("a"), 0)
        >>> module = TorchQuantumModule(circuit, CVaR("Z", 0.5), initial_weights=[0.5])
        >>> print(f"{module().item():.4f}")  # 1 - 2 sin(0.25)**2 / 0.5
        0.7552
    """

    observable: ObservablesLike | Operators
    alpha: float
    _values: FloatArray | None = field(default=None, init=False, repr=False, compare=False)

    reads = Outcomes
    is_read = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "observable", Operators.of(self.observable))
        for operator in self.operators:
            if axes_of(operator)[0].any():
                raise ObservableError(
                    "Expected observables of Z and projectors on 0 and 1 alone, which have a value "
                    f"for each outcome; got {brief(operator)}."
                )
        alpha = as_real(self.alpha)
        if not 0 < alpha <= 1:
            raise MeasurementError(
                "Expected alpha to be a number above 0 and at most 1, the part of the distribution "
                f"that counts; got {shown(self.alpha)}."
            )
        object.__setattr__(self, "alpha", alpha)

    @override
    def bind(self, circuit: QuantumCircuit, layout: Layout) -> Bound:
        operators, shape = cast(Operators, self.observable).on(circuit, layout)
        support = np.any([axes_of(operator)[1].any(axis=0) for operator in operators], axis=0)
        qubits = tuple(np.flatnonzero(support).tolist()) or (0,)
        self._check_size(len(qubits))
        measured = CVaR([restrict_operator(o, qubits) for o in operators], self.alpha)
        measured._tabulate()
        unmeasured = split_final_measurements(circuit).circuit
        return Bound(measured, Outcomes(qubits), shape, unmeasured)

    @override
    def accepts(self, readout: Readout, shape: tuple[int, ...]) -> bool:
        qubits = readout.measured
        return (
            math.prod(shape) == len(self.operators)
            and readout == Outcomes(qubits)
            and len(qubits) == self.operators[0].num_qubits
        )

    @property
    @override
    def operators(self) -> tuple[Observable, ...]:
        """The observables one after the other."""
        return cast(Operators, self.observable).flat

    @override
    def settings(self) -> dict[str, Any]:
        return {"alpha": self.alpha}

    @classmethod
    @override
    def from_parts(
        cls,
        settings: dict[str, Any],
        operators: tuple[Observable, ...],
        amplitudes: NDArray[np.complex128] | None,
    ) -> Self:
        made = cls(list(operators), **settings)
        made._check_size(operators[0].num_qubits)
        if len(operators) << operators[0].num_qubits <= MOST_READ:
            made._tabulate()
        return made

    def _check_size(self, count: int) -> None:
        most = MOST_VALUES // len(self.operators)
        if 1 << count > most:
            raise MeasurementError(
                f"Expected observables that act on at most {most.bit_length() - 1} qubits "
                f"together, since each has a value for each outcome; got some on {count}. Take "
                "fewer observables at once, or such that act on fewer qubits."
            )

    @property
    def values(self) -> FloatArray:
        """The values of the observables for each outcome, of a bound one: ``(O, 2**k)``."""
        return self._tabulate() if self._values is None else self._values

    def _tabulate(self) -> FloatArray:
        values = np.stack([diagonal_of(operator) for operator in self.operators])
        object.__setattr__(self, "_values", values)
        return values


def _count_outputs(output_size: Any) -> Any:
    """Return the number of outputs, for a shape as well; what is neither is refused later."""
    if not isinstance(output_size, tuple):
        return output_size
    sizes = [require_whole_number(n, "output_size", 1, error=MeasurementError) for n in output_size]
    return math.prod(sizes)
