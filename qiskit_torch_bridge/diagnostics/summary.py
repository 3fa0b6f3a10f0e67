# SPDX-License-Identifier: Apache-2.0
"""One look at a module: what can be said about its circuit in a few seconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from qiskit.quantum_info import SparsePauliOp

from ..arguments import make_random_generator, require_instance
from ..arrays import FloatArray
from ..exceptions import BridgeError
from ..module import TorchQuantumModule
from ..program import CircuitProgram
from .effective_dimension import ParameterDimension, parameter_dimension
from .expressibility import (
    EntanglingCapability,
    Expressibility,
    entangling_capability,
    expressibility,
)
from .gradient_variance import derivatives_at, sample_derivatives
from .lie_algebra import LieAlgebra, lie_algebra_dimension
from .subjects import all_weights, circuit_of, require_samples

T = TypeVar("T")

SMALL = 12
"""Up to so many qubits states are looked at."""


@dataclass(frozen=True, eq=False)
class Diagnosis:
    r"""What is known of a module's circuit; ``print`` it.

    Attributes:
        qubits: The number ``n`` of qubits.
        weights: The number of trained weights.
        derivative: The root mean square of the derivative of the outputs' sum with respect to a
            weight, at random points.
        derivative_here: The same at the module's weights and random inputs.
        derivative_of_designs: The same in a circuit whose parts before and after a rotation by the
            weight are both two-designs, the bottom of a barren plateau; for observables only.
        expressibility: Of circuits of at most 12 qubits that end in pure states.
        entanglement: Likewise.
        lie_algebra: If it has at most 4096 strings.
        parameters: The rank of the metric, of at most 12 qubits.
        frequencies: The accessible frequencies of each input, by name; of those in affine
            expressions.
    """

    qubits: int
    weights: int
    derivative: float
    derivative_here: float
    derivative_of_designs: float | None
    expressibility: Expressibility | None
    entanglement: EntanglingCapability | None
    lie_algebra: LieAlgebra | None
    parameters: ParameterDimension | None
    frequencies: Mapping[str, tuple[float, ...]]

    def __str__(self) -> str:
        lines = [
            ("qubits, weights", f"{self.qubits}, {self.weights}"),
            ("derivative, root mean square", f"{self.derivative:.2e} at random weights"),
            ("", f"{self.derivative_here:.2e} at the module's"),
        ]
        if self.derivative_of_designs is not None:
            lines.append(("", f"{self.derivative_of_designs:.2e} in random circuits this wide"))
        if self.expressibility is not None:
            e = self.expressibility
            text = f"{e.divergence:.4f} +- {e.error:.4f} nats, of which noise {e.bias:.4f}"
            lines.append(("distance from random states", text))
        if self.entanglement is not None:
            q = self.entanglement
            text = f"{max(0.0, q.mean):.3f} +- {q.error:.3f}; of random states {q.haar:.3f}"
            lines.append(("Meyer-Wallach measure", text))
        if self.lie_algebra is not None:
            a = self.lie_algebra
            lines.append(("Lie algebra, dimension", f"{a.dimension} of {a.full}"))
        if self.parameters is not None:
            p = self.parameters
            text = f"{p.dimension} of {p.count}; states have at most {p.most}"
            lines.append(("independent parameters", text))
        for name, found in self.frequencies.items():
            text = ", ".join(f"{f:g}" for f in (0.0, *found[:8])) + ", ..." * (len(found) > 8)
            lines.append((f"frequencies of {name}", text))
        return "\n".join(f"{what:<30}{text}" for what, text in lines)


def diagnose(
    module: TorchQuantumModule,
    samples: int = 1000,
    *,
    seed: int | np.random.Generator | None = None,
) -> Diagnosis:
    r"""Return what can be said of a module's circuit at its size, at random points.

    Everything is computed exactly in this process, wherever the module runs. How gradients scale
    with qubits one circuit cannot tell: that is what :func:`gradient_variance` is for. What it can
    tell is whether they are as small already as those of random circuits of its width, for which

    .. math:: \mathrm{Var}\left[\partial f\right] = \frac{N^2}{2\,(N^2 - 1)(N + 1)}
        \sum_{P \ne 1} c_P^2, \qquad N = 2^n,

    with the coefficients :math:`c_P` of the observable and a weight that turns one Pauli rotation.

    Args:
        module: The module.
        samples: The number of points, and of pairs for the expressibility.
        seed: Of the points.

    Cost:
        ``samples`` gradients, ``2 samples`` states, and the Lie algebra.

    References:
        J. R. McClean et al., Nature Communications 9, 4812 (2018), for the variance.

    Example:
        >>> from qiskit.circuit import ParameterVector, QuantumCircuit
        >>> from qiskit_torch_bridge import TorchQuantumModule
        >>> from qiskit_torch_bridge.diagnostics import diagnose
        >>> circuit = QuantumCircuit(2)
        >>> for q, angle in enumerate(ParameterVector("w", 2)):
        ...     _ = circuit.rx(angle, q)
        >>> module = TorchQuantumModule(circuit, "ZZ", initial_weights=[0.5, 0.5])
        >>> print(diagnose(module, seed=1))
        qubits, weights               2, 2
        derivative, root mean square  4.95e-01 at random weights
                                      4.21e-01 at the module's
                                      3.27e-01 in random circuits this wide
        distance from random states   0.5006 +- 0.0411 nats, of which noise 0.0370
        Meyer-Wallach measure         0.000 +- 0.000; of random states 0.400
        Lie algebra, dimension        2 of 15
        independent parameters        2 of 2; states have at most 6
    """
    require_instance(module, "module", TorchQuantumModule, "a TorchQuantumModule")
    samples = require_samples(samples, 2)
    generator = make_random_generator(seed)
    program = module.program
    circuit, places = circuit_of(module), list(program.weight_columns)
    here = generator.uniform(0, 2 * math.pi, (samples, len(program.parameters)))
    here[:, places] = all_weights(module)
    few = circuit.num_qubits <= SMALL
    frequencies = {}
    for parameter, column in zip(program.input_params, program.input_columns, strict=True):
        found = _if_possible(partial(program.analysed.frequencies, column))
        if found is not None:
            frequencies[parameter.name] = found
    return Diagnosis(
        circuit.num_qubits,
        len(program.trained),
        _root_mean_square(sample_derivatives(module, samples, None, generator)),
        _root_mean_square(derivatives_at(program, here)),
        _of_designs(program),
        _if_possible(lambda: expressibility(circuit, samples, seed=generator)) if few else None,
        _if_possible(lambda: entangling_capability(circuit, samples, seed=generator))
        if few
        else None,
        _if_possible(lambda: lie_algebra_dimension(circuit)),
        _if_possible(lambda: parameter_dimension(circuit, 2, seed=generator)) if few else None,
        frequencies,
    )


def _root_mean_square(derivatives: FloatArray) -> float:
    return math.sqrt(float(np.square(derivatives).mean()))


def _of_designs(program: CircuitProgram) -> float | None:
    """Return the standard deviation of a derivative between two-designs; of observables only."""
    operators = [o for o in program.observables if isinstance(o, SparsePauliOp)]
    if not operators or len(operators) < len(program.observables):
        return None
    total = SparsePauliOp.sum(operators).simplify()
    turns = (total.paulis.x | total.paulis.z).any(axis=1)
    squares = float(np.square(np.real(total.coeffs[turns])).sum())
    size = 2.0**program.circuit.num_qubits
    return math.sqrt(squares / (2 * (1 - size**-2) * (size + 1)))


def _if_possible(find: Callable[[], T]) -> T | None:
    """Return what a function finds, or nothing where the circuit is beyond it."""
    try:
        return find()
    except BridgeError:
        return None
