# SPDX-License-Identifier: Apache-2.0
"""``QuantumLayer``: its numbers are those of circuits by hand, and it is like ``nn.Linear``."""

from __future__ import annotations

import copy
import functools
import itertools
import math
import pickle
import runpy
import sys

import numpy as np
import pytest
import torch
from documented import DOCS
from estimators import CountingEstimator
from hypothesis import given
from hypothesis import strategies as st
from qiskit.circuit import QuantumCircuit
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Pauli, SparsePauliOp, Statevector
from torch import nn

from qiskit_torch_bridge import (
    CVaR,
    Entropy,
    Execution,
    Probabilities,
    QuantumLayer,
    State,
    TorchQuantumModule,
    Variance,
    load_checkpoint,
    save_checkpoint,
)
from qiskit_torch_bridge.exceptions import (
    BackendError,
    CircuitError,
    InputError,
    InputTypeError,
    MeasurementError,
    ObservableError,
    StateDictError,
)
from qiskit_torch_bridge.layer.initial_angles import draw_angles
from qiskit_torch_bridge.optim import QuantumNaturalGradient

EXACT = 1e-12
ENCODINGS = ("angle", "reuploading", "iqp", "amplitude", "basis")

PAIRS = {
    "linear": lambda n: [(q, q + 1) for q in range(n - 1)],
    "circular": lambda n: [(q, (q + 1) % n) for q in range(n if n > 2 else n - 1)],
    "full": lambda n: list(itertools.combinations(range(n), 2)),
}
PAIRS |= dict.fromkeys(("reverse_linear", "pairwise"), PAIRS["linear"])
PAIRS["sca"] = PAIRS["circular"]
"""Which qubits CZ acts on; it commutes, so the order and the direction of pairs do not matter."""


# -- circuits by hand ---------------------------------------------------------------------------


def turned(circuit, x):
    for i, value in enumerate(x):
        turns, qubit = divmod(i, circuit.num_qubits)
        (circuit.rx if turns % 2 else circuit.ry)(value, qubit)


def products(circuit, x, pairs):
    """The feature map of Havlicek et al., with Qiskit's factor of two."""
    for _ in range(2):
        for q, value in enumerate(x):
            circuit.h(q)
            circuit.p(2 * value, q)
        for a, b in pairs:
            circuit.cx(a, b)
            circuit.p(2 * (math.pi - x[a]) * (math.pi - x[b]), b)
            circuit.cx(a, b)


def by_hand(encoding, pairs, x, weights, qubits, scale=None, features_pairs=None):
    """Return the state of a layer: encoding, and ``L`` times rotations and CZ, and rotations."""
    circuit = QuantumCircuit(qubits)
    start = Statevector.from_label("0" * qubits)
    angles = np.reshape(weights, (-1, 2, qubits))
    for layer, (rx, ry) in enumerate(angles):
        last = layer == len(angles) - 1
        scaled = x if scale is None else x * scale[min(layer, len(scale) - 1)]
        if encoding == "reuploading" and not last:
            turned(circuit, scaled)
        elif layer == 0:
            if encoding == "angle":
                turned(circuit, scaled)
            elif encoding == "iqp":
                within = [p for p in pairs if max(p) < len(x)]
                products(circuit, scaled, features_pairs or within)
            elif encoding == "amplitude":
                padded = np.pad(scaled, (0, 2**qubits - len(x)))
                start = Statevector(padded / np.linalg.norm(padded))
            elif encoding == "basis":
                for q, bit in enumerate(scaled):
                    circuit.rx(math.pi * bit, q)
        for q in range(qubits):
            circuit.rx(rx[q], q)
            circuit.ry(ry[q], q)
        for a, b in () if last else pairs:
            circuit.cz(a, b)
    return start.evolve(circuit)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def rows(count, features, seed=3):
    return 2 * torch.randn(count, features, generator=generator(seed), dtype=torch.float64)


def check_against_hand(layer, pairs, x, scale=None, features_pairs=None):
    weights = layer.weight.detach().double().numpy()
    outputs = layer(x).detach()
    labels = [label for o in layer.quantum.program.observables for label, _ in o.to_list()]
    for row, output in zip(x.numpy(), outputs, strict=True):
        state = by_hand(layer.encoding, pairs, row, weights, layer.qubits, scale, features_pairs)
        expected = [state.expectation_value(Pauli(label)).real for label in labels]
        torch.testing.assert_close(output, output.new_tensor(expected), rtol=0, atol=EXACT)


