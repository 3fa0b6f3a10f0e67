# SPDX-License-Identifier: Apache-2.0
"""What is made before the first number: operations counted, which must not grow as a square.

Times are measured in ``benchmarks/construction.py``; here it is the mechanism that is held on to.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.quantum_info import Pauli

from qiskit_torch_bridge import CircuitProgram, TorchQuantumModule
from qiskit_torch_bridge.gradients import (
    AdjointEstimatorGradient,
    FiniteDifferenceEstimatorGradient,
)
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator
from qiskit_torch_bridge.program import expressions
from qiskit_torch_bridge.simulation.statevector.simulator import StatevectorSimulator


def grows_in_proportion(count: Callable[[int], int], small: int, large: int) -> None:
    """Assert that what is counted grows at most as the size does, a constant aside."""
    few, many = count(small), count(large)
    assert few, "nothing was counted"
    assert many <= 1.1 * few * large / small, f"{few} at {small} became {many} at {large}"


class Hashed(Parameter):
    """A parameter that counts how often its hash is asked for, once for every look into a set,
    and how often it is compared."""

    asked = 0
    compared = 0

    def __hash__(self) -> int:
        Hashed.asked += 1
        return Parameter.__hash__(self)

    def __eq__(self, other: object) -> bool:
        Hashed.compared += 1
        return bool(Parameter.__eq__(self, other))


@pytest.mark.parametrize("roles", ["inputs", "weights", "initial weights"])
def test_roles_look_each_parameter_up_a_fixed_number_of_times(roles: str) -> None:
    def count(size: int) -> int:
        parameters = [Hashed(f"p{k}") for k in range(size)]
        circuit = QuantumCircuit(1)
        for p in parameters:
            circuit.rx(p, 0)
        given = {"input_params": parameters} if roles == "inputs" else {"weight_params": parameters}
        Hashed.asked = 0
        if roles == "initial weights":
            TorchQuantumModule(circuit, "Z", **given, initial_weights=dict.fromkeys(parameters, 0))
        else:
            CircuitProgram(circuit, "Z", **given)
        return Hashed.asked

    grows_in_proportion(count, 50, 200)


@pytest.mark.parametrize("kind", [AdjointEstimatorGradient, FiniteDifferenceEstimatorGradient])
def test_gradients_look_each_parameter_up_once(kind: type) -> None:
    def count(size: int) -> int:
        parameters = [Hashed(f"p{k}") for k in range(size)]
        circuit = QuantumCircuit(1)
        for p in parameters:
            circuit.rx(p, 0)
        gradient = kind(BatchedStatevectorEstimator())
        Hashed.asked = Hashed.compared = 0
        gradient.run([circuit], [Pauli("Z")], [np.zeros(size)], [parameters]).result()
        return Hashed.asked + Hashed.compared

    grows_in_proportion(count, 40, 160)


@pytest.mark.parametrize("gradient", ["parameter-shift", "finite-difference", "aqgd", "spsa"])
def test_plans_grow_as_weights_do(gradient: str) -> None:
    """A plan of two points for each weight is no table of points by weights."""

    def count(size: int) -> int:
        module = TorchQuantumModule(
            rotations(size), "ZZZZ", gradient=gradient, estimator=BatchedStatevectorEstimator()
        )
        plan = module._training.node.engine.rule.differentiation(
            module.program.analysed, module.program.weight_columns
        ).plan
        assert plan.num_points == (2 if gradient == "spsa" else 2 * size)
        held = vars(plan).values()
        return sum(part.nbytes for part in held if isinstance(part, np.ndarray))

    grows_in_proportion(count, 16, 64)


def calls_of(function: Callable[[], object], within: str = "") -> Counter[str]:
    """Return how often each Python function in files with ``within`` in their path was called."""
    counted: Counter[str] = Counter()

    def count(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and within in code.co_filename:
            counted[code.co_qualname] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(before)
    return counted


def feature_map(qubits: int) -> QuantumCircuit:
    """The ZZ feature map on all pairs, and products, powers and functions that no library has."""
    circuit, x = QuantumCircuit(qubits), ParameterVector("x", qubits)
    for a in range(qubits):
        circuit.h(a)
        circuit.p(2 * x[a], a)
        circuit.rx(x[a] ** 2 - x[a].sin() / 3, a)
        for b in range(a):
            circuit.cx(b, a)
            circuit.p(2 * (math.pi - x[a]) * (math.pi - x[b]), a)
            circuit.ry(x[a].cos() * x[b] ** 3 / 7, a)
    return circuit


def test_equal_expressions_of_other_parameters_are_read_once() -> None:
    """Reading, expanding and differentiating a formula is for the first circuit alone."""

    def made(qubits: int) -> Counter[str]:
        circuit = feature_map(qubits)
        return calls_of(lambda: TorchQuantumModule(circuit, input_params=circuit.parameters))

    made(2)
    again = made(4)
    assert not any("sympy" in name for name in calls_of(lambda: made(3), "/sympy/"))
    for name in ("evaluator", "expanded", "derivative", "_of_syntax", "_of_tree"):
        assert not again[name], name


def test_expressions_that_were_read_are_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in a copy of the circuit, nor in one of other parameters with the same names."""
    circuit, twin = feature_map(4), feature_map(4)
    made = CircuitProgram(circuit, input_params=circuit.parameters)
    monkeypatch.setattr(expressions, "_compare", None)
    again = CircuitProgram(twin, input_params=twin.parameters)
    values = np.random.default_rng(4).uniform(-1, 1, (3, 4))
    first, second = (
        p.analysed.angle_map([e for o, _ in p.analysed.steps for e in o.params]).angles(values)
        for p in (made, again)
    )
    assert (first == second).all()


