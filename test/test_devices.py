# SPDX-License-Identifier: Apache-2.0
"""Tensors on an accelerator stay there: values, derivatives, and what is made of them.

The accelerator is emulated, see :mod:`emulated_device`; the truth is the engine on the processor.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from circuits import A, X, hybrid
from emulated_device import DEVICE, emulated_device, waiting
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from qiskit_torch_bridge import (
    CircuitProgram,
    CVaR,
    Entropy,
    Exact,
    Fidelity,
    Probabilities,
    Purity,
    State,
    TorchQuantumModule,
    Variance,
    expectation,
    memory,
)
from qiskit_torch_bridge.accelerators import choose, device_memory
from qiskit_torch_bridge.exceptions import (
    DeviceError,
    GradientError,
    InputError,
    MemoryLimitError,
)

TORCH = Exact(kernels="torch")
WEIGHTS = [0.1, 0.2, 0.3]
EXACT = 1e-12
"""Rounding of a few dozen gates, in another order."""


@pytest.fixture
def there():
    with emulated_device():
        yield


def layer(measurement: Any = None, **options: Any) -> TorchQuantumModule:
    chosen = {"input_params": X, "initial_weights": WEIGHTS, "estimator": TORCH, **options}
    return TorchQuantumModule(hybrid(), measurement or ["ZI", "XX"], **chosen).double()


def inputs(rows: int = 3) -> torch.Tensor:
    return torch.rand(rows, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def step(module: TorchQuantumModule, x: torch.Tensor) -> list[torch.Tensor]:
    """Values, both gradients, and the weights' gradient of a penalty on the inputs' gradient."""
    x = x.detach().requires_grad_()
    y = module(x)
    total = (y.abs().square() if y.is_complex() else y.square()).sum()
    gx, gw = torch.autograd.grad(total, (x, module.weight), create_graph=True)
    (second,) = torch.autograd.grad(gx.square().sum(), module.weight)
    return [t.detach() for t in (y, gx, gw, second)]


MEASUREMENTS = {
    "observables": lambda: ["ZI", {"XX": 0.5, "ZZ": -1.0}],
    "coefficients": lambda: [SparsePauliOp(["ZI", "XX"], [1.0, Parameter("c")])],
    "probabilities": lambda: Probabilities([0, 1]),
    "variance": lambda: Variance(["ZI", "XX"]),
    "tail": lambda: CVaR("ZZ", 0.3),
    "state": State,
    "purity": lambda: Purity([0]),
    "entropy": lambda: Entropy([0]),
    "fidelity": lambda: Fidelity(np.array([0.6, 0, 0, 0.8])),
}


@pytest.mark.parametrize("measurement", MEASUREMENTS.values(), ids=list(MEASUREMENTS))
def test_a_step_stays_on_the_device(there, measurement: Callable[[], Any]) -> None:
    """Nothing is copied to the processor, and nothing waits for the device; values are the same."""
    weights = [*WEIGHTS, 0.7][: 4 if measurement is MEASUREMENTS["coefficients"] else 3]
    on_processor = layer(measurement(), initial_weights=weights, estimator=Exact(kernels="torch"))
    module = copy.deepcopy(on_processor).to(DEVICE)
    x = inputs().to(DEVICE)
    step(module, x)  # tables are copied once
    with waiting() as waits:
        found = step(module, x)
    assert waits == []
    for here, right in zip(found, step(on_processor, inputs()), strict=True):
        assert here.device == DEVICE
        torch.testing.assert_close(here.cpu(), right, rtol=0, atol=EXACT)


def test_a_third_derivative_stays_on_the_device(there) -> None:
    """Operations of torch are differentiated as often as wanted, and wait for nothing."""
    on_processor = layer()
    module = copy.deepcopy(on_processor).to(DEVICE)

    def third(module, x):
        value = module(x).sum()
        for _ in range(3):
            (slope,) = torch.autograd.grad(value, module.weight, create_graph=True)
            value = slope.sum()
        return slope.detach()

    x = inputs().to(DEVICE)
    third(module, x)
    with waiting() as waits:
        found = third(module, x)
    assert waits == []
    torch.testing.assert_close(found.cpu(), third(on_processor, inputs()), rtol=0, atol=EXACT)


def test_tensors_of_two_devices_are_refused_and_constants_are_not(there) -> None:
    module = layer().to(DEVICE)
    with pytest.raises(DeviceError, match=r"inputs on cpu and weights on meta.*module\.to\('meta'"):
        module(inputs())
    program = CircuitProgram(hybrid(), "ZI", input_params=X, weight_params=A)
    found = expectation(program, inputs().to(DEVICE), WEIGHTS, estimator=TORCH)
    assert found.device == DEVICE
    layer(estimator=Exact(kernels="numba")).to(DEVICE)(inputs())  # all on the processor


def test_what_only_the_processor_does_is_done_there(there, caplog) -> None:
    """Light cones follow no tensors; the log says so once, and outputs are where inputs are."""
    module = layer(estimator=Exact(method="light-cones")).to(DEVICE)
    with caplog.at_level("INFO", logger="qiskit_torch_bridge"):
        y = module(inputs().to(DEVICE))
        module(inputs().to(DEVICE))
    assert sum("on the processor what is on meta" in r.message for r in caplog.records) == 1
    assert y.device == DEVICE
    torch.testing.assert_close(y.cpu(), layer()(inputs()), rtol=0, atol=EXACT)


def test_modules_on_a_device_are_copied_pickled_and_shown(there) -> None:
    module = layer()
    assert "kernels='torch'" in repr(module) and "statevector" in repr(module)
    assert module.cost(4).simulation.method == "statevector"
    again = pickle.loads(pickle.dumps(module)).to(DEVICE)
    x = inputs().to(DEVICE)
    pending = again.submit(x)
    torch.testing.assert_close(pending.result().cpu(), module(inputs()), rtol=0, atol=0)
    again.train(False)
    assert again(x.float()).dtype == torch.float32
    assert again.sample(x, shots=10).bits.shape == (3, 10, 2)
    assert again.most_likely(x).shape == (3, 2)


IMPOSSIBLE = {
    "numba on CUDA": ({"device": "cuda", "kernels": "numba"}, DeviceError, "got 'numba'"),
    "triton on MPS": (
        {"device": "mps", "kernels": "triton", "dtype": "complex64"},
        DeviceError,
        "kernels='torch'",
    ),
    "doubles on MPS": ({"device": "mps"}, DeviceError, "dtype='complex64'"),
    "cones on CUDA": ({"device": "cuda", "method": "light-cones"}, DeviceError, "Leave out device"),
    "cones by torch": (
        {"kernels": "torch", "method": "light-cones"},
        DeviceError,
        "Leave out kernels",
    ),
    "a device of no kind": ({"device": "gpu"}, InputError, "'cuda:1'"),
    "other kernels": ({"kernels": "cupy"}, InputError, "'triton' or 'torch'"),
}


@pytest.mark.parametrize(("choice", "error", "text"), IMPOSSIBLE.values(), ids=list(IMPOSSIBLE))
def test_what_does_not_go_together_is_refused(choice, error, text) -> None:
    with pytest.raises(error, match=text):
        Exact(**choice)


def test_devices_that_are_not_here_are_refused_when_a_module_is_made(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="doctor"):
        layer(estimator=Exact(device="cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DeviceError, match="from cuda:0 to cuda:1; got cuda:7"):
        layer(estimator=Exact(device="cuda:7"))


def test_triton_is_needed_for_its_kernels(monkeypatch) -> None:
    monkeypatch.setattr(choose, "has_triton", lambda: False)
    with pytest.raises(DeviceError, match="there is none"):
        layer(estimator=Exact(kernels="triton"))(inputs())
    monkeypatch.setattr(choose, "has_triton", lambda: True)
    monkeypatch.setattr(choose, "interprets", lambda: False)
    with pytest.raises(DeviceError, match="TRITON_INTERPRET=1"):
        layer(estimator=Exact(kernels="triton"))(inputs())


def test_rules_evaluate_on_the_processor_and_are_refused_in_tensors() -> None:
    with pytest.raises(GradientError, match="Leave gradient out"):
        layer(gradient="parameter-shift")


def test_memory_of_a_device_is_asked_for_before_it_is_taken(monkeypatch) -> None:
    device = torch.device("cuda", 0)
    for name, value in {
        "mem_get_info": lambda device: (3 << 30, 80 << 30),
        "memory_reserved": lambda device: 2 << 30,
        "memory_allocated": lambda device: 1 << 30,
        "is_current_stream_capturing": lambda: False,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    device_memory.require(4 << 30, device, "A state")
    with pytest.raises(MemoryLimitError, match="needs 5 GiB on cuda:0; 4 GiB are available there"):
        device_memory.require(5 << 30, device, "A state")


def test_what_is_computed_in_tensors_needs_no_memory_here(monkeypatch) -> None:
    """A module is made on the processor, which may have less memory than a GPU."""
    w = ParameterVector("w", 11)
    circuit = QuantumCircuit(11)
    for q in range(11):
        circuit.ry(w[q], q)
        circuit.cx(q, (q + 1) % 11)
        circuit.rx(w[q], q)
    given = {"initial_weights": torch.linspace(0, 1, 11)}
    expected = TorchQuantumModule(circuit, "Z" * 11, **given)()
    monkeypatch.setattr(memory, "GRANTED", 0)
    monkeypatch.setattr(memory, "available", lambda: 1000)
    with pytest.raises(MemoryLimitError):
        TorchQuantumModule(circuit, "Z" * 11, **given)
    monkeypatch.setattr(device_memory, "available", lambda device: 1 << 40)
    module = TorchQuantumModule(circuit, "Z" * 11, estimator=TORCH, **given)
    torch.testing.assert_close(module(), expected)


def test_a_device_with_more_memory_than_the_processor_is_taken(monkeypatch) -> None:
    program = CircuitProgram(hybrid(), "ZI", input_params=X)
    monkeypatch.setattr(choose, "SMALL", 0)
    monkeypatch.setattr(device_memory, "fits", lambda needed, device: True)

    def refuse(*arguments: Any) -> None:
        raise MemoryLimitError("too large")

    monkeypatch.setattr(choose, "choose", refuse)
    assert choose.choose_method(program, Exact(), DEVICE) in ("statevector", "columns")
    monkeypatch.setattr(device_memory, "fits", lambda needed, device: False)
    with pytest.raises(MemoryLimitError, match="too large"):
        choose.choose_method(program, Exact(), DEVICE)
