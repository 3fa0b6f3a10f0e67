# SPDX-License-Identifier: Apache-2.0
"""Observables measured by samplers: right values, honest errors, one run, gates of the device.

Each test makes one decision at a false-alarm rate of 1e-6 over all numbers it looks at
(Bonferroni), with fixed seeds.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from circuits import hybrid, layered
from qiskit import transpile
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import (
    BackendSamplerV2,
    BaseSamplerV2,
    PrimitiveJob,
    PrimitiveResult,
    SamplerPubResult,
    StatevectorEstimator,
    StatevectorSampler,
)
from qiskit.primitives.containers import DataBin
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp, Statevector, random_pauli_list
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import SamplerV2 as AerSampler
from reference import expectations
from scipy import stats
from test_batched_estimator import SHAPES, VALUES, nested

from qiskit_torch_bridge import TorchQuantumModule
from qiskit_torch_bridge.exceptions import (
    CircuitError,
    PrecisionError,
    ResultError,
    SamplerTypeError,
)
from qiskit_torch_bridge.jobs import DispatchingEstimator
from qiskit_torch_bridge.primitives import (
    BatchedStatevectorEstimator,
    BatchedStatevectorSampler,
    SamplerEstimator,
    capabilities,
    outcome_sources,
    shots_to_precision,
)

FAMILY = 1e-6
SHOTS = 4000
PRECISION = shots_to_precision(SHOTS)
SAMPLERS = {
    "batched": lambda: BatchedStatevectorSampler(seed=3),
    # Qiskit's and Aer's repeat the randomness of an integer seed for every circuit.
    "statevector": lambda: StatevectorSampler(seed=np.random.default_rng(3)),
    "Aer": lambda: AerSampler(seed=3),
    "backend": lambda: BackendSamplerV2(backend=AerSimulator(seed_simulator=3)),
}
LABELS = ["ZI", "XX", "YZ", "IX", "YY", "IZ"]


class Recording(BaseSamplerV2):
    """Passes everything on and notes what it was asked for."""

    def __init__(self, inner):
        self.inner, self.runs = inner, []

    def run(self, pubs, *, shots=None):
        self.runs.append([SamplerPub.coerce(pub, shots) for pub in pubs])
        return self.inner.run(self.runs[-1])


def assert_near(found, stds, expected):
    """All numbers within as many standard errors as chance allows."""
    expected = np.broadcast_to(expected, found.shape)
    certain = stds == 0
    np.testing.assert_allclose(found[certain], expected[certain], rtol=0, atol=1e-10)
    z = (found - expected)[~certain] / stds[~certain]
    # Student's law: the standard error is estimated from the same shots.
    assert np.abs(z).max(initial=0) < stats.t.isf(FAMILY / 2 / max(1, z.size), SHOTS - 1)


@pytest.mark.parametrize("name", SAMPLERS)
def test_values_of_each_sampler(name):
    values = VALUES[0, 0, :2]
    observables = [[label] for label in LABELS] + [[SparsePauliOp(LABELS, np.arange(6) - 2.5)]]
    pub = (hybrid(), observables, values)
    data = SamplerEstimator(SAMPLERS[name]()).run([pub], precision=PRECISION).result()[0].data
    exact = StatevectorEstimator().run([pub]).result()[0].data.evs
    assert data.evs.shape == data.stds.shape == data.shape == exact.shape
    assert_near(data.evs, data.stds, exact)


@pytest.mark.parametrize("shapes", SHAPES)
def test_broadcasting_is_qiskits(shapes):
    count = int(np.prod(shapes[1]))
    values = VALUES.reshape(-1, 5)[:count].reshape(*shapes[1], 5)
    pub = (hybrid(), nested(shapes[0]), values)
    estimator = SamplerEstimator(BatchedStatevectorSampler(seed=1))
    data = estimator.run([pub], precision=PRECISION).result()[0].data
    exact = np.asarray(StatevectorEstimator().run([pub]).result()[0].data.evs)
    assert data.evs.shape == exact.shape
    assert_near(data.evs, data.stds, exact)


def test_all_groups_of_all_pubs_are_one_run():
    recording = Recording(BatchedStatevectorSampler(seed=1))
    circuit, values = hybrid(), VALUES[0]
    pubs = [
        (circuit, [[label] for label in LABELS], values[0], 0.1),
        (circuit, ["ZZ", "II"], values[0, 0]),
        (circuit, "II", values[0]),
    ]
    results = SamplerEstimator(recording).run(pubs, precision=0.05).result()
    (run,) = recording.runs
    # IZ and ZI, IX and XX, YZ, YY; ZZ.
    assert [(pub.shape, pub.shots) for pub in run] == [((4,), 100)] * 4 + [((1,), 400)]
    assert [r.metadata["shots"] for r in results] == [100, 400, 400]
    assert [r.metadata["target_precision"] for r in results] == [0.1, 0.05, 0.05]
    np.testing.assert_array_equal(results[2].data.evs, np.ones(values.shape[1]))
    assert not results[2].data.stds.any()


@pytest.mark.parametrize("shots", [1, 20, 400])
def test_values_are_the_batched_estimators(shots, monkeypatch):
    """The same law: means and standard errors of many runs agree in distribution."""
    circuit, operator = hybrid(), SparsePauliOp(LABELS, [0.5, 1.0, -2.0, 0.3, 0.7, 1.1])
    rows = np.tile(VALUES[0, 0, :1], (2000, 1))
    pub = (circuit, operator, rows, shots_to_precision(shots))
    estimators = (
        BatchedStatevectorEstimator(seed=1),
        SamplerEstimator(BatchedStatevectorSampler(seed=2)),
    )
    ours, theirs = (e.run([pub]).result()[0].data for e in estimators)
    for name in ("evs", "stds"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert stats.ks_2samp(a, b).pvalue > FAMILY / 2
    if shots == 400:  # by counts and by shots
        monkeypatch.setattr(outcome_sources, "FEW_OUTCOMES", 0)
        monkeypatch.setattr(outcome_sources, "OUTCOMES_PER_SHOT", 0)
        again = SamplerEstimator(BatchedStatevectorSampler(seed=2)).run([pub]).result()[0].data
        np.testing.assert_allclose(again.evs, theirs.evs, rtol=0, atol=1e-12)
        np.testing.assert_allclose(again.stds, theirs.stds, rtol=0, atol=1e-12)


def test_projectors_and_their_sums():
    point = torch.tensor(VALUES[0, 0, :1])
    observables = [[{"0Z": 2.0, "+r": -1.0}], ["1-"], ["Zl"], [{"00": 0.5, "11": 0.5}]]
    data = (
        SamplerEstimator(BatchedStatevectorSampler(seed=1))
        .run([(hybrid(), observables, point.numpy())], precision=PRECISION)
        .result()[0]
        .data
    )
    exact = BatchedStatevectorEstimator().run([(hybrid(), observables, point.numpy())]).result()
    assert_near(data.evs, data.stds, exact[0].data.evs)


@pytest.mark.parametrize("width", [8, 61, 62, 63, 64, 65, 100])
def test_wide_outcomes(width):
    """Each qubit in an eigenstate of X, Y or Z, so that every product of these is certain."""
    rng = np.random.default_rng(width)
    letters, negative = rng.choice(list("XYZ"), width), rng.integers(0, 2, width)
    circuit = QuantumCircuit(width)
    for qubit in range(width):
        if negative[qubit]:
            circuit.x(qubit)
        if letters[qubit] != "Z":
            circuit.h(qubit)
        if letters[qubit] == "Y":
            circuit.s(qubit)
    supports = [range(width), [0], [width - 1], range(width // 2), range(width // 2, width)]
    supports += [rng.choice(width, width // 2, replace=False) for _ in range(5)]
    products = [
        SparsePauliOp.from_sparse_list([("".join(letters[list(s)]), list(s), 1.0)], width)
        for s in supports
    ]
    signs = [(-1.0) ** negative[list(s)].sum() for s in supports]
    names = {"X": "+-", "Y": "rl", "Z": "01"}
    right = [names[letter][sign] for letter, sign in zip(letters, negative, strict=True)]
    wrong = [*right[:-1], names[letters[-1]][1 - negative[-1]]]
    mixed = [*letters[: width // 2], *right[width // 2 :]]
    projectors = ["".join(each[::-1]) for each in (right, wrong, mixed)]
    simulator = AerSimulator(method="stabilizer", seed_simulator=1)
    recording = Recording(BackendSamplerV2(backend=simulator))
    pub = (circuit, [*products, *projectors])
    data = SamplerEstimator(recording).run([pub], precision=0.1).result()[0].data
    assert len(recording.runs[0]) == 1  # one group
    expected = [*signs, 1.0, 0.0, signs[3]]
    np.testing.assert_allclose(data.evs, expected, rtol=0, atol=1e-12)
    assert not data.stds.any()


def test_circuits_of_a_device_stay_in_its_gates():
    logical, _, _ = layered(3, 1)
    backend = GenericBackendV2(5, seed=1)
    circuit = transpile(logical, backend, seed_transpiler=1)
    operator = SparsePauliOp(["XYZ", "ZZX"]).apply_layout(circuit.layout)
    values = np.random.default_rng(0).uniform(-3, 3, (1, circuit.num_parameters))
    exact = StatevectorEstimator().run([(circuit, operator, values)]).result()[0].data.evs
    for inner in (BatchedStatevectorSampler(seed=1), BackendSamplerV2(backend=backend)):
        recording = Recording(inner)
        job = SamplerEstimator(recording).run([(circuit, operator, values)], precision=PRECISION)
        names = {n for pub in recording.runs[0] for n in pub.circuit.count_ops()}
        assert names <= {*backend.target.operation_names, "barrier"}
        data = job.result()[0].data
        if isinstance(inner, BatchedStatevectorSampler):
            assert_near(data.evs, data.stds, exact)
        else:  # a device with noise
            assert np.abs(data.evs - exact).max() < 0.5


@pytest.mark.parametrize(
    "gates",
    [{"h", "sdg"}, {"rz", "sx"}, {"rz", "rx"}, {"rx", "ry"}, {"u"}, {"cx", "rz"}],
)
def test_every_change_of_basis(gates, monkeypatch):
    estimator = SamplerEstimator(BatchedStatevectorSampler(seed=1))
    monkeypatch.setattr(estimator, "_gates", lambda circuit: gates)
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.h(1)
    circuit.s(1)
    circuit.x(2)
    data = estimator.run([(circuit, ["IIX", "IYI", "ZII", "ZYX"])], precision=0.1).result()[0].data
    np.testing.assert_array_equal(data.evs, [1, 1, -1, -1])


def test_parameters_of_controlled_gates_on_aer():
    theta, circuit = Parameter("theta"), QuantumCircuit(2)
    circuit.x(0)
    circuit.crx(theta, 0, 1)
    estimator = SamplerEstimator(AerSampler(seed=1))
    data = estimator.run([(circuit, "ZI", [[np.pi]])], precision=0.1).result()[0].data
    assert data.evs.tolist() == [-1.0]


def test_no_points_run_nothing():
    pub = (hybrid(), [["ZZ"], ["XX"]], np.zeros((0, 5)))
    result = SamplerEstimator(AerSampler()).run([pub], precision=0.1).result()[0]
    assert result.data.evs.shape == result.data.stds.shape == (2, 0)


class Weights(BaseSamplerV2):
    """Returns exact quasi-probabilities, as samplers that mitigate errors may."""

    def run(self, pubs, *, shots=None):
        results = []
        for pub in (SamplerPub.coerce(pub, shots) for pub in pubs):
            circuits = pub.parameter_values.bind_all(pub.circuit)
            found = np.empty(circuits.shape, dtype=object)
            for at, circuit in np.ndenumerate(circuits):
                bits = [i.qubits[0] for i in circuit.data if i.operation.name == "measure"]
                qubits = [circuit.find_bit(q).index for q in bits]
                state = Statevector(circuit.remove_final_measurements(inplace=False))
                found[at] = dict(enumerate(state.probabilities(qubits)))
            results.append(SamplerPubResult(DataBin(quasi=found, shape=found.shape)))
        job = PrimitiveJob(PrimitiveResult, results)
        job._submit()
        return job


def test_quasi_probabilities():
    pub = (hybrid(), [[label] for label in LABELS], VALUES[0, 0])
    found = SamplerEstimator(Weights()).run([pub], precision=0.1).result()[0].data
    exact = StatevectorEstimator().run([pub]).result()[0].data.evs
    np.testing.assert_allclose(found.evs, exact, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.stds, np.sqrt((1 - exact**2) / 99), rtol=0, atol=1e-6)


def test_a_circuit_with_classical_bits_of_its_own():
    """Measurements in the middle are the sampler's affair; a register may have any name."""
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    circuit.x(0)
    circuit.x(1)
    data = SamplerEstimator(AerSampler(seed=1)).run([(circuit, ["ZZ", "XX"])]).result()[0].data
    assert data.evs[0] == 1.0 and abs(data.evs[1]) < 5.5 * data.stds[1]


