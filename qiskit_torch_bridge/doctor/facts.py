# SPDX-License-Identifier: Apache-2.0
"""What the package knows of its dependencies: faults, conventions, and what it does about them.

``doctor`` looks for each fact of the table :data:`FACTS` in what is installed, and the tests fail
when one of them ceases to be true on the versions for which it is stated, so that a way around a
fault can go when the fault has gone. Where the package has such a way, it is tried as well: only if
that gives wrong numbers, too, is the finding a failure.
"""

from __future__ import annotations

import io
import math
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import sympy
import torch
from qiskit import qpy
from qiskit.circuit import Gate, Parameter, ParameterExpression, ParameterVector, QuantumCircuit
from qiskit.circuit.library import CRYGate, PauliEvolutionGate, RXXGate, RYGate, XXPlusYYGate
from qiskit.primitives import BaseEstimatorV2, StatevectorEstimator, StatevectorSampler
from qiskit.quantum_info import Operator, SparsePauliOp, Statevector
from qiskit_algorithms.gradients import ReverseEstimatorGradient

from ..exceptions import CircuitError
from ..module import TorchQuantumModule
from ..program import AnalysedCircuit
from ..program.identity import same_circuit
from .packages import version_numbers
from .report import Finding

ROUNDING = 1e-9
SINGLE = 1e-6
"""How far values of modules may be off, whose initial weights are in single precision."""
ANGLES = (0.4, 2.0)
Kind = Literal["fault", "difference", "convention"]
Numbers = tuple[float, ...]
ALWAYS: tuple[tuple[Numbers, Numbers], ...] = (((), (math.inf,)),)
MISBOUND: tuple[tuple[Numbers, Numbers], ...] = (((2, 1), (2, 5, 2)),)
"""The versions of Qiskit that bind some expressions to others."""


@dataclass(frozen=True)
class Fact:
    """Something that is true of a dependency, and what the package does about it.

    Attributes:
        name: Of the line in the report.
        package: The distribution that it is about.
        kind: ``"fault"`` to be warned of, ``"difference"`` that users of the package need not care
            about, or ``"convention"`` that the package was written for.
        observe: Looks at what is installed; returns whether the fact is true here, or what shows
            it.
        stated: The fact, with ``{version}`` and ``{seen}``, what ``observe`` returned.
        otherwise: What is said where it is not true.
        handled: What the package does about it.
        remedy: What the user can do.
        versions: Where it is true: from the first one of a pair on, before the second.
        evidence: What ``observe`` returns there.
        verify: Tries what the package does about it; returns what is wrong, or nothing.
        broken: What it means if something is, and what to do.
    """

    name: str
    package: str
    kind: Kind
    observe: Callable[[], str | bool]
    stated: str
    otherwise: str
    handled: str
    remedy: str = ""
    versions: tuple[tuple[Numbers, Numbers], ...] = ALWAYS
    evidence: str | bool = True
    verify: Callable[[], str] | None = None
    broken: tuple[str, str] = ("", "")

    @property
    def is_expected(self) -> bool:
        """Whether it should be true of the installed version."""
        here = version_numbers(version(self.package))
        return any(first <= here < end for first, end in self.versions)


CHANGED = "The package was written for the other behaviour, and does not rely on it where it can."
REPORT = "If something looks wrong, report it together with this line."


def judge(fact: Fact) -> Finding:
    """Look whether a fact is true here, and whether the package copes with it."""
    if fact.verify is not None and (wrong := fact.verify()):
        return Finding(fact.name, "fail", wrong, *fact.broken)
    seen, here = fact.observe(), version(fact.package)
    if not seen:
        found = fact.otherwise.format(version=here)
        if fact.kind == "convention":
            return Finding(fact.name, "warn", found, CHANGED, REPORT)
        return Finding(fact.name, "ok", found)
    found = fact.stated.format(version=here, seen=seen)
    status: Literal["ok", "warn"] = "warn" if fact.kind == "fault" else "ok"
    return Finding(fact.name, status, found, fact.handled, fact.remedy)


# -- Expressions ---------------------------------------------------------------------------------


