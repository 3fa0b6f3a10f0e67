# SPDX-License-Identifier: Apache-2.0
"""For every public callable one valid call, and which odd values its parameters may well take."""

from __future__ import annotations

import contextlib
import functools
import itertools
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from circuits import X, hybrid, rotation
from estimators import CountingEstimator
from qiskit.primitives import BitArray
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp
from qiskit_algorithms import VQE
from qiskit_algorithms.optimizers import COBYLA
from samplers import CountingSampler
from torch import nn
from wrong_values import WRONG

from qiskit_torch_bridge import (
    AmplitudeEncoding,
    AmplitudePreparation,
    AnalysedCircuit,
    CircuitProgram,
    CVaR,
    Entropy,
    Exact,
    Execution,
    Fidelity,
    Probabilities,
    Purity,
    QuantumLayer,
    Samples,
    Shots,
    TorchQuantumModule,
    Variance,
    algorithms,
    amplitude_encoding,
    backends,
    diagnostics,
    gradients,
    jobs,
    kernels,
    load_checkpoint,
    optim,
    primitives,
    rules,
    save_checkpoint,
)
from qiskit_torch_bridge import expectation as expectation_of
from qiskit_torch_bridge.exceptions import MissingPackageError
from qiskit_torch_bridge.primitives import Usage


class Right(NamedTuple):
    """Values of the table that are no mistake for some parameter.

    Attributes:
        why: What it takes, so that these are right.
        values: Their names.
    """

    why: str
    values: frozenset[str]

    def __or__(self, other: Right) -> Right:
        return Right(f"{self.why}; {other.why}", self.values | other.values)


def right(why: str, *values: str) -> Right:
    """Return the values that are right, and why."""
    return Right(why, frozenset(values))


ALL = frozenset(WRONG)
NOTHING = right("none of these values is right")
NONE = right("None stands for the default", "None")
COUNT = right("whole numbers from 1 up", "5", "10**9", "10**400")
SAMPLES = right("whole numbers, no more than there is time for", "5")
SMALL_COUNT = right("whole numbers from 1 up, as many as there is room for", "5", "10**9")
FROM_ZERO = right("whole numbers from 0 up", "5", "0", "10**9", "10**400")
SEED = right("whole numbers from 0 up, which seed a generator", "5", "0", "10**9", "10**400")
SEED63 = right("whole numbers that Qiskit's transpiler takes", "5", "0", "10**9")
SEED64 = right("whole numbers that torch's generators take", "5", "0", "10**9")
POSITIVE = right("positive finite numbers", "5", "10**9", "1.5")
NOT_NEGATIVE = right("finite numbers from 0 up", "5", "0", "10**9", "1.5")
SAME_RULE = Right("the rule is the same at any precision, and does not look at it", ALL)
ROOM = right("there is room for what was saved", "10**9", "10**400")
SECONDS = right("seconds, or without end", "5", "0", "10**9", "1.5", "inf")
FLAG = right("True is a flag", "True")
PATH = right("any text names a file", "'a'")
FUNCTION = right("a function of the right number of arguments", "a function")
CALLABLE = FUNCTION | right("whatever can be called", "a class")
"""What a function is is seen when it is called."""
START = right(
    "a number, or numbers, to begin at", "5", "-1", "0", "10**9", "1.5", "[]", "(0,)", "(0, 0)"
)
EMPTY = right("there may be none", "[]")
QUBITS = right("the one qubit of the circuit", "0", "(0,)")


class Case(NamedTuple):
    """One public callable.

    Attributes:
        call: Takes the arguments by name.
        valid: Makes arguments of a valid call.
        right: What odd values are right for which parameter.
        instead: Another valid call for some parameter, where that one has no use for it.
    """

    call: Callable[..., Any]
    valid: Callable[[], Mapping[str, Any]]
    right: Mapping[str, Right] = {}
    instead: Mapping[str, Callable[[], Mapping[str, Any]]] = {}


# -- what the calls are made with ---------------------------------------------------------------

ESTIMATOR = CountingEstimator()
SAMPLER = CountingSampler()
"""The estimator of all calls: nothing may have reached it before an error."""