def test_defaults_are_the_samplers():
    circuit = QuantumCircuit(1)
    estimator = SamplerEstimator(BatchedStatevectorSampler(default_shots=77))
    assert estimator.default_precision == shots_to_precision(77)
    result = estimator.run([(circuit, "X")]).result()[0]
    assert result.metadata["shots"] == 77
    assert result.metadata["target_precision"] == shots_to_precision(77)
    assert SamplerEstimator(Recording(StatevectorSampler())).default_precision is None
    backend = BackendSamplerV2(backend=AerSimulator(), options={"default_shots": 50})
    assert SamplerEstimator(backend).default_precision == shots_to_precision(50)
    assert len(estimator.run([]).result()) == 0


def test_what_is_known_of_it_is_known_of_the_sampler():
    for name, make in SAMPLERS.items():
        estimator = SamplerEstimator(make())
        assert capabilities.measures(estimator) and capabilities.costs_nothing(estimator)
        assert capabilities.takes_projectors(estimator)
        assert capabilities.is_aer(estimator) == (name == "Aer")
        assert capabilities.repeats_noise(estimator) == (name in ("Aer", "backend"))
        assert not capabilities.is_exact(estimator, 2) and not capabilities.is_sampler(estimator)


def test_what_it_will_amount_to_is_known_before():
    """The circuits and shots that are counted are those that the sampler is asked for."""
    recording = Recording(BatchedStatevectorSampler(seed=1))
    dispatching = DispatchingEstimator(SamplerEstimator(recording))
    pubs = [
        (hybrid(), [[label] for label in LABELS], VALUES[0, 0]),
        (hybrid(), LABELS[:4], VALUES[0, 0]),
        (hybrid(), [{"0Z": 1.0, "XX": 2.0}], VALUES[0, 0, 0]),
    ]
    expected = dispatching.usage(pubs, 0.1)
    dispatching.run(pubs, precision=0.1).result()
    asked = [pub for run in recording.runs for pub in run]
    circuits = sum(pub.parameter_values.size for pub in asked)
    shots = sum(pub.parameter_values.size * pub.shots for pub in asked)
    assert (expected.circuits, expected.shots) == (circuits, shots)
    assert dispatching.used == expected


