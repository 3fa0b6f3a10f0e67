# SPDX-License-Identifier: Apache-2.0
"""Outcomes that modules draw: distributed as the state says, of the right qubits, on any place."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.primitives import (
    BackendEstimatorV2,
    BackendSamplerV2,
    BaseEstimatorV2,
    BitArray,
    DataBin,
    PrimitiveJob,
    PrimitiveResult,
    SamplerPubResult,
    StatevectorEstimator,
    StatevectorSampler,
)
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Statevector
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_aer.primitives import SamplerV2 as AerSampler
from scipy import stats

from qiskit_torch_bridge import (
    CVaR,
    Exact,
    Execution,
    OnBackend,
    Probabilities,
    TorchQuantumModule,
    Tracker,
)
from qiskit_torch_bridge.engines import make_engine
from qiskit_torch_bridge.exceptions import (
    BudgetError,
    InputError,
    InputTypeError,
    MeasurementError,
    MemoryLimitError,
    PrecisionError,
    ResultError,
    TracingError,
)
from qiskit_torch_bridge.jobs import DispatchingSampler, Jobs
from qiskit_torch_bridge.primitives import (
    BatchedStatevectorEstimator,
    BatchedStatevectorSampler,
    SamplerEstimator,
)
from qiskit_torch_bridge.samples import Samples

X, W = ParameterVector("x", 1), ParameterVector("a", 2)  # weights sort before inputs
WEIGHTS = [0.9, -0.4]
INPUTS = torch.tensor([[1.1], [1.9]], dtype=torch.float64)
LINE = [[0, 1], [1, 0], [1, 2], [2, 1], [2, 3], [3, 2]]
P_VALUE = 1e-5
"""Below it a distribution counts as another one: some hundred tests fail once in a thousand runs,
if seeds were new each time."""


def asymmetric():
    """Three qubits whose outcomes all differ in probability, whatever order they are read in."""
    circuit = QuantumCircuit(3)
    circuit.ry(X[0], 0)
    circuit.cx(0, 1)
    circuit.ry(W[0], 1)
    circuit.rx(2 * W[1] + 0.1, 2)
    circuit.cx(1, 2)
    return circuit


def probabilities(row, qubits=None, circuit=None):
    """Qiskit's own probabilities of the circuit that is given, before any transpiling."""
    values = {X[0]: float(row[0]), W[0]: WEIGHTS[0], W[1]: WEIGHTS[1]}
    bound = (circuit or asymmetric()).assign_parameters(values)
    return Statevector(bound).probabilities(qubits)


def make(asked="ZZZ", **options):
    options = {"input_params": X, "initial_weights": WEIGHTS, "seed": 5, **options}
    circuit = options.pop("circuit", None) or asymmetric()
    return TorchQuantumModule(circuit, asked, **options).double()


def assert_drawn_from(bits, expected):
    """A chi-square test of the bits ``(shots, n)``, entry k being bit k of the outcome."""
    outcomes = bits.numpy().astype(int) @ (1 << np.arange(bits.shape[-1]))
    found = np.bincount(outcomes, minlength=len(expected))
    never = expected < 1e-12
    assert not found[never].any()
    assert min(expected[~never]) * len(bits) >= 5  # where the distribution is one of chi-square
    p_value = stats.chisquare(found[~never], len(bits) * expected[~never]).pvalue
    assert p_value > P_VALUE


def device():
    return GenericBackendV2(4, coupling_map=LINE, seed=3, noise_info=False)


def transpiled(**options):
    manager = generate_preset_pass_manager(1, device(), initial_layout=[2, 1, 3], seed_transpiler=1)
    return {"pass_manager": manager, **options}