def test_who_writes_numbers_in_full_is_known() -> None:
    """Before Qiskit 2.1, fifteen digits are written; this is asked of the version, not of SymPy."""
    assert expressions.text_is_exact() == (repr(math.pi) in str(Parameter("x") * math.pi))


def test_no_sympy_is_loaded_for_a_feature_map() -> None:
    """It takes half a second, and reads nothing that Qiskit's own objects do not say.

    Before Qiskit 2.1 ``sympify`` gives symengine's trees; that of Qiskit 2.0 loads SymPy itself.
    """
    source = (
        "import math, sys\n"
        "from qiskit.circuit import ParameterVector, QuantumCircuit\n"
        "from qiskit_torch_bridge import TorchQuantumModule\n"
        "from qiskit_torch_bridge.program.expressions import text_is_exact\n"
        "x, circuit = ParameterVector('x', 2), QuantumCircuit(2)\n"
        "text_is_exact() or (x[0] + x[1]).sympify()\n"
        "before = 'sympy' in sys.modules\n"
        "circuit.p(2 * (math.pi - x[0]) * (math.pi - x[1]), 0)\n"
        "TorchQuantumModule(circuit, input_params=x)\n"
        "assert before == ('sympy' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", source], check=True, timeout=120)


def test_expressions_are_evaluated_by_families() -> None:
    """A step calls as many functions for six inputs, with 21 pairs, as it does for three."""

    def step(qubits: int) -> Counter[str]:
        circuit = feature_map(qubits)
        module = TorchQuantumModule(circuit, "Z" * qubits, input_params=circuit.parameters)
        x = torch.full((2, qubits), 0.3, dtype=torch.float64, requires_grad=True)
        module(x).sum().backward()
        return calls_of(lambda: module(x).sum().backward(), "qiskit_torch_bridge")

    assert step(3) == step(6)


