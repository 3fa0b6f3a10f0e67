# SPDX-License-Identifier: Apache-2.0
"""A module made from a network on a sampler gives the network's own numbers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from circuits import A, X, hybrid
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.primitives import BackendSamplerV2, BaseSamplerV2, StatevectorSampler
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_algorithms.gradients import FiniteDiffSamplerGradient
from qiskit_machine_learning import __version__
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.gradients import ParamShiftSamplerGradient, SPSASamplerGradient
from qiskit_machine_learning.neural_networks import SamplerQNN

from qiskit_torch_bridge import (
    CircuitProgram,
    Exact,
    Probabilities,
    TorchQuantumModule,
    Tracker,
)
from qiskit_torch_bridge.exceptions import AlgorithmError, AlgorithmTypeError, MeasurementError
from qiskit_torch_bridge.gradients import AdjointSamplerGradient, ParameterShiftSamplerGradient
from qiskit_torch_bridge.primitives import BatchedStatevectorSampler

OF_VERSION_1 = tuple(int(n) for n in __version__.split(".")[:2]) < (0, 9)
"""Whether networks make primitives of version 1 themselves."""
with_exact_sampler = pytest.mark.skipif(
    OF_VERSION_1, reason="this release has no V2 sampler that gives probabilities"
)
pytestmark = pytest.mark.filterwarnings("ignore:.*circuit.library.* is deprecated as of Qiskit 2.1")

# Sums of some dozens of products of double precision numbers.
EXACT = {"rtol": 0, "atol": 1e-10}
SHOTS = 4000
WEIGHTS = np.array([0.1, 0.2, 0.3])
ROWS = np.array([[0.25, -0.5], [1.0, 2.0]])


def parity(outcome):
    """That of the tutorials."""
    return f"{outcome:b}".count("1") % 2


def network(circuit=None, sampler=None, **options):
    """A network on the sampler that networks make themselves, which gives probabilities."""
    if sampler is None and OF_VERSION_1:
        sampler = StatevectorSampler()
    options = {"input_params": list(X), "weight_params": [A[2], A[0], A[1]], **options}
    return SamplerQNN(
        circuit=hybrid() if circuit is None else circuit,
        sampler=sampler,
        input_gradients=True,
        **options,
    )


def assert_agrees(qnn, module, rows=ROWS, weights=WEIGHTS, **tolerance):
    """Values and both gradients."""
    module = module.double()
    with torch.no_grad():
        module.weight.copy_(torch.as_tensor(weights))
    x = torch.tensor(rows).requires_grad_()
    y = module(x)
    assert y.shape == (len(rows), *qnn.output_shape)
    np.testing.assert_allclose(y.detach(), _dense(qnn.forward(rows, weights)), **tolerance)
    inputs, by_weight = map(_dense, qnn.backward(rows, weights))
    for o in np.ndindex(*qnn.output_shape):
        output = (slice(None), *o)
        found = torch.autograd.grad(y[output].sum(), (x, module.weight), retain_graph=True)
        np.testing.assert_allclose(found[0], inputs[output], **tolerance)
        np.testing.assert_allclose(found[1], by_weight[output].sum(0), **tolerance)


def _dense(array):
    return array.todense() if hasattr(array, "todense") else array


OUTPUTS = {
    "outcomes": {},
    "parity": {"interpret": parity, "output_shape": 2},
    "more outputs than are used": {"interpret": parity, "output_shape": 5},
    "an array of outputs": {"interpret": lambda o: (o >> 1, parity(o)), "output_shape": (2, 2)},
    "one of three axes": {"interpret": lambda o: (0, o % 3, o // 3), "output_shape": (1, 3, 2)},
    "numbers of NumPy": {"interpret": lambda o: np.int64(3 - o), "output_shape": 4},
    "sparse": {"sparse": True, "interpret": parity, "output_shape": 2},
}


@with_exact_sampler
@pytest.mark.parametrize("outputs", OUTPUTS)
def test_a_network_and_its_module_agree(outputs, caplog):
    """Exact on either side, whatever outcomes count for."""
    options = OUTPUTS[outputs]
    if options.get("sparse"):
        pytest.importorskip("sparse")
    qnn = network(**options)
    module = TorchQuantumModule.from_qnn(qnn)
    assert module.gradient == "adjoint" and module.estimator is None
    assert "exact engine takes the place of QMLSampler in SamplerQNN" in caplog.text
    assert ("dense tensors, here of shape (*batch, 2)" in caplog.text) is bool(qnn.sparse)
    assert_agrees(qnn, module, **EXACT)


def test_outputs_of_several_axes_are_saved():
    qnn = network(sampler=StatevectorSampler(), **OUTPUTS["one of three axes"])
    program = TorchQuantumModule.from_qnn(qnn).program
    again = CircuitProgram.from_state(program.to_state())
    assert program.output_shape == again.output_shape == (1, 3, 2)
    assert program.difference(again) is None
    shaped = Probabilities(interpret=[0, 1, 5, 3], output_size=(3, 2))
    rows = TorchQuantumModule(hybrid(), shaped, seed=1).double()()
    flat = Probabilities(interpret=[0, 1, 5, 3], output_size=6)
    torch.testing.assert_close(
        rows.flatten(), TorchQuantumModule(hybrid(), flat, seed=1).double()(), rtol=0, atol=0
    )


@pytest.mark.parametrize("size", [(2, 0), (1.5,), ("a",), (2, -2), [2, 2]], ids=str)
def test_shapes_that_are_none_are_named(size):
    with pytest.raises(MeasurementError, match="output_size"):
        Probabilities(interpret="parity", output_size=size)


@with_exact_sampler
def test_the_parity_classifier_of_the_tutorials():
    """Tutorials 01, 02 and 05: a feature map and real amplitudes, and the parity of all bits."""
    from qiskit.circuit.library import RealAmplitudes, ZZFeatureMap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        features, ansatz = ZZFeatureMap(2), RealAmplitudes(2, reps=1)
        circuit = QuantumCircuit(2)
        circuit.compose(features, inplace=True)
        circuit.compose(ansatz, inplace=True)
    qnn = network(
        circuit,
        input_params=features.parameters,
        weight_params=ansatz.parameters,
        interpret=parity,
        output_shape=2,
    )
    connector = TorchConnector(qnn, initial_weights=[0.5, -1.2, 0.3, 2.0])
    module = TorchQuantumModule.from_qnn(qnn, initial_weights=connector.weight)
    assert_agrees(qnn, module, weights=np.array([0.5, -1.2, 0.3, 2.0]), **EXACT)
    torch.testing.assert_close(
        module(torch.tensor(ROWS)), connector(torch.tensor(ROWS)).double(), rtol=0, atol=1e-6
    )


@with_exact_sampler
def test_the_generator_of_the_tutorials():
    """Tutorial 04, a QGAN: no inputs, three qubits, all outcomes."""
    weights = ParameterVector("w", 12)
    circuit = QuantumCircuit(3)
    circuit.h(range(3))
    for layer in range(2):
        for q in range(3):
            circuit.ry(weights[6 * layer + q], q)
            circuit.rz(weights[6 * layer + 3 + q], q)
        circuit.cx(0, 1)
        circuit.cx(1, 2)
    qnn = network(circuit, input_params=[], weight_params=list(weights), sparse=False)
    module = TorchQuantumModule.from_qnn(qnn, initial_weights=np.linspace(-1, 1, 12)).double()
    values = module.weight.detach().numpy()
    np.testing.assert_allclose(module()[None].detach(), qnn.forward([], values), **EXACT)
    _, expected = qnn.backward([], values)
    for o in range(8):
        found = torch.autograd.grad(module()[o], module.weight)
        np.testing.assert_allclose(found[0], expected[0, o], **EXACT)


# Measurements and layouts


def measured(*pairs, clbits=2, registers=()):
    circuit = QuantumCircuit(2, clbits)
    circuit.compose(hybrid(), inplace=True)
    for register in registers:
        circuit.add_register(register)
    for qubit, clbit in pairs:
        circuit.measure(qubit, clbit)
    return circuit


def all_measured():
    circuit = hybrid()
    circuit.measure_all()
    return circuit


MEASURED = {
    "measure_all": all_measured,
    "in order": lambda: measured((0, 0), (1, 1)),
    "crossed": lambda: measured((0, 1), (1, 0)),
    "one": lambda: measured((1, 0), clbits=1),
}


@with_exact_sampler
@pytest.mark.parametrize("kind", MEASURED)
def test_circuits_with_measurements(kind):
    """Row by row: of other registers than ``meas`` a network counts all rows together."""
    qnn = network(MEASURED[kind]())
    for row in ROWS:
        assert_agrees(qnn, TorchQuantumModule.from_qnn(qnn), row[None], **EXACT)


def test_bits_that_nothing_is_measured_into_are_zero():
    """As samplers return them; ``QMLSampler`` leaves them out."""
    circuit = measured((0, 1))
    qnn = network(circuit, StatevectorSampler(default_shots=SHOTS, seed=1))
    module = TorchQuantumModule.from_qnn(qnn, estimator=Exact(), initial_weights=WEIGHTS).double()
    found = module(torch.tensor(ROWS[1])).detach().numpy()
    assert found[0] > 0.1 and found[2] > 0.1 and not found[[1, 3]].any()
    expected = qnn.forward(ROWS[1], WEIGHTS)[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=5 / (2 * np.sqrt(SHOTS)))


@with_exact_sampler
@pytest.mark.parametrize("layout", [[0, 1], [1, 0], [2, 0]])
def test_a_transpiled_network(layout):
    """By a pass manager of the network's, or before. Its gradients do not know of layouts."""
    manager = generate_preset_pass_manager(
        1,
        basis_gates=["rz", "sx", "x", "cx"],
        coupling_map=[[0, 1], [1, 0], [0, 2], [2, 0]],
        initial_layout=layout,
    )
    for qnn in (network(manager.run(hybrid())), network(pass_manager=manager)):
        module = TorchQuantumModule.from_qnn(qnn, initial_weights=WEIGHTS).double()
        assert set(module.circuit.count_ops()) <= {"rz", "sx", "x", "cx"}
        found = module(torch.tensor(ROWS)).detach()
        np.testing.assert_allclose(found, qnn.forward(ROWS, module.weight.tolist()), **EXACT)