class NewCounting(CountingEstimator):
    """Counts where all others do."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = ESTIMATOR.runs


@functools.cache
def folder() -> Path:
    """Return a folder for the files that calls name."""
    return Path(tempfile.mkdtemp())


names = itertools.count()


def new_path() -> str:
    """Return a path where nothing is yet."""
    return str(folder() / f"file{next(names)}")


@functools.cache
def program() -> CircuitProgram:
    return CircuitProgram(hybrid(), "ZZ", input_params=X)


@functools.cache
def analysed() -> AnalysedCircuit:
    return AnalysedCircuit(hybrid())


@functools.cache
def module() -> TorchQuantumModule:
    """Return a module with inputs on the counting estimator."""
    return TorchQuantumModule(hybrid(), "ZZ", input_params=X, estimator=ESTIMATOR)


@functools.cache
def simulated() -> TorchQuantumModule:
    """Return a module with inputs on the exact engine."""
    return TorchQuantumModule(hybrid(), "ZZ", input_params=X)


@functools.cache
def layer() -> QuantumLayer:
    """Return a layer of two features on the counting estimator."""
    return QuantumLayer(2, estimator=ESTIMATOR)


@functools.cache
def trained() -> TorchQuantumModule:
    """Return a module without inputs on the exact engine."""
    return TorchQuantumModule(rotation()[0], "Z", initial_weights=[0.5])


@functools.cache
def two() -> TorchQuantumModule:
    """Return a module with several weights and no inputs."""
    return TorchQuantumModule(hybrid(), "ZZ", seed=1)


@functools.cache
def model() -> TorchQuantumModule:
    """Return a module that gives probabilities."""
    return TorchQuantumModule(rotation()[0], Probabilities(), seed=1)


@functools.cache
def spectrum() -> diagnostics.FourierSpectrum:
    circuit, theta = rotation()
    return diagnostics.fourier_spectrum(TorchQuantumModule(circuit, "Z", input_params=[theta]))


def node() -> TorchQuantumModule:
    """Return that module, at the weight it began with."""
    with torch.no_grad():
        trained().weight.fill_(0.5)
    return trained()


@functools.cache
def kernel() -> kernels.FidelityKernel:
    """Return a fidelity kernel of two features on the counting estimator."""
    return kernels.FidelityKernel(hybrid(), input_params=X, estimator=ESTIMATOR)


@functools.cache
def projected() -> kernels.ProjectedKernel:
    """Return a projected kernel of two features on the counting estimator."""
    return kernels.ProjectedKernel(hybrid(), input_params=X, estimator=ESTIMATOR)


def covariance(**arguments: Any) -> None:
    """Make a covariance of a kernel, if the package is there that has them."""
    with contextlib.suppress(MissingPackageError):
        kernels.as_gpytorch(**arguments)


def theirs() -> Any:
    """Return what has the attributes of a FidelityStatevectorKernel."""
    return SimpleNamespace(feature_map=rotation()[0], clear_cache=lambda: None)


def measured() -> TorchQuantumModule:
    return TorchQuantumModule(rotation()[0], "Z", estimator=ESTIMATOR, shots=100)


def vqe() -> VQE:
    return VQE(ESTIMATOR, rotation()[0], COBYLA())


@functools.cache
def qnn() -> Any:
    """Return what has the attributes of an EstimatorQNN, whose package need not be there."""
    circuit, theta = rotation()
    return SimpleNamespace(
        circuit=circuit,
        observables=[SparsePauliOp("Z")],
        input_params=[],
        weight_params=[theta],
        estimator=ESTIMATOR,
        gradient=None,
    )


@functools.cache
def pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1)


@functools.cache
def backend() -> GenericBackendV2:
    return GenericBackendV2(2, seed=1)


@functools.cache
def checkpoint() -> str:
    path = new_path()
    save_checkpoint(path, model=node())
    return path


def pubs() -> list[Any]:
    return [(rotation()[0], "Z", [[0.5]])]


def asked(measurement: Callable[..., Any]) -> Callable[..., Any]:
    """Return a call that makes a measurement, and asks a circuit of one qubit for it."""
    return lambda **arguments: CircuitProgram(rotation()[0], measurement(**arguments))


def closure() -> Callable[[], Any]:
    return lambda: trained()().sum()


def square() -> nn.Parameter:
    return nn.Parameter(torch.tensor([0.3], dtype=torch.float64))


def quadratic(x: Any) -> Any:
    return float(np.sum(np.asarray(x) ** 2))


def fixed(**arguments: Any) -> Callable[[], Mapping[str, Any]]:
    """Return arguments that calls leave as they are."""
    return lambda: arguments


def method(make: Callable[[], Any], name: str) -> Callable[..., Any]:
    """Return a call of a method of what is made for it."""
    return lambda **arguments: getattr(make(), name)(**arguments)


def setter(make: Callable[[], Any], name: str) -> Callable[..., Any]:
    """Return a call that sets an attribute."""
    return lambda **arguments: setattr(make(), name, *arguments.values())


def batched(**options: Any) -> primitives.BatchedStatevectorEstimator:
    return primitives.BatchedStatevectorEstimator(**options)


def sampled() -> tuple[Any, ...]:
    """Return a PUB for samplers, of no points: any number of shots of these is quickly drawn."""
    circuit = rotation()[0]
    circuit.measure_all()
    return circuit, np.zeros((0, 1))


def measuring() -> primitives.SamplerEstimator:
    return primitives.SamplerEstimator(primitives.BatchedStatevectorSampler())


def dispatching() -> jobs.DispatchingEstimator:
    return jobs.DispatchingEstimator(ESTIMATOR)


def dispatching_sampler() -> jobs.DispatchingSampler:
    return jobs.DispatchingSampler(primitives.BatchedStatevectorSampler())


def aqgd() -> gradients.AQGDEstimatorGradient:
    return gradients.AQGDEstimatorGradient(ESTIMATOR)


def one_gradient() -> dict[str, Any]:
    return {
        "circuits": [rotation()[0]],
        "observables": [SparsePauliOp("Z")],
        "parameter_values": [[0.5]],
    }


def result_of_gradient(**arguments: Any) -> Any:
    return aqgd().run(**arguments).result()


def of_samples() -> gradients.AQGDSamplerGradient:
    return gradients.AQGDSamplerGradient(SAMPLER)


def one_gradient_of_samples() -> dict[str, Any]:
    circuit, _ = rotation()
    circuit.measure_all()
    return {"circuits": [circuit], "parameter_values": [[0.5]]}


def result_of_samples(**arguments: Any) -> Any:
    return of_samples().run(**arguments).result()


def plan() -> rules.Differentiation:
    return rules.ParameterShiftRule().differentiation(analysed(), (0, 1))


ANGLES = right("bits are angles", "a tensor of bools")
OPTIONS = right("options, whose names are known elsewhere", "{}", "{'a': 1}")
NAMES = right("names, alone or as keys", "[]", "{}", "{'a': 1}", "an array of text")
KEPT = Right(
    "tensors, numbers, text, and lists and mappings of these",
    ALL
    - {"object", "a class", "a silent object", "a function", "a generator", "a deep list"}
    - {"an array of text", "a complex array", "an array of another shape", "a meta tensor"}
    - {"a circuit without parameters"},
)
MODULE = {
    "initial_weights": right("None draws them", "None"),
    "shots": SMALL_COUNT,
    "precision": POSITIVE,
    "seed": SEED64,
    "input_params": right("there may be no inputs", "None", "[]"),
    "weight_params": NONE,
    "frozen_params": right("there may be none", "None", "[]"),
}
LR = NOT_NEGATIVE
KERNEL = {k: v for k, v in MODULE.items() if k != "frozen_params"} | {"input_params": NONE}

# -- one valid call of each ---------------------------------------------------------------------

CASES: dict[str, Case] = {
    "amplitude_encoding": Case(
        amplitude_encoding,
        fixed(num_qubits=2),
        {"num_qubits": right("one qubit to twenty", "5"), "name": right("any name", "'a'", "NUL")}
        | {"is_complex": FLAG, "pad": FLAG},
    ),
    "AmplitudeEncoding": Case(
        AmplitudeEncoding,
        fixed(num_qubits=2),
        {"num_qubits": right("one qubit to twenty", "5"), "name": right("any name", "'a'", "NUL")}
        | {"is_complex": FLAG, "pad": FLAG},
    ),
    "AmplitudeEncoding.__call__": Case(
        method(lambda: amplitude_encoding(1), "__call__"),
        lambda: {"vectors": torch.ones(3, 2)},
    ),
    "AmplitudeEncoding.angles": Case(
        method(lambda: amplitude_encoding(1), "angles"),
        lambda: {"vectors": torch.ones(3, 2)},
    ),
    "AmplitudePreparation": Case(
        AmplitudePreparation,
        fixed(amplitudes=[*X, 0.0, 1.0]),
        {"is_complex": FLAG},
    ),
    "AnalysedCircuit": Case(
        AnalysedCircuit,
        lambda: {"circuit": hybrid()},
        {"circuit": right("it may have none", "a circuit without parameters"), "encoded": EMPTY},
    ),
    "AnalysedCircuit.assigned": Case(
        lambda values: analysed().assigned(values),
        lambda: {"values": {analysed().parameters[0]: 0.5}},
        {"values": right("a mapping of nothing binds nothing", "{}")},
    ),
    "AnalysedCircuit.bindings": Case(
        lambda **k: analysed().bindings(**k),
        lambda: {"values": np.zeros((2, 5))},
        {"circuit": right("a form without parameters", "a circuit without parameters")},
    ),
    "AnalysedCircuit.check": Case(
        lambda **k: analysed().check(**k),
        lambda: {"values": np.zeros((2, 5))},
        {"first_row": FROM_ZERO},
    ),
    "AnalysedCircuit.columns_reaching": Case(
        lambda **k: analysed().columns_reaching(**k), fixed(qubits=frozenset({0}))
    ),
    "AnalysedCircuit.frequencies": Case(
        lambda **k: analysed().frequencies(**k), fixed(column=0), {"column": right("a column", "0")}
    ),
    "AnalysedCircuit.written": Case(
        method(analysed, "written"),
        lambda: {"circuit": hybrid()},
        {
            "circuit": right(
                "a circuit without parameters has none of these", "a circuit without parameters"
            )
        },
    ),
    "AnalysedCircuit.is_used": Case(
        lambda **k: analysed().is_used(**k), fixed(column=0), {"column": right("a column", "0")}
    ),
    "CircuitProgram": Case(
        CircuitProgram,
        lambda: {"circuit": rotation()[0]},
        {
            "circuit": right("it may have no parameters", "a circuit without parameters"),
            "input_params": MODULE["input_params"],
            "frozen_params": MODULE["frozen_params"],
        },
    ),
    "CircuitProgram.difference": Case(method(program, "difference"), lambda: {"other": program()}),
    "CircuitProgram.difference_from_state": Case(
        method(program, "difference_from_state"),
        lambda: {"state": program().to_state()},
        {"max_bytes": ROOM},
    ),
    "CircuitProgram.from_state": Case(
        CircuitProgram.from_state, lambda: {"state": program().to_state()}, {"max_bytes": ROOM}
    ),
    "CircuitProgram.on": Case(method(program, "on"), lambda: {"analysed": program().analysed}),
    "CircuitProgram.placed": Case(
        method(program, "placed"), lambda: {"x": np.zeros((4, 2)), "w": np.zeros((1, 3))}
    ),
    "CircuitProgram.with_readout": Case(
        method(program, "with_readout"), lambda: {"readout": program().readout}
    ),
    "CircuitProgram.rewritten": Case(
        method(program, "rewritten"), lambda: {"rewrite": lambda circuit: circuit}
    ),
    "QuantumLayer": Case(
        QuantumLayer,
        lambda: {"in_features": 2, "estimator": NewCounting(), "initial_weights": [0.0] * 12},
        {
            **{name: MODULE[name] for name in ("shots", "precision", "seed")},
            "in_features": right("a circuit for these is quickly made", "5"),
            "qubits": right("more than there are features", "5"),
            "layers": right("some layers", "5"),
            "scale_inputs": FLAG,
        },
        {"pass_manager": lambda: {"in_features": 2, "backend": backend()}}
        | dict.fromkeys(
            ("in_features", "qubits", "layers", "estimator", "backend"),
            lambda: {"in_features": 2},
        ),
    ),
    "QuantumLayer.angles": Case(
        lambda inputs: layer().angles(inputs),
        lambda: {"inputs": torch.zeros(4, 2)},
        {"inputs": ANGLES},
    ),
    "QuantumLayer.cost": Case(
        method(layer, "cost"),
        fixed(batch_size=2),
        {
            "batch_size": right("whole numbers, as many as there is room for", "5"),
            "backward": FLAG,
            "input_gradients": FLAG,
            "steps": COUNT,
        },
    ),
    "QuantumLayer.draw": Case(method(layer, "draw"), fixed(output="text")),
    "TorchQuantumModule.draw": Case(method(node, "draw"), fixed(output="text")),
    "QuantumLayer.forward": Case(
        lambda inputs: layer()(inputs), lambda: {"inputs": torch.zeros(4, 2)}, {"inputs": ANGLES}
    ),
    "QuantumLayer.sample": Case(
        method(lambda: QuantumLayer(2), "sample"),
        lambda: {"inputs": torch.zeros(4, 2), "shots": 10},
        {"inputs": ANGLES, "shots": SMALL_COUNT | NONE},
    ),
    "QuantumLayer.with_frozen": Case(
        method(layer, "with_frozen"),
        fixed(frozen_params="*"),
        {"frozen_params": MODULE["frozen_params"]},
    ),
    "QuantumLayer.with_backend": Case(
        method(layer, "with_backend"),
        lambda: {"estimator": NewCounting(), "gradient": None, "seed": None, "evaluation": None},
        {
            "seed": SEED64 | NONE,
            "gradient": NONE,
            "estimator": right("the exact engine", "None"),
            "evaluation": NONE,
        },
        {"backend": fixed()},
    ),
    "Exact": Case(Exact, fixed(dtype="complex64")),
    "Execution": Case(
        Execution,
        fixed(gradient="aqgd"),
        {name: MODULE[name] for name in ("shots", "precision", "seed")},
    ),
    "Shots": Case(
        Shots, fixed(forward=10), {"forward": SMALL_COUNT, "gradient": SMALL_COUNT | NONE}
    ),
    "Samples": Case(Samples, lambda: {"bit_array": BitArray(np.zeros((2, 5, 1), np.uint8), 3)}),
    "TorchQuantumModule": Case(
        TorchQuantumModule,
        lambda: {
            "circuit": rotation()[0],
            "estimator": NewCounting(),
        },
        {
            **MODULE,
            "circuit": right("it may have no parameters", "a circuit without parameters"),
            "initial_weights": right("one number", "(0,)"),
        },
        {"pass_manager": lambda: {"circuit": rotation()[0], "backend": backend()}}
        | dict.fromkeys(("estimator", "backend"), lambda: {"circuit": rotation()[0]}),
    ),
    "TorchQuantumModule.bind": Case(
        method(module, "bind"),
        lambda: {"inputs": [0.1, 0.2]},
        {"inputs": right("two numbers", "(0, 0)", "a tensor of bools")},
    ),
    "TorchQuantumModule.cost": Case(
        method(module, "cost"),
        fixed(batch_size=2),
        {
            "batch_size": right("whole numbers, as many as there is room for", "5"),
            "backward": FLAG,
            "input_gradients": FLAG,
            "steps": COUNT,
        },
    ),
    "TorchQuantumModule.forward": Case(
        lambda inputs: module()(inputs), lambda: {"inputs": torch.zeros(4, 2)}, {"inputs": ANGLES}
    ),
    "TorchQuantumModule.from_algorithm": Case(
        TorchQuantumModule.from_algorithm,
        lambda: {"algorithm": vqe(), "operator": SparsePauliOp("Z")},
        {"operator": right("a module measures Z on each qubit by default", "None")},
    ),
    "TorchQuantumModule.from_qnn": Case(TorchQuantumModule.from_qnn, lambda: {"qnn": qnn()}),
    "TorchQuantumModule.most_likely": Case(
        method(simulated, "most_likely"),
        lambda: {"inputs": torch.zeros(4, 2), "shots": 10},
        {"inputs": ANGLES, "shots": SMALL_COUNT | NONE},
    ),
    "TorchQuantumModule.sample": Case(
        method(simulated, "sample"),
        lambda: {"inputs": torch.zeros(4, 2), "shots": 10},
        {"inputs": ANGLES, "shots": SMALL_COUNT | NONE},
    ),
    "TorchQuantumModule.shots": Case(
        setter(measured, "shots"), fixed(shots=10), {"shots": SMALL_COUNT | NONE}
    ),
    "TorchQuantumModule.submit": Case(
        method(module, "submit"), lambda: {"inputs": torch.zeros(4, 2)}, {"inputs": ANGLES}
    ),
    "CircuitProgram.with_frozen": Case(
        method(program, "with_frozen"),
        fixed(frozen_params="*"),
        {"frozen_params": MODULE["frozen_params"]},
    ),
    "TorchQuantumModule.with_frozen": Case(
        method(module, "with_frozen"),
        fixed(frozen_params="*"),
        {"frozen_params": MODULE["frozen_params"]},
    ),
    "TorchQuantumModule.with_backend": Case(
        method(module, "with_backend"),
        lambda: {"estimator": NewCounting(), "gradient": None, "seed": None, "evaluation": None},
        {
            "seed": SEED64 | NONE,
            "gradient": NONE,
            "estimator": right("the exact engine", "None"),
            "evaluation": NONE,
        },
        {"backend": fixed()},
    ),
    "algorithms.TorchOptimizer": Case(
        algorithms.TorchOptimizer,
        fixed(optimizer=torch.optim.Adam),
        {
            "maxiter": FROM_ZERO,
            "epsilon": POSITIVE,
            "max_evals_grouped": COUNT,
            "clip_norm": POSITIVE,
            "tol": NOT_NEGATIVE,
            "gradient_tol": NOT_NEGATIVE,
            "patience": COUNT,
            "min_improvement": NOT_NEGATIVE,
            "callback": CALLABLE,
            "progress": FLAG,
            "seed": SEED64,
        },
    ),
    "algorithms.TorchOptimizer.__call__": Case(
        lambda **k: algorithms.TorchOptimizer(maxiter=1)(**k),
        fixed(fun=quadratic, x0=[0.3]),
        {"x0": START},
    ),
    "algorithms.TorchOptimizer.minimize": Case(
        lambda **k: algorithms.TorchOptimizer(maxiter=1).minimize(**k),
        fixed(fun=quadratic, x0=[0.3]),
        {"x0": START},
    ),
    "algorithms.TorchOptimizer.set_max_evals_grouped": Case(
        method(algorithms.TorchOptimizer, "set_max_evals_grouped"),
        fixed(limit=5),
        {"limit": COUNT | NONE},
    ),
    "algorithms.TorchOptimizer.set_options": Case(
        method(algorithms.TorchOptimizer, "set_options"),
        fixed(maxiter=5, lr=0.1),
        {
            "maxiter": FROM_ZERO,
            "lr": NOT_NEGATIVE | right("torch takes these", "inf", "10**400", "True"),
        },
    ),
    "algorithms.read_algorithm": Case(
        algorithms.read_algorithm,
        lambda: {"algorithm": vqe(), "operator": SparsePauliOp("Z")},
        {"operator": Right("handed on to the module, which checks it", ALL), "given": NAMES},
    ),
    "algorithms.read_qnn": Case(algorithms.read_qnn, lambda: {"qnn": qnn()}, {"given": NAMES}),
    "algorithms.bits_by_qubit": Case(
        algorithms.bits_by_qubit, fixed(outcome="011"), {"num_qubits": NONE}
    ),
    "algorithms.unpack_bits": Case(
        algorithms.unpack_bits, fixed(outcomes=["011"]), {"num_qubits": NONE}
    ),
    "Probabilities": Case(
        asked(Probabilities),
        fixed(qubits=[0], interpret="parity", output_size=2),
        {
            "qubits": QUBITS | NONE,
            "interpret": NONE | right("outputs of the outcomes", "(0, 0)", "a tensor of bools"),
            "output_size": NONE | right("2 or more outputs", "5", "10**9"),
        },
        {"interpret": fixed(qubits=[0], interpret=[0, 1])},
    ),
    "CVaR": Case(asked(CVaR), fixed(observable="Z", alpha=0.5)),
    "Variance": Case(asked(Variance), fixed(observables="Z"), {"observables": NONE}),
    "Purity": Case(asked(Purity), fixed(qubits=[0]), {"qubits": QUBITS}),
    "Entropy": Case(
        asked(Entropy),
        fixed(qubits=[0], base=2),
        {"qubits": QUBITS, "base": right("finite numbers above 1", "5", "10**9", "1.5")},
    ),
    "Fidelity": Case(
        asked(Fidelity),
        fixed(target=[1, 0], qubits=[0]),
        {
            "target": right("states", "a complex array", "a circuit without parameters"),
            "qubits": QUBITS | NONE,
        },
    ),
    "diagnostics.FourierSpectrum.__call__": Case(
        lambda **k: spectrum()(**k), fixed(inputs=[[0.1], [0.2]])
    ),
    "diagnostics.FourierSpectrum.degree": Case(
        method(lambda: spectrum(), "degree"),
        fixed(threshold=1e-9),
        {"threshold": NOT_NEGATIVE},
    ),
    "diagnostics.FourierSpectrum.plot": Case(method(lambda: spectrum(), "plot"), fixed(ax=None)),
    "diagnostics.EffectiveDimension.plot": Case(
        method(lambda: diagnostics.effective_dimension(model(), samples=2), "plot"), fixed(ax=None)
    ),
    "diagnostics.EntanglingCapability.plot": Case(
        method(lambda: diagnostics.entangling_capability(hybrid(), 2), "plot"), fixed(ax=None)
    ),
    "diagnostics.Expressibility.plot": Case(
        method(lambda: diagnostics.expressibility(hybrid(), 2), "plot"), fixed(ax=None)
    ),
    "diagnostics.GradientVariance.plot": Case(
        method(
            lambda: diagnostics.gradient_variance(lambda n, k: program(), [1, 2, 3], samples=2),
            "plot",
        ),
        fixed(ax=None),
    ),
    "diagnostics.HessianSpectrum.density": Case(
        method(lambda: diagnostics.hessian_spectrum(trained()), "density"),
        fixed(at=[0.0, 1.0], width=0.1),
        {"at": right("real numbers in a row", "[]", "(0,)", "(0, 0)"), "width": POSITIVE},
    ),
    "diagnostics.HessianSpectrum.plot": Case(
        method(lambda: diagnostics.hessian_spectrum(trained()), "plot"), fixed(ax=None)
    ),
    "diagnostics.LieAlgebra.plot": Case(
        method(lambda: diagnostics.lie_algebra_dimension(hybrid()), "plot"), fixed(ax=None)
    ),
    "diagnostics.LossLandscape.plot": Case(
        method(lambda: diagnostics.loss_landscape(two(), points=2), "plot"), fixed(ax=None)
    ),
    "diagnostics.TrainingLog": Case(
        diagnostics.TrainingLog,
        fixed(steps=3, bar=False, live=False),
        {"steps": COUNT, "bar": FLAG, "live": FLAG},
    ),
    "diagnostics.TrainingLog.close": Case(
        method(lambda: diagnostics.TrainingLog(3), "close"), fixed()
    ),
    "diagnostics.TrainingLog.plot": Case(
        method(lambda: diagnostics.TrainingLog(3), "plot"), fixed(ax=None)
    ),
    "diagnostics.ParameterDimension.plot": Case(
        method(lambda: diagnostics.parameter_dimension(hybrid(), 1), "plot"), fixed(ax=None)
    ),
    "diagnostics.diagnose": Case(
        diagnostics.diagnose,
        lambda: {"module": simulated(), "samples": 4},
        {"samples": SAMPLES, "seed": SEED},
    ),
    "diagnostics.effective_dimension": Case(
        diagnostics.effective_dimension,
        lambda: {"module": model(), "inputs": None, "samples": 2, "gamma": 1.0},
        {"sizes": right("one number of data", "10**9"), "samples": SAMPLES, "seed": SEED},
    ),
    "diagnostics.entangling_capability": Case(
        diagnostics.entangling_capability,
        lambda: {"circuit": hybrid(), "samples": 4},
        {"samples": SAMPLES, "seed": SEED},
    ),
    "diagnostics.expressibility": Case(
        diagnostics.expressibility,
        lambda: {"circuit": hybrid(), "samples": 4, "bins": 4, "binning": "probability"},
        {
            "circuit": right("it may have no parameters", "a circuit without parameters"),
            "samples": SAMPLES,
            "bins": right("whole numbers from 2 up", "5"),
            "seed": SEED,
        },
    ),
    "diagnostics.fourier_spectrum": Case(
        diagnostics.fourier_spectrum,
        lambda: {"module": simulated(), "samples": 2},
        {
            "samples": SAMPLES,
            "inputs": right("places of inputs", "(0,)"),
            "at": right("as many numbers as inputs", "(0, 0)"),
            "seed": SEED,
        },
    ),
    "diagnostics.gradient_variance": Case(
        diagnostics.gradient_variance,
        lambda: {
            "make": lambda n, k: program(),
            "qubits": [1, 2, 3],
            "layers": [1],
            "samples": 4,
            "confidence": 0.9,
        },
        {
            "samples": SAMPLES,
            "weight": right("the place of a weight", "0", "-1"),
            "seed": SEED,
        },
    ),
    "diagnostics.hessian_spectrum": Case(
        diagnostics.hessian_spectrum,
        lambda: {"module": two(), "method": "lanczos", "vectors": 2, "steps": 2},
        {
            "extremes": right("whole numbers from 1 up", "5"),
            "vectors": SAMPLES,
            "steps": SAMPLES,
            "seed": SEED,
        },
    ),
    "diagnostics.lie_algebra_dimension": Case(
        diagnostics.lie_algebra_dimension,
        lambda: {"circuit": hybrid()},
        {"limit": right("as many as there are, or more", "10**9")},
    ),
    "diagnostics.loss_landscape": Case(
        diagnostics.loss_landscape,
        lambda: {"module": two(), "points": 3, "span": 2.0},
        {
            "span": right("a positive number", "5", "1.5", "10**9"),
            "points": right("whole numbers from 2 up", "5"),
            "seed": SEED,
        },
    ),
    "diagnostics.parameter_dimension": Case(
        diagnostics.parameter_dimension,
        lambda: {"circuit": hybrid(), "samples": 1},
        {"samples": SAMPLES, "seed": SEED},
    ),
    "jobs.Budget": Case(jobs.Budget, fixed(limits=5), {"limits": COUNT}),
    "jobs.Budget.check": Case(
        method(jobs.Budget, "check"),
        fixed(wanted=Usage(jobs=1)),
        {"what": right("any text", "'a'", "''", "NUL")},
    ),
    "jobs.DispatchingEstimator": Case(
        jobs.DispatchingEstimator,
        lambda: {"estimators": ESTIMATOR},
        {"checks": EMPTY},
    ),
    "jobs.Jobs": Case(
        jobs.Jobs,
        lambda: {"journal": new_path()},
        {"max_bytes": POSITIVE, "budget": COUNT, "journal": PATH},
    ),
    "jobs.DispatchingEstimator.run": Case(
        lambda **k: dispatching().run(**k).result(),
        lambda: {"pubs": pubs()},
        {"precision": NOT_NEGATIVE, "pubs": EMPTY},
    ),
    "jobs.DispatchingEstimator.usage": Case(
        lambda **k: dispatching().usage(**k),
        lambda: {"pubs": pubs()},
        {"precision": NOT_NEGATIVE, "pubs": EMPTY},
    ),
    "jobs.DispatchingSampler": Case(
        jobs.DispatchingSampler,
        lambda: {"samplers": primitives.BatchedStatevectorSampler()},
        {"checks": EMPTY},
    ),
    "jobs.DispatchingSampler.run": Case(
        lambda **k: dispatching_sampler().run(**k).result(),
        lambda: {"pubs": [sampled()]},
        {"shots": SMALL_COUNT, "pubs": EMPTY},
    ),
    "jobs.DispatchingSampler.usage": Case(
        lambda **k: dispatching_sampler().usage(**k),
        lambda: {"pubs": [sampled()]},
        {"shots": SMALL_COUNT, "pubs": EMPTY},
    ),
    "backends.ExecutorEstimator": Case(
        backends.ExecutorEstimator,
        lambda: {"executor": pool(), "estimator": batched()},
        {"seed": SEED},
    ),
    "backends.ExecutorEstimator.run": Case(
        lambda **k: backends.ExecutorEstimator(pool(), batched()).run(**k).result(),
        lambda: {"pubs": pubs()},
        {"precision": NOT_NEGATIVE, "pubs": EMPTY},
    ),
    "backends.ExecutorSampler": Case(
        backends.ExecutorSampler,
        lambda: {"executor": pool(), "sampler": primitives.BatchedStatevectorSampler()},
        {"seed": SEED},
    ),
    "backends.ExecutorSampler.run": Case(
        lambda **k: (
            backends.ExecutorSampler(pool(), primitives.BatchedStatevectorSampler())
            .run(**k)
            .result()
        ),
        lambda: {"pubs": [sampled()]},
        {"shots": SMALL_COUNT | NONE, "pubs": EMPTY},
    ),
    "jobs.Journal": Case(jobs.Journal, lambda: {"path": new_path()}, {"path": PATH}),
    "jobs.Retry": Case(
        jobs.Retry,
        fixed(),
        {
            "attempts": COUNT,
            "first_delay": SECONDS,
            "longest_delay": SECONDS,
            "deadline": SECONDS,
            "lookup": NOT_NEGATIVE,
            "sleep": CALLABLE,
            "clock": CALLABLE,
        },
    ),
    "backends.OnBackend": Case(
        backends.OnBackend,
        lambda: {"backend": backend()},
        {
            "seed_transpiler": SEED63,
            "optimization_level": right("levels 0 to 3", "0"),
            "initial_layout": right("qubits of the device", "(0,)", "[0]"),
            "options": OPTIONS,
            "transpile_options": right("no options", "{}"),
        },
    ),
    "backends.OnBackend.coerce": Case(backends.OnBackend.coerce, lambda: {"thing": backend()}),
    "backends.prepare": Case(
        backends.prepare,
        lambda: {"program": CircuitProgram(rotation()[0]), "on_backend": backend()},
        {"seed": SEED},
    ),
    "jobs.verdict_on": Case(jobs.verdict_on, lambda: {"error": ValueError("no")}),
    "expectation": Case(
        expectation_of,
        lambda: {
            "circuit": hybrid(),
            "inputs": torch.zeros(4, 2),
            "weights": torch.zeros(3),
            "input_params": X,
            "estimator": ESTIMATOR,
        },
        {
            **{k: v for k, v in MODULE.items() if k in ("shots", "precision", "seed")},
            "inputs": ANGLES,
            "input_params": MODULE["input_params"],
            "frozen_params": MODULE["frozen_params"],
        },
        {
            "input_params": lambda: {"circuit": rotation()[0], "weights": torch.zeros(1)},
            "backend": lambda: {"circuit": rotation()[0], "weights": torch.zeros(1)},
        },
    ),
    "gradients.AQGDEstimatorGradient": Case(
        gradients.AQGDEstimatorGradient,
        fixed(estimator=ESTIMATOR),
        {"transpiler_options": OPTIONS, "precision": POSITIVE},
    ),
    "gradients.AQGDEstimatorGradient.derivative_type": Case(
        setter(aqgd, "derivative_type"),
        fixed(derivative_type=gradients.AdjointEstimatorGradient().derivative_type),
    ),
    "gradients.AQGDEstimatorGradient.rule": Case(
        method(aqgd, "rule"), fixed(precision=0.1), {"precision": SAME_RULE}
    ),
    "gradients.AQGDEstimatorGradient.run": Case(
        result_of_gradient,
        one_gradient,
        {
            "precision": POSITIVE | right("one for each, None for the default", "[None]"),
            "parameters": right("None in it stands for all", "[None]"),
        },
    ),
    "gradients.AQGDSamplerGradient": Case(
        gradients.AQGDSamplerGradient,
        fixed(sampler=SAMPLER),
        {"transpiler_options": OPTIONS, "shots": SMALL_COUNT},
    ),
    "gradients.AQGDSamplerGradient.run": Case(
        result_of_samples,
        one_gradient_of_samples,
        {
            "shots": right("whole numbers from 1 up", "5")
            | right("one for each, None for the default", "[None]"),
            "parameters": right("None in it stands for all", "[None]"),
        },
    ),
    "gradients.AdjointSamplerGradient": Case(
        gradients.AdjointSamplerGradient, fixed(sampler=SAMPLER)
    ),
    "gradients.AdjointEstimatorGradient": Case(
        gradients.AdjointEstimatorGradient, fixed(estimator=ESTIMATOR)
    ),
    "gradients.EstimatorGradient": Case(
        gradients.ParameterShiftEstimatorGradient,
        fixed(estimator=ESTIMATOR),
        {"transpiler_options": OPTIONS, "precision": POSITIVE},
    ),
    "gradients.EstimatorGradient.rule": Case(
        method(aqgd, "rule"), fixed(precision=0.1), {"precision": SAME_RULE}
    ),
    "gradients.SamplerGradient": Case(
        gradients.ParameterShiftSamplerGradient,
        fixed(sampler=SAMPLER),
        {"transpiler_options": OPTIONS, "shots": SMALL_COUNT},
    ),
    "gradients.ParameterShiftSamplerGradient": Case(
        gradients.ParameterShiftSamplerGradient,
        fixed(sampler=SAMPLER),
        {"transpiler_options": OPTIONS, "shots": SMALL_COUNT},
    ),
    "gradients.FiniteDifferenceSamplerGradient": Case(
        gradients.FiniteDifferenceSamplerGradient,
        fixed(sampler=SAMPLER),
        {"transpiler_options": OPTIONS, "shots": SMALL_COUNT, "epsilon": POSITIVE},
    ),
    "gradients.SPSASamplerGradient": Case(
        gradients.SPSASamplerGradient,
        fixed(sampler=SAMPLER),
        {
            "transpiler_options": OPTIONS,
            "shots": SMALL_COUNT,
            "epsilon": POSITIVE,
            "resamplings": COUNT,
            "seed": SEED,
        },
    ),
    "gradients.FiniteDifference": Case(gradients.FiniteDifference, fixed(), {"epsilon": POSITIVE}),
    "gradients.SimultaneousPerturbation": Case(
        gradients.SimultaneousPerturbation,
        fixed(),
        {"epsilon": POSITIVE, "resamplings": COUNT, "seed": SEED},
    ),
    "gradients.FiniteDifference.rule": Case(
        method(gradients.FiniteDifference, "rule"), fixed(), {"precision": NOT_NEGATIVE}
    ),
    "gradients.SimultaneousPerturbation.rule": Case(
        method(gradients.SimultaneousPerturbation, "rule"),
        fixed(),
        {"precision": NOT_NEGATIVE, "generator": SEED},
    ),
    "gradients.FiniteDifferenceEstimatorGradient": Case(
        gradients.FiniteDifferenceEstimatorGradient,
        fixed(estimator=ESTIMATOR),
        {"transpiler_options": OPTIONS, "precision": POSITIVE, "epsilon": POSITIVE},
    ),
    "gradients.FiniteDifferenceEstimatorGradient.rule": Case(
        method(lambda: gradients.FiniteDifferenceEstimatorGradient(ESTIMATOR), "rule"),
        fixed(precision=0.1),
        {"precision": NOT_NEGATIVE | NONE},
    ),
    "gradients.ParameterShiftEstimatorGradient": Case(
        gradients.ParameterShiftEstimatorGradient,
        fixed(estimator=ESTIMATOR),
        {"transpiler_options": OPTIONS, "precision": POSITIVE},
    ),
    "gradients.ParameterShiftEstimatorGradient.rule": Case(
        method(lambda: gradients.ParameterShiftEstimatorGradient(ESTIMATOR), "rule"),
        fixed(precision=0.1),
        {"precision": SAME_RULE},
    ),
    "gradients.SPSAEstimatorGradient": Case(
        gradients.SPSAEstimatorGradient,
        fixed(estimator=ESTIMATOR),
        {
            "transpiler_options": OPTIONS,
            "precision": POSITIVE,
            "epsilon": POSITIVE,
            "resamplings": COUNT,
            "seed": SEED,
        },
    ),
    "gradients.SPSAEstimatorGradient.rule": Case(
        method(lambda: gradients.SPSAEstimatorGradient(ESTIMATOR), "rule"),
        fixed(precision=0.1),
        {"precision": NOT_NEGATIVE | NONE},
    ),
    "kernels.FidelityKernel": Case(
        kernels.FidelityKernel,
        lambda: {"feature_map": hybrid(), "input_params": X, "estimator": NewCounting()},
        {**KERNEL, "psd": NONE},
        {"pass_manager": lambda: {"feature_map": hybrid(), "backend": backend()}}
        | dict.fromkeys(("estimator", "backend"), lambda: {"feature_map": hybrid()}),
    ),
    "kernels.FidelityKernel.diagonal": Case(
        method(kernel, "diagonal"),
        lambda: {"x": torch.zeros(3, 2), "y": torch.ones(3, 2)},
        {"y": right("those of x", "None")},
    ),
    "kernels.FidelityKernel.forward": Case(
        lambda **k: kernel()(**k),
        lambda: {"x": torch.zeros(3, 2), "y": torch.ones(4, 2)},
        {"y": right("those of x", "None")},
    ),
    "kernels.FidelityKernel.from_quantum_kernel": Case(
        kernels.FidelityKernel.from_quantum_kernel, lambda: {"kernel": theirs()}
    ),
    "kernels.FidelityKernel.with_backend": Case(
        method(kernel, "with_backend"),
        lambda: {"estimator": NewCounting(), "gradient": None, "seed": None},
        {
            "seed": SEED64 | NONE,
            "gradient": NONE,
            "estimator": right("the exact engine", "None"),
        },
        {"backend": fixed()},
    ),
    "kernels.ProjectedKernel": Case(
        kernels.ProjectedKernel,
        lambda: {"feature_map": hybrid(), "input_params": X, "estimator": NewCounting()},
        {
            **KERNEL,
            "gamma": POSITIVE,
            "train_gamma": FLAG,
            "observables": NONE,
        },
        {"pass_manager": lambda: {"feature_map": hybrid(), "backend": backend()}}
        | dict.fromkeys(("estimator", "backend"), lambda: {"feature_map": hybrid()}),
    ),
    "kernels.ProjectedKernel.features": Case(
        method(projected, "features"), lambda: {"x": torch.zeros(3, 2)}
    ),
    "kernels.as_gpytorch": Case(covariance, lambda: {"kernel": kernel()}),
    "kernels.nearest_psd": Case(kernels.nearest_psd, lambda: {"gram": torch.eye(3)}),
    "kernels.target_alignment": Case(
        kernels.target_alignment,
        lambda: {"gram": torch.eye(2), "labels": [0, 1]},
        {
            "labels": right("two classes", "an array of text"),
            "centered": FLAG,
            "balanced": FLAG,
        },
    ),
    "load_checkpoint": Case(
        load_checkpoint,
        lambda: {"path": checkpoint(), "model": node()},
        {
            "generators": right("none were saved", "[]"),
            "only_weights": FLAG,
            "max_bytes": ROOM,
            "optimizer": EMPTY,
            "scheduler": EMPTY,
        },
    ),
    "optim.FubiniStudyMetric": Case(
        optim.FubiniStudyMetric,
        lambda: {"circuit": rotation()[0]},
        {"circuit": right("it may have no parameters", "a circuit without parameters")},
    ),
    "optim.FubiniStudyMetric.__call__": Case(
        lambda **k: optim.FubiniStudyMetric(rotation()[0])(**k),
        fixed(weights=[0.5]),
        {"weights": right("one number", "(0,)")},
    ),
    "optim.QNSPSA": Case(
        optim.QNSPSA,
        lambda: {"params": node()},
        {
            "lr": LR,
            "damping": POSITIVE,
            "metric_resamplings": COUNT,
            "seed": SEED64,
            "fidelity": CALLABLE,
        },
    ),
    "optim.QNSPSA.add_param_group": Case(
        method(
            lambda: optim.QNSPSA([square()], fidelity=lambda w, o: np.ones(len(o))),
            "add_param_group",
        ),
        lambda: {"param_group": {"params": [square()]}},
    ),
    "optim.QNSPSA.calibrate": Case(
        method(lambda: optim.SPSA(node()), "calibrate"),
        lambda: {"closure": closure(), "steps": 2},
        {"target": POSITIVE, "steps": right("whole numbers from 1 up", "5")},
    ),
    "optim.QNSPSA.load_state_dict": Case(
        method(lambda: optim.SPSA(node()), "load_state_dict"),
        lambda: {"state_dict": optim.SPSA(node()).state_dict()},
    ),
    "optim.QNSPSA.step": Case(
        method(lambda: optim.SPSA(node()), "step"), lambda: {"closure": closure()}
    ),
    "optim.QuantumNaturalGradient": Case(
        optim.QuantumNaturalGradient,
        lambda: {"params": node()},
        {"lr": LR, "damping": NOT_NEGATIVE, "metric": CALLABLE},
        {"metric": lambda: {"params": [square()]}},
    ),
    "optim.QuantumNaturalGradient.step": Case(
        lambda **k: _after_backward().step(**k),
        lambda: {"closure": None},
        {"closure": right("the gradients are there", "None", "a function")},
    ),
    "optim.Rotosolve": Case(
        optim.Rotosolve,
        lambda: {"params": [square()]},
        {"frequencies": right("the loss depends on nothing", "[]")},
    ),
    "optim.Rotosolve.step": Case(
        method(lambda: optim.Rotosolve(node()), "step"), lambda: {"closure": closure()}
    ),
    "optim.SPSA": Case(
        optim.SPSA,
        lambda: {"params": node()},
        {
            "lr": LR,
            "perturbation": POSITIVE,
            "alpha": NOT_NEGATIVE,
            "gamma": NOT_NEGATIVE,
            "stability": NOT_NEGATIVE,
            "allowed_increase": NOT_NEGATIVE,
            "resamplings": COUNT,
            "trust_region": FLAG,
            "blocking": FLAG,
            "seed": SEED64,
        },
    ),
    "optim.ScipyMinimize": Case(
        optim.ScipyMinimize,
        lambda: {"params": node()},
        {
            "max_iter": COUNT,
            "tolerance": POSITIVE,
            "options": right("no options", "{}", "{'a': 1}"),
        },
    ),
    "optim.ScipyMinimize.step": Case(
        method(lambda: optim.ScipyMinimize(node(), max_iter=1), "step"),
        lambda: {"closure": closure()},
    ),
    "optim.ShotsSchedule": Case(
        optim.ShotsSchedule,
        lambda: {"module": measured()},
        {
            "ratio": POSITIVE,
            "factor": right("finite numbers above 1", "5", "10**9", "1.5"),
            "maximum": COUNT,
        },
    ),
    "optim.ShotsSchedule.load_state_dict": Case(
        method(lambda: optim.ShotsSchedule(measured()), "load_state_dict"),
        fixed(state_dict={"shots": 200}),
    ),
    "optim.StateFidelity": Case(
        optim.StateFidelity,
        lambda: {"circuit": rotation()[0]},
        {"circuit": right("it may have no parameters", "a circuit without parameters")},
    ),
    "optim.StateFidelity.__call__": Case(
        lambda **k: optim.StateFidelity(rotation()[0])(**k),
        fixed(weights=[0.5], others=[[0.1], [0.2]]),
        {"weights": right("one number", "(0,)")},
    ),
    "primitives.BatchedStatevectorEstimator": Case(
        primitives.BatchedStatevectorEstimator,
        fixed(),
        {"default_precision": NOT_NEGATIVE, "seed": SEED},
    ),
    "primitives.BatchedStatevectorEstimator.run": Case(
        lambda **k: batched(noise="gaussian").run(**k).result(),
        lambda: {"pubs": pubs()},
        {"pubs": EMPTY, "precision": NOT_NEGATIVE},
    ),
    "primitives.BatchedStatevectorEstimator.skip_job": Case(
        method(batched, "skip_job"), lambda: {"pub": primitives.evaluation.coerce_pub(pubs()[0])}
    ),
    "primitives.BatchedStatevectorSampler": Case(
        primitives.BatchedStatevectorSampler,
        fixed(),
        {"default_shots": SMALL_COUNT, "seed": SEED},
    ),
    "primitives.BatchedStatevectorSampler.run": Case(
        lambda **k: primitives.BatchedStatevectorSampler().run(**k).result(),
        lambda: {"pubs": [sampled()]},
        {"pubs": EMPTY, "shots": SMALL_COUNT},
    ),
    "primitives.BatchedStatevectorSampler.skip_job": Case(
        method(primitives.BatchedStatevectorSampler, "skip_job"),
        lambda: {"pub": SamplerPub.coerce(sampled())},
    ),
    "primitives.SamplerEstimator": Case(
        primitives.SamplerEstimator, lambda: {"sampler": primitives.BatchedStatevectorSampler()}
    ),
    "primitives.SamplerEstimator.run": Case(
        lambda **k: measuring().run(**k).result(),
        lambda: {"pubs": [(rotation()[0], "Z", np.zeros((0, 1)))]},
        {"pubs": EMPTY, "precision": POSITIVE},
    ),
    "primitives.SamplerEstimator.sampler_pubs": Case(
        method(measuring, "sampler_pubs"),
        lambda: {"pubs": [(rotation()[0], "Z", [[0.1]])]},
        {"pubs": EMPTY, "precision": POSITIVE},
    ),
    "primitives.SamplerEstimator.skip_job": Case(
        method(measuring, "skip_job"), lambda: {"pub": primitives.evaluation.coerce_pub(pubs()[0])}
    ),
    "primitives.Usage": Case(
        primitives.Usage,
        fixed(),
        dict.fromkeys(("jobs", "pubs", "points", "circuits", "shots"), FROM_ZERO),
    ),
    "primitives.evaluate": Case(
        primitives.evaluate,
        lambda: {"estimator": ESTIMATOR, "pubs": pubs(), "shapes": [(1,)]},
        {"precision": NOT_NEGATIVE},
    ),
    "primitives.is_aer": Case(
        primitives.is_aer,
        fixed(primitive=ESTIMATOR),
        {"primitive": Right("whatever it is, it is Aer's or it is not", ALL)},
    ),
    "primitives.shots_to_precision": Case(
        primitives.shots_to_precision, fixed(shots=100), {"shots": SMALL_COUNT}
    ),
    "primitives.validate_precision": Case(
        primitives.validate_precision,
        fixed(shots=None, precision=None),
        {"shots": SMALL_COUNT | NONE, "precision": POSITIVE | NONE},
    ),
    "rules.Differentiation": Case(
        rules.Differentiation,
        lambda: {n: getattr(plan(), n) for n in ("target", "angle_map", "pullback", "plan")},
        {"angle_map": NONE, "pullback": NONE},
    ),
    "rules.Differentiation.reading": Case(method(plan, "reading"), fixed(qubits=frozenset({0}))),
    **{
        f"rules.{name}.differentiation": Case(
            method(make, "differentiation"),
            lambda: {"circuit": analysed(), "columns": (0,)},
            {"columns": right("columns", "(0,)", "(0, 0)", "[]")},
        )
        for name, make in {
            "MultiFrequencyRule": rules.MultiFrequencyRule,
            "ParameterShiftRule": rules.ParameterShiftRule,
            "Rule": rules.FiniteDifference(0.1).rule,
        }.items()
    },
    "rules.ShiftPlan": Case(
        rules.ShiftPlan,
        lambda: {
            "size": 5,
            "coordinates": np.array([0, 1]),
            "shifts": np.array([0.5, -0.5]),
            "num_derivatives": 1,
            "entries": np.array([[0, 0], [0, 1]]),
            "coefficients": np.array([1.0, -1.0]),
        },
        {
            "size": right("whole numbers above the coordinates", "5"),
            "num_derivatives": right("whole numbers", "5"),
        },
    ),
    "rules.ShiftPlan.of_points": Case(
        rules.ShiftPlan.of_points,
        fixed(size=2, num_points=4, num_derivatives=1),
        {
            "size": right("whole numbers", "5"),
            "num_points": right("whole numbers", "5", "0"),
            "num_derivatives": right("whole numbers", "5", "0"),
        },
    ),
    "rules.ShiftPlan.restricted": Case(
        lambda **k: plan().plan.restricted(**k),
        lambda: {"coordinates": np.array([0])},
    ),
    "rules.ShiftPlan.from_columns": Case(
        rules.ShiftPlan.from_columns,
        lambda: {"size": 2, "stencils": [(0, np.ones(1), np.ones(1))]},
        {"size": right("whole numbers", "5"), "stencils": EMPTY},
    ),
    "rules.frequency_shifts": Case(
        rules.frequency_shifts, fixed(frequencies=(1.0,)), {"frequencies": EMPTY}
    ),
    "rules.recommended_epsilon": Case(
        rules.recommended_epsilon,
        fixed(precision=0.1),
        {"precision": NOT_NEGATIVE | NONE, "max_frequency": POSITIVE},
    ),
    "save_checkpoint": Case(
        save_checkpoint,
        lambda: {"path": new_path(), "model": node()},
        {
            "path": PATH,
            "cursor": KEPT,
            "extra": KEPT,
            "step": right("whole numbers", "5", "0", "-1", "10**9", "10**400"),
            "generators": EMPTY,
            "optimizer": EMPTY,
            "scheduler": EMPTY,
        },
    ),
}


def _after_backward() -> Any:
    optimizer = optim.QuantumNaturalGradient(node())
    node()().sum().backward()
    return optimizer


RECORDS = (
    dict.fromkeys(
        (
            "Checkpoint",
            "algorithms.History",
            "algorithms.ModuleParts",
            "algorithms.History.add",
            "backends.Prepared",
            "diagnostics.Diagnosis",
            "diagnostics.EffectiveDimension",
            "diagnostics.EntanglingCapability",
            "diagnostics.Expressibility",
            "diagnostics.FourierSpectrum",
            "diagnostics.GradientVariance",
            "diagnostics.HessianSpectrum",
            "diagnostics.LieAlgebra",
            "diagnostics.LossLandscape",
            "diagnostics.ParameterDimension",
            "jobs.budget.Cost",
            "jobs.budget.Simulation",
            "exceptions.JobError",
            "exceptions.ObjectiveError",
            "exceptions.UnknownJobError",
            "gradients.BridgeGradientResult",
            "gradients.BridgeSamplerGradientResult",
            "primitives.Evaluation",
        ),
        "a record that the package fills in and hands out",
    )
    | dict.fromkeys(
        ("diagnostics.TrainingLog.__exit__",),
        "called by Python, at the end of a with statement",
    )
    | dict.fromkeys(
        ("diagnostics.TrainingLog.callback",),
        "called by an optimizer, with what it has computed",
    )
    | dict.fromkeys(
        ("diagnostics.TrainingLog.add",),
        "takes any names; test_training_log.py tries wrong numbers",
    )
    | dict.fromkeys(
        (
            "AnalysedCircuit.angle_map",
            "rules.Differentiation.combine",
            "rules.Differentiation.points",
            "rules.Differentiation.standard_errors",
            "rules.MultiFrequencyRule.stencil",
            "rules.StencilRule.stencil",
            "rules.ShiftPlan.combined",
        ),
        "called by engines, with arrays or tensors that are checked where they come in",
    )
)
"""What only the package itself calls, and why it is public all the same."""

NOT_RUN = {
    # Right, and it would take as long as it says.
    ("optim.QNSPSA.calibrate", "steps"): ("10**9", "10**400"),
    # Right where IPython is installed.
    ("diagnostics.TrainingLog", "live"): ("True",),
    # Right, and StatevectorSampler has no room for the outcomes.
    ("gradients.AQGDSamplerGradient.run", "shots"): ("10**9",),
    ("QuantumLayer.sample", "shots"): ("10**9",),
    ("TorchQuantumModule.most_likely", "shots"): ("10**9",),
    ("TorchQuantumModule.sample", "shots"): ("10**9",),
}
"""Calls that are not made."""