PLACES = {
    "exact": dict,
    "single precision": lambda: {"estimator": Exact(dtype="complex64")},
    "exact by torch": lambda: {"estimator": Exact(kernels="torch")},
    "exact, by a rule": lambda: {"gradient": "parameter-shift"},
    "shots": lambda: {"shots": 100},
    "exact estimator": lambda: {"estimator": StatevectorEstimator(seed=1)},
    "estimator": lambda: {"estimator": StatevectorEstimator(seed=1), "precision": 0.1},
    "our estimator": lambda: {"estimator": BatchedStatevectorEstimator(seed=1)},
    "Aer's estimator": lambda: {"estimator": AerEstimator()},
    "an estimator on a backend": lambda: {"estimator": BackendEstimatorV2(backend=AerSimulator())},
    "two estimators": lambda: {"estimator": [StatevectorEstimator(seed=s) for s in (1, 2)]},
    "sampler": lambda: {"estimator": StatevectorSampler(seed=np.random.default_rng(1))},
    "our sampler": lambda: {"estimator": BatchedStatevectorSampler(seed=1)},
    "Aer's sampler": lambda: {"estimator": AerSampler(seed=1)},
    "a sampler on a backend": lambda: {"estimator": BackendSamplerV2(backend=AerSimulator())},
    "an estimator on a sampler": lambda: {
        "estimator": SamplerEstimator(BatchedStatevectorSampler(seed=1))
    },
    "two samplers": lambda: {"estimator": [BatchedStatevectorSampler(seed=s) for s in (1, 2)]},
    "Aer": lambda: {"backend": AerSimulator()},
    "a device": lambda: {
        "backend": OnBackend(device(), initial_layout=[2, 1, 3], seed_transpiler=1)
    },
    "transpiled, exact": transpiled,
    "transpiled, Aer's estimator": lambda: transpiled(estimator=AerEstimator()),
    "transpiled, sampler": lambda: transpiled(estimator=BatchedStatevectorSampler(seed=1)),
}
REPEATS = ("Aer's sampler",)
"""Where the user's own seed gives every call the same shots."""
ASKED = {"observables": "XIZ", "some qubits": Probabilities([2, 0]), "CVaR": CVaR("ZIZ", 0.3)}
MEASURED = {"observables": None, "some qubits": [2, 0], "CVaR": [0, 2]}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("asked", ASKED)
def test_outcomes_are_distributed_as_the_state_says(place, asked):
    module = make(ASKED[asked], **PLACES[place]())
    samples = module.sample(INPUTS, shots=2000)
    width = 3 if MEASURED[asked] is None else 2
    assert samples.bits.shape == (2, 2000, width) and samples.bits.dtype == torch.int8
    for row, bits in zip(INPUTS, samples.bits, strict=True):
        assert_drawn_from(bits, probabilities(row, MEASURED[asked]))
    again = module.sample(INPUTS, shots=2000)
    assert torch.equal(again.bits, samples.bits) is (place in REPEATS)


@pytest.mark.parametrize("place", ["exact", "Aer", "transpiled, sampler"])
def test_bits_counts_and_bit_arrays_say_the_same(place):
    samples = make(**PLACES[place]()).sample(INPUTS.reshape(2, 1, 1), shots=300)
    assert samples.bit_array.shape == (2, 1) and samples.bit_array.num_shots == 300
    assert samples.shots == 300
    counts = samples.counts()
    for row in range(2):
        found = counts[row][0]
        assert found == samples.bit_array.get_counts((row, 0))
        strings = ["".join(map(str, bits[::-1])) for bits in samples.bits[row, 0].tolist()]
        assert found == {s: strings.count(s) for s in set(strings)}


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3), (0,), (2, 0)], ids=str)
@pytest.mark.parametrize("place", ["exact", "Aer", "sampler"])
def test_a_batch_of_any_shape(place, batch):
    module = make(**PLACES[place]())
    inputs = torch.zeros(*batch, 1)
    samples = module.sample(inputs, shots=7)
    assert samples.bits.shape == (*batch, 7, 3)
    assert samples.bit_array.shape == batch and samples.most_frequent.shape == (*batch, 3)
    assert module.most_likely(inputs).shape == (*batch, 3)
    counts = np.array(samples.counts(), dtype=object)
    assert counts.shape == batch or 0 in batch


@pytest.mark.parametrize("place", ["exact", "Aer", "sampler"])
def test_rows_without_parameters_are_drawn_on_their_own(place):
    """Inputs of no columns, to a circuit that has nothing to bind."""
    circuit = QuantumCircuit(2)
    circuit.h([0, 1])
    options = PLACES[place]()
    module = TorchQuantumModule(circuit, seed=1, **options)
    bits = module.sample(torch.zeros(3, 0), shots=500).bits
    assert bits.shape == (3, 500, 2)
    for row in bits:
        assert_drawn_from(row, np.full(4, 0.25))
    assert len({row.numpy().tobytes() for row in bits}) == 3
    assert module.sample(shots=5).bits.shape == (5, 2)