def _misbound_squares() -> str:
    x, y = Parameter("x"), Parameter("y")
    point = {x: 1.0, y: 2.0}
    value = float((x**2 + y**2).bind(point))
    slope = _value(((x - y) ** 2).gradient(y), point)
    right = abs(value - 5) <= ROUNDING and abs(slope - 2) <= ROUNDING
    return "" if right else f"{value:g}, and the derivative of (x - y)**2 for {slope:g}"


def _value(
    expression: ParameterExpression | complex | float, point: dict[Parameter, float]
) -> float:
    if isinstance(expression, (int, float, complex)):
        return complex(expression).real
    return float(expression.bind({p: point[p] for p in expression.parameters}))


def _misbound_powers() -> str:
    x = Parameter("x")
    value = float((2**x + 3**x).bind({x: 2.0}))
    return "" if abs(value - 13) <= ROUNDING else f"{value:g}"


def _digits() -> bool:
    number = 0.1 + 0.2
    return repr(number) in str(number * Parameter("x"))


def _hash_of_a_number() -> str:
    x = Parameter("x")
    try:
        hash(x - x - 0.5)
    except OverflowError as error:
        return str(error)
    return ""


def _wrong_number() -> str:
    x = Parameter("x")
    circuit = QuantumCircuit(1)
    circuit.rx(x, 0)
    circuit.rx(x - x - 0.5, 0)
    return _find_fault(circuit, "Z", {x: 0.9}, math.cos(0.4))


def _symbolic_quotient() -> str:
    x, y = Parameter("x"), Parameter("y")
    value = float(sympy.sympify((x / (2 * y)).sympify()).subs({"x": 1.0, "y": 4.0}))
    return "" if value == 0.125 else f"{value:g}"


def _symbolic_power() -> bool:
    power = (2 ** Parameter("x")).sympify()
    return _fails(lambda: sympy.sympify(power), sympy.SympifyError)


def _fails(action: Callable[[], object], kind: type[Exception]) -> bool:
    try:
        action()
    except kind:
        return True
    return False


# -- Aer -----------------------------------------------------------------------------------------


def _make_aer_estimator(**options: Any) -> BaseEstimatorV2:
    from qiskit_aer.primitives import EstimatorV2  # which may be missing or broken

    estimator: BaseEstimatorV2 = EstimatorV2(options=options)
    return estimator


def _find_fault(
    circuit: QuantumCircuit,
    observable: str,
    weights: dict[Parameter | ParameterVector, float],
    right: float,
) -> str:
    """Return what a module on Aer gives, unless it is what is right."""
    module = TorchQuantumModule(
        circuit, observable, estimator=_make_aer_estimator(), initial_weights=weights
    )
    found = module.double()().item()
    if abs(found - right) > SINGLE:
        return f"a module gives {found:.6f}; right is {right:.6f}"
    return ""


def _controlled(gate: str) -> tuple[QuantumCircuit, tuple[Parameter, Parameter], str]:
    """Return a circuit whose expectation value is the squared cosine of half an angle."""
    angle, other = Parameter("angle"), Parameter("other")
    circuit = QuantumCircuit(2)
    circuit.h([0, 1] if gate == "cp" else 0)
    circuit.rx(other, 1)  # without a parameter that Aer sees, it fails instead
    getattr(circuit, gate)(angle, 0, 1)
    return circuit, (angle, other), "XI" if gate == "cp" else "ZI"


def _ignored_angles() -> str:
    ignored = []
    for gate in ("crx", "cp"):
        circuit, parameters, observable = _controlled(gate)
        bound = {parameters: np.array([[a, 0.0] for a in ANGLES])}
        evs = _make_aer_estimator().run([(circuit, observable, bound)]).result()[0].data.evs
        if not np.allclose(evs, (1 + np.cos(ANGLES)) / 2, rtol=0, atol=ROUNDING):
            ignored.append(gate)
    return ", ".join(ignored)


def _wrong_controlled_gates() -> str:
    for gate in ("crx", "cp"):
        circuit, parameters, observable = _controlled(gate)
        for angle in ANGLES:
            wrong = _find_fault(
                circuit,
                observable,
                dict(zip(parameters, (angle, 0.0), strict=True)),
                (1 + math.cos(angle)) / 2,
            )
            if wrong:
                return f"{gate}({angle}) on Aer: {wrong}"
    return ""


