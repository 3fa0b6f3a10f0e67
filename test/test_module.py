# SPDX-License-Identifier: Apache-2.0
"""The module behaves like any other PyTorch module."""

from __future__ import annotations

import copy
import io
import math
import pickle

import pytest
import torch
from circuits import A, X, hybrid, rotation
from estimators import CountingEstimator
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import Pauli, SparsePauliOp
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from torch.utils.data import DataLoader, Dataset

from qiskit_torch_bridge import (
    CircuitProgram,
    Exact,
    Execution,
    TorchQuantumModule,
    expectation,
)
from qiskit_torch_bridge.exceptions import (
    EstimatorTypeError,
    HigherOrderError,
    PrecisionError,
    StateDictError,
)
from qiskit_torch_bridge.gradients import AQGDEstimatorGradient


@pytest.fixture
def module():
    torch.manual_seed(1)
    return TorchQuantumModule(hybrid(), ["ZI", "XX"], input_params=X)


def test_cosine_and_its_derivative():
    circuit, theta = rotation()
    node = TorchQuantumModule(circuit, "Z", input_params=[theta])
    angle = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None].requires_grad_()
    y = node(angle)
    y.sum().backward()
    torch.testing.assert_close(y, angle.cos(), rtol=0, atol=1e-12)
    torch.testing.assert_close(angle.grad, -angle.sin(), rtol=0, atol=1e-12)


def test_a_program_in_place_of_its_circuit(module):
    other = TorchQuantumModule(module.program, gradient="parameter-shift")
    assert other.program is module.program
    other.weight = module.weight
    x = torch.rand(3, 2)
    torch.testing.assert_close(other(x), module(x), rtol=0, atol=1e-6)
    frozen = TorchQuantumModule(CircuitProgram(hybrid(), input_params=X, frozen_params="a[1]"))
    assert frozen.weight.shape == (2,) and frozen.frozen_weight.shape == (1,)


@pytest.mark.parametrize("batch", [(), (1,), (3,), (0,), (2, 3), (2, 0, 3), (1, 1, 1, 2)])
def test_any_leading_batch_shape(module, batch):
    x = torch.rand(*batch, 2, requires_grad=True)
    y = module(x)
    assert y.shape == (*batch, 2)
    y.sum().backward()
    assert x.grad.shape == x.shape and module.weight.grad.shape == (3,)
    flat = x.detach().reshape(-1, 2)
    if len(flat):
        torch.testing.assert_close(y.detach().reshape(-1, 2), module(flat).detach())
    else:
        assert module.weight.grad.abs().sum() == 0


def test_an_empty_batch_costs_no_job():
    estimator = CountingEstimator()
    module = TorchQuantumModule(hybrid(), "ZZ", input_params=X, estimator=estimator)
    module(torch.zeros(0, 2, requires_grad=True)).sum().backward()
    assert estimator.runs == []


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_result_has_the_callers_dtype(module, dtype):
    x = torch.tensor([[0.25, -0.5], [1.0, 0.75]], dtype=dtype, requires_grad=True)  # exact in all
    exact = module(x.detach().double())
    y = module(x)
    assert y.dtype == dtype
    assert torch.equal(y.detach(), exact.detach().to(dtype))  # computed in double, rounded once
    y.sum().backward()
    assert x.grad.dtype == dtype and module.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.bool])
def test_integer_inputs_are_angles_and_do_not_truncate(module, dtype):
    x = torch.tensor([[1, 0]], dtype=dtype)
    y = module(x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, module(x.float()))
    assert (y != y.round()).any()


def test_double_module_and_default_dtype():
    module = TorchQuantumModule(hybrid(), "ZZ").double()
    assert module.weight.dtype == torch.float64 and module().dtype == torch.float64


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_tensors_come_back_on_their_device(module):
    module = module.cuda()
    x = torch.rand(3, 2, device="cuda", requires_grad=True)
    y = module(x)
    y.sum().backward()
    assert y.device == x.device == x.grad.device == module.weight.grad.device


def test_non_contiguous_and_expanded_inputs(module):
    base = torch.rand(2, 5)
    torch.testing.assert_close(module(base.T), module(base.T.contiguous()))
    row = torch.rand(2, requires_grad=True)
    module(row.expand(4, 2)).sum().backward()
    expanded = row.grad.clone()
    row.grad = None
    module(row).sum().backward()
    torch.testing.assert_close(expanded, 4 * row.grad)