def test_only_virtual_qubits_are_read_of_a_circuit_with_a_layout():
    manager = generate_preset_pass_manager(1, device(), initial_layout=[2, 1, 3], seed_transpiler=1)
    isa = manager.run(asymmetric())
    assert isa.num_qubits == 4
    for asked in (None, Probabilities()):
        module = make(asked, circuit=isa)
        bits = module.sample(INPUTS[:1], shots=2000).bits[0]
        assert bits.shape == (2000, 3)
        assert_drawn_from(bits, probabilities(INPUTS[0]))


def test_final_measurements_say_which_qubits_and_in_which_order():
    circuit = asymmetric()
    measured = QuantumCircuit(3, 2)
    measured.compose(circuit, inplace=True)
    measured.measure([1, 0], [0, 1])
    module = make(Probabilities(), circuit=measured)
    bits = module.sample(INPUTS[:1], shots=2000).bits[0]
    assert_drawn_from(bits, probabilities(INPUTS[0], [1, 0]))


def test_a_backends_circuit_stays_as_it_is_transpiled():
    module = make(backend=OnBackend(device(), initial_layout=[2, 1, 3]), shots=50)
    isa = module.isa_circuit
    with Tracker() as tracker:
        module.sample(INPUTS)
    assert (tracker.usage.jobs, tracker.usage.points, tracker.usage.shots) == (1, 2, 100)
    assert module.isa_circuit is isa


def test_noise_is_that_of_the_module():
    """A readout that turns each one into zero: nothing else is ever found."""
    noise = NoiseModel()
    noise.add_all_qubit_readout_error(ReadoutError([[1, 0], [1, 0]]))
    for place in (
        {"backend": AerSimulator(noise_model=noise)},
        {"estimator": AerEstimator(options={"backend_options": {"noise_model": noise}})},
        {"estimator": AerSampler(options={"backend_options": {"noise_model": noise}})},
    ):
        assert not make(**place).sample(INPUTS, shots=50).bits.any()


# Shots and seeds


def test_shots_are_those_of_a_forward_pass():
    assert make().sample(INPUTS).shots == 1024  # the sampler's own
    assert make(shots=300).sample(INPUTS).shots == 300
    assert make(precision=0.1).sample(INPUTS).shots == 100
    assert make(estimator=StatevectorSampler(default_shots=77)).sample(INPUTS).shots == 77
    estimator = BackendEstimatorV2(
        backend=AerSimulator(), options={"default_precision": 1 / np.sqrt(50)}
    )
    assert make(estimator=estimator).sample(INPUTS).shots == 50
    assert make(backend=AerSimulator(), shots=30).sample(INPUTS).shots == 30
    assert make(shots=300).sample(INPUTS, shots=4).shots == 4
    module = make(shots=300)
    module.shots = 20
    assert module.sample(INPUTS).shots == 20


@pytest.mark.parametrize("place", ["exact", "shots", "a device", "Aer"])
def test_a_seed_makes_them_the_same(place):
    def bits(seed):
        module = make(**{**PLACES[place](), "seed": seed})
        return torch.cat([module.sample(INPUTS, shots=200).bits for _ in range(2)])

    assert torch.equal(bits(5), bits(5))
    assert not torch.equal(bits(5), bits(6))


def test_values_and_samples_beside_an_estimator_are_independent():
    """Drawing samples does not change the values that follow."""

    def values(samples):
        module = make(shots=50)
        if samples:
            module.sample(INPUTS)
        return module(INPUTS)

    assert torch.equal(values(False), values(True))


def test_training_and_evaluation_have_their_own_places():
    module = make(evaluation=Execution(shots=30))
    assert module.sample(INPUTS).shots == 1024
    assert module.eval().sample(INPUTS).shots == 30


def test_copies_draw_on_their_own():
    module = make()
    module.sample(INPUTS)
    twin = copy.deepcopy(module)
    with torch.no_grad():
        twin.weight.zero_()
    assert not twin.sample(torch.zeros(1, 1), shots=500).bits[..., :2].any()
    assert module.sample(torch.zeros(1, 1), shots=500).bits[..., 1].any()


