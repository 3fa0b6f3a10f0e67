# SPDX-License-Identifier: Apache-2.0
"""The metric of a circuit's states and their fidelities, exact or from a primitive."""

from __future__ import annotations

import itertools
from typing import Any, Literal, get_args

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit_algorithms.gradients import QFI, BaseQGT, DerivativeType
from qiskit_algorithms.state_fidelities import BaseStateFidelity
from torch import Tensor

from ..arguments import UNREADABLE, require_choice, shown
from ..arrays import FloatArray, read_real_numbers
from ..exceptions import (
    ExecutionError,
    InputError,
    InputTypeError,
    OptimizerError,
    OptimizerTypeError,
    ResultError,
)
from ..program import CircuitProgram, as_program
from ..program.binding import check_differentiation
from ..simulation.geometry import make_geometry

Approximation = Literal["full", "block-diagonal", "diagonal"]


class FubiniStudyMetric:
    r"""The Fubini-Study metric of a circuit's weights, a quarter of the quantum Fisher matrix.

    .. math:: G_{ij} = \mathrm{Re}\left(\langle\partial_i\psi|\partial_j\psi\rangle
        - \langle\partial_i\psi|\psi\rangle\langle\psi|\partial_j\psi\rangle\right)

    Args:
        circuit: A circuit or a :class:`.CircuitProgram`. In a circuit all parameters are weights,
            in the order of ``circuit.parameters``.
        approximation: ``"full"``; ``"block-diagonal"``, with entries between weights of different
            layers left out (J. Stokes et al., Quantum 4, 269 (2020)); or ``"diagonal"``. A layer
            ends where a qubit meets its next parameterized gate; a weight belongs to that of its
            first gate.
        qgt: Where it comes from: ``None`` for exact simulation in this process, or an object of
            qiskit-algorithms, ``LinCombQGT(estimator)``, ``ReverseQGT()`` or ``QFI(...)``, for
            instance on a device.

    Raises:
        OptimizerError: For an unknown approximation.
        OptimizerTypeError: If ``qgt`` is neither a QGT nor a QFI.

    Cost:
        Exact: two sweeps over one state per weight; of many qubits with bonds of dimension ``D``
        between columns about ``4 * n * D**3`` multiplications per weight. On a primitive as many
        circuits as :class:`~qiskit_algorithms.gradients.LinCombQGT` needs: of the order of one for
        each pair of parameterized gates, in the blocks only where the metric is block-diagonal.

    Example:
        >>> from qiskit.circuit import ParameterVector, QuantumCircuit
        >>> from qiskit_torch_bridge.optim import FubiniStudyMetric
        >>> theta = ParameterVector("theta", 2)
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(theta[0], 0), circuit.rz(theta[1], 0)
        >>> FubiniStudyMetric(circuit)([0.5, 0.1]).diagonal().round(4)  # 1/4, sin(0.5)**2 / 4
        array([0.25  , 0.0575])
    """

    def __init__(
        self,
        circuit: QuantumCircuit | CircuitProgram,
        approximation: Approximation = "full",
        qgt: BaseQGT | QFI | None = None,
    ) -> None:
        require_choice(
            approximation, "approximation", get_args(Approximation), error=OptimizerError
        )
        if qgt is not None and not isinstance(qgt, (BaseQGT, QFI)):
            raise OptimizerTypeError(
                "Expected qgt to be a quantum geometric tensor or Fisher information of "
                f"qiskit_algorithms.gradients, such as LinCombQGT(estimator); got "
                f"{type(qgt).__name__}."
            )
        self.program = as_program(circuit)
        self.approximation = approximation
        if qgt is not None:  # which binds and differentiates in Qiskit
            self.program.analysed.check_binding()
            check_differentiation(self.program.circuit)
        self._qgt = qgt
        self._geometry = make_geometry(self.program.analysed) if qgt is None else None
        self._layers = _find_layers(self.program)

    def __call__(self, weights: Any, inputs: Any = None) -> FloatArray:
        """Return the metric ``(T, T)`` of the trained weights at ``weights`` ``(W,)``.

        ``T`` is ``W`` where no weights are frozen. Inputs ``(B, I)`` are averaged over: a weighted
        sum of metrics is one itself.
        """
        points = _arrange_values(self.program, weights, inputs)
        return np.asarray(np.mean([self._at(values) for values in points], axis=0), dtype=float)

    def blocks(self) -> list[list[int]]:
        """Return the positions of the weights between which entries are kept."""
        count = len(self.program.trained_params)
        labels = {"full": [0] * count, "diagonal": range(count), "block-diagonal": self._layers}
        label = labels[self.approximation].__getitem__
        by_label = itertools.groupby(sorted(range(count), key=label), key=label)
        return [list(members) for _, members in by_label]

    def _at(self, values: FloatArray) -> FloatArray:
        columns = np.array(self.program.trained_columns, dtype=int)
        metric = np.zeros((len(columns), len(columns)))
        geometry = self._geometry
        whole = None if geometry is None else geometry.metric(values, columns.tolist())
        for block in self.blocks():
            place = np.ix_(block, block)
            metric[place] = self._measure(values, block) if whole is None else whole[place]
        return metric

    def _measure(self, values: FloatArray, block: list[int]) -> FloatArray:
        circuit = self.program.circuit
        asked = {self.program.trained_params[i]: i for i in block}
        wanted = [p for p in circuit.parameters if p in asked]  # the order in which it answers
        row = values[_order_columns(self.program)].tolist()
        if getattr(self._qgt, "derivative_type", None) == DerivativeType.IMAG:
            raise OptimizerError(
                f"The derivative_type of {type(self._qgt).__name__} is IMAG, the Berry curvature; "
                "the metric is the real part. Set it to DerivativeType.REAL."
            )
        result = _run(self._qgt, [circuit], [row], [wanted])
        of_fisher = isinstance(self._qgt, QFI)
        matrix = np.real(getattr(result, "qfis" if of_fisher else "qgts")[0])
        shape = (len(block), len(block))
        found = _check_measured(matrix, "a finite metric", shape, self._qgt)
        found = found / 4 if of_fisher else found
        rank = {i: k for k, i in enumerate(block)}
        order = np.argsort([rank[asked[p]] for p in wanted])
        return np.asarray((found + found.T)[np.ix_(order, order)] / 2, dtype=float)


