# SPDX-License-Identifier: Apache-2.0
"""What is known of each kind of estimator and sampler, alone and inside others."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from estimators import CountingEstimator
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import (
    BackendEstimatorV2,
    BackendSamplerV2,
    BaseEstimatorV2,
    BaseSamplerV2,
    StatevectorEstimator,
    StatevectorSampler,
)
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_aer.primitives import SamplerV2 as AerSampler

from qiskit_torch_bridge.backends.simulators import FreshSeedsEstimator
from qiskit_torch_bridge.exceptions import InputError
from qiskit_torch_bridge.jobs import DispatchingEstimator, DispatchingSampler
from qiskit_torch_bridge.primitives import (
    BatchedStatevectorEstimator,
    BatchedStatevectorSampler,
    capabilities,
)


class Remote(BaseEstimatorV2):
    def run(self, pubs, *, precision=None): ...


class RemoteSampler(BaseSamplerV2):
    def run(self, pubs, *, shots=None): ...


class Holder:
    """What holds another one, of either sort."""

    def __init__(self, inner):
        self.inner = inner


class Fetching(StatevectorEstimator):
    def retrieve_job(self, name): ...


def on_a_device(kind):
    primitive = kind(backend=AerSimulator())
    primitive._backend = object()
    return primitive


def in_local_mode(options=None):
    runtime = pytest.importorskip("qiskit_ibm_runtime")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The SamplerV2 class is deprecated")
        return runtime.SamplerV2(AerSimulator(), options=options)


MAKE = {
    "batched with shots": BatchedStatevectorEstimator,
    "batched": lambda: BatchedStatevectorEstimator(noise="gaussian"),
    "statevector": StatevectorEstimator,
    "Aer": AerEstimator,
    "simulated backend": lambda: BackendEstimatorV2(backend=GenericBackendV2(2)),
    "backend": lambda: on_a_device(BackendEstimatorV2),
    "unknown": Remote,
}
SAMPLERS = {
    "batched sampler": BatchedStatevectorSampler,
    "statevector sampler": StatevectorSampler,
    "Aer's sampler": AerSampler,
    "sampler on a simulated backend": lambda: BackendSamplerV2(backend=GenericBackendV2(2)),
    "sampler on a backend": lambda: on_a_device(BackendSamplerV2),
    "sampler in local mode": in_local_mode,
    "unknown sampler": RemoteSampler,
}
BOTH = MAKE | SAMPLERS
BATCHED = {"batched with shots", "batched", "batched sampler"}
HOLDS = {
    "takes_projectors": {"batched with shots", "batched", *SAMPLERS},
    "binds_rightly": BATCHED,
    "runs_boxes": {*BATCHED, "backend", "unknown", "sampler on a backend", "unknown sampler"},
    "measures": {"batched with shots", "simulated backend", "backend", "unknown", *SAMPLERS},
    "binds_here": set(BOTH) - BATCHED - {"unknown", "unknown sampler"},
    "costs_nothing": set(BOTH) - {"backend", "unknown", "sampler on a backend", "unknown sampler"},
    "is_aer": {"Aer", "Aer's sampler"},
}


@pytest.mark.parametrize("fact", HOLDS)
def test_facts_of_each_kind_alone_and_held_by_another(fact):
    holds = getattr(capabilities, fact)
    for name, make in BOTH.items():
        assert holds(make()) == (name in HOLDS[fact]), name
        assert holds(Holder(make())) == (name in HOLDS[fact]), name
    for name, make in MAKE.items():
        assert holds(FreshSeedsEstimator(make(), 1)) == (name in HOLDS[fact]), name
        assert holds(CountingEstimator(make())) == (name in HOLDS[fact]), name


def test_samplers_are_told_from_estimators():
    for name, make in BOTH.items():
        assert capabilities.is_sampler(make()) == (name in SAMPLERS), name


def test_no_sampler_is_exact():
    exact = {name for name, make in BOTH.items() if capabilities.is_exact(make(), 2)}
    assert exact == {"batched with shots", "batched", "statevector", "Aer"}


SEEDED = {
    "statevector": lambda seed: StatevectorEstimator(seed=seed),
    "statevector sampler": lambda seed: StatevectorSampler(seed=seed),
    "Aer's sampler": lambda seed: AerSampler(seed=seed),
    "Aer's by its options": lambda seed: AerSampler(
        options={"run_options": {"seed_simulator": seed}}
    ),
    "Aer's by its backend": lambda seed: AerSampler(
        options={"backend_options": {"seed_simulator": seed}}
    ),
    "on a backend": lambda seed: BackendSamplerV2(
        backend=AerSimulator(), options={"seed_simulator": seed}
    ),
    "in local mode": lambda seed: in_local_mode({"simulator": {"seed_simulator": seed}}),
}


@pytest.mark.parametrize("name", SEEDED)
def test_a_seed_repeats_the_outcomes_of_every_job(name):
    """What is said of each sampler is what it does."""
    circuit = QuantumCircuit(2)
    circuit.h([0, 1])
    circuit.measure_all()

    def repeated(sampler):
        assert capabilities.repeats_noise(sampler)
        first, second = (sampler.run([circuit], shots=100).result()[0].data for _ in range(2))
        return np.array_equal(first.meas.array, second.meas.array)

    if capabilities.is_sampler(SEEDED[name](1)):
        assert repeated(SEEDED[name](1))
    assert not capabilities.repeats_noise(Holder(SEEDED[name](1)))
    assert not capabilities.repeats_noise(BatchedStatevectorSampler(seed=1))


def test_noise_is_found_by_name_through_samplers():
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.1, 1), "sx")
    noisy = AerSimulator(noise_model=model)
    for sampler in (AerSampler.from_backend(noisy), BackendSamplerV2(backend=noisy)):
        assert capabilities.names_with_noise(Holder(sampler)) == {"sx"}


@pytest.mark.parametrize("gate", ["crx", "cry", "crz", "cp"])
def test_aers_sampler_ignores_parameters_of_controlled_gates(gate):
    """What ``is_aer`` is asked for. When this fails, Aer binds them."""
    theta, circuit = Parameter("theta"), QuantumCircuit(2, 1)
    circuit.x(0)
    if gate in ("crz", "cp"):
        circuit.h(1)
    getattr(circuit, gate)(theta, 0, 1)
    if gate in ("crz", "cp"):
        circuit.h(1)
    circuit.measure(1, 0)
    bound = circuit.assign_parameters({theta: 3.0})
    counts = [
        AerSampler(seed=1).run([pub], shots=1000).result()[0].data.c.get_counts()
        for pub in ((circuit, [3.0]), bound, circuit.assign_parameters({theta: 0.0}))
    ]
    ones = [found.get("1", 0) for found in counts]
    assert ones[0] == ones[2] and abs(ones[0] - ones[1]) > 300


@pytest.mark.parametrize("fact", ["takes_projectors", "binds_rightly", "runs_boxes"])
def test_several_do_what_all_of_them_do(fact):
    holds = getattr(capabilities, fact)
    for first in MAKE:
        for second in MAKE:
            both = DispatchingEstimator([MAKE[first](), MAKE[second]()])
            assert holds(both) == ({first, second} <= HOLDS[fact]), (first, second)


def test_one_that_fetches_jobs_is_not_done_with_the_process():
    assert not capabilities.costs_nothing(Fetching())
    assert not capabilities.costs_nothing(DispatchingEstimator(Fetching()))


@pytest.mark.parametrize("name", BOTH)
def test_evolutions_are_exponentials_on_state_vectors_only(name):
    exact = name in {*BATCHED, "statevector", "statevector sampler"}
    primitive = BOTH[name]()
    assert capabilities.evolutions_on(primitive) == ("simulated" if exact else "definition")
    assert capabilities.evolutions_on(primitive, transpiler=object()) == "definition"


def test_an_unknown_one_on_a_simulator_runs_no_boxes():
    estimator = Remote()
    estimator.backend = AerSimulator()
    assert not capabilities.runs_boxes(estimator) and not capabilities.costs_nothing(estimator)


def test_aer_is_given_no_pub_without_points():
    """It ends the process with a segmentation fault."""
    circuit = QuantumCircuit(1)
    circuit.rx(Parameter("theta"), 0)
    measured = circuit.copy()
    measured.measure_all()
    points = np.zeros((0, 1))
    message = r"end the whole process.*shape \(0,\). Leave the PUB out"
    with pytest.raises(InputError, match=message):
        DispatchingSampler(AerSampler()).run([(measured, points)])
    with pytest.raises(InputError, match=message):
        DispatchingEstimator(AerEstimator()).run([(circuit, "Z", points)])
    others = DispatchingSampler(StatevectorSampler()).run([(measured, points)])
    assert others.result()[0].data.meas.shape == (0,)
