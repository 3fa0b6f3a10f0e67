# SPDX-License-Identifier: Apache-2.0
"""Circuits with measurements, resets and feed-forward on the places that run them.

What is right is known from :mod:`dynamic_circuits`, which follows every outcome with NumPy alone.
Where values are sampled, an outcome found ``k`` times in ``m`` shots is judged by the binomial
distribution, at a level that all comparisons of a test share: one in a million for all of them.
``QTB_HYPOTHESIS_PROFILE=full`` takes 2,000 random circuits.
"""

from __future__ import annotations

import math
import os
import warnings

import numpy as np
import pytest
import torch
from dynamic_circuits import (
    ON_AER,
    density_matrix_of,
    distribution_of,
    random_dynamic_circuit,
)
from qiskit import transpile
from qiskit.circuit import ClassicalRegister, Clbit, Parameter, QuantumCircuit, QuantumRegister
from qiskit.primitives import (
    BackendEstimatorV2,
    BackendSamplerV2,
    StatevectorEstimator,
    StatevectorSampler,
)
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import DensityMatrix, Kraus, Operator, SparsePauliOp
from qiskit_aer import AerSimulator
from qiskit_aer.library import SaveDensityMatrix
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_aer.primitives import SamplerV2 as AerSampler
from scipy.stats import binom

from qiskit_torch_bridge import CVaR, OnBackend, Probabilities, TorchQuantumModule
from qiskit_torch_bridge.exceptions import CircuitError, GradientError, MeasurementError
from qiskit_torch_bridge.gradients import (
    AdjointEstimatorGradient,
    AdjointSamplerGradient,
    ParameterShiftEstimatorGradient,
    ParameterShiftSamplerGradient,
)
from qiskit_torch_bridge.primitives import (
    BatchedStatevectorEstimator,
    BatchedStatevectorSampler,
    SamplerEstimator,
)
from qiskit_torch_bridge.program import AnalysedCircuit

FULL = os.environ.get("QTB_HYPOTHESIS_PROFILE") == "full"
COUNT = 2000 if FULL else 30
LEVEL = 1e-6
PAULIS = ("ZII", "XXI", "IYZ", "XZY")
EXACT = 1e-10


def values_for(circuit, seed, rows=1):
    count = AnalysedCircuit(circuit).num_parameters
    return np.random.default_rng(seed).uniform(-3, 3, (rows, count))


shows_rounds = any("loop" in p.name for k in range(9) for p in random_dynamic_circuit(k).parameters)
without_rounds = pytest.mark.skipif(
    shows_rounds, reason="Qiskit 2.2 lists what counts rounds as parameters, and binds it"
)


def expected_of(circuit, labels=PAULIS):
    """Expectation values of a circuit without parameters."""
    rho = density_matrix_of(circuit)
    return np.array([np.trace(rho @ Operator.from_label(label).data).real for label in labels])


def judge(counts, probabilities, comparisons):
    """Assert that counts of outcomes are likely at these probabilities."""
    shots = sum(counts)
    for k, p in zip(counts, np.clip(probabilities, 0, 1), strict=True):
        if p < 1e-12 or p > 1 - 1e-12:
            assert k == round(p) * shots
            continue
        tail = min(binom.cdf(k, shots, p), binom.sf(k - 1, shots, p))
        assert 2 * tail > LEVEL / comparisons, f"{k} of {shots} at {p}"


def circuits(count, features=ON_AER, **options):
    for seed in range(count):
        yield seed, random_dynamic_circuit(seed, features=features, **options)


# -- values of random circuits -----------------------------------------------------------------


@without_rounds
def test_deferred_values_and_registers_are_those_of_every_outcome_followed():
    shots, estimator = 1000, BatchedStatevectorEstimator()
    sampler = BatchedStatevectorSampler(seed=5)
    for seed, circuit in circuits(COUNT):
        values = values_for(circuit, seed)
        bound = circuit.assign_parameters(values[0])
        pub = (circuit, [[label] for label in PAULIS], values)
        evs = estimator.run([pub]).result()[0].data.evs[:, 0]
        assert evs == pytest.approx(expected_of(bound), abs=EXACT), seed
        found = sampler.run([(circuit, values)], shots=shots).result()[0].data.c[0]
        counts = [found.get_int_counts().get(k, 0) for k in range(8)]
        judge(counts, distribution_of(bound).real, 8 * COUNT)