def test_the_job_is_the_samplers():
    job = SamplerEstimator(BatchedStatevectorSampler(seed=1)).run([(QuantumCircuit(1), "X")])
    first = job.result()
    assert job.result() is first and job.done() and job.in_final_state()
    assert job.job_id() == job._job.job_id() and not job.running() and not job.cancelled()
    assert job.status() == job._job.status() and not job.cancel()


class Lost(BaseSamplerV2):
    """Returns one result less."""

    def run(self, pubs, *, shots=None):
        results = list(StatevectorSampler().run(pubs, shots=shots).result())[1:]
        job = PrimitiveJob(PrimitiveResult, results)
        job._submit()
        return job


def test_what_is_refused():
    circuit = QuantumCircuit(1)
    measured = QuantumCircuit(1)
    measured.measure_all()
    estimator = SamplerEstimator(BatchedStatevectorSampler())
    with pytest.raises(SamplerTypeError, match="sampler"):
        SamplerEstimator(StatevectorEstimator())
    with pytest.raises(PrecisionError, match="above zero; got 0"):
        estimator.run([(circuit, "Z")], precision=0.0)
    with pytest.raises(CircuitError, match="ends with measurements"):
        estimator.run([(measured, "Z")])
    with pytest.raises(ResultError, match="was given 1 PUB.*returned 0"):
        SamplerEstimator(Lost()).run([(circuit, "Z")]).result()