@pytest.mark.parametrize("entanglement", PAIRS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_values_are_those_of_a_circuit_written_by_hand(encoding, entanglement):
    layer = QuantumLayer(
        4,
        7,
        qubits=4,
        layers=3,
        encoding=encoding,
        entanglement=entanglement,
        initial_weights="uniform",
        seed=5,
    )
    check_against_hand(layer, PAIRS[entanglement](4), rows(3, 4))


@given(data=st.data(), encoding=st.sampled_from(ENCODINGS), layers=st.integers(1, 4))
def test_values_of_random_layers(data, encoding, layers):
    least = 2 if encoding == "iqp" else 1
    features = data.draw(st.integers(least, 5))
    few = {"angle": 1, "reuploading": 1, "amplitude": math.ceil(math.log2(max(2, features)))}
    qubits = data.draw(st.integers(few.get(encoding, features), 5))
    every = [(a, b) for a in range(qubits) for b in range(qubits) if a != b]
    pairs = st.lists(st.sampled_from(every), min_size=1, max_size=6) if every else st.nothing()
    entanglement = data.draw(st.sampled_from(sorted(PAIRS)) | pairs)
    layer = QuantumLayer(
        features,
        data.draw(st.none() | st.integers(1, 2**qubits - 1)),
        qubits=qubits,
        layers=layers,
        encoding=encoding,
        entanglement=entanglement,
        scale_inputs=True,
        initial_weights=data.draw(st.sampled_from(["small", "uniform"])),
        seed=data.draw(st.integers(0, 99)),
    )
    with torch.no_grad():
        layer.scale.uniform_(0.5, 2, generator=generator(1))
    named = isinstance(entanglement, str)
    made = PAIRS[entanglement](qubits) if named else entanglement
    features_pairs = PAIRS[entanglement](features) if named and encoding == "iqp" else None
    scale = layer.scale.detach().double().numpy()
    check_against_hand(layer, made, rows(2, features), scale, features_pairs)


@pytest.mark.parametrize("encoding", ["angle", "reuploading"])
@pytest.mark.parametrize(("features", "qubits"), [(7, 3), (2, 4), (3, 1), (9, 2), (1, 1)])
def test_features_share_qubits_in_rounds(encoding, features, qubits):
    layer = QuantumLayer(
        features, qubits=qubits, encoding=encoding, initial_weights="uniform", seed=1
    )
    assert layer.out_features == qubits
    check_against_hand(layer, PAIRS["linear"](qubits), rows(3, features))


@pytest.mark.parametrize(("features", "qubits"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (8, 3)])
def test_amplitudes_take_as_few_qubits_as_there_may_be(features, qubits):
    layer = QuantumLayer(features, encoding="amplitude", initial_weights="uniform", seed=1)
    assert layer.qubits == qubits
    check_against_hand(layer, PAIRS["linear"](qubits), rows(3, features))
    with pytest.raises(InputError, match="norm"):
        layer(torch.zeros(2, features))


@pytest.mark.parametrize("encoding", ["iqp", "basis"])
def test_qubits_without_a_feature_begin_in_zero(encoding):
    pairs = [(0, 2), (3, 1), (1, 0)]
    layer = QuantumLayer(
        3, qubits=4, encoding=encoding, entanglement=pairs, initial_weights="uniform", seed=1
    )
    check_against_hand(layer, pairs, rows(2, 3))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_scales_multiply_features_in_each_upload(encoding):
    layer = QuantumLayer(
        3, layers=3, encoding=encoding, scale_inputs=True, initial_weights="uniform", seed=1
    )
    qubits = layer.qubits
    assert layer.scale.shape == ((3, 3) if encoding == "reuploading" else (1, 3))
    assert (layer.scale == 1).all()
    plain = QuantumLayer(3, layers=3, encoding=encoding, initial_weights="uniform", seed=1)
    x = rows(4, 3)
    torch.testing.assert_close(layer(x), plain(x), rtol=0, atol=EXACT)
    with torch.no_grad():
        layer.scale.copy_(torch.linspace(-1, 2, layer.scale.numel()).view_as(layer.scale))
    check_against_hand(layer, PAIRS["linear"](qubits), x, layer.scale.detach().double().numpy())


def test_bits_are_basis_states():
    layer = QuantumLayer(3, 8, encoding="basis", measurement="probabilities", layers=1,
                         initial_weights=torch.zeros(12))  # fmt: skip
    bits = torch.tensor(list(itertools.product([0, 1], repeat=3)))
    number = (bits * torch.tensor([1, 2, 4])).sum(-1)  # feature 0 is the last bit, as in Qiskit
    expected = nn.functional.one_hot(number, 8).float()
    torch.testing.assert_close(layer(bits), expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(layer(bits.bool()), expected, rtol=0, atol=1e-7)


def test_entanglement_names_that_are_one_function_for_cz():
    x = rows(3, 4)
    made = {
        name: QuantumLayer(4, entanglement=name, initial_weights="uniform", seed=2)(x)
        for name in PAIRS
    }
    for name, other in [("reverse_linear", "linear"), ("pairwise", "linear"), ("sca", "circular")]:
        torch.testing.assert_close(made[name], made[other], rtol=0, atol=EXACT)
    for name, other in itertools.combinations(("linear", "circular", "full"), 2):
        assert not torch.allclose(made[name], made[other])
    depths = [QuantumLayer(8, entanglement=e).circuit.depth() for e in ("linear", "pairwise")]
    assert depths[1] < depths[0]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("scale_inputs", [False, True])
def test_gradients_of_features_weights_and_scales(encoding, scale_inputs):
    layer = QuantumLayer(
        3, 3, encoding=encoding, scale_inputs=scale_inputs, initial_weights="uniform", seed=3
    ).double()
    names = [name for name, _ in layer.named_parameters()]
    assert names == ["scale", "quantum.weight"][not scale_inputs :]
    values = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    if scale_inputs:
        values[0].data += 0.1 * torch.arange(values[0].numel()).view_as(values[0])
    x = rows(2, 3).requires_grad_()

    def function(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(function, (x, *values))
    assert torch.autograd.gradgradcheck(function, (x, *values))


def test_reuploading_reaches_the_degree_of_its_layers():
    """One qubit, L uploads: a trigonometric polynomial of degree L (Schuld et al.)."""
    for layers in (1, 2, 3):
        layer = QuantumLayer(
            1, layers=layers, encoding="reuploading", initial_weights="uniform", seed=4
        )
        x = torch.arange(16, dtype=torch.float64)[:, None] * (2 * math.pi / 16)
        spectrum = torch.fft.rfft(layer(x)[:, 0].detach()).abs() / 16
        assert (spectrum[1 : layers + 1] > 1e-3).all()
        assert (spectrum[layers + 1 :] < EXACT).all()


# -- what is measured ---------------------------------------------------------------------------


def test_outputs_are_z_then_products_of_z():
    layer = QuantumLayer(3, 7)
    labels = [o.to_list()[0][0] for o in layer.quantum.program.observables]
    assert labels == ["IIZ", "IZI", "ZII", "IZZ", "ZIZ", "ZZI", "ZZZ"]
    assert QuantumLayer(3, 2).quantum.program.observables[1] == SparsePauliOp("IZI")
    assert QuantumLayer(3).out_features == 3


def test_probabilities_of_the_first_qubits():
    x = rows(2, 3)
    everything = QuantumLayer(3, measurement="probabilities", seed=1)
    assert everything.out_features == 8
    four = QuantumLayer(3, 4, measurement="probabilities", initial_weights=everything.weight)
    expected = everything(x).reshape(2, 2, 4).sum(1)  # qubit 2 is the first digit
    torch.testing.assert_close(four(x), expected, rtol=0, atol=EXACT)
    assert (
        QuantumLayer(1, 2, measurement="probabilities")(rows(5, 1)).sum(-1) - 1
    ).abs().max() < EXACT


@pytest.mark.parametrize(
    ("measurement", "out_features"),
    [
        ("XYZ", 1),
        (["ZII", "XXI", SparsePauliOp(["IIZ", "ZZZ"], [0.5, 2.0])], 3),
        (Probabilities([0, 2]), 4),
        (Probabilities(interpret="parity"), 2),
        (Variance(["ZII", "IXI"]), 2),
        (CVaR("ZZZ", 0.3), 1),
        (Entropy([0]), 1),
        (State(), 8),
    ],
)
def test_any_measurement_of_one_list_of_outputs(measurement, out_features):
    layer = QuantumLayer(3, measurement=measurement, seed=1)
    assert layer.out_features == out_features
    same = QuantumLayer(3, out_features, measurement=measurement, seed=1)
    x = rows(4, 3)
    assert same(x).shape == (4, out_features)
    torch.testing.assert_close(same(x), layer(x), rtol=0, atol=0)
    module = TorchQuantumModule(
        layer.circuit,
        measurement,
        input_params=layer.quantum.program.input_params,
        initial_weights=layer.weight,
    )
    torch.testing.assert_close(layer(x), module(x), rtol=0, atol=EXACT)


# -- a sibling of nn.Linear ---------------------------------------------------------------------


@pytest.fixture
def layer():
    return QuantumLayer(3, 2, encoding="reuploading", scale_inputs=True, seed=1)


@pytest.mark.parametrize("batch", [(), (1,), (5,), (0,), (2, 3), (2, 0, 3)])
def test_any_leading_batch_shape(layer, batch):
    x = torch.rand(*batch, 3, requires_grad=True)
    y = layer(x)
    assert y.shape == (*batch, 2)
    y.sum().backward()
    assert x.grad.shape == x.shape and layer.scale.grad.shape == (2, 3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale_inputs", [False, True])
def test_outputs_have_the_dtype_of_the_features(dtype, scale_inputs):
    layer = QuantumLayer(3, 2, scale_inputs=scale_inputs, seed=1)
    x = torch.tensor([[0.25, -0.5, 1.0]], dtype=dtype, requires_grad=True)
    y = layer(x)
    assert y.dtype == dtype
    torch.testing.assert_close(
        y.double(), layer(x.double()), rtol=0, atol=2 * torch.finfo(dtype).eps
    )
    y.sum().backward()
    assert x.grad.dtype == dtype and layer.weight.grad.dtype == torch.float32
    assert layer.double()(x.double()).dtype == torch.float64
    integers = QuantumLayer(3, 2, scale_inputs=scale_inputs, seed=1)(torch.tensor([[1, 0, 2]]))
    assert integers.dtype == torch.float32


def test_state_dict_checkpoint_deepcopy_and_pickle(layer, tmp_path):
    x = rows(4, 3)
    with torch.no_grad():
        layer.scale += torch.rand_like(layer.scale)
        layer.weight += 1
    expected = layer(x)
    assert list(layer.state_dict()) == ["scale", "quantum.weight"]
    fresh = QuantumLayer(3, 2, encoding="reuploading", scale_inputs=True)
    torch.save(layer.state_dict(), tmp_path / "state.pt")
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    torch.testing.assert_close(fresh(x), expected, rtol=0, atol=0)

    save_checkpoint(tmp_path / "checkpoint.pt", model=layer)
    again = QuantumLayer(3, 2, encoding="reuploading", scale_inputs=True)
    load_checkpoint(tmp_path / "checkpoint.pt", model=again)
    torch.testing.assert_close(again(x), expected, rtol=0, atol=0)

    torch.save(layer, tmp_path / "layer.pt")
    whole = torch.load(tmp_path / "layer.pt", weights_only=False)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), whole):
        torch.testing.assert_close(other(x), expected, rtol=0, atol=0)
        with torch.no_grad():
            other.weight.zero_()
            other.scale.zero_()
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)

    with pytest.raises(StateDictError, match="another program"):
        QuantumLayer(3, 2, encoding="iqp", scale_inputs=True).load_state_dict(layer.state_dict())


def test_it_says_what_it_is(layer):
    assert layer.extra_repr() == (
        "in_features=3, out_features=2, qubits=3, layers=2, encoding='reuploading', "
        "entanglement='linear', scale_inputs=True"
    )
    assert "(quantum): TorchQuantumModule(qubits=3, inputs=6, weights=18" in repr(layer)
    assert layer.weight is layer.quantum.weight
    assert layer.circuit is layer.quantum.circuit
    assert {p.name for p in layer.circuit.parameters} == (
        {f"x[{i}]" for i in range(6)} | {f"w[{i}]" for i in range(18)}
    )


def test_drawings(layer, monkeypatch):
    text = str(layer.draw())
    assert all(p.name in text for p in layer.circuit.parameters)
    assert len(text.splitlines()) == 7  # not folded
    pictures = QuantumLayer(64, encoding="amplitude")
    assert "Amplitudes of x" in str(pictures.draw()) and "x[9]" not in str(pictures.draw())
    device = GenericBackendV2(3, seed=1)
    assert "w[0]" in str(QuantumLayer(2, backend=device).draw())  # as it is transpiled
    with pytest.raises(InputError, match="Expected output to be 'text'"):
        layer.draw("picture")
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(InputError, match="Expected the packages that draw a circuit as 'mpl'"):
        layer.draw("mpl")


def test_evaluation_is_elsewhere():
    layer = QuantumLayer(2, seed=1, evaluation=Execution(shots=10, seed=3))
    x = rows(3, 2)
    exact = QuantumLayer(2, initial_weights=layer.weight)
    torch.testing.assert_close(layer(x), exact(x), rtol=0, atol=EXACT)
    fifths = layer.eval()(x) * 5  # means of ten outcomes, 1 or -1
    torch.testing.assert_close(fifths, fifths.round(), rtol=0, atol=EXACT)
    assert not torch.allclose(fifths / 5, exact(x))


def test_moving_to_a_backend_and_back(layer):
    x = rows(4, 3)
    device = layer.with_backend(GenericBackendV2(4, seed=1), shots=200, seed=2)
    assert type(device) is QuantumLayer and device.quantum.shots == 200
    assert device(x).shape == (4, 2)
    with torch.no_grad():
        device.scale.zero_()
        device.weight.zero_()
    assert (layer.scale == 1).all() and (layer.weight != 0).all()
    exact = device.with_backend(estimator=None, shots=None)
    assert exact.quantum.estimator is None
    torch.testing.assert_close(exact(x), torch.ones(4, 2).double(), rtol=0, atol=EXACT)


def test_an_estimator_trains_all_parameters():
    estimator = CountingEstimator()
    places = {"estimator": estimator, "gradient": "parameter-shift"}, {}
    made = [
        QuantumLayer(2, 3, encoding="reuploading", scale_inputs=True, seed=1, **place)
        for place in places
    ]
    x = rows(2, 2).requires_grad_()
    gradients = []
    for layer in made:
        x.grad = None
        layer(x).square().sum().backward()
        gradients.append([x.grad, layer.weight.grad, layer.scale.grad])
    for measured, exact in zip(*gradients, strict=True):
        torch.testing.assert_close(measured, exact, rtol=0, atol=1e-6)
    assert len(estimator.runs) == 2
    whole = made[0].cost(2, input_gradients=True).usage
    assert whole.jobs == 2 and made[0].cost(2).usage == whole  # scales need those of inputs, too
    made[0].scale.requires_grad_(False)
    assert made[0].cost(2).usage.points < whole.points


def test_amplitudes_on_an_estimator_have_the_same_gradients():
    x = rows(3, 3).requires_grad_()
    found = []
    for place in {"estimator": CountingEstimator()}, {}:
        layer = QuantumLayer(3, 2, encoding="amplitude", scale_inputs=True, seed=1, **place)
        layer(x).square().sum().backward()
        found.append([x.grad, layer.weight.grad, layer.scale.grad])
        x.grad = None
    for measured, exact in zip(*found, strict=True):
        torch.testing.assert_close(measured, exact, rtol=0, atol=1e-6)


def test_some_weights_are_frozen(layer):
    x = rows(3, 3)
    frozen = layer.with_frozen([f"w[{i}]" for i in range(12)])
    torch.testing.assert_close(frozen(x), layer(x), rtol=0, atol=0)
    assert type(frozen) is QuantumLayer and frozen.weight.shape == (6,)
    frozen(x).sum().backward()
    layer(x).sum().backward()
    torch.testing.assert_close(frozen.weight.grad, layer.weight.grad[12:])
    torch.testing.assert_close(frozen.scale.grad, layer.scale.grad)
    assert frozen.scale is not layer.scale


def test_weights_are_shared_and_replaced():
    first, second = QuantumLayer(2, seed=1), QuantumLayer(2, seed=2)
    second.weight = first.weight
    assert second.quantum.weight is first.quantum.weight
    assert list(second.state_dict()) == ["quantum.weight"]
    second.weight.data += 1
    torch.testing.assert_close(first(rows(2, 2)), second(rows(2, 2)), rtol=0, atol=0)


def test_samples_and_the_natural_gradient(layer):
    samples = layer.sample(torch.zeros(5, 3), shots=20)
    assert samples.bits.shape == (5, 20, 3)
    optimizer = QuantumNaturalGradient(layer, lr=0.05)
    x = rows(4, 3)
    before = layer.weight.detach().clone()

    def closure():
        optimizer.zero_grad()
        loss = layer(x).square().mean()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(3)]
    assert losses[-1] < losses[0] and (layer.weight != before).any()


