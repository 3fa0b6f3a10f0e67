# SPDX-License-Identifier: Apache-2.0
"""From a sampler's outcomes to frequencies and their standard errors; nothing is made of damage."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from circuits import X, hybrid
from dynamic_circuits import distribution_of
from families import measured
from qiskit.circuit import ClassicalRegister, Parameter, QuantumCircuit, QuantumRegister
from qiskit.primitives import (
    BackendSamplerV2,
    BaseSamplerV2,
    BitArray,
    DataBin,
    PrimitiveJob,
    PrimitiveResult,
    SamplerPubResult,
    StatevectorSampler,
)
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Statevector
from qiskit.result import QuasiDistribution
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import SamplerV2 as AerSampler
from scipy import stats

from qiskit_torch_bridge import Probabilities, TorchQuantumModule, Tracker
from qiskit_torch_bridge.exceptions import (
    ExecutionError,
    InputError,
    InputTypeError,
    MemoryLimitError,
    ResultError,
    SamplerTypeError,
)
from qiskit_torch_bridge.jobs import DispatchingSampler, Jobs, Journal
from qiskit_torch_bridge.primitives import BatchedStatevectorSampler, cutting
from qiskit_torch_bridge.primitives.cutting import PubPart, join_results
from qiskit_torch_bridge.primitives.outcomes import Frequencies, read_frequencies, submit_samples
from qiskit_torch_bridge.primitives.results import Samples
from qiskit_torch_bridge.primitives.usage import Usage
from qiskit_torch_bridge.program.interpretations import OutcomeFunction, OutcomeTable, Parity
from qiskit_torch_bridge.program.readouts import Outcomes

SHOTS = 20_000
QUBITS = (2, 0, 3)
REAL = {
    "statevector": lambda: StatevectorSampler(seed=np.random.default_rng(5)),
    "batched": lambda: BatchedStatevectorSampler(seed=5),
    "Aer": lambda: AerSampler(seed=5),
    "backend": lambda: BackendSamplerV2(
        backend=AerSimulator(seed_simulator=5), options={"default_shots": 10}
    ),
    "two": lambda: DispatchingSampler([BatchedStatevectorSampler(seed=k) for k in range(2)]),
}


def four_qubits() -> QuantumCircuit:
    """Entangled, with a state whose probabilities are all different."""
    circuit = QuantumCircuit(4)
    for q in range(4):
        circuit.ry(0.4 + 0.5 * q, q)
        circuit.cx(q, (q + 1) % 4)
    return circuit


def take(sampler, circuit, readout, values=None, shots=SHOTS):
    asked = readout.measure(circuit)
    pub = (asked,) if values is None else (asked, values)
    (samples,) = submit_samples(sampler, [pub], shots)()
    return read_frequencies(samples, readout)


def chi_square(found: Frequencies, row: int, exact: np.ndarray) -> float:
    """How likely it is that frequencies differ so much from the probabilities, or more."""
    possible = exact > 1e-12
    assert found.probabilities[row][~possible].sum() == 0
    counts = found.probabilities[row][possible] * found.shots
    return float(stats.chisquare(counts, exact[possible] * found.shots).pvalue)


# -- real samplers -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", REAL)
def test_outcomes_are_in_the_order_of_the_qubits_that_are_read(name):
    circuit = hybrid() if name == "two" else four_qubits()
    qubits = (1, 0) if name == "two" else QUBITS
    values = np.array([[0.3, -0.8, 1.1, 0.4, 2.0], [1.3, 0.2, -0.6, 0.1, 0.7]])
    given = values if circuit.parameters else None
    found = take(REAL[name](), circuit, Outcomes(qubits), given)
    rows = 1 if given is None else 2
    assert found.shots == SHOTS and found.probabilities.shape == (rows, 1 << len(qubits))
    np.testing.assert_allclose(found.probabilities.sum(1), 1, rtol=0, atol=1e-12)
    for row in range(rows):
        point = values[row] if circuit.parameters else []
        bound = circuit.assign_parameters(dict(zip(circuit.parameters, point, strict=True)))
        exact = Statevector(bound).probabilities(list(qubits))
        assert chi_square(found, row, exact) > 1e-4


def test_registers_are_joined_in_their_order_the_first_one_lowest():
    circuit = QuantumCircuit(QuantumRegister(4))
    registers = [ClassicalRegister(width, name) for width, name in ((1, "z"), (2, "a"), (9, "m"))]
    circuit.add_register(*registers)
    circuit.x([0, 3])
    z, a, m = registers
    circuit.measure([0, 1, 2, 3], [z[0], a[0], m[0], m[8]])
    (samples,) = submit_samples(StatevectorSampler(), [circuit], 3)()
    assert samples.num_bits == 12 and samples.shape == ()
    assert samples.bits.get_int_counts() == {1 | 1 << 11: 3}
    found = read_frequencies(samples, Outcomes(tuple(range(12))))
    assert found.probabilities.argmax() == 1 | 1 << 11 and found.probabilities.max() == 1


def test_points_of_any_shape_are_rows_and_no_axis_is_one():
    values = np.random.default_rng(0).random((2, 3, 5))
    pub = (measured(), values)
    (samples,) = submit_samples(BatchedStatevectorSampler(seed=1), [pub], 10)()
    assert samples.shape == (2, 3)
    found = read_frequencies(samples, Outcomes((0, 1)))
    again = BatchedStatevectorSampler(seed=1).run([pub], shots=10).result()[0].data.meas
    counts = again.get_int_counts((1, 0))
    assert found.probabilities.shape == (6, 4)
    assert found.probabilities[3].tolist() == [counts.get(k, 0) / 10 for k in range(4)]


GATES = ("crx", "cry", "crz", "cp")


def turned(gate: str) -> QuantumCircuit:
    """A controlled rotation that makes a difference to both qubits."""
    circuit, theta = QuantumCircuit(2), Parameter("theta")
    circuit.ry(1.0, 0)
    circuit.h(1)
    getattr(circuit, gate)(theta, 0, 1)
    circuit.h([0, 1])
    return circuit


@pytest.mark.parametrize("gate", GATES)
def test_aer_is_handed_controlled_gates_in_rotations_that_it_binds(gate):
    readout, point = Outcomes((0, 1)), np.array([[2.2]])
    circuit = turned(gate)
    exact = Statevector(circuit.assign_parameters(point[0])).probabilities()
    found = take(DispatchingSampler(AerSampler(seed=1)), circuit, readout, point)
    assert chi_square(found, 0, exact) > 1e-4


def test_what_aer_would_bind_wrongly_is_rewritten_between_measurements_as_well():
    circuit = turned("crx")
    circuit.add_register(ClassicalRegister(1, "c"))
    circuit.measure(0, 0)
    circuit.cx(0, 1)
    circuit.measure(1, 0)
    sampler = DispatchingSampler(AerSampler(seed=1))
    angles, shots = (0.3, 2.5), 4000
    (found,) = sampler.run([(circuit, [[angle] for angle in angles])], shots=shots).result()
    ones = [found.data.c.get_int_counts(point).get(1, 0) / shots for point in range(2)]
    right = [distribution_of(circuit.assign_parameters([angle]))[1] for angle in angles]
    assert abs(right[0] - right[1]) > 0.2
    assert ones == pytest.approx(right, abs=5 / (2 * shots**0.5))


def test_the_runtime_on_a_simulator_here_takes_the_shots_of_qiskits_own():
    runtime = pytest.importorskip("qiskit_ibm_runtime")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = runtime.SamplerV2(mode=GenericBackendV2(2, seed=1))
        theta, circuit = Parameter("theta"), QuantumCircuit(1)
        circuit.rz(theta, 0)
        circuit.measure_all()
        with Tracker() as tracker:
            (samples,) = submit_samples(sampler, [(circuit, np.zeros((3, 1)))])()
    assert samples.shots == 1024 and tracker.usage == Usage(1, 1, 3, 3, 3 * 1024)


# -- what outcomes count for -------------------------------------------------------------------


def random_samples(width, shape=(3,), shots=200, seed=0):
    packed = np.random.default_rng(seed).integers(0, 256, (*shape, shots, -(-width // 8)))
    packed = packed.astype(np.uint8)
    packed[..., 0] &= 255 >> -width % 8
    return Samples(width, BitArray(packed, width))


@pytest.mark.parametrize("width", [1, 3, 8, 11])
def test_interpretations_count_outcomes_together(width):
    samples, qubits = random_samples(width), tuple(range(width))
    every = read_frequencies(samples, Outcomes(qubits)).probabilities
    outcomes = range(1 << width)
    for interpretation, of in (
        (Parity(), lambda k: k.bit_count() % 2),
        (OutcomeTable([k % 3 for k in outcomes], 5), lambda k: k % 3),
        (OutcomeFunction(lambda k: k // 2 % 7, 7), lambda k: k // 2 % 7),
    ):
        found = read_frequencies(samples, Outcomes(qubits, interpretation)).probabilities
        expected = np.zeros((3, interpretation.size))
        for outcome in outcomes:
            expected[:, of(outcome)] += every[:, outcome]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("width", [26, 60, 200])
def test_wide_outcomes_are_never_listed(width):
    """Of 2**60 outcomes there is no table; the parity is that of the bits that were found."""
    samples = random_samples(width)
    found = read_frequencies(samples, Outcomes(tuple(range(width)), Parity())).probabilities
    strings = [samples.bits.get_bitstrings((row,)) for row in range(3)]
    odd = [sum(s.count("1") % 2 for s in row) / 200 for row in strings]
    np.testing.assert_allclose(found, np.stack([1 - np.array(odd), odd], 1), rtol=0, atol=1e-12)
    low = OutcomeFunction(lambda k: k & 3, 4)
    found = read_frequencies(samples, Outcomes(tuple(range(width)), low)).probabilities
    last = [[sum(int(s, 2) & 3 == v for s in row) / 200 for v in range(4)] for row in strings]
    np.testing.assert_allclose(found, last, rtol=0, atol=1e-12)


def test_probabilities_that_do_not_fit_into_memory_are_refused():
    with pytest.raises(MemoryLimitError, match="interpret="):
        read_frequencies(random_samples(50), Outcomes(tuple(range(50))))


# -- quasi-probabilities -----------------------------------------------------------------------

FORMS = [
    {0: 0.7, 2: 0.5, 3: -0.2},
    {"00": 0.7, "10": 0.5, "11": -0.2},
    {"0x0": 0.7, "0x2": 0.5, "0x3": -0.2},
    {"0b0": 0.7, "0b10": 0.5, "0b11": -0.2},
    QuasiDistribution({0: 0.7, 2: 0.5, 3: -0.2}, shots=100),
]


class Given(BaseSamplerV2):
    """Returns what it is given, whatever it is asked."""

    default_shots = 5

    def __init__(self, make):
        self.make = make

    def run(self, pubs, *, shots=None):
        coerced = [SamplerPub.coerce(pub, shots) for pub in pubs]
        job = PrimitiveJob(lambda: PrimitiveResult([self.make(pub) for pub in coerced]))
        job._submit()
        return job


def quasi(weights):
    """A sampler that gives the same quasi-probabilities at all points."""

    def make(pub):
        field = weights
        if pub.shape:
            field = np.empty(pub.size, dtype=object)
            field[:] = [weights] * pub.size
            field = field.reshape(pub.shape)
        return SamplerPubResult(DataBin(quasi_dists=field, shape=pub.shape))

    return Given(make)


@pytest.mark.parametrize("form", FORMS, ids=lambda f: type(next(iter(f))).__name__)
@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_quasi_probabilities_are_kept_as_they_are(form, shape):
    pub = (measured(), np.zeros((*shape, 5)))
    (samples,) = submit_samples(quasi(form), [pub])()
    found = read_frequencies(samples, Outcomes((0, 1)))
    rows, expected = int(np.prod(shape)), [0.7, 0, 0.5, -0.2]
    np.testing.assert_allclose(found.probabilities, [expected] * rows, rtol=0, atol=1e-15)
    assert found.shots is None and found.stds is None
    assert found.stds_of_sums(np.ones(4)) is None
    parity = read_frequencies(samples, Outcomes((0, 1), Parity()))
    np.testing.assert_allclose(parity.probabilities, [[0.5, 0.5]] * rows, rtol=0, atol=1e-15)


def test_quasi_probabilities_of_parts_are_put_together():
    def make(pub):
        field = np.empty(pub.shape, dtype=object)
        field[:] = [{0: 1 - v[0], 3: v[0]} for v in pub.parameter_values.as_array()]
        return SamplerPubResult(DataBin(quasi=field, shape=pub.shape))

    sampler = DispatchingSampler([Given(make), Given(make)])
    values = np.arange(25.0).reshape(5, 5)
    (samples,) = submit_samples(sampler, [(measured(), values)])()
    found = read_frequencies(samples, Outcomes((0, 1)))
    assert found.probabilities[:, 3].tolist() == values[:, 0].tolist()


# -- standard errors ---------------------------------------------------------------------------


def test_errors_of_outputs_and_of_sums_are_those_of_a_multinomial():
    p, c = np.array([[0.1, 0.2, 0.3, 0.4]]), np.array([1.0, -2.0, 0.5, 3.0])
    found = Frequencies(p, 101)
    np.testing.assert_allclose(found.stds, np.sqrt(p * (1 - p) / 100), rtol=1e-14)
    covariance = (np.diag(p[0]) - np.outer(p[0], p[0])) / 100
    np.testing.assert_allclose(found.stds_of_sums(c), [np.sqrt(c @ covariance @ c)], rtol=1e-13)
    each = np.stack([found.stds_of_sums(row)[0] for row in np.eye(4)])
    np.testing.assert_allclose(each, found.stds[0], rtol=1e-13)


def test_sums_that_every_shot_agrees_on_have_no_error():
    """A sum of squares minus a square would leave rounding errors of their difference."""
    found = Frequencies(np.array([[0.1, 0.7, 0.2]]), 1000)
    assert (found.stds_of_sums(np.full(3, 1e8 + 0.1)) < 1e-9).all()
    certain = Frequencies(np.array([[0.0, 1.0]]), 10)
    assert certain.stds_of_sums(np.array([3.0, -7.3])).tolist() == [0.0]


def test_errors_say_how_far_values_are_from_the_truth():
    """Of 400 points the sum of squared z-scores follows chi-square, but for the estimated errors,
    whose own spread at 2,000 shots widens it by less than the tolerance."""
    circuit, points = measured(), 400
    values = np.tile([0.3, -0.8, 1.1, 0.4, 2.0], (points, 1))
    (samples,) = submit_samples(BatchedStatevectorSampler(seed=11), [(circuit, values)], 2000)()
    found = read_frequencies(samples, Outcomes((0, 1)))
    exact = Statevector(hybrid().assign_parameters(values[0])).probabilities()
    likely = exact.argmax()
    c = np.array([1.0, -2.0, 0.5, 3.0])
    for error, std in (
        ((found.probabilities - exact)[:, likely], found.stds[:, likely]),
        (found.probabilities @ c - exact @ c, found.stds_of_sums(c)),
    ):
        z = error / std
        # The variance of a sum of 400 squares is 800: five standard deviations.
        assert abs((z**2).sum() - points) < 5 * np.sqrt(2 * points)


def test_a_single_shot_has_no_error_that_is_known():
    found = Frequencies(np.array([[0.0, 1.0]]), 1)
    assert np.isinf(found.stds).all() and np.isinf(found.stds_of_sums(np.ones(2))).all()


# -- damage ------------------------------------------------------------------------------------


def bits(pub, *, rows=0, shots=0, width=2, value=1, name="meas", shape=None):
    """A result with other rows, shots, bits or registers than asked for."""
    shape = (pub.shape[0] + rows,) if shape is None else shape
    packed = np.full((*shape, (pub.shots or 5) + shots, -(-width // 8)), value, np.uint8)
    data = DataBin(**{name: BitArray(packed, width)}, shape=shape)
    return SamplerPubResult(data)


def field(make):
    return lambda pub: SamplerPubResult(DataBin(meas=make(pub), shape=pub.shape))


def each(weights):
    def make(pub):
        found = np.empty(pub.shape, dtype=object)
        found[:] = [weights] * pub.size
        return found

    return make


class Bare:
    """A result without data, or with data of another kind."""

    def __init__(self, data):
        self.data, self.metadata = data, {}


DAMAGED = {
    "fewer rows": (lambda p: bits(p, rows=-1), r"shape \(2,\).*expected 2 bits and shape \(3,\)"),
    "more rows": (lambda p: bits(p, rows=1), r"shape \(4,\)"),
    "no rows": (lambda p: bits(p, shape=()), r"shape \(\)"),
    "another axis": (lambda p: bits(p, shape=(1, 3)), r"shape \(1, 3\)"),
    "fewer bits": (lambda p: bits(p, width=1), "outcomes of 1 bits"),
    "more bits": (lambda p: bits(p, width=9), "outcomes of 9 bits"),
    "bits beyond": (lambda p: bits(p, value=7), "beyond 2 bits"),
    "fewer shots": (lambda p: bits(p, shots=-1), r"\[9\] shots.*expected 10"),
    "no shots": (lambda p: bits(p, shots=-10), r"\[0\] shots"),
    "another register": (lambda p: bits(p, name="c"), r"\['c'\].*expected \['meas'\]"),
    "nothing": (lambda p: SamplerPubResult(DataBin(shape=p.shape)), "registers"),
    "signals": (field(lambda p: np.zeros((3, 10, 2), complex)), "meas_level=2"),
    "means of signals": (field(lambda p: np.zeros((3, 2), complex)), "meas_level=2"),
    "numbers": (field(lambda p: np.zeros((3, 10), np.int64)), "expected a BitArray"),
    "text": (field(lambda p: "0101"), "expected a BitArray"),
    "None": (field(lambda p: None), "expected a BitArray"),
    "no data": (lambda p: Bare(None), "no data"),
    "data of no kind": (lambda p: Bare(5), "no data"),
    "no result": (lambda p: None, "no data"),
    "weights of fewer rows": (
        lambda p: SamplerPubResult(DataBin(meas=each({0: 1.0})(p)[:-1], shape=(2,))),
        r"of shape \(2,\)",
    ),
    "weights of no sum": (field(each({0: 0.7})), "add up to 0.7"),
    "no weights": (field(each({})), "add up to 0"),
    "weights beyond": (field(each({4: 1.0})), "outcomes of 2 bits"),
    "negative outcomes": (field(each({-1: 1.0})), "quasi-probabilities"),
    "weights of nan": (field(each({0: np.nan})), "add up to nan"),
    "weights of text": (field(each({0: "1.0"})), "cannot be read"),
    "weights of nothing": (field(each({0: None, 1: 1.0})), "cannot be read"),
    "complex weights": (field(each({0: 1.0 + 1j})), "cannot be read"),
    "outcomes of text": (field(each({"up": 1.0})), "cannot be read"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_nothing_is_made_of_damaged_results(tmp_path, name):
    """By itself, in a part of a request, and with a journal, which does not answer with it."""
    make, message = DAMAGED[name]
    pub = (measured(), np.zeros((3, 5)), 10)
    wait = submit_samples(Given(make), [pub])
    with pytest.raises(ResultError, match=message) as caught:
        wait()
    assert "Given" in str(caught.value) and "weights are unchanged" in str(caught.value)
    jobs = Jobs(journal=Journal(tmp_path / "journal"))
    with pytest.raises(ResultError, match=message):
        DispatchingSampler([Given(make)], jobs).run([pub]).result()
    jobs.journal.position = 0
    again = DispatchingSampler([Given(lambda p: bits(p))], jobs).run([pub]).result()
    assert again[0].data.meas.get_int_counts() == {1: 30}


@pytest.mark.parametrize("name", sorted(set(DAMAGED) - {"another axis"}))
def test_parts_of_which_one_is_damaged_are_not_joined(name):
    make, _ = DAMAGED[name]
    pub = SamplerPub.coerce((measured(), np.zeros((6, 5)), 10))
    first, second = (
        PubPart(0, a, b, SamplerPub.coerce((measured(), np.zeros((3, 5)), 10)))
        for a, b in ((0, 3), (3, 6))
    )
    whole = join_results([(first, bits(first.pub)), (second, bits(second.pub))])
    assert whole.data.meas.shape == pub.shape
    with pytest.raises(ResultError, match="rows 3 to 6"):
        join_results([(first, bits(first.pub)), (second, make(second.pub))])


def test_more_shots_than_asked_for_are_as_good():
    """Twirling rounds them up to a multiple of those of each randomisation."""
    pub = (measured(), np.zeros((3, 5)), 10)
    (samples,) = submit_samples(Given(lambda p: bits(p, shots=6)), [pub])()
    assert samples.shots == read_frequencies(samples, Outcomes((0, 1))).shots == 16


def test_registers_that_disagree_are_refused():
    circuit = hybrid()
    circuit.add_register(ClassicalRegister(1, "a"), ClassicalRegister(1, "b"))
    pub = SamplerPub.coerce((circuit, np.zeros(5)))
    data = {name: BitArray(np.zeros((n, 1), np.uint8), 1) for name, n in (("a", 3), ("b", 4))}
    wait = submit_samples(Given(lambda p: SamplerPubResult(DataBin(**data, shape=()))), [pub])
    with pytest.raises(ResultError, match=r"\[3, 4\] shots.*as many for each register"):
        wait()


def test_a_readout_of_other_bits_is_refused():
    with pytest.raises(ResultError, match="outcomes of 2 bits.*got 3"):
        read_frequencies(random_samples(3), Outcomes((0, 1)))


def test_circuits_that_measure_nothing_are_named():
    with pytest.warns(UserWarning, match="no output classical registers"):
        wait = submit_samples(StatevectorSampler(), [QuantumCircuit(1)])
    with pytest.raises(ResultError, match="measure_all"):
        wait()


# -- calls -------------------------------------------------------------------------------------


def test_errors_of_a_sampler_are_named():
    class Broken(StatevectorSampler):
        def _run(self, pubs):
            raise RuntimeError("it broke")

    wait = submit_samples(Broken(), [measured().assign_parameters(np.zeros(5))])
    with pytest.raises(ExecutionError, match=r"Broken failed on 1 PUB\(s\): it broke"):
        wait()
    for wrong in ("sampler", StatevectorSampler, None):
        with pytest.raises(SamplerTypeError, match="V2 sampler"):
            submit_samples(wrong, [measured()])
    with pytest.raises(InputTypeError):
        submit_samples(StatevectorSampler(), measured())
    with pytest.raises(InputError):
        submit_samples(StatevectorSampler(), [(measured(), np.zeros((2, 3)))])
    assert submit_samples(StatevectorSampler(), [])() == []


def test_results_that_are_too_few_are_refused():
    class Short(StatevectorSampler):
        def _run(self, pubs):
            return PrimitiveResult([])

    with pytest.raises(ResultError, match="given 1 PUB.*returned 0"):
        submit_samples(Short(), [measured().assign_parameters(np.zeros(5))])()


@pytest.mark.parametrize("dispatching", [False, True])
@pytest.mark.parametrize("name", ["statevector", "backend"])
def test_requests_that_do_not_fit_into_memory_are_several_calls(monkeypatch, name, dispatching):
    pub = SamplerPub.coerce((measured(), np.random.default_rng(2).random((9, 5)), 50))
    sampler = REAL[name]()
    if name == "backend":
        sampler = BackendSamplerV2(backend=AerSimulator())
    part = SamplerPub.coerce((measured(), np.zeros((4, 5)), 50))
    size = sum(cutting.measure_memory(sampler, part))
    monkeypatch.setattr(cutting, "MEMORY", cutting.MEMORY._replace(most=size))
    given = DispatchingSampler(sampler) if dispatching else sampler
    with Tracker() as tracker:
        (samples,) = submit_samples(given, [pub])()
    assert tracker.usage == Usage(3, 3, 9, 9, 450)
    assert samples.shape == (9,) and samples.shots == 50


def test_what_a_module_reads_is_what_its_sampler_found():
    """A row of probabilities for each row of inputs, and standard errors beside them."""
    sampler = BatchedStatevectorSampler(seed=3)
    module = TorchQuantumModule(
        hybrid(),
        Probabilities([1, 0]),
        input_params=X,
        estimator=sampler,
        shots=100,
        initial_weights=[0.3, -0.8, 1.1],
    )
    inputs = np.array([[0.1, 0.2], [1.0, -0.4]])
    found = module(torch.tensor(inputs)).detach().numpy()
    values = np.hstack([np.tile([0.3, -0.8, 1.1], (2, 1)), inputs])
    twin = take(BatchedStatevectorSampler(seed=3), hybrid(), Outcomes((1, 0)), values, 100)
    np.testing.assert_allclose(found, twin.probabilities, rtol=0, atol=1e-7)
    np.testing.assert_allclose(module.last_stds, twin.stds, rtol=0, atol=1e-7)