def test_weights_only_circuit_is_called_without_inputs():
    module = TorchQuantumModule(hybrid(), ["ZI", "XX"])
    y = module()
    assert y.shape == (2,)
    y.sum().backward()
    assert module.weight.grad.shape == (5,)
    assert module(torch.zeros(4, 0)).shape == (4, 2)


def test_parameterless_circuit():
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    for estimator in (None, StatevectorEstimator()):
        module = TorchQuantumModule(circuit, ["ZZ", "ZI"], estimator=estimator)
        y = module()
        y.sum().backward()
        torch.testing.assert_close(y.detach(), torch.tensor([1.0, 0.0]))
        assert module.weight.grad.shape == (0,)
        x = torch.zeros(3, 0, requires_grad=True)
        module(x).sum().backward()
        assert x.grad.shape == (3, 0) and module(x).shape == (3, 2)


def test_inputs_only_circuit():
    circuit, theta = rotation()
    module = TorchQuantumModule(circuit, "Z", input_params=[theta])
    x = torch.tensor([[0.3]], dtype=torch.float64, requires_grad=True)
    module(x).backward()
    assert x.grad.item() == pytest.approx(-math.sin(0.3), abs=1e-12)


def test_nested_observables_shape_the_output():
    module = TorchQuantumModule(hybrid(), [["ZI", "IZ"], ["XX", Pauli("YY")]], input_params=X)
    y = module(torch.rand(5, 2))
    assert y.shape == (5, 2, 2)
    flat = TorchQuantumModule(
        hybrid(), ["ZI", "IZ", "XX", "YY"], input_params=X, initial_weights=module.weight
    )
    x = torch.rand(5, 2)
    torch.testing.assert_close(module(x).flatten(1), flat(x))


def test_default_observables_are_z_on_each_qubit():
    circuit = QuantumCircuit(3)
    circuit.x(1)
    assert TorchQuantumModule(circuit)().tolist() == pytest.approx([1, -1, 1])


def test_manual_seed_and_seed_make_initial_weights_reproducible():
    torch.manual_seed(3)
    a = TorchQuantumModule(hybrid())
    torch.manual_seed(3)
    b = TorchQuantumModule(hybrid())
    assert torch.equal(a.weight, b.weight) and a.weight.abs().max() <= math.pi
    before = torch.get_rng_state()
    c, d = TorchQuantumModule(hybrid(), seed=5), TorchQuantumModule(hybrid(), seed=5)
    assert torch.equal(c.weight, d.weight) and torch.equal(before, torch.get_rng_state())


def test_seed_makes_shots_reproducible_but_fresh():
    def outcomes():
        module = TorchQuantumModule(hybrid(), ["ZI", "XX"], shots=100, seed=5)
        return module().detach(), module().detach()

    first, second = outcomes()
    assert torch.equal(torch.stack(outcomes()), torch.stack([first, second]))
    assert not torch.equal(first, second)


def test_initial_weights_from_numbers_and_mapping():
    module = TorchQuantumModule(hybrid(), input_params=X, initial_weights=[1, 2, 3])
    assert module.weight.tolist() == [1, 2, 3]
    module = TorchQuantumModule(hybrid(), input_params=X, initial_weights={A: [3, 2, 1]})
    assert module.weight.tolist() == [3, 2, 1]
    double = torch.ones(3, dtype=torch.float64)
    module = TorchQuantumModule(hybrid(), input_params=X, initial_weights=double)
    assert module.weight.dtype == torch.float64 and module.weight.data_ptr() != double.data_ptr()


def test_parameters_are_bound_by_identity_whatever_their_names():
    """Weights that sort before inputs, a vector longer than ten, roles in shuffled order."""
    x, a = ParameterVector("x", 12), Parameter("a")
    x10, x2 = Parameter("x10"), Parameter("x2")
    circuit = QuantumCircuit(15)
    for q, p in enumerate([*x, a, x10, x2]):
        circuit.ry(p, q)
    order = [x2, *reversed(list(x)), x10]
    module = TorchQuantumModule(circuit, input_params=order, initial_weights=[0.77])
    angles = torch.linspace(0.1, 1.5, 14, dtype=torch.float64)
    y = module(angles)
    expected = torch.empty(15, dtype=torch.float64)
    expected[14], expected[13] = angles[0].cos(), angles[13].cos()
    expected[:12] = angles[1:13].flip(0).cos()
    expected[12] = math.cos(module.weight.item())
    torch.testing.assert_close(y.detach(), expected, rtol=0, atol=1e-10)