# Samplers and gradients


def test_a_sampler_and_its_gradient_come_along():
    sampler = StatevectorSampler(default_shots=500, seed=1)
    for kind, name in (
        (ParamShiftSamplerGradient, "parameter-shift"),
        (lambda s: SPSASamplerGradient(s, epsilon=0.1), "spsa"),
    ):
        module = TorchQuantumModule.from_qnn(network(sampler=sampler, gradient=kind(sampler)))
        assert module.estimator is sampler
        assert module.gradient.startswith(name) and module.precision is None
    theirs = FiniteDiffSamplerGradient(sampler, 0.1)
    module = TorchQuantumModule.from_qnn(network(sampler=sampler, gradient=theirs))
    assert module.gradient.startswith("finite-difference")


def test_gradients_of_this_package_in_a_network():
    sampler = BatchedStatevectorSampler(default_shots=500, seed=1)
    own = ParameterShiftSamplerGradient(sampler, shots=2000)
    module = TorchQuantumModule.from_qnn(network(sampler=sampler, gradient=own))
    assert module.estimator is sampler and module.gradient == "parameter-shift"
    with Tracker() as tracker:
        module(torch.tensor(ROWS[:1])).sum().backward()
    assert tracker.usage.jobs == 2 and tracker.usage.shots == 2000 * tracker.usage.points
    exact = network(sampler=BatchedStatevectorSampler(), gradient=AdjointSamplerGradient())
    assert TorchQuantumModule.from_qnn(exact).gradient == "adjoint"


