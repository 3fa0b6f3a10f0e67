# SPDX-License-Identifier: Apache-2.0
"""Modules under PyTorch's compilers and tracers, beyond what every gradient's contract has."""

from __future__ import annotations

import functools
import gc
import math
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from circuits import A, X, hybrid
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.primitives import StatevectorEstimator
from qiskit_algorithms.gradients import ParamShiftEstimatorGradient
from tensor_kernels import IN_TENSORS
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses import FakeTensorMode

from qiskit_torch_bridge import (
    CircuitProgram,
    Exact,
    Execution,
    Jobs,
    TorchQuantumModule,
    Tracker,
    expectation,
)
from qiskit_torch_bridge.autograd import recorded
from qiskit_torch_bridge.exceptions import (
    BudgetError,
    HigherOrderError,
    InputError,
    InputTypeError,
    TracingError,
)
from qiskit_torch_bridge.jobs import DispatchingEstimator
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator

BACKEND = "aot_eager"  # all of torch.compile but the C++ compiler, which would take minutes
SAMPLED = {
    "shots": {"shots": 400, "seed": 1},
    "shots, adjoint": {"shots": 400, "seed": 1, "gradient": "adjoint"},
    "spsa": {"gradient": "spsa", "seed": 1},
    "statevector": {"estimator": StatevectorEstimator()},
}

by_fast_kernels = pytest.mark.parametrize("options", [{}, {"estimator": Exact(kernels="torch")}])
"""The exact engine by Numba and by operations of torch."""


@pytest.fixture(autouse=True)
def compile_anew():
    torch.compiler.reset()


def rotation(**options):
    """One qubit turned by its only weight of 0.5: value cos 0.5, slope -sin 0.5."""
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("t"), 0)
    return TorchQuantumModule(circuit, "Z", initial_weights=torch.tensor([0.5]).double(), **options)


def layer(**options):
    return TorchQuantumModule(
        hybrid(), ["ZI", "IZ"], input_params=X, initial_weights=[0.1, 0.2, 0.3], **options
    )