def test_state_dict_round_trip_with_weights_only(module, tmp_path):
    path = tmp_path / "model.pt"
    torch.save(module.state_dict(), path)
    state = torch.load(path, weights_only=True)
    assert list(state) == ["weight"]
    # Built by the same script in another process: same names, other Parameter objects.
    x, a = ParameterVector("x", 2), ParameterVector("a", 3)
    circuit = hybrid().assign_parameters(dict(zip([*X, *A], [*x, *a], strict=True)))
    other = TorchQuantumModule(circuit, ["ZI", "XX"], input_params=x)
    other.load_state_dict(state)
    inputs = torch.rand(3, 2)
    assert torch.equal(other(inputs), module(inputs))


def other_programs():
    changed = hybrid()
    changed.rx(0.1, 0)
    angle = QuantumCircuit(2)
    angle.compose(hybrid(), inplace=True)
    angle.data[3] = angle.data[3].replace(operation=type(angle.data[3].operation)(A[1] / 2 + 0.21))
    renamed = hybrid().assign_parameters({A[2]: Parameter("b")})
    return {
        "gate": TorchQuantumModule(changed, ["ZI", "XX"], input_params=X),
        "angle": TorchQuantumModule(angle, ["ZI", "XX"], input_params=X),
        "observable": TorchQuantumModule(hybrid(), ["ZI", "XY"], input_params=X),
        "name": TorchQuantumModule(renamed, ["ZI", "XX"], input_params=X),
        "order": TorchQuantumModule(
            hybrid(), ["ZI", "XX"], input_params=X, weight_params=[A[1], A[0], A[2]]
        ),
    }


@pytest.mark.parametrize("difference", ["gate", "angle", "observable", "name", "order"])
def test_state_of_another_circuit_is_refused_and_nothing_changes(module, difference):
    other = other_programs()[difference]
    before = module.weight.detach().clone()
    with pytest.raises(StateDictError, match="another program"):
        module.load_state_dict(other.state_dict())
    assert torch.equal(module.weight, before)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), module)
    state = torch.nn.Sequential(torch.nn.Linear(2, 2), other).state_dict()
    with pytest.raises(StateDictError):
        model.load_state_dict(state)
    assert torch.equal(module.weight, before)


def test_deepcopy_pickle_and_whole_module_save(module):
    x = torch.rand(3, 2)
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    copies = [
        copy.deepcopy(module),
        pickle.loads(pickle.dumps(module)),
        torch.load(buffer, weights_only=False),
    ]
    expected = module(x)
    for other in copies:
        torch.testing.assert_close(other(x), expected)
        other(x).sum().backward()
        with torch.no_grad():
            other.weight.add_(1)
    torch.testing.assert_close(module(x), expected)
    assert module.weight.grad is None


def test_deepcopy_shares_an_estimator_that_cannot_be_copied(module):
    estimator = CountingEstimator()
    estimator.lock = (i for i in ())  # a generator can be neither copied nor pickled
    node = TorchQuantumModule(hybrid(), "ZZ", estimator=estimator)
    assert copy.deepcopy(node).estimator is estimator
    with pytest.raises(EstimatorTypeError, match="state_dict"):
        pickle.dumps(node)


class Expectations(Dataset):
    """Evaluates a module in the worker that loads the item."""

    def __init__(self, module):
        self.module = module

    def __len__(self):
        return 4

    def __getitem__(self, index):
        with torch.no_grad():
            return self.module(torch.tensor([0.1 * index, 0.2]))


def test_dataloader_workers_with_spawn(module):
    loader = DataLoader(
        Expectations(module), batch_size=2, num_workers=1, multiprocessing_context="spawn"
    )
    rows = torch.cat(list(loader))
    x = torch.tensor([[0.1 * i, 0.2] for i in range(4)])
    torch.testing.assert_close(rows, module(x).detach())


def test_train_eval_no_grad_and_inference_mode(module):
    x = torch.rand(2, 2, requires_grad=True)
    assert not module.eval().training and module.train().training
    torch.testing.assert_close(module.eval()(x), module.train()(x))
    with torch.no_grad():
        assert not module(x).requires_grad
    with torch.inference_mode():
        y = module(x)
        assert y.is_inference() and not y.requires_grad


