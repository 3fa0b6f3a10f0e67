# SPDX-License-Identifier: Apache-2.0
"""What can be asked of the final state of a circuit, and what of its observables.

A user makes a measurement knowing nothing but what is wanted. Bound to a circuit, it is what there
is to be done with the numbers of its readout; the readout says which qubits and operators these
are read from.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter, QuantumCircuit
from typing_extensions import Self, override

from ..arguments import show_given
from ..exceptions import ObservableError
from .observables import (
    Layout,
    ObservablesLike,
    flatten_nested,
    normalise_observables,
    to_hermitian,
)
from .operators import Observable
from .readouts import Expectations, Readout, brief
from .squares import square, without_identity


class Bound(NamedTuple):
    """A measurement of one circuit.

    Attributes:
        measurement: What is asked, with nothing left to find out about the circuit. It does not
            change when the circuit is transpiled.
        readout: What an engine reads for it, on the circuit's qubits.
        shape: The shape of the output of one row.
        circuit: The circuit without final measurements that said what is measured.
        parameters: Those that the measurement has itself, as coefficients of observables.
    """

    measurement: Measurement
    readout: Readout
    shape: tuple[int, ...]
    circuit: QuantumCircuit
    parameters: tuple[Parameter, ...] = ()


class Measurement(ABC):
    """What is asked of the final state; see the page "Probabilities and samples".

    Attributes:
        reads: The kind of its readout.
        is_read: Whether what an engine reads is the output already.
    """

    reads: ClassVar[type[Readout]]
    is_read: ClassVar[bool] = True

    @abstractmethod
    def bind(self, circuit: QuantumCircuit, layout: Layout) -> Bound:
        """Check that a circuit can be measured like this, and return how.

        Args:
            circuit: The circuit, transpiled or not.
            layout: Whether qubits are ``"virtual"`` or ``"physical"`` ones; see
                :class:`.CircuitProgram`.

        Raises:
            MeasurementError: If it cannot.
            ObservableError: If an observable does not fit the circuit.
        """

    @abstractmethod
    def accepts(self, readout: Readout, shape: tuple[int, ...]) -> bool:
        """Whether a bound measurement makes an output of some shape of what is read."""

    @property
    def coefficients(self) -> tuple[str, ...]:
        """The names of parameters on which the output depends beside what is read."""
        return ()

    @property
    def operators(self) -> tuple[Observable, ...]:
        """The observables that a bound measurement holds itself."""
        return ()

    @property
    def amplitudes(self) -> NDArray[np.complex128] | None:
        """The state that a bound measurement holds."""
        return None

    def check_mixed(self) -> None:
        """Raise :class:`.MeasurementError` if it is for pure states alone."""
        return

    def settings(self) -> dict[str, Any]:
        """Return what a bound measurement was made with beside these, as JSON has it."""
        return {}

    @classmethod
    def from_parts(
        cls,
        settings: dict[str, Any],
        operators: tuple[Observable, ...],
        amplitudes: NDArray[np.complex128] | None,
    ) -> Self:
        """Make a bound measurement again."""
        return cls(**settings)

    def describe(self, readout: Readout) -> str:
        """Return what is measured as ``print`` shows it of a program."""
        return f"measurement={self!r}"

    def __repr__(self) -> str:
        return show_given(self)


# -- expectation values --------------------------------------------------------------------------


class ExpectationValues(Measurement):
    """Expectation values of observables: what a module gives that is told no other measurement."""

    reads = Expectations

    def __init__(self, observables: ObservablesLike | None = None) -> None:
        self.observables = observables

    @override
    def bind(self, circuit: QuantumCircuit, layout: Layout) -> Bound:
        operators, shape = normalise_observables(self.observables, circuit, layout)
        return Bound(EXPECTATION_VALUES, Expectations(operators), shape, circuit)

    @override
    def accepts(self, readout: Readout, shape: tuple[int, ...]) -> bool:
        return readout.size == math.prod(shape)

    @override
    def describe(self, readout: Readout) -> str:
        return f"observables={readout}"

    def __repr__(self) -> str:
        return "ExpectationValues()"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExpectationValues)  # which ones is a matter of the readout

    def __hash__(self) -> int:
        return hash(ExpectationValues)


EXPECTATION_VALUES = ExpectationValues()
"""What every program of observables measures; which ones is in its readout."""


@dataclass(frozen=True, eq=False)
class Operators:
    """Observables as operators, nested as they were given.

    Attributes:
        flat: The operators one after the other, all on one number of qubits.
        shape: How they were nested; ``()`` for one that is in no list.
    """

    flat: tuple[Observable, ...]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, observables: ObservablesLike | Operators) -> Operators:
        """Return observables in any form as operators."""
        if isinstance(observables, Operators):
            return observables
        given, shape = flatten_nested(observables)
        flat = tuple(map(to_hermitian, given))
        widths = sorted({operator.num_qubits for operator in flat})
        if len(widths) != 1:
            raise ObservableError(
                "Expected at least one observable, and all on one number of qubits; got "
                f"{f'some on each of {widths}' if widths else 'an empty list'}."
            )
        return cls(flat, shape)

    def on(
        self, circuit: QuantumCircuit, layout: Layout
    ) -> tuple[tuple[Observable, ...], tuple[int, ...]]:
        """Return them on the circuit's own qubits, and the shape of what there is of them."""
        return normalise_observables(list(self.flat), circuit, layout)[0], self.shape or (1,)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Operators)
            and self.shape == other.shape
            and Expectations(self.flat).difference(Expectations(other.flat)) is None
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.flat[0].num_qubits))

    def __repr__(self) -> str:
        return str(Expectations(self.flat)) if self.shape else brief(self.flat[0])