class StateFidelity:
    r"""The fidelities of a circuit's states at different weights.

    .. math:: F(\theta, \theta') = |\langle\psi(\theta)|\psi(\theta')\rangle|^2

    Args:
        circuit: A circuit or a :class:`.CircuitProgram`, as for :class:`FubiniStudyMetric`.
        fidelity: Where it comes from: ``None`` for exact simulation in this process, or an object
            of qiskit-algorithms, ``ComputeUncompute(sampler)``.

    Cost:
        Exact: one state per point, or its columns where these take less. On a primitive one circuit
        of twice the depth per point, all points in one job.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge.optim import StateFidelity
        >>> theta = Parameter("theta")
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(theta, 0)
        >>> StateFidelity(circuit)([0.0], [[0.0], [1.0]]).round(4)  # cos(theta / 2)**2
        array([1.    , 0.7702])
    """

    def __init__(
        self,
        circuit: QuantumCircuit | CircuitProgram,
        fidelity: BaseStateFidelity | None = None,
    ) -> None:
        if fidelity is not None and not isinstance(fidelity, BaseStateFidelity):
            raise OptimizerTypeError(
                "Expected fidelity to be one of qiskit_algorithms.state_fidelities, such as "
                f"ComputeUncompute(sampler); got {type(fidelity).__name__}."
            )
        self.program = as_program(circuit)
        if fidelity is not None:
            self.program.analysed.check_binding()
        self._fidelity = fidelity
        self._geometry = make_geometry(self.program.analysed) if fidelity is None else None

    def __call__(self, weights: Any, others: Any, inputs: Any = None) -> FloatArray:
        """Return the fidelities ``(K,)`` at ``weights`` ``(W,)`` with ``others`` ``(K, W)``.

        Inputs ``(B, I)`` are averaged over.
        """
        here = _arrange_values(self.program, weights, inputs)  # (B, P)
        listed = _to_array(others)
        if listed.ndim != 2 or not len(listed):
            raise InputError(f"Expected others to be weights (K, W); got {shown(others)}.")
        there = np.array([_arrange_values(self.program, w, inputs) for w in listed])  # (K, B, P)
        found = [self._at(v, there[:, b]) for b, v in enumerate(here)]
        return np.asarray(np.mean(found, axis=0), dtype=float)

    def _at(self, values: FloatArray, others: FloatArray) -> FloatArray:
        if self._geometry is not None:
            return self._geometry.fidelities(values, others)
        columns, count = _order_columns(self.program), len(others)
        circuits = [self.program.circuit] * count
        first, second = [values[columns].tolist()] * count, others[:, columns].tolist()
        found = _run(self._fidelity, circuits, circuits, first, second).fidelities
        return _check_measured(found, "finite fidelities", (count,), self._fidelity)