def _normal_noise() -> bool:
    estimator = _make_aer_estimator(run_options={"seed_simulator": 3})
    result = estimator.run([(QuantumCircuit(1), "Z")], precision=0.1).result()
    return float(result[0].data.evs) != 1.0  # shots of an eigenstate agree


def _noise_by_label() -> bool:
    from qiskit_aer.noise import NoiseModel, depolarizing_error

    model = NoiseModel(basis_gates=["rx", "rxx", "own"])
    model.add_all_qubit_quantum_error(depolarizing_error(0.3, 2), ["own"])
    values = []
    for label in ("own", "another", None):
        circuit = QuantumCircuit(2)
        circuit.append(RXXGate(0.9, label=label), [0, 1])
        estimator = _make_aer_estimator(backend_options={"noise_model": model})
        values.append(float(estimator.run([(circuit, "IZ")]).result()[0].data.evs))
    expected = math.cos(0.9) * np.array([0.7, 1, 1])
    return np.allclose(values, expected, rtol=0, atol=1e-12)


def _evolve(operator: SparsePauliOp) -> QuantumCircuit:
    """Return a library block in one parameter."""
    circuit = QuantumCircuit(2)
    circuit.append(PauliEvolutionGate(operator, time=Parameter("t")), [0, 1])
    return circuit


def _refused_blocks() -> str | bool:
    try:
        _make_aer_estimator().run([(_evolve(SparsePauliOp("XX")), "IZ", [0.25])]).result()
    except Exception as error:  # Aer's own kind
        return "unknown instruction" in str(error) or type(error).__name__
    return False


def _wrong_blocks() -> str:
    circuit = _evolve(SparsePauliOp("XX"))
    return _find_fault(circuit, "IZ", dict.fromkeys(circuit.parameters, 0.25), math.cos(0.5))


# -- Outcomes before the end ---------------------------------------------------------------------


def _random_resets() -> str:
    """Return which primitives have one random outcome of a reset where there should be an average.

    One qubit of a Bell pair is reset, which leaves the other one in either state.
    """
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.reset(0)
    value = float(StatevectorEstimator().run([(circuit, "ZI")]).result()[0].data.evs)
    circuit.measure_all()
    (drawn,) = StatevectorSampler(seed=7).run([circuit], shots=64).result()
    found = {
        "StatevectorEstimator": abs(value) > 0.5,
        "StatevectorSampler": len(drawn.data.meas.get_counts()) == 1,
    }
    return " and ".join(name for name, random in found.items() if random)


def _accepted_resets() -> str:
    circuit = QuantumCircuit(1)
    circuit.reset(0)
    made = _fails(
        lambda: TorchQuantumModule(circuit, "Z", estimator=StatevectorEstimator()), CircuitError
    )
    return "" if made else "a module on StatevectorEstimator takes a circuit with a reset"


def _averaged_runs() -> bool:
    circuit = QuantumCircuit(1, 1)
    circuit.ry(1.0, 0)
    circuit.measure(0, 0)
    data = _make_aer_estimator().run([(circuit, "Z")]).result()[0].data
    return abs(float(data.evs) - math.cos(1.0)) > ROUNDING and float(data.stds) == 0


def _untold_runs() -> str:
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    circuit.h(0)
    refused = _fails(
        lambda: TorchQuantumModule(circuit, "Z", estimator=_make_aer_estimator()), CircuitError
    )
    return "" if refused else "a module leaves it to Aer how many runs are averaged"