@dataclass(frozen=True, repr=False)
class Variance(Measurement):
    r"""The variances of observables.

    .. math:: \operatorname{Var}(O) = \langle O^2 \rangle - \langle O \rangle^2

    One is zero where the state is an eigenstate. What is read are the expectation values of
    :math:`O`, less its multiple of the identity, and of the square of that, in which equal products
    are collected. Rounding may leave :math:`-10^{-16}` of zero. Measured with :math:`s` shots, a
    variance is on average too small by about its :math:`s`-th part, and the standard error assumes
    the worst correlation between the errors of both.

    Args:
        observables: As for :class:`.TorchQuantumModule`. The output has the shape in which they are
            nested.

    Raises:
        ObservableError: If an observable is not Hermitian, or is a multiple of the identity, or if
            its square has too many terms.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge import TorchQuantumModule, Variance
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(Parameter("a"), 0)
        >>> module = TorchQuantumModule(circuit, Variance("Z"), initial_weights=[0.5])
        >>> print(f"{module().item():.4f}")  # sin(0.5)**2
        0.2298
    """

    observables: ObservablesLike | Operators | None = None

    reads = Expectations
    is_read = False

    def __post_init__(self) -> None:
        if self.observables is None:  # Z on each qubit, and what is left when they are bound
            return
        operators = Operators.of(self.observables)
        object.__setattr__(self, "observables", operators)
        for operator in operators.flat:
            if not len(np.flatnonzero(without_identity(operator).coeffs)):
                raise ObservableError(
                    f"Expected observables that have a variance; got {brief(operator)}, a multiple "
                    "of the identity. Leave it out: its variance is zero whatever the circuit."
                )

    @override
    def bind(self, circuit: QuantumCircuit, layout: Layout) -> Bound:
        operators, shape = normalise_observables(None, circuit, layout)
        if self.observables is not None:
            operators, shape = cast(Operators, self.observables).on(circuit, layout)
        centred = tuple(map(without_identity, operators))
        return Bound(Variance(), Expectations((*centred, *map(square, centred))), shape, circuit)

    @override
    def accepts(self, readout: Readout, shape: tuple[int, ...]) -> bool:
        return self.observables is None and readout.size == 2 * math.prod(shape)

    @override
    def describe(self, readout: Readout) -> str:
        half = readout.operators[: readout.size // 2]
        return f"measurement=Variance({Expectations(half)})"