def _order_columns(program: CircuitProgram) -> list[int]:
    """Return where the program has the values of the circuit's parameters, in their order."""
    place = {p: i for i, p in enumerate(program.parameters)}
    return [place[p] for p in program.circuit.parameters]


def _run(source: Any, *arguments: Any) -> Any:
    """Return what an object of qiskit-algorithms finds."""
    try:
        return source.run(*arguments).result()
    except Exception as error:
        raise ExecutionError(f"{type(source).__name__} failed on this circuit: {error}") from error


def _check_measured(found: Any, what: str, shape: tuple[int, ...], source: Any) -> FloatArray:
    """Return what an object of qiskit-algorithms has measured, or refuse it."""
    expected = f"Expected {what} of shape {shape} from {type(source).__name__}"
    try:
        numbers = read_real_numbers(found)
    except ValueError as error:
        raise ResultError(f"{expected}; got {error}.") from error
    if numbers.shape != shape or not np.isfinite(numbers).all():
        raise ResultError(f"{expected}; got {shown(numbers)}.")
    return numbers


def _find_layers(program: CircuitProgram) -> list[int]:
    """Return the layer of each weight: the longest chain of parameterized gates before its own."""
    circuit = program.circuit
    depth = dict.fromkeys(circuit.qubits, 0)
    first: dict[Any, int] = {}
    for instruction in circuit.data:
        parameters = {
            q for p in instruction.operation.params for q in getattr(p, "parameters", ())
        } | set(getattr(instruction.operation, "parameters", ()) or ())
        level = max((depth[q] for q in instruction.qubits), default=0)
        for parameter in parameters:
            first.setdefault(parameter, level)
        for qubit in instruction.qubits:
            depth[qubit] = level + bool(parameters)
    return [first.get(p, 0) for p in program.trained_params]


def _arrange_values(program: CircuitProgram, weights: Any, inputs: Any) -> FloatArray:
    """Return weights, and inputs row by row, as values ``(B, P)`` in the program's order."""
    weights, inputs = _to_array(weights), None if inputs is None else _to_array(inputs)
    if weights.shape != (len(program.weight_params),):
        raise InputError(
            f"Expected weights of shape ({len(program.weight_params)},); got {weights.shape}."
        )
    count = len(program.input_params)
    if inputs is None and count:
        raise InputError(f"Expected inputs of shape (B, {count}); got none.")
    rows = np.zeros((1, 0)) if inputs is None else inputs
    if rows.ndim != 2 or rows.shape[1] != count or not len(rows):
        raise InputError(f"Expected inputs of shape (B, {count}); got {rows.shape}.")
    values = np.zeros((len(rows), len(program.parameters)))
    values[:, list(program.input_columns)] = rows
    values[:, list(program.weight_columns)] = weights
    return values


def _to_array(given: Any) -> FloatArray:
    """Return numbers as an array, or raise :class:`.InputTypeError` if they are none."""
    try:
        tensor = isinstance(given, Tensor)
        if given.is_complex() if tensor else np.iscomplexobj(given):
            raise TypeError("complex numbers")
        return np.asarray(given.detach().cpu().double() if tensor else given, dtype=float)
    except UNREADABLE as error:
        raise InputTypeError(f"Expected real weights and inputs; got {shown(given)}.") from error