@pytest.mark.parametrize(
    "sampler",
    [
        lambda: StatevectorSampler(default_shots=SHOTS, seed=1),
        lambda: BatchedStatevectorSampler(default_shots=SHOTS, seed=1),
        lambda: BackendSamplerV2(
            backend=AerSimulator(), options={"default_shots": SHOTS, "seed_simulator": 7}
        ),
    ],
    ids=["StatevectorSampler", "BatchedStatevectorSampler", "BackendSamplerV2"],
)
def test_numbers_of_a_network_with_shots(sampler):
    """Frequencies differ by five standard deviations of a difference, sqrt(2) / (2 sqrt(m)).

    Those of derivatives are twice as large at most: four shifts with coefficients of +-1/2 for
    each of two angles, the squares of which add up to two, and a scale of two.
    """
    sampler = sampler()
    qnn = network(sampler=sampler, interpret=parity, output_shape=2)
    module = TorchQuantumModule.from_qnn(qnn)
    assert module.estimator is sampler and module.gradient == "parameter-shift"
    deviation = np.sqrt(2) / (2 * np.sqrt(SHOTS))
    with Tracker() as tracker:
        module.double()(torch.tensor(ROWS))
    assert (tracker.usage.jobs, tracker.usage.pubs, tracker.usage.shots) == (1, 1, 2 * SHOTS)
    assert_agrees(qnn, module, ROWS[1:], rtol=0, atol=5 * np.sqrt(8) * deviation)


@pytest.mark.parametrize("kind", [StatevectorSampler, BatchedStatevectorSampler])
def test_default_shots_mean_the_exact_engine(kind, caplog):
    sampler = kind()
    module = TorchQuantumModule.from_qnn(network(sampler=sampler))
    assert f"takes the place of {kind.__name__} in SamplerQNN" in caplog.text
    assert module.estimator is None and module.gradient == "adjoint"
    kept = TorchQuantumModule.from_qnn(network(sampler=sampler), estimator=sampler)
    assert kept.estimator is sampler and kept.gradient == "parameter-shift"