def _branch_with(gate: Gate) -> QuantumCircuit:
    """Return a circuit with a gate that is run on a measured qubit, which is one, and another."""
    circuit = QuantumCircuit(2, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.append(gate, [0, 1][2 - gate.num_qubits :])
    return circuit


def _make_own_gate() -> Gate:
    block = QuantumCircuit(1, name="own")
    block.ry(Parameter("angle"), 0)
    return block.to_gate()


def _changed_gates() -> bool:
    circuit = _branch_with(_make_own_gate())
    angles = []
    for number in ANGLES:
        copied = circuit.assign_parameters([number])
        (block,) = copied.data[-1].operation.blocks
        angles.append(float(block.data[0].operation.definition.data[0].operation.params[0]))
    return angles != list(ANGLES)


def _wrong_branches() -> str:
    for gate in (_make_own_gate(), CRYGate(Parameter("angle"))):
        circuit = _branch_with(gate)
        estimator = _make_aer_estimator(run_options={"shots": 1})  # each of which is the same
        module = TorchQuantumModule(circuit, "ZI", estimator=estimator, gradient="aqgd")
        for angle in (0.0, math.pi):
            with torch.no_grad():
                module.weight.fill_(angle)
            found = module().item()
            if abs(found - math.cos(angle)) > SINGLE:
                return f"{gate.name} at {angle:g} in a branch gives {found:.6f}"
    return ""


# -- Estimators and circuits ---------------------------------------------------------------------


def _repeated_noise(estimator: BaseEstimatorV2) -> str:
    """Return where values that should have noise of their own are the same."""
    circuit = QuantumCircuit(1)
    circuit.h(0)
    runs = [estimator.run([(circuit, "Z")] * 2, precision=0.1).result() for _ in range(2)]
    noise = [[float(result.data.evs) for result in results] for results in runs]
    pubs, again = noise[0][0] == noise[0][1], noise[0] == noise[1]
    return " and ".join(["PUBs"] * pubs + ["runs"] * again)


def _flat_bindings() -> bool:
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("angle"), 0)
    job = StatevectorEstimator().run([(circuit, "Z", [[0.1], [0.2], [0.3]])])
    return job.result()[0].data.evs.shape == (3,)


def _sorted_parameters() -> bool:
    circuit = QuantumCircuit(1)
    for parameter in (Parameter("x2"), Parameter("x10"), *ParameterVector("v", 12)):
        circuit.rx(parameter, 0)
    names = [p.name for p in circuit.parameters]
    by_name = names.index("x10") < names.index("x2")
    return by_name and names.index("v[2]") < names.index("v[10]")


def _two_evolutions() -> bool:
    gate = PauliEvolutionGate(SparsePauliOp(["XX", "ZI"], [1.0, 0.5]), time=0.7)
    return not Operator(gate).equiv(Operator(gate.definition))


def _wrong_evolutions() -> str:
    operator, time = SparsePauliOp(["XX", "ZI"], [1.0, 0.5]), 0.7
    circuit = _evolve(operator)
    product = PauliEvolutionGate(operator, time=time).definition
    right = Statevector(product).expectation_value(SparsePauliOp("ZI")).real
    return _find_fault(circuit, "ZI", dict.fromkeys(circuit.parameters, time), right)


def _failing_reverse_gradient() -> bool:
    circuit = QuantumCircuit(2)
    circuit.crx(Parameter("t"), 0, 1)
    points = [circuit], [SparsePauliOp("ZZ")], [[0.1]]
    return _fails(lambda: ReverseEstimatorGradient().run(*points).result(), Exception)


# -- Files and arrays ----------------------------------------------------------------------------


def _is_kept_by_qpy(circuit: QuantumCircuit, qpy_version: int) -> bool:
    buffer = io.BytesIO()
    try:
        qpy.dump(circuit, buffer, version=qpy_version)
        buffer.seek(0)
        (read,) = qpy.load(buffer)
        return same_circuit(circuit, read, list(circuit.parameters), list(read.parameters))
    except Exception:  # what QPY cannot write fails in many ways
        return False


def _lost_quotients() -> bool:
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(1)
    circuit.rx(a / (2 + b * b), 0)
    return not _is_kept_by_qpy(circuit, 13)


def _lost_gradients() -> str:
    """Gradients displace angles in a circuit made from the given one, which must arrive as well."""
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(3)
    circuit.crx(2 * a, 0, 1)
    circuit.cp(a + b, 1, 2)
    circuit.append(XXPlusYYGate(a, 0.3), [0, 2])
    circuit.append(RYGate(b).control(2, ctrl_state=1, annotated=False), [0, 1, 2])
    circuit.append(PauliEvolutionGate(SparsePauliOp(["ZZI", "IZZ"]), time=b), [0, 1, 2])
    kept = _is_kept_by_qpy(AnalysedCircuit(circuit).shift_form[0].circuit, qpy.common.QPY_VERSION)
    return "" if kept else "circuits of gradients are not the same after writing and reading"


