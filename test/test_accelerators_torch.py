# SPDX-License-Identifier: Apache-2.0
"""The state vector in torch operations is a function of torch like any other.

Derivatives of every order are those of closed forms, to 1e-12 times the number of terms; transforms
and compilers change no number; nothing is copied from the device, nor waits for it; and tensors of
a device without numbers, of which torch checks the device alone, never meet those of the processor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.circuit import library as lib
from qiskit.quantum_info import SparsePauliOp, random_statevector, random_unitary
from tensor_simulators import CPU, tensor_simulator_of
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from qiskit_torch_bridge import CircuitProgram, amplitude_encoding
from qiskit_torch_bridge.accelerators import tapes
from qiskit_torch_bridge.accelerators.plain import PlainStatevector
from qiskit_torch_bridge.exceptions import MemoryLimitError
from qiskit_torch_bridge.program.interpretations import OutcomeTable
from qiskit_torch_bridge.program.operators import ProductOperator
from qiskit_torch_bridge.program.readouts import Amplitudes, Outcomes, Readout

EXACT = 1e-12
META = torch.device("meta")


def everything_of_a_tape() -> CircuitProgram:
    """A circuit with all kinds of operations and expressions, and all kinds of observables."""
    x, w = ParameterVector("a", 2), ParameterVector("w", 3)
    encoding = amplitude_encoding(1)
    circuit = QuantumCircuit(4)
    circuit.compose(encoding.circuit, [2], inplace=True)
    circuit.append(lib.StatePreparation(random_statevector(2, seed=1).data), [3])
    for q in range(4):
        circuit.ry(x[q % 2] + 0.1, q)
        circuit.cx(q, (q + 1) % 4)
    circuit.rx(x[0] * w[0], 1)
    circuit.unitary(random_unitary(4, seed=2), [3, 1])
    for q in range(4):
        circuit.rzz(w[1] * (q + 1), q, (q + 1) % 4)
        circuit.rz(w[2].sin(), q)
    circuit.rx(w[2], range(4))
    rng = np.random.default_rng(0)
    labels = ["".join(row) for row in rng.choice(list("IXYZ"), (20, 4))]
    observables = [
        SparsePauliOp(labels, rng.normal(size=20)),
        ProductOperator.from_list([("01+r", 0.5), ("1110", -1.0)]),
    ]
    return CircuitProgram(circuit, observables, input_params=[*encoding.parameters, *x])


READOUTS: dict[str, Readout | None] = {
    "observables": None,
    "outcomes": Outcomes((2, 0)),
    "interpreted": Outcomes((0, 1, 3), OutcomeTable([4, 0, 0, 0, 0, 0, 0, 1], 6)),
    "amplitudes": Amplitudes((0, 1, 2, 3)),
}


def point(rows: int = 2, device: torch.device = CPU) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(rows, 4, generator=generator, dtype=torch.float64)
    w = torch.rand(1, 3, generator=generator, dtype=torch.float64)
    return x.to(device), w.to(device)


# -- derivatives of any order ----------------------------------------------------------------------


def chain_of_turns(n: int) -> PlainStatevector:
    r"""Of which :math:`\langle Z\dots Z\rangle` is the product of cosines, behind a ladder."""
    t = ParameterVector("t", n)
    circuit = QuantumCircuit(n)
    for q in range(n):
        circuit.ry(t[q], q)
    for q in range(n - 1):
        circuit.rzz(0.3, q, q + 1)  # which changes none of it
    return tensor_simulator_of(CircuitProgram(circuit, ["Z" * n], input_params=list(t)))


def test_third_derivatives_by_autograd() -> None:
    s = chain_of_turns(3)
    x = torch.tensor([[0.3, -1.1, 2.0]], dtype=torch.float64, requires_grad=True)
    value = s.evaluate(x, x.new_zeros(1, 0))[0].sum()
    orders: list[tuple[int, ...]] = [(0, 0, 0), (0, 1, 2), (1, 1, 0), (2, 2, 2)]
    for order in orders:
        found = value
        for k in order:
            found = torch.autograd.grad(found, x, create_graph=True)[0][0, k]
        # Each derivative turns a cosine by a quarter.
        turns = (
            x.detach()[0] + torch.tensor([order.count(k) for k in range(3)]).double() * torch.pi / 2
        )
        torch.testing.assert_close(found.detach(), turns.cos().prod(), rtol=0, atol=10 * EXACT)


@pytest.mark.parametrize("outer", [torch.func.jacrev, torch.func.jacfwd])
@pytest.mark.parametrize("middle", [torch.func.jacrev, torch.func.jacfwd])
def test_third_derivatives_by_transforms(outer: Callable, middle: Callable) -> None:
    s = chain_of_turns(2)

    def read(x: Tensor) -> Tensor:
        return s.evaluate(x[None], x.new_zeros(1, 0))[0][0, 0]

    x = torch.tensor([0.3, -1.1], dtype=torch.float64)
    found = outer(middle(torch.func.jacrev(read)))(x)
    for k in np.ndindex(2, 2, 2):
        turns = x + torch.tensor([k.count(0), k.count(1)]).double() * torch.pi / 2
        torch.testing.assert_close(found[k], turns.cos().prod(), rtol=0, atol=10 * EXACT)


def test_gradcheck() -> None:
    s = tensor_simulator_of(everything_of_a_tape())
    given = tuple(part.requires_grad_() for part in point(1))
    assert torch.autograd.gradcheck(lambda x, w: s.evaluate(x, w)[0], given, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x, w: s.evaluate(x, w)[0], given, fast_mode=True)


# -- transforms and compilers ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", READOUTS)
def test_methods_are_the_derivatives_of_values(kind: str) -> None:
    """Against transforms, which go through the operations."""
    s = tensor_simulator_of(everything_of_a_tape(), READOUTS[kind])
    (x, w), (dx, dw) = point(), (part - 0.4 for part in point())
    values, kept = s.evaluate(x, w, keep=True)
    c, dc = torch.linspace(-1, 1, values.numel()).double().reshape(values.shape), values + 0.3

    def read(x: Tensor, w: Tensor) -> Tensor:
        return s.evaluate(x, w)[0]

    def pulled(x: Tensor, w: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        return torch.func.vjp(read, x, w)[1](c)

    close(s.vjp(x, w, c, kept), pulled(x, w, c))
    close(s.tangent(x, w, dx, dw), torch.func.jvp(read, (x, w), (dx, dw))[1])
    turned = torch.func.jvp(pulled, (x, w, c), (dx, dw, dc))[1]
    close(s.vjp_tangent(x, w, c, dx, dw, dc), turned)
    by_row = torch.func.vmap(lambda row: read(row[None], w)[0])(x)
    close(by_row, values)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: read(row[None], w)[0]))(x)
    close(torch.einsum("bs,bsi->bi", c, jacobian), s.vjp(x, w, c)[0])


def close(found, expected) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def test_traced() -> None:
    """Values and gradients of the recorded graph are those of other values, too."""
    s = chain_of_turns(2)

    def step(x: Tensor) -> tuple[Tensor, ...]:
        values, pull = torch.func.vjp(lambda x: s.evaluate(x, x.new_zeros(1, 0))[0], x)
        return values, *pull(torch.ones_like(values))

    x = torch.tensor([[0.3, -1.1]], dtype=torch.float64)
    close(make_fx(step)(x)(x + 0.7), step(x + 0.7))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_does_not_touch_it(dtype: torch.dtype) -> None:
    s = tensor_simulator_of(everything_of_a_tape(), dtype=torch.complex64)
    (x, w), (y, v) = ([part.requires_grad_() for part in point()] for _ in range(2))
    expected = s.evaluate(y, v)[0]
    with torch.autocast("cpu", dtype=dtype):
        found = s.evaluate(x, w)[0]
        found.sum().backward()
    expected.sum().backward()
    assert torch.equal(found, expected)
    assert torch.equal(x.grad, y.grad)


# -- memory and devices ----------------------------------------------------------------------------


def test_autograd_keeps_one_state() -> None:
    """What is saved for a gradient does not grow with the number of rotations."""
    n, saved = 8, []
    t, rng = ParameterVector("t", 5), np.random.default_rng(0)
    circuit = QuantumCircuit(n)
    for k in range(60):
        (circuit.rx, circuit.ry, circuit.rz)[k % 3](t[k % 5], int(rng.integers(n)))
        circuit.cx(k % n, (k + 3) % n)
    s = tensor_simulator_of(CircuitProgram(circuit, ["Z" * n, "X" * n]))
    w = torch.ones(1, 5, dtype=torch.float64, requires_grad=True)

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        values, _ = s.evaluate(w.new_zeros(1, 0), w)
    values.sum().backward()
    assert s.tape.num_bits == n
    assert len(s._steps) > 40
    assert [count for count in saved if count >= 1 << n] == [2 << n]


class NoCopies(TorchDispatchMode):
    """Fails where numbers leave the device, or where their number depends on them."""

    FORBIDDEN = (
        "_local_scalar_dense",
        "is_nonzero",
        "item",
        "nonzero",
        "masked_select",
        "unique",
        "equal",
        "lift_fresh",
    )

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().split("::")[1].split(".")[0]
        assert name not in self.FORBIDDEN, name
        if name == "_to_copy":
            assert kwargs.get("device") in (None, args[0].device)
        return func(*args, **(kwargs or {}))


def steps_of(s: PlainStatevector, x: Tensor, w: Tensor) -> Iterator[Tensor]:
    """Everything that a simulator does."""
    values, kept = s.evaluate(x, w, keep=True)
    yield values
    yield from s.vjp(x, w, values, kept)
    yield s.tangent(x, w, x, w)
    yield from s.vjp_tangent(x, w, values, x, w, values)
    yield s.states(x, w)
    x, w = (part.detach().requires_grad_() for part in (x, w))
    values, _ = s.evaluate(x, w)
    gx, gw = torch.autograd.grad(values.sum(), (x, w), create_graph=True)
    yield from torch.autograd.grad(gx.sum() + gw.sum(), (x, w))


@pytest.mark.parametrize("kind", READOUTS)
def test_a_step_copies_nothing_to_the_processor(kind: str) -> None:
    s = tensor_simulator_of(everything_of_a_tape(), READOUTS[kind])
    given = point()
    with NoCopies():
        assert all(found.numel() for found in steps_of(s, *given))
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NoCopies():
        given[0].sum().item()


class OnOneDevice(TorchDispatchMode):
    """Fails where a tensor of another device takes part, or one of a type that is not there."""

    def __init__(self, types: tuple[torch.dtype, ...] = ()) -> None:
        super().__init__()
        self.without = types

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, found)):
            if isinstance(tensor, Tensor):
                assert tensor.device == META or not tensor.dim(), func  # a number is anywhere
                assert tensor.dtype not in self.without, func
        return found


@pytest.mark.parametrize("has_double", [True, False])
@pytest.mark.parametrize("kind", READOUTS)
def test_all_tables_are_on_the_device(
    kind: str, has_double: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on one that has no double precision."""
    if not has_double:
        monkeypatch.setattr(tapes, "WITHOUT_DOUBLE", ("meta",))
    dtype, real = ((torch.complex64, torch.float32), (torch.complex128, torch.float64))[has_double]
    s = tensor_simulator_of(everything_of_a_tape(), READOUTS[kind], dtype, device=META)
    x, w = (torch.empty(*shape, device=META, dtype=real) for shape in ((3, 4), (1, 3)))
    with OnOneDevice(() if has_double else (torch.float64, torch.complex128)):
        values, kept = s.evaluate(x, w, keep=True)
        gx, gw = s.vjp(x, w, values, kept)
        if has_double:
            s.vjp_tangent(x, w, values, x, w, values)
    assert {values.dtype, gx.dtype, gw.dtype} == {real}


def test_too_little_memory_is_said_before_any_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    s = tensor_simulator_of(everything_of_a_tape())
    target = "qiskit_torch_bridge.accelerators.device_memory"
    monkeypatch.setattr(f"{target}.GRANTED", 0)
    monkeypatch.setattr(f"{target}.available", lambda device: 1000)
    with pytest.raises(MemoryLimitError, match=r"2 states of 4 qubits needs .* GiB on cpu"):
        s.evaluate(*point())