def test_a_journal_and_a_budget_hold(tmp_path):
    jobs = Jobs(journal=tmp_path / "journal", budget=1000)
    first = make(backend=OnBackend(AerSimulator(), jobs=jobs), shots=100)
    drawn = [first(INPUTS), first.sample(INPUTS).bits]
    with pytest.raises(BudgetError):
        first.sample(INPUTS, shots=5000)
    first.estimator.journal.close()
    jobs = Jobs(journal=tmp_path / "journal", budget=1000)
    with Tracker() as tracker:
        again = make(backend=OnBackend(AerSimulator(), jobs=jobs), shots=100)
        found = [again(INPUTS), again.sample(INPUTS).bits]
    assert tracker.usage.jobs == 0  # what was paid for is read
    torch.testing.assert_close(found, drawn, rtol=0, atol=0)


# The likeliest outcome


@pytest.mark.parametrize("place", PLACES)
def test_the_likeliest_outcome(place):
    """Of sampled outcomes, too, where the second is far enough away."""
    module = make(**PLACES[place]())
    rows = torch.tensor([[0.2], [2.9]], dtype=torch.float64)
    expected = []
    for row in rows:
        order = np.argsort(probabilities(row))
        largest, second = probabilities(row)[order[-1]], probabilities(row)[order[-2]]
        spread = np.sqrt(largest + second - (largest - second) ** 2)  # of one shot
        assert (largest - second) * np.sqrt(4000) > 5 * spread
        expected.append([order[-1] >> k & 1 for k in range(3)])
    assert module.most_likely(rows, shots=4000).tolist() == expected
    if module.estimator is None:
        with Tracker() as tracker:
            assert module.most_likely(rows).tolist() == expected
        assert tracker.usage.jobs == 0


def test_of_equal_outcomes_the_smallest_is_taken():
    """All probabilities are the same but for rounding, or all counts are."""
    circuit, angles = QuantumCircuit(6), np.linspace(0.3, 5, 6)
    for q, angle in enumerate(angles):
        circuit.ry(angle, q)
        circuit.ry(np.pi / 2 - angle, q)
        circuit.rz(angle, q)
    for estimator in (Exact(), Exact(dtype="complex64")):
        module = TorchQuantumModule(circuit, estimator=estimator)
        assert not module.most_likely().any()
    (outcomes,) = np.arange(64, dtype=np.uint8)[None, ::-1, None]
    assert not Samples(BitArray(outcomes, 6)).most_frequent.any()


def test_more_qubits_than_bytes():
    """Outcomes of 19 qubits take three bytes, of which the first has two bits."""
    wide = QuantumCircuit(19)
    wide.ry(W[0], 0)
    wide.x([3, 8, 18])
    for place in ({}, {"estimator": BatchedStatevectorSampler(seed=1)}):
        module = TorchQuantumModule(wide, "Z" * 19, initial_weights=[0.0], **place)
        expected = [int(q in (3, 8, 18)) for q in range(19)]
        assert module.most_likely().tolist() == expected
        samples = module.sample(shots=10)
        assert samples.bits.tolist() == [expected] * 10
        assert samples.counts() == {"1000000000100001000": 10}
        assert "qubits=19" in repr(samples)