def _scattered_operators() -> bool:
    operators = [SparsePauliOp("ZZ"), SparsePauliOp("XX")]
    try:
        return np.array(operators, dtype=object).shape != (2,)
    except Exception:  # NumPy may give up
        return True


class _Stranger:
    """An object that is no tensor."""


def _loaded_strangers() -> bool:
    buffer = io.BytesIO()
    torch.save(_Stranger(), buffer)
    buffer.seek(0)
    with warnings.catch_warnings():  # PyTorch 2.5 warns of what is looked for here
        warnings.simplefilter("ignore", FutureWarning)
        return not _fails(lambda: torch.load(buffer), pickle.UnpicklingError)


def _dtypes_of_numbers() -> bool:
    arrays, numbers = torch.asarray(np.array(0.1)).dtype, torch.asarray(0.1).dtype
    detached = torch.asarray(torch.ones(1, requires_grad=True).detach().numpy())
    return (arrays, numbers, detached.requires_grad) == (torch.float64, torch.float32, False)


UPGRADE = 'pip install "qiskit>=2.5.2"; or compute such expressions in torch.'
SEEDED = (
    "With such an estimator, every step of a training repeats the errors of the step before: they "
    "do not average out. All displaced points of a gradient go into one PUB, where they differ."
)
OTHER_SEED = "Give modules shots= and seed= instead, or backend= and seed="