def test_families_compute_what_their_members_are() -> None:
    """Against Qiskit's own binding, expression by expression, and central differences."""
    qubits = 4
    circuit = feature_map(qubits)
    analysed = CircuitProgram(circuit, input_params=circuit.parameters).analysed
    expressions = [e for operation, _ in analysed.steps for e in operation.params]
    angle_map = analysed.angle_map(expressions)
    values = np.random.default_rng(1).uniform(0.1, 1, (3, qubits))
    expected = [
        [
            float(e.bind({p: v[analysed.parameters.index(p)] for p in e.parameters}))
            for e in expressions
        ]
        for v in values
    ]
    np.testing.assert_allclose(angle_map.angles(values), expected, rtol=0, atol=1e-13)
    for column in range(qubits):
        h = np.zeros(qubits)
        h[column] = 1e-5
        slopes = (angle_map.angles(values + h) - angle_map.angles(values - h)) / 2e-5
        pullback = angle_map.pullback(range(angle_map.num_angles), [column])
        cotangent = np.random.default_rng(2).normal(size=slopes.shape)
        found = pullback(values, cotangent)[:, 0]
        # Third derivatives are below 40, so differences are off by h**2/6 of that at most.
        bound = 1e-9 * np.abs(cotangent).sum(1)
        assert (np.abs(found - (slopes * cotangent).sum(1)) <= bound).all()


def test_operations_are_read_a_fixed_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Qiskit makes an object for an operation at every access, which takes longer than the rest."""
    circuit = QuantumCircuit(1)
    for p in ParameterVector("w", 50):
        circuit.rx(p, 0)
    instruction = type(circuit.data[0])
    read = 0

    class Watched:
        """An instruction of a circuit that counts how often its operation is asked for."""

        def __init__(self, inner: Any) -> None:
            self._inner = inner

        @property
        def operation(self) -> Any:
            nonlocal read
            read += 1
            return self._inner.operation

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    data = QuantumCircuit.data

    def watched(circuit: QuantumCircuit) -> list[Any]:
        return [Watched(i) for i in data.fget(circuit)]  # type: ignore[attr-defined]

    monkeypatch.setattr(QuantumCircuit, "data", property(watched))
    assert instruction is not Watched
    module = TorchQuantumModule(circuit, "Z")
    module().sum().backward()
    assert read == 50


def rotations(size: int, qubits: int = 4) -> QuantumCircuit:
    """Layers of rotations of which none can be left out."""
    circuit, w = QuantumCircuit(qubits), ParameterVector("w", size)
    for k in range(size):
        circuit.ry(w[k], k % qubits)
        if k % qubits == qubits - 1:
            for q in range(qubits - 1):
                circuit.cx(q, q + 1)
    return circuit


@pytest.mark.parametrize("what", ["making", "first step"])
def test_calls_grow_as_weights_do(what: str) -> None:
    def count(size: int) -> int:
        circuit = rotations(size)

        def step(module: TorchQuantumModule) -> None:
            module().sum().backward()

        if what == "making":
            return calls_of(lambda: TorchQuantumModule(circuit), "qiskit_torch_bridge").total()
        module = TorchQuantumModule(circuit)
        return calls_of(lambda: step(module), "qiskit_torch_bridge").total()

    count(20)
    grows_in_proportion(count, 200, 800)


@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True), (False, False)])
def test_only_wanted_derivatives_are_taken(wanted: tuple[bool, bool]) -> None:
    """One schedule serves all of them, and the numbers are those of all derivatives together."""
    circuit = rotations(24)
    columns = tuple(range(24))
    program = CircuitProgram(circuit, "ZZZZ")
    simulator = StatevectorSimulator(program.analysed, program.readout, columns[::2], columns[1::2])
    rng = np.random.default_rng(3)
    x, w, c = rng.normal(size=(3, 12)), rng.normal(size=(1, 12)), rng.normal(size=(3, 1))
    both = simulator.vjp(x, w, c)
    some = simulator.vjp(x, w, c, wanted=wanted)
    for found, expected, asked in zip(some, both, wanted, strict=True):
        np.testing.assert_allclose(found, expected if asked else 0 * expected, rtol=0, atol=1e-13)