def runs_on_aer(circuit):
    """Whether Aer itself can read a circuit; on about one in a hundred of these it fails."""
    return AerSimulator().run(AnalysedCircuit(circuit).aer_form, shots=1).result().success


@without_rounds
def test_aer_samples_what_is_deferred():
    """Classical bits as the circuit leaves them, and all qubits, measured behind it."""
    shots, count, failures = 400, COUNT if FULL else 18, 0
    for seed, circuit in circuits(count):
        sampler = AerSampler(seed=seed)
        values = values_for(circuit, seed)
        if not runs_on_aer(circuit.assign_parameters(values[0])):
            failures += 1
            continue
        bits = TorchQuantumModule(circuit, Probabilities(), initial_weights=values[0])
        qubits = TorchQuantumModule(circuit, Probabilities([0, 1, 2]), initial_weights=values[0])
        for module in (bits, qubits):
            exact = module.double()().detach().numpy()
            on_aer = module.with_backend(estimator=sampler, shots=shots, gradient="aqgd")
            judge(np.rint(shots * on_aer().detach().numpy()).astype(int), exact, 16 * count)
    assert failures <= count / 18


@pytest.mark.parametrize("seed", range(200 if FULL else 8))
def test_aers_density_matrix_is_the_deferred_one_where_aer_computes_it(seed):
    """Aer draws outcomes even of a density matrix; as a channel, a measurement is exact."""
    circuit = random_dynamic_circuit(seed, features=("measure", "reset"))
    bound = circuit.assign_parameters(values_for(circuit, seed)[0])
    written = QuantumCircuit(3)
    as_channel = Kraus([np.diag([1, 0]), np.diag([0, 1])]).to_instruction()
    for instruction in bound.data:
        qubits = [bound.find_bit(q).index for q in instruction.qubits]
        is_measured = instruction.name == "measure"
        written.append(as_channel if is_measured else instruction.operation, qubits)
    written.append(SaveDensityMatrix(3), range(3))
    simulator = AerSimulator(method="density_matrix")
    result = simulator.run(transpile(written, simulator, optimization_level=0)).result()
    rho = DensityMatrix(result.data()["density_matrix"])
    exact = [rho.expectation_value(SparsePauliOp(label)).real for label in PAULIS]
    module = TorchQuantumModule(bound, list(PAULIS))
    assert module.double()().detach().numpy() == pytest.approx(exact, abs=EXACT)


# -- gradients ---------------------------------------------------------------------------------