def test_backward_twice_needs_retain_graph(module):
    x = torch.rand(2, 2, requires_grad=True)
    y = module(x).sum()
    y.backward(retain_graph=True)
    once = x.grad.clone()
    y.backward()
    torch.testing.assert_close(x.grad, 2 * once)
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_extra_repr_is_readable():
    module = TorchQuantumModule(
        hybrid(), ["ZI", {"XX": 0.5}], input_params=X, gradient="aqgd", shots=100
    )
    assert repr(module) == (
        "TorchQuantumModule(qubits=2, inputs=2, weights=3, observables=[ZI, 0.5*XX], "
        "estimator=BatchedStatevectorEstimator(), gradient=aqgd, shots=100)"
    )
    many = TorchQuantumModule(QuantumCircuit(40))
    assert len(repr(many)) < 220
    precise = TorchQuantumModule(hybrid(), gradient="finite-difference")
    assert "finite-difference(central, epsilon=0.0001)" in repr(precise)
    assert "estimator=Exact()" in repr(precise)


def test_functional_call_and_stacked_ensemble():
    modules = [TorchQuantumModule(hybrid(), ["ZI", "XX"], input_params=X) for _ in range(3)]
    parameters, buffers = torch.func.stack_module_state(modules)
    base = copy.deepcopy(modules[0])
    x = torch.rand(4, 2)

    def call(parameters, buffers):
        return torch.func.functional_call(base, (parameters, buffers), (x,))

    expected = torch.stack([m(x) for m in modules])
    torch.testing.assert_close(torch.vmap(call)(parameters, buffers), expected)


@pytest.mark.filterwarnings("ignore")  # torch.compile warns of its own interior
def test_inside_a_compiled_model(module):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), module, torch.nn.Linear(2, 1))
    compiled = torch.compile(model, backend="eager")
    x = torch.rand(4, 3)
    torch.testing.assert_close(compiled(x), model(x))
    compiled(x).sum().backward()
    assert module.weight.grad.abs().sum() > 0


def test_batched_gradients_of_older_interfaces(module):
    x = torch.rand(2, 2, dtype=torch.float64)
    module.double()

    def f(x):
        return module(x).sum(0)

    batched = torch.autograd.functional.jacobian(f, x, vectorize=True)
    torch.testing.assert_close(batched, torch.autograd.functional.jacobian(f, x))
    assert torch.vmap(module)(torch.rand(0, 2)).shape == (0, 2)


def test_forward_over_forward_raises_and_never_drops_a_term():
    circuit, _ = rotation()
    program = CircuitProgram(circuit, "Z")
    point = torch.tensor([0.5], dtype=torch.float64)

    def f(w):
        return expectation(program, weights=w).sum()

    with pytest.raises(HigherOrderError, match="hessian"):
        torch.func.jacfwd(torch.func.jacfwd(f))(point)
    for second in (
        torch.func.hessian(f),
        torch.func.jacrev(torch.func.jacfwd(f)),
        torch.func.jacrev(torch.func.jacrev(f)),
    ):
        assert second(point).item() == pytest.approx(-math.cos(0.5), abs=1e-9)


def test_spsa_is_reproducible_and_suits_an_unknown_noise():
    gradients = []
    for _ in range(2):
        estimator = CountingEstimator()
        estimator.default_precision = None  # it hides what it does
        module = TorchQuantumModule(hybrid(), "ZZ", gradient="spsa", seed=3, estimator=estimator)
        module().sum().backward()
        gradients.append(module.weight.grad)
    assert torch.equal(*gradients)
    assert gradients[0].abs().max() <= 1 / (3 / 64) ** (1 / 3)  # |difference| <= 2, step (3/64)^1/3


def test_a_gradient_object_brings_its_transpiler_and_its_aer():
    runs = []

    class PassManager:
        def run(self, circuit, **options):
            runs.append(options)
            return circuit.copy()

    gradient = AQGDEstimatorGradient(
        StatevectorEstimator(), transpiler=PassManager(), transpiler_options={"level": 1}
    )
    TorchQuantumModule(hybrid(), gradient=gradient)
    assert runs == [{"level": 1}]
    weights = [0.1, -0.4, 0.9, 0.3, 0.5]
    results = []
    for g in ("parameter-shift", AQGDEstimatorGradient(AerEstimator())):
        node = TorchQuantumModule(
            hybrid(), "ZZ", estimator=StatevectorEstimator(), gradient=g, initial_weights=weights
        )
        node().sum().backward()
        results.append(node.weight.grad)
    torch.testing.assert_close(*results)


def test_trains_with_a_classical_layer():
    """A linear layer before a rotation learns the angle that made the data."""
    torch.manual_seed(0)
    circuit, theta = rotation()
    node = TorchQuantumModule(circuit, "Z", input_params=[theta])
    model = torch.nn.Sequential(torch.nn.Linear(2, 1), node)
    x = torch.rand(16, 2) * 2 - 1
    target = torch.cos(0.5 + x @ torch.tensor([[0.7], [-0.9]]))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        loss = (model(x) - target).pow(2).mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-3