FACTS = (
    Fact("parameter expressions", "qiskit", "fault", _misbound_squares,
        versions=MISBOUND,
        evidence="9, and the derivative of (x - y)**2 for -2",
        stated="Qiskit {version} takes x**2 + y**2 at (1, 2) for {seen}",
        otherwise="Qiskit {version} evaluates x**2 + y**2 correctly",
        handled=(
            "This version miscomputes some expressions. The exact engine and "
            "BatchedStatevectorEstimator compute them themselves, correctly; where an estimator "
            "has Qiskit bind them, modules refuse those that would be wrong. Whatever else binds "
            "them in Qiskit gets wrong angles."
        ),
        remedy=UPGRADE,
    ),
    Fact("sums of powers", "qiskit", "fault", _misbound_powers,
        versions=MISBOUND,
        evidence="25",
        stated="Qiskit {version} takes 2**x + 3**x at 2 for {seen}",
        otherwise="Qiskit {version} keeps both bases of 2**x + 3**x",
        handled=(
            "Qiskit forgets one of the bases as soon as such a sum is written, before this package "
            "sees it: nothing can be done about it here."
        ),
        remedy=UPGRADE,
    ),
    Fact("controlled gates on Aer", "qiskit-aer", "fault", _ignored_angles,
        evidence="crx, cp",
        stated="qiskit-aer {version} ignores angles bound through a PUB in {seen}",
        otherwise="qiskit-aer {version} binds angles of controlled gates correctly",
        handled=(
            "Modules are right: they decompose such gates before they reach Aer. PUBs that you "
            "give to Aer's EstimatorV2 yourself get the value at angle zero."
        ),
        remedy=(
            "In your own PUBs to Aer, use circuit.decompose() for parameterized controlled gates."
        ),
        verify=_wrong_controlled_gates,
        broken=(
            "Modules with controlled gates compute wrong numbers on Aer.",
            "Use the exact engine (leave out estimator=), or another version of qiskit-aer; and "
            "report this.",
        ),
    ),
    Fact("resets on state vectors", "qiskit", "fault", _random_resets,
        evidence="StatevectorEstimator and StatevectorSampler",
        stated="{seen} take one random outcome of a reset, for all shots alike",
        otherwise="Qiskit's primitives on state vectors average over the outcomes of a reset",
        handled=(
            "Modules refuse circuits with resets there, before anything runs. The package's own "
            "primitives and the exact engine average over the outcomes."
        ),
        remedy="Use BatchedStatevectorEstimator and BatchedStatevectorSampler in their place.",
        verify=_accepted_resets,
        broken=(
            "Modules would compute with one outcome of each reset.",
            "Use the exact engine (leave out estimator=), and report this.",
        ),
    ),
    Fact("gates of one's own in branches", "qiskit", "fault", _changed_gates,
        versions=(((2, 3), (math.inf,)),),
        stated="assign_parameters changes them in the circuit that it copies",
        otherwise="assign_parameters leaves them as they are",
        handled=(
            "A second copy has the numbers of the first, and so have all points of a PUB. Modules "
            "are right: they put what defines such gates in their place."
        ),
        remedy="In PUBs of your own, put standard gates into branches.",
        verify=_wrong_branches,
        broken=(
            "Parameters in branches are not those that modules train.",
            "Use the exact engine (leave out estimator=), and report this.",
        ),
    ),
    Fact("seeds of StatevectorEstimator", "qiskit", "fault",
        lambda: _repeated_noise(StatevectorEstimator(seed=3)),
        evidence="PUBs and runs",
        stated="the noise of {seen} repeats itself with StatevectorEstimator(seed=3)",
        otherwise="each PUB and each run gets noise of its own",
        handled=SEEDED,
        remedy=f"{OTHER_SEED}; or StatevectorEstimator(seed=numpy.random.default_rng(3)).",
    ),
    Fact("seeds of Aer's EstimatorV2", "qiskit-aer", "fault",
        lambda: _repeated_noise(_make_aer_estimator(run_options={"seed_simulator": 3})),
        evidence="PUBs and runs",
        stated="the noise of {seen} repeats itself with seed_simulator=3",
        otherwise="each PUB and each run gets noise of its own",
        handled=SEEDED,
        remedy=f"{OTHER_SEED}.",
    ),
    Fact("QPY", "qiskit", "fault", _lost_quotients,
        versions=(((), (2, 4)),),
        stated="circuits with quotients of parameters are not the same after writing and reading",
        otherwise="circuits of gradients and quotients are the same after writing and reading",
        handled=(
            "State dicts of modules read back what they write, and store such circuits in another "
            "form. A service would run another circuit than yours."
        ),
        remedy='pip install "qiskit>=2.4", or keep expressions affine on remote devices.',
        verify=_lost_gradients,
        broken=(
            "Gradients on a service would be those of another circuit.",
            "Use another version of qiskit, or simulate locally; report this.",
        ),
    ),
    Fact("torch.load", "torch", "fault", _loaded_strangers,
        versions=(((), (2, 6)),),
        stated="unpickles any object by default",
        otherwise="refuses files with anything but tensors and numbers",
        handled=(
            "A state dict from a stranger could run code. Checkpoints of this package are read "
            "safely."
        ),
        remedy=(
            "Unset TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD and use PyTorch 2.6 or newer, or always pass "
            "weights_only=True."
        ),
    ),
    Fact("shots on Aer", "qiskit-aer", "difference", _normal_noise,
        stated="Aer's EstimatorV2 adds normal noise of the precision asked for",
        otherwise="Aer's EstimatorV2 draws shots",
        handled=(
            "Values may lie beyond the largest eigenvalue. For real shots use shots= without an "
            "estimator, or BackendEstimatorV2 on AerSimulator()."
        ),
    ),
    Fact("measurements before the end on Aer", "qiskit-aer", "difference", _averaged_runs,
        stated="Aer's EstimatorV2 averages 1024 runs whatever precision it is asked for",
        otherwise="Aer's EstimatorV2 follows the precision with circuits that measure",
        handled=(
            "It reports no error for them. Modules want to be told how many, and on "
            "backend=AerSimulator() they use BackendEstimatorV2 for such circuits."
        ),
        verify=_untold_runs,
        broken=(
            "Values of circuits that measure before their end have errors that nothing tells.",
            "Use BackendEstimatorV2(backend=AerSimulator()), and report this.",
        ),
    ),
    Fact("noise on Aer", "qiskit-aer", "difference", _noise_by_label,
        stated="Aer looks the noise of a gate up by its label, where it has one",
        otherwise="Aer no longer looks the noise of a gate up by its label",
        handled="Gates that modules rewrite for Aer keep their noise in this way.",
    ),
    Fact("evolution gates", "qiskit", "difference", _two_evolutions,
        versions=(((2, 1), (math.inf,)),),
        stated="Qiskit simulates the exact exponential, and transpiles its product formula",
        otherwise="simulated and transpiled alike",
        handled="Modules use the product formula everywhere, as a device does.",
        verify=_wrong_evolutions,
        broken=(
            "Circuits with PauliEvolutionGate train on other numbers than a device would give.",
            "Decompose the circuit before you make the module: circuit.decompose(); report this.",
        ),
    ),
    Fact("library blocks on Aer", "qiskit-aer", "difference", _refused_blocks,
        stated="Aer refuses them, modules decompose them",
        otherwise="Aer takes them",
        handled="In your own PUBs to Aer, use circuit.decompose().",
        verify=_wrong_blocks,
        broken=(
            "Modules with library blocks compute wrong numbers on Aer.",
            "Use the exact engine (leave out estimator=), and report this.",
        ),
    ),
    Fact("adjoint gradient of qiskit-algorithms", "qiskit-algorithms", "difference",
        _failing_reverse_gradient,
        stated="ReverseEstimatorGradient fails on controlled rotations",
        otherwise="ReverseEstimatorGradient differentiates controlled rotations",
        handled="AdjointEstimatorGradient of this package differentiates them.",
    ),
    Fact("numbers in expressions", "qiskit", "difference", _digits,
        versions=(((2, 1), (math.inf,)),),
        stated="expressions are written with all digits of their numbers",
        otherwise="expressions are written with some digits of their numbers",
        handled="Expressions are read from their text only where it has all digits.",
    ),
    Fact("negative numbers as expressions", "qiskit", "difference", _hash_of_a_number,
        versions=(((2, 1), (math.inf,)),),
        evidence="can't convert negative int to unsigned",
        stated="x - x - 0.5 has no hash, so that Aer fails on it: {seen}",
        otherwise="x - x - 0.5 has a hash",
        handled="Aer gets numbers instead of expressions that are some.",
        verify=_wrong_number,
        broken=(
            "Modules with such expressions fail, or compute wrong numbers, on Aer.",
            "Use the exact engine (leave out estimator=), and report this.",
        ),
    ),
    Fact("symbolic quotients", "qiskit", "difference", _symbolic_quotient,
        versions=(((2, 2), (2, 3)),),
        evidence="8",
        stated="the symbolic form of x / (2 y) is {seen} at (1, 4)",
        otherwise="the symbolic form of x / (2 y) is right",
        handled="Symbolic forms are compared with an expression's text and values.",
    ),
    Fact("symbolic powers", "qiskit", "difference", _symbolic_power,
        versions=(((2, 4), (2, 5)), ((2, 6), (2, 7))),
        stated="2**x has no symbolic form",
        otherwise="2**x has a symbolic form",
        handled="What two of an expression's text, symbolic form and values say is taken.",
    ),
    Fact("arrays of operators", "qiskit", "convention", _scattered_operators,
        stated="numpy.array([SparsePauliOp, ...], dtype=object) falls apart",
        otherwise="numpy.array([SparsePauliOp, ...], dtype=object) keeps its operators now",
        handled="Give observables as lists.",
    ),
    Fact("bindings of one parameter", "qiskit", "convention", _flat_bindings,
        stated="[[a], [b], [c]] has shape (3,)",
        otherwise="[[a], [b], [c]] no longer has shape (3,)",
        handled="In PUBs of your own, bind {parameters: array}, as modules do.",
    ),
    Fact("order of parameters", "qiskit", "convention", _sorted_parameters,
        stated="circuit.parameters puts x10 before x2, unless they are elements of a vector",
        otherwise="circuit.parameters is no longer sorted by name",
        handled="Bind by the parameters themselves, as modules do.",
    ),
    Fact("numbers as tensors", "torch", "convention", _dtypes_of_numbers,
        stated="torch.asarray makes float64 of NumPy's numbers, float32 of Python's",
        otherwise="torch.asarray makes other dtypes of numbers than float64 and float32",
        handled="No tensor with a graph passes through it.",
    ),
)  # fmt: skip
"""All facts; the first ones are the faults."""