def test_vmap_and_functional_call():
    layer = QuantumLayer(2, 3, scale_inputs=True, seed=1).double()
    x = rows(4, 2)
    torch.testing.assert_close(torch.func.vmap(layer)(x), layer(x), rtol=0, atol=EXACT)
    jacobian = torch.func.vmap(torch.func.jacrev(layer))(x)
    expected = torch.autograd.functional.jacobian(lambda y: layer(y).sum(0), x).transpose(0, 1)
    torch.testing.assert_close(jacobian, expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("encoding", ["angle", "reuploading"])
def test_inside_a_compiled_model(encoding):
    model = nn.Sequential(
        nn.Linear(4, 3), QuantumLayer(3, 2, encoding=encoding, scale_inputs=True, seed=1)
    )
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x = torch.randn(5, 4)
    y = compiled(x)
    torch.testing.assert_close(y, model(x))
    y.sum().backward()
    compiled_gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model(x).sum().backward()
    for own, other in zip(model.parameters(), compiled_gradients, strict=True):
        torch.testing.assert_close(own.grad, other)


# -- where it begins ----------------------------------------------------------------------------


def test_seeds_and_generators():
    first, second = (QuantumLayer(3, seed=4).weight for _ in range(2))
    assert torch.equal(first, second)
    torch.manual_seed(1)
    third = QuantumLayer(3).weight
    torch.manual_seed(1)
    assert torch.equal(third, QuantumLayer(3).weight)
    assert not torch.equal(third, QuantumLayer(3).weight)
    torch.manual_seed(1)
    QuantumLayer(3, seed=4)
    assert torch.equal(third, QuantumLayer(3).weight)  # seeds leave the generator alone


def test_weights_that_are_given():
    numbers = torch.arange(12) / 10
    layer = QuantumLayer(2, initial_weights=numbers)
    assert torch.equal(layer.weight.detach(), numbers)
    assert torch.equal(QuantumLayer(2, initial_weights=numbers.tolist()).weight, layer.weight)


@pytest.mark.parametrize(
    ("measurement", "locality"),
    [(None, 1), (["ZZI", "IIX"], 2), ("probabilities", 3), (State(), 3), (Entropy([1, 0]), 3)],
)
def test_small_angles_have_the_variance_of_the_theorem(measurement, locality):
    layers = 4
    layer = QuantumLayer(3, layers=layers, measurement=measurement, seed=0)
    program = layer.quantum.program
    weights = torch.stack(
        [draw_angles("small", layers, 3, program, generator(seed)) for seed in range(500)]
    )
    assert torch.equal(layer.weight, weights[0])
    count, variance = weights.numel(), 1 / (2 * locality * (layers + 1))
    assert abs(weights.mean()) < 5 * math.sqrt(variance / count)
    assert abs(weights.var() / variance - 1) < 5 * math.sqrt(2 / count)


@pytest.mark.parametrize("entanglement", ["linear", "circular", "full", "sca"])
@pytest.mark.parametrize("layers", [2, 4, 6])
def test_identity_blocks_leave_the_encoded_state(entanglement, layers):
    layer = QuantumLayer(
        4, layers=layers, entanglement=entanglement, initial_weights="identity", seed=1
    )
    x = rows(5, 4)
    # the angles are kept in single precision, in which sums are rounded
    torch.testing.assert_close(layer(x), x.cos(), rtol=0, atol=layers * 4e-7)
    angles = layer.weight.detach().reshape(-1, 2, 4)
    assert (angles[1::2] == 0).all()  # in the middle of blocks
    assert ((angles[0] != 0).sum(0) == 1).all()  # one axis opens each block


def test_identity_blocks_turn_about_both_axes():
    layer = QuantumLayer(8, layers=6, initial_weights="identity", seed=1)
    x = rows(1, 8)
    layer(x).sum().backward()
    derivatives = layer.weight.grad.reshape(7, 2, 8).abs()
    assert (derivatives.amax((0, 2)) > 0.01).all()


def gradients_at(start, qubits, layers, seeds=150, locality=1):
    """Return gradients of Z on the first qubits, ``(seeds, layers + 1, 2, qubits)``."""
    label = "I" * (qubits - locality) + "Z" * locality
    layer = QuantumLayer(qubits, layers=layers, measurement=[label])
    shape = (layers + 1, 2, qubits)
    x = torch.full((qubits,), 0.7, dtype=torch.float64)
    drawn = torch.stack(
        [
            draw_angles(start, layers, qubits, layer.quantum.program, generator(seed))
            for seed in range(seeds)
        ]
    )

    def value(weights):
        return torch.func.functional_call(layer, {"quantum.weight": weights}, (x,)).sum()

    gradients = torch.func.vmap(torch.func.grad(value))(drawn.double())
    return gradients.reshape(seeds, *shape)


@pytest.mark.parametrize("locality", [1, 2])
@pytest.mark.parametrize("qubits", [2, 5, 8])
def test_small_angles_keep_the_bound_of_zhang_et_al(qubits, locality):
    r"""Theorem 4.1 for 2L layers of rotations, in Qiskit's angles, which are twice the paper's.

    .. math:: E |\nabla f|^2 \ge \frac{1}{4} \frac{2L}{S^S (2L + 2)^{S + 1}} \langle Z \rangle^2
    """
    layers, power = 8, locality
    gradients = gradients_at("small", qubits, layers, locality=locality)
    norms = gradients.square().sum((1, 2, 3))
    bound = 2 * layers / (4 * power**power * (2 * layers + 2) ** (power + 1))
    error = norms.std() / math.sqrt(len(norms))
    assert norms.mean() - 5 * error > bound * math.cos(0.7) ** (2 * locality)
    assert norms.mean() > 0.5  # which does not shrink with the qubits


def test_gradients_vanish_with_width_from_uniform_angles_and_not_from_others():
    """The mean squared norm of gradients, on 8 qubits against 2, in circuits of 16 layers.

    All derivatives count, of which there are four times as many on 8 qubits. Each has the variance
    d**2 / (2 (d**2 - 1) (d + 1)) between two 2-designs in d dimensions (McClean et al. 2018).
    """
    ratios = {}
    for start in ("small", "identity", "uniform"):
        norms = [gradients_at(start, n, 16).square().sum((1, 2, 3)) for n in (2, 8)]
        few, many = (norm.mean() for norm in norms)
        errors = [norm.std() / norm.mean() / math.sqrt(len(norm)) for norm in norms]
        error = many / few * math.hypot(*errors)
        ratios[start] = (many / few).item(), 5 * error.item()
    for start in ("small", "identity"):
        ratio, error = ratios[start]
        assert ratio - error > 0.5, ratios
    ratio, error = ratios["uniform"]
    few, many = (d**2 / (d**2 - 1) / (d + 1) for d in (4, 256))
    assert abs(ratio - 4 * many / few) < error, ratios


@pytest.mark.parametrize("qubits", [1, 4, 9])
def test_the_gradient_at_identity_blocks_in_closed_form(qubits):
    layer = QuantumLayer(qubits, layers=4, initial_weights="identity", seed=2)
    x = rows(1, qubits)
    layer(x)[:, 0].sum().backward()
    last = layer.weight.grad.reshape(5, 2, qubits)[-1]
    assert abs(last[1, 0] + math.sin(x[0, 0])) < 4e-6  # RY after RY by the feature
    assert (last[:, 1:].abs() < 4e-6).all()  # other qubits do not matter there


def test_the_figures_of_the_page(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("sys.argv", ["encode_data.py", str(tmp_path)])
    runpy.run_path(str(DOCS / "how-tos" / "encode_data.py"))
    assert {path.name for path in tmp_path.iterdir()} == {"encodings.png", "frequencies.png"}


# -- what is wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"in_features": 0}, InputError, "in_features to be a whole number from 1"),
        ({"in_features": "3"}, InputError, "in_features"),
        ({"out_features": 0}, MeasurementError, "out_features"),
        ({"out_features": 8}, MeasurementError, "at most 7 outputs"),
        ({"out_features": 3, "measurement": "ZZZ"}, MeasurementError, "3 outputs.*got shape"),
        ({"measurement": [["ZZZ"], ["XXX"]]}, MeasurementError, "one list of outputs"),
        ({"out_features": 3, "measurement": "probabilities"}, MeasurementError, "power of two"),
        ({"out_features": 16, "measurement": "probabilities"}, MeasurementError, "power of two"),
        ({"out_features": 2, "measurement": Probabilities()}, MeasurementError, "got shape"),
        ({"measurement": "ZZ"}, ObservableError, "qubits"),
        ({"measurement": "probability"}, ObservableError, "probability"),
        ({"qubits": 0}, CircuitError, "qubits to be a whole number"),
        ({"qubits": 2, "encoding": "iqp"}, CircuitError, "one feature for each qubit"),
        ({"qubits": 2, "encoding": "basis"}, CircuitError, "one feature for each qubit"),
        ({"in_features": 5, "qubits": 2, "encoding": "amplitude"}, CircuitError, r"2\*\*qubits"),
        ({"in_features": 1, "encoding": "iqp"}, InputError, "at least 2 features"),
        ({"layers": 0}, InputError, "layers"),
        ({"layers": 10**6}, CircuitError, "at most 65536 gates"),
        ({"qubits": 300, "entanglement": "full"}, CircuitError, "at most 65536 gates"),
        ({"encoding": "angles"}, InputError, "'angle', 'reuploading'"),
        ({"entanglement": "ring"}, CircuitError, "'linear', 'reverse_linear'"),
        ({"entanglement": [(0, 3)]}, CircuitError, r"pairs of different qubits.*\(0, 3\)"),
        ({"entanglement": [(1, 1)]}, CircuitError, r"pairs of different qubits.*\(1, 1\)"),
        ({"entanglement": []}, CircuitError, "list of pairs"),
        ({"initial_weights": "tiny"}, InputError, "'small', 'identity' or 'uniform'"),
        ({"initial_weights": "identity", "layers": 3}, InputError, "even number of layers"),
        (
            {"initial_weights": "identity", "encoding": "reuploading"},
            InputError,
            "no features between",
        ),
        ({"initial_weights": [0.0]}, InputError, r"shape \(18,\)"),
        ({"scale_inputs": "yes"}, InputTypeError, "scale_inputs"),
        ({"seed": -1}, InputTypeError, "seed"),
        (
            {"estimator": CountingEstimator(), "backend": GenericBackendV2(3, seed=1)},
            BackendError,
            "one place",
        ),
    ],
)
def test_wrong_arguments(arguments, error, words):
    with pytest.raises(error, match=words):
        QuantumLayer(**{"in_features": 3, **arguments})


@pytest.mark.parametrize(
    ("inputs", "error", "words"),
    [
        (torch.zeros(4, 2), InputError, r"inputs of shape \(..., 3\); got \(4, 2\)"),
        (torch.zeros(()), InputError, "got"),
        ([[1.0, 2.0, 3.0]], InputTypeError, "torch.Tensor"),
        (torch.zeros(4, 3, dtype=torch.complex64), InputTypeError, "real inputs"),
        (torch.zeros(4, 3, device="meta"), InputTypeError, "meta"),
    ],
)
@pytest.mark.parametrize("call", ["forward", "sample", "angles"])
def test_wrong_features(layer, inputs, error, words, call):
    with pytest.raises(error, match=words):
        functools.partial(getattr(layer, call), inputs)()