def test_observables_in_every_form_agree():
    circuit = hybrid()
    weights = [0.1, 0.2, 0.3, 0.4, 0.5]
    forms = [
        SparsePauliOp(["ZX"], [1.0]),
        Pauli("ZX"),
        "ZX",
        {"ZX": 1.0},
        {Pauli("-ZX"): -1.0},
        {"0X": 2.0, "IX": -1.0},
        [[SparsePauliOp.from_list([("ZX", 0.5), ("ZX", 0.5)])]],
    ]
    results = [TorchQuantumModule(circuit, o, initial_weights=weights)() for o in forms]
    for y in results:
        assert y.item() == pytest.approx(results[0].item(), abs=1e-7)


def turned(**options):
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("t"), 0)
    return TorchQuantumModule(circuit, "Z", initial_weights=[0.5], **options)


def measured(node):
    """The shots of an evaluation: a mean of n outcomes has variance (1 - mean**2) / (n - 1)."""
    mean = node().item()
    return round((1 - mean**2) / node.last_stds.item() ** 2) + 1


def test_the_shots_that_are_shown_are_measured():
    node = turned(shots=100, seed=1, evaluation=Execution(shots=4000))
    for mode, shots in ((node.train, 100), (node.eval, 4000), (node.train, 100)):
        assert f"shots={shots})" in repr(mode()) and node.shots == measured(node) == shots
    node.shots = 50
    assert "shots=50)" in repr(node) and node.shots == measured(node) == 50
    assert node.eval().shots == measured(node) == 4000
    with pytest.raises(PrecisionError):
        node.shots = -1
    assert measured(node.train()) == 50
    with pytest.raises(PrecisionError, match="exact engine measures nothing"):
        turned().shots = 5


def test_shots_that_are_set_hold_in_evaluation_unless_it_names_its_own():
    follows = turned(shots=100, seed=1, evaluation=Execution(seed=3))
    named = turned(shots=100, seed=1, evaluation=Execution(shots=25))
    alone = turned(shots=100, seed=1)
    for node, expected in ((follows, 400), (named, 25), (alone, 400)):
        node.shots = 400
        assert node.shots == measured(node) == 400
        assert node.eval().shots == measured(node) == expected


class Scaled(TorchQuantumModule):
    """A module with a parameter, a buffer, a submodule and an attribute of its own."""

    def __init__(self, **options):
        circuit = QuantumCircuit(1)
        circuit.ry(Parameter("t"), 0)
        super().__init__(circuit, "Z", initial_weights=[0.5], **options)
        self.scale = torch.nn.Parameter(torch.tensor(2.0))
        self.register_buffer("offset", torch.tensor(1.0))
        self.register_buffer("calls", torch.tensor(0), persistent=False)
        self.head = torch.nn.Linear(1, 1)
        self.note = ["kept"]

    def forward(self, inputs=None):
        self.calls += 1
        return self.head(self.scale * super().forward(inputs) + self.offset)


def test_moving_keeps_what_a_subclass_has():
    node = Scaled()
    seen = []
    node.register_forward_hook(lambda *_: seen.append(1))
    moved = node.with_backend(shots=10**6, seed=1)
    assert type(moved) is Scaled and moved.note == ["kept"] and moved.note is not node.note
    assert dict(moved.state_dict()).keys() == dict(node.state_dict()).keys()
    # Six standard errors of 1e-3, scaled by two and by a weight of the head of at most one.
    torch.testing.assert_close(moved(), node(), rtol=0, atol=6 * 2e-3)
    assert seen == [1]  # hooks watch the module that they were put on
    with torch.no_grad():
        moved.scale.fill_(5.0)
        moved.weight.fill_(0.1)
    assert node.scale == 2.0 and node.weight == 0.5 and moved.calls == node.calls == 1


def test_moving_keeps_the_dtype_of_what_stays_exact():
    node = turned(estimator=Exact(dtype="complex64"))
    assert node.with_backend().execution.estimator.dtype == "complex64"
    assert node.with_backend(estimator=Exact()).execution.estimator == Exact()
    sampled = node.with_backend(shots=10)  # where there is nothing of single precision
    assert sampled.shots == 10
    assert sampled.with_backend(estimator=Exact()).execution.estimator == Exact()