@with_exact_sampler
def test_a_gradient_of_estimates_on_exact_probabilities():
    qnn = network()
    other = network(sampler=qnn.sampler, gradient=SPSASamplerGradient(qnn.sampler, epsilon=0.1))
    module = TorchQuantumModule.from_qnn(other).double()
    assert module.gradient.startswith("spsa") and module.estimator is None
    module(torch.tensor(ROWS)).sum().backward()
    assert torch.isfinite(module.weight.grad).all()


def test_the_network_trains():
    """Together with a layer, on the probability of one outcome."""
    torch.manual_seed(1)
    qnn = network(sampler=StatevectorSampler(), interpret=parity, output_shape=2)
    layer = torch.nn.Linear(3, 2)
    model = torch.nn.Sequential(layer, TorchQuantumModule.from_qnn(qnn, seed=2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    x, losses = torch.randn(8, 3), []
    for _ in range(60):
        optimizer.zero_grad()
        loss = 1 - model(x)[:, 1].mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 < losses[0] and layer.weight.grad.any()


def test_options_replace_what_the_network_has():
    qnn = network(sampler=StatevectorSampler())
    module = TorchQuantumModule.from_qnn(qnn, observables=Probabilities([1]), shots=50, seed=1)
    assert module(torch.tensor(ROWS)).shape == (2, 2) and module.shots == 50
    module = TorchQuantumModule.from_qnn(qnn, estimator=Exact(dtype="complex64"))
    assert module.execution.estimator == Exact(dtype="complex64")


# What cannot be read


class OfVersionOne:
    pass


class OwnGradient:
    pass


class OwnSampler(BaseSamplerV2):
    def run(self, pubs, *, shots=None):
        raise AssertionError("nothing may be run")


def test_networks_that_cannot_be_read():
    def refused(error, message, qnn, **options):
        with pytest.raises(error, match=message):
            TorchQuantumModule.from_qnn(qnn, **options)

    own = OwnSampler()
    refused(AlgorithmTypeError, "EstimatorQNN or a SamplerQNN .*; got int, which has no", 3)
    refused(AlgorithmTypeError, "SamplerQNN .*BatchedStatevectorSampler, which", own_like())
    qnn = network(sampler=own, gradient=OwnGradient())
    refused(AlgorithmError, "OwnGradient, has no counterpart .*gradient='parameter-shift'", qnn)
    assert TorchQuantumModule.from_qnn(qnn, gradient="spsa").estimator is own
    qnn = network(sampler=own)
    assert TorchQuantumModule.from_qnn(qnn).estimator is own  # any V2 sampler will do
    qnn.sampler = OfVersionOne()
    refused(AlgorithmError, "qnn.sampler to be a V2 sampler .*got OfVersionOne", qnn)
    moved = TorchQuantumModule.from_qnn(qnn, estimator=StatevectorSampler())
    assert isinstance(moved.estimator, StatevectorSampler)


def own_like():
    """Something with a sampler that is no network."""

    class BatchedStatevectorSampler:
        sampler = circuit = None

    return BatchedStatevectorSampler()


@pytest.mark.parametrize("found", [2, (0, 0), (-1,), "a", 0.5, None])
def test_outputs_that_there_are_not(found):
    qnn = network(sampler=StatevectorSampler(), interpret=lambda o: found, output_shape=2)
    with pytest.raises(AlgorithmError, match=r"index of an output of shape \(2,\); for 0 it gave"):
        TorchQuantumModule.from_qnn(qnn)


def test_measurements_that_the_network_does_not_read():
    circuit = measured((0, 0), (1, 1))
    circuit.measure_all()
    qnn = network(circuit, sampler=StatevectorSampler())
    with pytest.raises(AlgorithmError, match="reads the register 'meas' alone"):
        TorchQuantumModule.from_qnn(qnn)


def test_a_register_of_the_networks_own_name():
    """With names that sort before: weights and inputs are told apart by identity."""
    x, w = Parameter("b"), Parameter("a")
    circuit = QuantumCircuit(1)
    circuit.ry(x, 0)
    circuit.rz(0.3, 0)
    circuit.ry(w, 0)
    qnn = network(circuit, StatevectorSampler(), input_params=[x], weight_params=[w])
    module = TorchQuantumModule.from_qnn(qnn)
    assert module.program.input_params == (x,) and module.program.weight_params == (w,)