def test_a_module_of_observables_on_a_sampler():
    circuit, x, _ = layered(2, 1)
    operators = [SparsePauliOp("ZZ"), SparsePauliOp(["XI", "IY"], [1.0, 0.5])]
    weights = torch.linspace(-1, 1, circuit.num_parameters - len(x), dtype=torch.float64)
    inputs = torch.tensor([[0.3] * len(x), [1.2] * len(x)], dtype=torch.float64)
    estimator = SamplerEstimator(BatchedStatevectorSampler(seed=1))
    modules = [
        TorchQuantumModule(circuit, operators, input_params=x, initial_weights=weights, **options)
        for options in ({}, {"estimator": estimator, "precision": PRECISION})
    ]
    exact, found = (module(inputs).detach().numpy() for module in modules)
    # Coefficients add up to 1.5, so no value has a standard error above that of 1.5.
    bound = stats.norm.isf(FAMILY / 2 / exact.size)
    assert np.abs(found - exact).max() < 1.5 * bound * PRECISION


def test_random_sums_against_dense_matrices():
    operators = [
        SparsePauliOp(
            random_pauli_list(2, 6, seed=k, phase=False), np.random.default_rng(k).normal(size=6)
        )
        for k in range(4)
    ]
    values = VALUES[0, 0]
    data = (
        SamplerEstimator(BatchedStatevectorSampler(seed=5))
        .run([(hybrid(), [[o] for o in operators], values)], precision=PRECISION)
        .result()[0]
        .data
    )
    dense = expectations(hybrid(), operators, hybrid().parameters, torch.tensor(values)).numpy()
    assert_near(data.evs, data.stds, dense.T)