@pytest.mark.parametrize("width", [1, 8, 9, 63, 64, 65, 100])
def test_the_most_frequent_outcome_of_any_width(width):
    """Against a count of Python's; of all outcomes that are there twice, the smallest."""
    draw = np.random.default_rng(width)
    largest = 1 << width
    outcomes = [int(draw.integers(0, 4)) * (largest // 4) for _ in range(50)] + [largest - 1] * 2
    size = (width + 7) // 8
    packed = np.array([list(o.to_bytes(size, "big")) for o in outcomes], np.uint8)
    samples = Samples(BitArray(packed, width))
    expected = max(set(outcomes), key=lambda o: (outcomes.count(o), -o))
    assert samples.most_frequent.tolist() == [expected >> k & 1 for k in range(width)]


def test_of_idle_qubits_the_likeliest_outcome_is_known():
    module = TorchQuantumModule(QuantumCircuit(60), "Z" + "I" * 59)
    assert module.most_likely().tolist() == [0] * 60


def test_more_outcomes_than_memory_holds():
    """Half of the outcomes of 60 qubits are equally likely, and no search can look at them all."""
    circuit = QuantumCircuit(60)
    circuit.h(0)
    for q in range(59):
        circuit.cx(q, q + 1)
    circuit.ry(np.pi / 2, range(60))
    module = TorchQuantumModule(circuit, "Z" + "I" * 59)
    with pytest.raises(MemoryLimitError, match=r"60 qubits could not be told .* Give shots="):
        module.most_likely()


# Errors


class Unknown(BaseEstimatorV2):
    def run(self, pubs, *, precision=None):
        raise AssertionError("nothing may be run")


def test_an_estimator_without_a_sampler_is_named():
    for given in (Unknown(), [Unknown(), StatevectorEstimator()]):
        module = make(estimator=given)
        for ask in (module.sample, module.most_likely):
            with pytest.raises(
                MeasurementError, match=r"No sampler .*module.with_backend\(estimator="
            ):
                ask(INPUTS)
    moved = make(estimator=Unknown()).with_backend(estimator=StatevectorSampler())
    assert moved.sample(INPUTS, shots=3).shots == 3


class OwnPlace:
    """Makes engines that are not of this package, as far as anyone can tell."""

    def make_engine(self, program, execution):
        return make_engine(program, Execution())[0]


def test_an_engine_of_somebody_else_draws_nothing():
    module = make(estimator=OwnPlace())
    for ask in (module.sample, module.most_likely):
        with pytest.raises(MeasurementError, match=r"where OwnPlace evaluates. .*with_backend"):
            ask(INPUTS)


WRONG = {
    "no inputs": (None, None, InputError, "got none"),
    "a shape": (torch.zeros(2, 3), None, InputError, r"\(\.\.\., 1\)"),
    "a list": ([[1.0]], None, InputTypeError, "torch.Tensor"),
    "a number that is none": (torch.full((1, 1), torch.nan), None, InputError, "finite|nan"),
    "zero shots": (INPUTS, 0, PrecisionError, "shots"),
    "half a shot": (INPUTS, 0.5, PrecisionError, "shots"),
    "shots as text": (INPUTS, "7", PrecisionError, "shots"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("place", ["exact", "sampler", "Aer"])
def test_what_is_wrong_is_named_before_a_job_is_submitted(wrong, place):
    inputs, shots, error, message = WRONG[wrong]
    module = make(**PLACES[place]())
    for ask in (module.sample, module.most_likely):
        with Tracker() as tracker, pytest.raises(error, match=message):
            ask(inputs, shots=shots)
        assert tracker.usage.jobs == 0


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.* is deprecated")
def test_tracers_and_transforms_are_refused():
    module = make()
    for ask in (lambda x: module.sample(x).bits, lambda x: module.most_likely(x)):
        with pytest.raises(TracingError, match="drawn anew"):
            torch.func.vmap(ask)(INPUTS)
        with pytest.raises(TracingError, match="drawn anew"):
            torch.jit.trace(ask, INPUTS)
        compiled = torch.compile(ask, backend="eager")
        with pytest.raises(TracingError, match="drawn anew"):
            compiled(INPUTS)


def test_there_is_no_graph():
    module, inputs = make(), INPUTS.clone().requires_grad_()
    assert not module.sample(inputs, shots=3).bits.requires_grad
    assert not module.most_likely(inputs).requires_grad


class Mitigating(StatevectorSampler):
    """A sampler whose results are quasi-probabilities."""

    def run(self, pubs, *, shots=None):
        pubs = list(pubs)

        def work():
            quasi = np.array([{0: 1.1, 3: -0.1}] * 2, dtype=object)
            return PrimitiveResult([SamplerPubResult(DataBin(meas=quasi, shape=(2,)))])

        job = PrimitiveJob(work)
        job._submit()
        return job


def test_quasi_probabilities_are_no_shots():
    module = make(Probabilities(), estimator=Mitigating())
    with pytest.raises(ResultError, match="quasi-probabilities, which no shots"):
        module.sample(INPUTS)


def test_a_sampler_of_several_devices_shares_the_rows():
    samplers = DispatchingSampler([StatevectorSampler(seed=s) for s in (1, 2)])
    module = make(estimator=samplers)
    with Tracker() as tracker:
        samples = module.sample(INPUTS, shots=2000)
    assert tracker.usage.jobs == 2
    for row, bits in zip(INPUTS, samples.bits, strict=True):
        assert_drawn_from(bits, probabilities(row))