# PyTorch's own constant folding warns so of any function that has a constant.
@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning")
def test_linearize_of_a_rotation():
    """The sample of the kind: uninitialised memory once, without an error."""
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("t"), 0)
    program = CircuitProgram(circuit, "Z")
    w, one = torch.tensor([0.5], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    for options, tolerance in (
        ({}, 1e-14),
        ({"estimator": Exact(dtype="complex64")}, 1e-6),
        *(({"estimator": exact}, 1e-14) for exact in IN_TENSORS.values()),
        ({"shots": 100, "seed": 1, "gradient": "adjoint"}, 1e-14),
        ({"gradient": "parameter-shift"}, 1e-14),
    ):
        f = functools.partial(expectation, program, None, **options)
        _, tangent = torch.func.linearize(f, w)
        assert abs(tangent(one).item() + math.sin(0.5)) < tolerance, options


@pytest.mark.parametrize("options", SAMPLED.values(), ids=list(SAMPLED))
def test_compiled_estimators_run_as_many_jobs(options):
    model = nn.Sequential(nn.Linear(2, 2), layer(**options), nn.Linear(2, 1))
    x = torch.rand(3, 2)
    fast = torch.compile(model, fullgraph=True, backend=BACKEND)
    usages, values = [], []
    for call in (fast, model, fast):
        model.zero_grad()
        with Tracker() as tracker:
            y = call(x)
            y.sum().backward()
        usages.append(tracker.usage)
        values.append((y.detach(), model[1].weight.grad.clone()))
    assert usages[0] == usages[1] and usages[0].jobs
    assert not torch.equal(values[0][0], values[2][0]) or "shots" not in options  # drawn anew
    exact = nn.Sequential(model[0], layer(), model[2])
    expected = exact(x)
    expected.sum().backward()
    # Six standard errors of 1/20 for each of two observables, weighted by the last layer; a
    # gradient of two shift points to an angle has no more than that for each of its six angles.
    scale = 6 * 0.05 * float(model[2].weight.abs().sum().detach())
    for y, gradient in values:
        torch.testing.assert_close(y, expected.detach(), rtol=0, atol=scale)
        if "spsa" not in options.values():
            bound = 3 * 3 * scale  # rows, and angles of a weight
            torch.testing.assert_close(gradient, exact[1].weight.grad, rtol=0, atol=bound)


def test_gradients_of_other_packages_compile():
    circuit = QuantumCircuit(1)
    circuit.ry(X[0], 0)
    circuit.rx(A[0], 0)
    node = TorchQuantumModule(
        circuit,
        "Z",
        input_params=[X[0]],
        gradient=ParamShiftEstimatorGradient(StatevectorEstimator()),
        estimator=StatevectorEstimator(),
        initial_weights=torch.tensor([0.3], dtype=torch.float64),
    )
    x = torch.tensor([[0.4]], dtype=torch.float64)
    y = torch.compile(node, fullgraph=True, backend=BACKEND)(x)
    y.backward()
    assert abs(y.item() - math.cos(0.4) * math.cos(0.3)) < 1e-12
    assert abs(node.weight.grad.item() + math.cos(0.4) * math.sin(0.3)) < 1e-12


@by_fast_kernels
def test_rows_may_vary_under_one_graph(options):
    node = layer(**options)
    counted = CompileCounterWithBackend(BACKEND)
    fast = torch.compile(node, fullgraph=True, backend=counted, dynamic=True)
    for rows in (3, 4, 7, 40):  # not two, as many as inputs, which PyTorch would take for a rule
        x = torch.rand(rows, 2)
        torch.testing.assert_close(fast(x), node(x), rtol=0, atol=0)
    assert counted.frame_count == 1


@by_fast_kernels
def test_what_is_kept_for_backward_goes_with_the_graph(options):
    """Final states may take a quarter of a gigabyte: they must not outlive the pass."""
    fast = torch.compile(layer(**options), fullgraph=True, backend=BACKEND)
    y = fast(torch.rand(3, 2))
    gc.collect()
    before = len(recorded._kept)
    assert before >= 1
    del y
    gc.collect()
    assert len(recorded._kept) == before - 1
    with torch.no_grad():
        fast(torch.rand(3, 2))
    assert len(recorded._kept) == before - 1


@by_fast_kernels
def test_backward_without_what_was_kept_computes_it_again(options):
    """Saved tensors may be moved or copied meanwhile; the token then stands for nothing."""
    node = layer(**options)
    x = torch.rand(3, 2, requires_grad=True)
    expected = torch.autograd.grad(node(x).sum(), (x, node.weight))
    with torch.autograd.graph.saved_tensors_hooks(torch.clone, torch.clone):
        y = torch.compile(node, fullgraph=True, backend=BACKEND)(x)
    gc.collect()
    found = torch.autograd.grad(y.sum(), (x, node.weight))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@by_fast_kernels
def test_frozen_weights_and_modules_without_inputs(options):
    node = rotation(**options)
    fast = torch.compile(node, fullgraph=True, backend=BACKEND)
    fast().backward()
    assert abs(node.weight.grad.item() + math.sin(0.5)) < 1e-14
    node.weight.requires_grad_(False)
    assert not fast().requires_grad


def test_a_compiled_module_follows_its_mode_and_its_shots():
    node = rotation(shots=100, seed=1, evaluation=Execution(shots=4000))
    fast = torch.compile(node, fullgraph=True, backend=BACKEND)

    def measured():  # a mean of n outcomes +-1 has the variance (1 - mean**2) / (n - 1)
        mean = fast().item()
        return round((1 - mean**2) / node.last_stds.item() ** 2) + 1

    assert measured() == 100
    node.eval()
    assert measured() == 4000
    node.train().shots = 50
    assert measured() == 50


@pytest.mark.skipif(
    torch.__version__.startswith("2.5."), reason="this compiler takes no objects for constants"
)
def test_functions_compile_with_any_estimator():
    program = CircuitProgram(hybrid(), "ZZ", input_params=X)
    x, w = torch.rand(2, 2), torch.rand(3, requires_grad=True)
    for options in ({}, {"gradient": "aqgd"}, {"estimator": StatevectorEstimator()}):
        f = functools.partial(expectation, program, **options)
        fast = torch.compile(f, fullgraph=True, backend=BACKEND)
        y, expected = fast(x, w), expectation(program, x, w, **options)
        torch.testing.assert_close(y, expected, rtol=0, atol=1e-6)
        (found,) = torch.autograd.grad(y.sum(), w)
        torch.testing.assert_close(found, torch.autograd.grad(expected.sum(), w)[0])
    circuit = hybrid()
    with pytest.raises(Exception, match="Make it once, outside: CircuitProgram"):
        torch.compile(
            lambda x, w: expectation(circuit, x, w, input_params=X),
            fullgraph=True,
            backend=BACKEND,
        )(x, w)


def test_errors_of_inputs_and_budgets_are_seen_under_compilers():
    with pytest.raises(Exception, match=r"Expected inputs of shape \(\.\.\., 2\); got \(3, 5\)"):
        torch.compile(layer(), fullgraph=True, backend=BACKEND)(torch.rand(3, 5))
    with pytest.raises(InputError, match=r"Expected inputs of shape \(\.\.\., 2\)"):
        torch.export.export(layer(), (torch.rand(3, 5),), strict=False)
    with Tracker() as tracker, pytest.raises(BudgetError):
        limited = DispatchingEstimator(BatchedStatevectorEstimator(), Jobs(budget=100))
        node = layer(estimator=limited, shots=10)
        torch.compile(node, fullgraph=True, backend=BACKEND)(torch.rand(9, 2))
    assert not tracker.usage.jobs


@by_fast_kernels
def test_a_second_derivative_of_a_recorded_pass_is_refused(options):
    node = layer(**options)
    name = node._deployed.node.name
    x = torch.rand(3, 2, requires_grad=True)
    y = torch.ops.qiskit_torch_bridge.expectation(x, torch.rand(3), name, True, False)[0]
    (gx,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(HigherOrderError, match="differentiated once"):
        gx.sum().backward()


@by_fast_kernels
def test_a_recorded_program_needs_its_module(options):
    node = rotation(**options)
    name = node._deployed.node.name
    del node
    gc.collect()
    with pytest.raises(TracingError, match="Keep the module"):
        torch.ops.qiskit_torch_bridge.expectation(None, torch.rand(1), name, False, False)


@pytest.mark.filterwarnings("ignore:.torch.jit.trace.* is deprecated")
def test_jit_trace_records_the_circuit():
    model = nn.Sequential(nn.Linear(2, 2), layer(), nn.Linear(2, 1))
    x = torch.rand(3, 2)
    traced = torch.jit.trace(model, torch.zeros(1, 2), check_trace=False)
    torch.testing.assert_close(traced(x), model(x))
    traced(x).sum().backward()
    assert model[1].weight.grad.abs().sum() > 0


def test_an_exported_program_runs_in_another_process(tmp_path):
    node = rotation()
    torch.export.save(torch.export.export(node, (), strict=False), tmp_path / "node.pt2")
    script = (
        "import torch, qiskit_torch_bridge\n"
        f"program = torch.export.load({str(tmp_path / 'node.pt2')!r}).module()\n"
        "program().backward()\n"
        "print(program().item(), program.weight.grad.item())"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert not found.returncode, found.stderr
    np.testing.assert_allclose(
        [float(n) for n in found.stdout.split()[-2:]], [math.cos(0.5), -math.sin(0.5)], rtol=1e-12
    )


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_scripting_and_symbolic_tracing_say_what_to_use():
    model = nn.Sequential(nn.Linear(2, 2), layer())
    with pytest.raises(TracingError, match=r"qiskit_torch_bridge.*torch\.export"):
        torch.jit.script(model)
    with pytest.raises(TracingError, match=r"qiskit_torch_bridge.*make_fx"):
        torch.fx.symbolic_trace(model)
    with pytest.raises(TracingError, match=r"qiskit_torch_bridge.*make_fx"):
        torch.fx.symbolic_trace(rotation())


@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.filterwarnings("ignore")  # the exporters warn of each other and of themselves
def test_onnx_is_refused_with_the_remedy(dynamo):
    if dynamo:
        pytest.importorskip("onnxscript", reason="PyTorch's ONNX exporter needs onnxscript")
    with pytest.raises(Exception) as raised:
        torch.onnx.export(layer().eval(), (torch.rand(1, 2),), "never-written.onnx", dynamo=dynamo)
    assert re.search("qiskit_torch_bridge.*qasm3", str(raised.value), re.DOTALL)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype:UserWarning")
def test_tensors_that_are_not_dense_numbers_are_refused():
    node = layer()
    dense = torch.rand(3, 2)
    for tensor, remedy in (
        (dense.to_sparse(), "to_dense"),
        (dense.to_sparse_csr(), "to_dense"),
        (dense.to("meta"), "to_empty"),
        (torch.quantize_per_tensor(dense, 0.1, 0, torch.quint8), "dequantize"),
        (torch.nested.nested_tensor([dense, dense]), "to_padded_tensor"),
        (torch.nested.nested_tensor([dense, dense], layout=torch.jagged), "to_padded_tensor"),
    ):
        with pytest.raises(InputTypeError, match=rf"qiskit_torch_bridge.*{remedy}"):
            node(tensor)
    with pytest.raises(InputTypeError, match=r"weights.*to_empty"):
        layer().to("meta")(dense)


@by_fast_kernels
def test_fake_tensors_get_shapes(options):
    node = layer(**options)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = node(mode.from_tensor(torch.rand(5, 2)))
    assert fake.shape == (5, 2)


def test_threads_get_the_standard_errors_of_their_own_passes():
    """Sixteen threads with batches of their own sizes on one module."""
    circuit, x = QuantumCircuit(1), ParameterVector("x", 1)
    circuit.ry(x[0], 0)
    circuit.rx(Parameter("w"), 0)
    node = TorchQuantumModule(circuit, "Z", input_params=x, shots=50, seed=1)
    wrong: list[str] = []

    def work(rows: int) -> None:
        for _ in range(20):
            y = node(torch.rand(rows, 1, dtype=torch.float64))
            values, stds = y.detach(), node.last_stds
            # A mean of n outcomes +-1 has the variance (1 - mean**2) / (n - 1).
            if stds.shape != y.shape or not torch.allclose(stds, ((1 - values**2) / 49).sqrt()):
                wrong.append(f"{stds.shape} for {y.shape}")
            torch.autograd.grad(y.sum(), node.weight)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_empty_batch_beside_another():
    """No rows after three: the backward pass used the standard errors of the three."""
    node = layer(shots=10, seed=1)
    three, none = node(torch.rand(3, 2)), node(torch.rand(0, 2))
    assert node.last_stds.shape == (0, 2)
    (three.sum() + none.sum()).backward()
    assert node.weight.grad.isfinite().all() and node.last_gradient_stds.shape == (3,)