@pytest.mark.parametrize("gradient", ["parameter-shift", "aqgd"])
def test_shift_rules_give_the_gradient_of_the_exact_engine_in_branches_and_loops(gradient):
    """Both without noise: the rules on the deferred form of displaced circuits, gate by gate."""
    for seed, circuit in circuits(COUNT // 2 if not FULL else COUNT, length=8):
        values = values_for(circuit, seed)[0]
        exact = TorchQuantumModule(circuit, list(PAULIS[:2]), initial_weights=values).double()
        by_rule = exact.with_backend(estimator=BatchedStatevectorEstimator(), gradient=gradient)
        cotangent = torch.tensor([0.7, -1.3], dtype=torch.float64)
        for module in (exact, by_rule):
            (module() * cotangent).sum().backward()
        if circuit.num_parameters:
            found, right = by_rule.weight.grad.numpy(), exact.weight.grad.numpy()
            assert found == pytest.approx(right, abs=1e-8), seed


@without_rounds
def test_gradients_of_recorded_bits_are_differences_of_their_exact_distribution():
    step = 1e-5
    for seed, circuit in circuits(COUNT // 3, length=8):
        values = values_for(circuit, seed)[0]
        module = TorchQuantumModule(circuit, Probabilities(), initial_weights=values).double()
        jacobian = torch.func.jacrev(
            lambda w, m=module: torch.func.functional_call(m, {"weight": w}, ())
        )(module.weight.detach())
        bits = module.program.readout.bits_read
        for column in range(circuit.num_parameters):
            moved = step * np.eye(circuit.num_parameters)[column]
            above, below = (
                distribution_of(circuit.assign_parameters(values + sign * moved), bits).real
                for sign in (1, -1)
            )
            difference = (above - below) / (2 * step)
            # Rounding by the step, and its square times third derivatives of a few frequencies.
            assert jacobian[:, column].numpy() == pytest.approx(difference, abs=1e-7), seed


def feed_forward():
    """A circuit with parameters before, in and after branches, and its exact value of Z."""
    a, b, c = map(Parameter, "abc")
    circuit = QuantumCircuit(2, 1)
    circuit.ry(a, 0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
        circuit.crx(b, 0, 1)
    with otherwise:
        circuit.ry(2 * b, 1)
        circuit.ry(c, 1)
    with circuit.for_loop(range(2)):
        circuit.rx(c, 1)
    return circuit


POINT = (0.7, 1.1, 0.4)


def closed_form(a, b, c):
    one = math.sin(a / 2) ** 2
    return one * math.cos(b + 2 * c) + (1 - one) * math.cos(2 * b + c) * math.cos(2 * c)


def slopes(step=1e-6):
    moves = step * np.eye(3)
    return [(closed_form(*(POINT + d)) - closed_form(*(POINT - d))) / (2 * step) for d in moves]


SHOTS = 2048


def places():
    simulator = AerSimulator(seed_simulator=3)
    device = GenericBackendV2(4, control_flow=True, noise_info=False, seed=1)
    return {
        "Aer's estimator": {"estimator": AerEstimator(options={"run_options": {"shots": SHOTS}})},
        "Aer's sampler": {"estimator": AerSampler(seed=7)},
        "backend estimator": {"estimator": BackendEstimatorV2(backend=simulator)},
        "backend sampler": {"estimator": BackendSamplerV2(backend=simulator)},
        "Aer": {"backend": AerSimulator(), "seed": 9},
        "device": {"backend": OnBackend(device, initial_layout=[3, 1], seed_transpiler=2)},
    }


@pytest.mark.parametrize(
    ("place", "gradient"),
    [(place, gradient) for place in places() for gradient in ("parameter-shift", "aqgd")]
    + [("Aer's estimator", "finite-difference"), ("backend sampler", "spsa")],
)
def test_places_that_sample_agree_with_the_closed_form(place, gradient):
    module = TorchQuantumModule(
        feed_forward(),
        "ZI",
        initial_weights=POINT,
        shots=SHOTS,
        gradient=gradient,
        **places()[place],
    ).double()
    value = module()
    value.backward()
    # Aer's estimator adds normal noise of that size to runs of that number.
    error = math.sqrt(2 / SHOTS)
    assert abs(value.item() - closed_form(*POINT)) < 5.5 * error
    found, right = module.weight.grad.numpy(), np.array(slopes())
    if gradient == "spsa":  # one direction alone is right
        assert np.ptp(np.abs(found)) < 1e-9
    else:
        # Ten angles, half of a difference each; larger steps of differences are less exact.
        tolerance = {"finite-difference": 0.25}.get(gradient, 5.5 * error * math.sqrt(5))
        assert found == pytest.approx(right, abs=tolerance)


def test_the_runtimes_local_mode_runs_branches():
    runtime = pytest.importorskip("qiskit_ibm_runtime")
    with warnings.catch_warnings():  # it announces a successor of the same interface
        warnings.simplefilter("ignore", DeprecationWarning)
        estimator = runtime.EstimatorV2(mode=AerSimulator(seed_simulator=4))
        sampler = runtime.SamplerV2(mode=AerSimulator(seed_simulator=4))
    for primitive in (estimator, sampler):
        module = TorchQuantumModule(feed_forward(), "ZI", estimator=primitive, shots=SHOTS,
            initial_weights=POINT, gradient="parameter-shift").double()  # fmt: skip
        module().backward()
        assert abs(module().item() - closed_form(*POINT)) < 5.5 / math.sqrt(SHOTS)
        tolerance = 5.5 * math.sqrt(5 / SHOTS)
        assert module.weight.grad.numpy() == pytest.approx(slopes(), abs=tolerance)


def test_gradient_objects_know_what_is_in_branches():
    circuit, operator = feed_forward(), SparsePauliOp("ZI")
    for gradient in (
        AdjointEstimatorGradient(),
        ParameterShiftEstimatorGradient(BatchedStatevectorEstimator()),
    ):
        (found,) = gradient.run([circuit], [operator], [POINT]).result().gradients
        assert found == pytest.approx(slopes(), abs=1e-8)
    measured = circuit.copy()
    measured.measure(1, 0)
    for gradient in (
        AdjointSamplerGradient(),
        ParameterShiftSamplerGradient(BatchedStatevectorSampler(seed=1, default_shots=10**6)),
    ):
        (found,) = gradient.run([measured], [POINT]).result().gradients
        # The value of Z is p0 - p1 = 1 - 2 p1.
        assert [-2 * g[1] for g in found] == pytest.approx(slopes(), abs=0.02)
    with pytest.raises(CircuitError, match="classical bit 0 before its end"):
        circuit.add_register(end := ClassicalRegister(1, "end"))
        circuit.measure(1, end[0])
        AdjointSamplerGradient().run([circuit], [POINT]).result()


# -- rewriting -----------------------------------------------------------------------------------


def nested_control():
    """Controlled rotations in a branch in a case in a loop, all of which are run."""
    angle = Parameter("angle")
    circuit = QuantumCircuit(2, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    with circuit.for_loop(range(2)), circuit.switch(circuit.clbits[0]) as case:
        with case(1), circuit.if_test((circuit.clbits[0], 1)):
            circuit.cry(angle, 0, 1)
        with case(0):
            circuit.x(1)
    return circuit


@pytest.mark.parametrize("angle", [0.0, math.pi / 2, 1.0])
def test_aer_gets_no_controlled_rotation_even_in_blocks_of_blocks(angle):
    circuit = nested_control()
    estimator = AerEstimator(options={"run_options": {"shots": 3}})
    module = TorchQuantumModule(circuit, "ZI", estimator=estimator, gradient="aqgd",
        initial_weights=[angle]).double()  # fmt: skip
    assert module().item() == pytest.approx(math.cos(2 * angle), abs=1e-12)
    # A PUB that an algorithm hands over is rewritten on its way.
    sampler = SamplerEstimator(AerSampler(seed=1, default_shots=2000))
    found = sampler.run([(circuit, "ZI", [angle])]).result()[0].data.evs
    assert abs(found - math.cos(2 * angle)) < 5.5 / math.sqrt(2000)


def test_frequencies_add_up_along_the_course_of_a_circuit_and_not_over_branches():
    a = Parameter("a")
    circuit = QuantumCircuit(1, 1)
    circuit.h(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
        circuit.rx(a, 0)
    with otherwise:
        circuit.rx(3 * a, 0)
    assert AnalysedCircuit(circuit).frequencies(0) == (1.0, 3.0)
    with circuit.for_loop(range(2)):
        circuit.rz(a, 0)
    assert AnalysedCircuit(circuit).frequencies(0) == (1.0, 2.0, 3.0, 4.0, 5.0)


def repeated():
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    with circuit.while_loop((circuit.clbits[0], 1)):
        circuit.ry(Parameter("a"), 0)
        circuit.measure(0, 0)
    return circuit


@pytest.mark.parametrize(
    ("gradient", "name"), [("parameter-shift", "Parameter shift"), ("aqgd", "AQGD")]
)
def test_a_gate_that_is_run_an_unknown_number_of_times_has_differences_only(gradient, name):
    simulator = AerSimulator()
    with pytest.raises(GradientError, match=f"{name} needs to know how often .* a is in a loop"):
        TorchQuantumModule(repeated(), backend=simulator, gradient=gradient)
    module = TorchQuantumModule(repeated(), backend=simulator, gradient="finite-difference",
        shots=100, initial_weights=[2.0])  # fmt: skip
    module().backward()
    assert module().item() == 1 and module.weight.grad.item() == 0  # it runs until it is zero
    with pytest.raises(CircuitError, match="while_loop"):
        TorchQuantumModule(repeated())


def test_loops_that_can_be_left_keep_their_form_and_refuse_shifts():
    circuit = QuantumCircuit(1, 1)
    with circuit.for_loop(range(3)):
        circuit.ry(Parameter("a"), 0)
        circuit.measure(0, 0)
        with circuit.if_test((circuit.clbits[0], 1)):
            circuit.break_loop()
    assert "for_loop" in AnalysedCircuit(circuit).circuit.count_ops()
    with pytest.raises(GradientError, match="Parameter shift"):
        _ = AnalysedCircuit(circuit).shift_form
    module = TorchQuantumModule(circuit, initial_weights=[1.0]).double()
    # Found in one in the end, unless three times in zero, each time from where it was left.
    assert module().item() == pytest.approx(2 * math.cos(0.5) ** 6 - 1, abs=EXACT)


def test_columns_reach_what_is_read_through_classical_bits():
    a, b, c = map(Parameter, "abc")
    circuit = QuantumCircuit(3, 1)
    circuit.ry(a, 0)
    circuit.ry(b, 1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.ry(c, 2)
    analysed = AnalysedCircuit(circuit)
    assert analysed.columns_reaching(frozenset([1])) == {1}
    assert analysed.columns_reaching(frozenset([2])) == {0, 2}
    assert analysed.columns_reaching(frozenset(), frozenset([0])) >= {0}


# -- devices ---------------------------------------------------------------------------------------


def test_idle_qubits_of_a_device_are_left_out_of_blocks_as_well():
    coupling = [[q, q + 1] for q in range(5)] + [[q + 1, q] for q in range(5)]
    device = GenericBackendV2(6, coupling_map=coupling, control_flow=True, noise_info=False, seed=1)
    a, b = map(Parameter, "ab")
    circuit = QuantumCircuit(3, 2)
    circuit.ry(a, 0)
    circuit.h(1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.cx(0, 2)  # which no coupling has as it is placed
        circuit.crx(b, 1, 2)
    circuit.measure(1, 1)
    circuit.reset(0)
    with circuit.switch(circuit.cregs[0]) as case, case(3):
        circuit.ry(b, 0)
    exact = TorchQuantumModule(circuit, initial_weights=[0.9, 0.6]).double()
    on_device = exact.with_backend(
        OnBackend(device, initial_layout=[0, 1, 2], seed_transpiler=3), shots=SHOTS, seed=4
    )
    assert on_device.isa_circuit.num_qubits == 6 and on_device.circuit.num_qubits == 3
    difference = (on_device() - exact()).abs().max().item()
    assert difference < 5.5 / math.sqrt(SHOTS)
    whole = TorchQuantumModule(on_device.isa_circuit, initial_weights=[0.9, 0.6]).double()
    assert whole().tolist() == pytest.approx(exact().tolist(), abs=1e-9)
    bits = TorchQuantumModule(circuit, Probabilities(), initial_weights=[0.9, 0.6]).double()
    moved = bits.with_backend(device, shots=SHOTS, seed=4)
    judge(np.rint(SHOTS * moved().detach().numpy()).astype(int), bits().detach().numpy(), 4)


def test_places_without_what_a_circuit_needs_refuse_it_before_anything_runs():
    circuit, without = feed_forward(), GenericBackendV2(3, noise_info=False, seed=1)
    for estimator in (StatevectorEstimator(), StatevectorSampler(),
            BackendEstimatorV2(backend=without)):  # fmt: skip
        with pytest.raises(CircuitError, match="'if_else'.*exact engine"):
            TorchQuantumModule(circuit, "ZI", estimator=estimator, gradient="aqgd")
    with pytest.raises(CircuitError, match="'if_else', which generic_backend_3q does not have"):
        TorchQuantumModule(circuit, "ZI", backend=without)
    with pytest.raises(CircuitError, match="averages 1024 runs"):
        TorchQuantumModule(circuit, "ZI", estimator=AerEstimator())
    with pytest.raises(CircuitError, match="'if_else'"):
        gradient = ParameterShiftEstimatorGradient(StatevectorEstimator())
        gradient.run([circuit], [SparsePauliOp("ZI")], [POINT]).result()


# -- registers -------------------------------------------------------------------------------------


def teleported():
    """A state is teleported from qubit 0 to 2; both bits of the message are random."""
    message = ClassicalRegister(2, "message")
    circuit = QuantumCircuit(QuantumRegister(3, "q"), message)
    circuit.ry(Parameter("a"), 0)
    circuit.h(1)
    circuit.cx(1, 2)
    circuit.cx(0, 1)
    circuit.h(0)
    circuit.measure([0, 1], message)
    with circuit.if_test((message[1], 1)):
        circuit.x(2)
    with circuit.if_test((message[0], 1)):
        circuit.z(2)
    return circuit


def test_the_sampler_returns_registers_with_their_joint_distribution():
    circuit, shots, angle = teleported(), 4000, 1.2
    circuit.add_register(end := ClassicalRegister(1, "end"), copy := ClassicalRegister(1, "copy"))
    circuit.measure(2, end[0])
    circuit.measure(2, copy[0])
    sampler = BatchedStatevectorSampler(seed=3)
    (result,) = sampler.run([(circuit, [[angle], [0.0]])], shots=shots).result()
    data = result.data
    assert data.message.shape == data.end.shape == (2,) and data.message.num_shots == shots
    assert (data.end.array == data.copy.array).all()
    one = math.sin(angle / 2) ** 2
    joint = 2 * data.message[0].array[:, 0] + data.end[0].array[:, 0]
    counts = np.bincount(joint, minlength=8)
    judge(counts, np.tile([1 - one, one], 4) / 4, 8)
    assert not data.end[1].array.any()  # the state zero
    again = BatchedStatevectorSampler(seed=3).run([(circuit, [[angle], [0.0]])], shots=shots)
    assert (again.result()[0].data.message.array == data.message.array).all()


def test_a_bit_that_is_written_twice_has_its_last_value():
    circuit = QuantumCircuit(1, 2)
    circuit.x(0)
    circuit.measure(0, 0)
    circuit.measure(0, 1)
    circuit.reset(0)
    circuit.measure(0, 0)
    found = BatchedStatevectorSampler(seed=1).run([circuit], shots=10).result()[0].data.c
    assert found.get_counts() == {"10": 10}


def test_outcomes_are_read_apart_from_registers_of_the_circuits_own():
    circuit = teleported()
    circuit.add_register(ClassicalRegister(3, "meas"))  # a name that is taken
    shots = 3000
    for sampler in (AerSampler(seed=2), BatchedStatevectorSampler(seed=2)):
        how = {"estimator": sampler, "shots": shots, "gradient": "aqgd", "initial_weights": [1.2]}
        two = TorchQuantumModule(circuit, Probabilities([2]), **how)().detach().numpy()
        one = math.sin(0.6) ** 2
        judge(np.rint(shots * two).astype(int), [1 - one, one], 8)
        z = TorchQuantumModule(circuit, ["ZII", "XII"], **how)().detach().numpy()
        assert z == pytest.approx([math.cos(1.2), math.sin(1.2)], abs=5.5 / math.sqrt(shots))


def test_bits_are_read_by_samplers_and_from_registers():
    circuit = teleported()
    with pytest.raises(MeasurementError, match="Expected a sampler for what classical bits hold"):
        TorchQuantumModule(circuit, Probabilities(), estimator=BatchedStatevectorEstimator())
    loose = QuantumCircuit([*QuantumRegister(1, "q")], [Clbit()])
    loose.ry(Parameter("a"), 0)
    loose.measure(0, 0)
    loose.reset(0)
    assert TorchQuantumModule(loose, Probabilities(), initial_weights=[0.0])().tolist() == [1, 0]
    with pytest.raises(MeasurementError, match="bit 0 is in none"):
        TorchQuantumModule(loose, Probabilities(), estimator=AerSampler(), gradient="aqgd")


def test_samples_and_tails_come_from_the_circuit_as_it_is():
    circuit = teleported()
    exact = TorchQuantumModule(circuit, CVaR("ZII", 0.3), initial_weights=[1.2]).double()
    on_aer = exact.with_backend(AerSimulator(), shots=SHOTS, seed=5)
    assert exact().item() == pytest.approx(1 - 2 * min(1, math.sin(0.6) ** 2 / 0.3), abs=1e-9)
    assert abs(on_aer() - exact()) < 5.5 * 2 / (0.3 * math.sqrt(SHOTS))
    for module in (exact, on_aer):
        drawn = module.sample(shots=50)
        assert drawn.shots == 50


# -- one form of control flow ----------------------------------------------------------------------


def test_loops_over_parameters_are_unrolled_with_the_number_of_each_round():
    a, k = Parameter("a"), Parameter("k")
    circuit = QuantumCircuit(1)
    with circuit.for_loop((1, 3), k):
        circuit.rx(k * a, 0)
    with circuit.for_loop(range(4)):
        circuit.x(0)  # without parameters it stays
    analysed = AnalysedCircuit(circuit)
    assert analysed.circuit.count_ops() == {"rx": 2, "for_loop": 1}
    assert analysed.frequencies(0) == (1.0, 2.0, 3.0, 4.0)
    module = TorchQuantumModule(circuit, initial_weights=[0.2]).double()
    assert module().item() == pytest.approx(math.cos(0.8), abs=1e-7)


def test_loops_that_cannot_be_unrolled_are_named():
    a, k = Parameter("a"), Parameter("k")
    endless = QuantumCircuit(1)
    with endless.for_loop(range(10_001)):
        endless.rx(a, 0)
    with pytest.raises(CircuitError, match="for_loop holds parameters .a. .* than 10000 rounds"):
        AnalysedCircuit(endless)
    left = QuantumCircuit(1, 1)
    with left.for_loop(range(3), k):
        left.rx(k * a, 0)
        left.measure(0, 0)
        with left.if_test((left.clbits[0], 1)):
            left.break_loop()
    with pytest.raises(CircuitError, match="over 'k' can be left early.*depend on the round"):
        AnalysedCircuit(left)


@pytest.mark.parametrize("nested", [False, True])
def test_gates_of_the_users_own_have_their_own_numbers_at_each_point(nested):
    """Qiskit binds them once for all copies of a circuit."""
    angle, block = Parameter("angle"), QuantumCircuit(1, name="own")
    block.ry(angle, 0)
    circuit = QuantumCircuit(2, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        if nested:
            with circuit.if_test((circuit.clbits[0], 1)):
                circuit.append(block.to_gate(), [1])
        else:
            circuit.append(block.to_gate(), [1])
    for primitive in (BackendEstimatorV2(backend=AerSimulator()), AerSampler(seed=1)):
        module = TorchQuantumModule(circuit, "ZI", input_params=[angle], estimator=primitive,
            gradient="aqgd", shots=64)  # fmt: skip
        found = module(torch.tensor([[0.0], [math.pi], [0.0]])).flatten().tolist()
        assert found == pytest.approx([1, -1, 1], abs=1e-9)


@pytest.mark.skipif(not hasattr(QuantumCircuit(1).x(0), "c_if"), reason="Qiskit 1 alone has it")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_conditions_of_qiskit_1_are_branches():
    a = Parameter("a")
    circuit = QuantumCircuit(2, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    circuit.ry(a, 1).c_if(circuit.clbits[0], 1)
    circuit.x(1).c_if(circuit.clbits[0], 0)
    assert AnalysedCircuit(circuit).circuit.count_ops()["if_else"] == 2
    for place in ({}, {"backend": AerSimulator(), "shots": 4000, "seed": 1}):
        module = TorchQuantumModule(circuit, "ZI", initial_weights=[0.7], **place)
        assert abs(module().item() - math.cos(0.7)) < 5.5 / math.sqrt(4000)


def test_networks_of_other_packages_are_read_with_their_branches():
    networks = pytest.importorskip("qiskit_machine_learning.neural_networks")
    circuit = feed_forward()
    network = networks.EstimatorQNN(
        circuit=circuit,
        observables=SparsePauliOp("ZI"),
        input_params=circuit.parameters[:1],
        weight_params=circuit.parameters[1:],
        estimator=BatchedStatevectorEstimator(),
    )
    module = TorchQuantumModule.from_qnn(network).double()
    with torch.no_grad():
        module.weight.copy_(torch.tensor(POINT[1:]))
    value = module(torch.tensor([[POINT[0]]], dtype=torch.float64))
    assert value.item() == pytest.approx(closed_form(*POINT), abs=1e-7)
