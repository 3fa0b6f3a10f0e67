# SPDX-License-Identifier: Apache-2.0
"""A measured circuit as a function of tensors: checked, converted, evaluated, given back alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, cast

import torch
from qiskit.circuit import QuantumCircuit
from torch import Tensor

from .autograd import Node
from .autograd import expectation as expectation_in_graph
from .autograd.calls import Call, checked_weights, common_batch
from .autograd.constants import constant
from .autograd.nodes import node_named, portable_name
from .autograd.recorded import check_budget
from .autograd.transforms import (
    is_compiling,
    is_differentiated_elsewhere,
    is_exporting,
    transformed,
)
from .backends.prepare import PassManager
from .engines import make_engine
from .exceptions import TracingError
from .execution import (
    BackendChoice,
    EstimatorChoice,
    Execution,
    GradientChoice,
    Shots,
)
from .lru_cache import LRUCache
from .primitives.families import Primitive
from .program import CircuitProgram, as_program
from .program.observables import Layout
from .rules.difference_rules import is_named_gradient

_recent_nodes: LRUCache[tuple[Any, Node]] = LRUCache(16)
"""The nodes of the last calls of :func:`expectation`."""


def evaluate(node: Node, inputs: Tensor | None, weights: Tensor) -> Tensor:
    """Check and convert inputs and weights, evaluate, and return values as the caller had them.

    Shapes: inputs ``(*batch, I)`` and weights ``(W,)`` to ``(*batch, *output_shape)``. The
    computation is in double precision, where the engine computes; the result has the dtype and
    device of the inputs (of the weights where inputs have no floating dtype).
    """
    if is_compiling():
        return _record(node, inputs, weights)
    return evaluate_eagerly(node, inputs, weights)


def evaluate_eagerly(node: Node, inputs: Tensor | None, weights: Tensor) -> Tensor:
    """Do what :func:`evaluate` does, now."""
    call = Call.of(node.program, inputs, weights, node.find_device)
    if node.engine.is_limited and not transformed():
        check_budget(node, len(call.inputs), *_wanted(call.inputs, call.weights))
    return call.finished(expectation_in_graph(call.inputs, call.weights, node))


def _record(node: Node, inputs: Tensor | None, weights: Tensor) -> Tensor:
    """Have a compiler record one operator, which does the same when there are numbers."""
    name = _portable_name(node.name) or node.name
    return _recorded(inputs, weights, name, *_wanted(inputs, weights))


def _while_recording(function: Callable[..., str]) -> Callable[..., str]:
    """Have compilers call a function while they record, and take what it returns for a constant.

    This is torch.compiler.assume_constant_result, which would load the compiler, and SymPy with it,
    for everyone who imports this package.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@_while_recording
def _portable_name(name: str) -> str:
    """Return the name for a program that may leave this process; empty if it cannot.

    The node itself would not do as an argument: older compilers take no objects for constants.
    """
    torch.compiler.allow_in_graph(_recorded)
    if not is_exporting():
        return ""
    refuse_onnx()
    return portable_name(node_named(name))


def refuse_onnx() -> None:
    """Raise if it is for ONNX that PyTorch looks at a module."""
    if torch.onnx.is_in_onnx_export():
        raise TracingError(
            "ONNX has no operator for quantum circuits, so qiskit_torch_bridge has none to export. "
            "Export the layers before and after the circuit on their own, the circuit with "
            "qiskit.qasm3.dumps(module.to_circuit()), and the weights with module.state_dict()."
        )


def _recorded(
    inputs: Tensor | None, weights: Tensor, name: str, for_inputs: bool, for_weights: bool
) -> Tensor:
    """Evaluate the node of a name; compilers call this too, and look at what it calls."""
    if is_differentiated_elsewhere():
        return evaluate_eagerly(node_named(name), inputs, weights)
    # It is called by its name: see autograd/recorded.py.
    operator = torch.ops.qiskit_torch_bridge.expectation
    recorded: Tensor = operator(inputs, weights, name, for_inputs, for_weights)[0]
    node = node_named(name)
    program = node.program
    if program.measurement.is_read:
        return recorded
    return Call.of(program, inputs, weights, node.find_device).finished(recorded)


class PendingOutput:
    """Outputs of a module whose job is under way: what ``module.submit`` returns."""

    def __init__(self, finish: Callable[[], Tensor]) -> None:
        self._finish: Callable[[], Tensor] | None = finish
        self._output: Tensor | None = None

    def result(self) -> Tensor:
        """Wait for the job, and return the outputs as the module would have, graph and all."""
        if self._output is None and self._finish is not None:
            self._output, self._finish = self._finish(), None
        assert self._output is not None
        return self._output


def submit(node: Node, inputs: Tensor | None, weights: Tensor) -> PendingOutput:
    """Submit the job of a forward pass now; the weights are those of this moment."""
    call = Call.of(node.program, inputs, weights, node.find_device)
    check_budget(node, len(call.inputs), *_wanted(call.inputs, call.weights))
    # Copies: what is submitted is differentiated, however an optimizer changes weights in place.
    call = call._replace(inputs=call.inputs.clone(), weights=call.weights.clone())
    graph = torch.is_grad_enabled()
    wait = node.on(call.inputs.device).submit(call.inputs, call.weights)

    def finish() -> Tensor:
        with torch.set_grad_enabled(graph):
            evs = expectation_in_graph(call.inputs, call.weights, node, wait())
            return call.finished(evs)

    return PendingOutput(finish)


def _wanted(inputs: Tensor | None, weights: Tensor) -> tuple[bool, bool]:
    """Whether a backward pass may ask for the gradients of inputs and of weights."""
    graph = torch.is_grad_enabled()
    return graph and inputs is not None and inputs.requires_grad, graph and weights.requires_grad


def expectation(
    circuit: QuantumCircuit | CircuitProgram,
    inputs: Tensor | None = None,
    weights: Tensor | None = None,
    *,
    observables: Any = None,
    input_params: Any = None,
    weight_params: Any = None,
    frozen_params: Any = None,
    observables_layout: Layout | None = None,
    estimator: EstimatorChoice | Sequence[Primitive] | None = None,
    backend: BackendChoice | None = None,
    gradient: GradientChoice | None = None,
    shots: int | Shots | None = None,
    precision: float | None = None,
    pass_manager: PassManager | None = None,
    seed: int | None = None,
) -> Tensor:
    r"""Return what is measured of a circuit as a differentiable function, without any state.

    .. math:: f_o(x, w) = \langle 0 | U^\dagger(x, w)\, O_o\, U(x, w) | 0 \rangle

    for observables, or what another measurement says. It is made for ``torch.func``: ``grad``,
    ``jacrev``, ``jacfwd``, ``hessian`` and ``vmap`` apply, over inputs and over weights.

    Args:
        circuit: A circuit, or a :class:`.CircuitProgram`, which is analysed only once however
            often it is evaluated.
        inputs: Shape ``(*batch, I)``, radians; ``None`` if the circuit has no inputs.
        weights: Shape ``(W,)``, radians; ``None`` if it has no weights. With more axes,
            ``(*batch, W)``, each row of inputs has weights of its own, as those that another
            network computes (hypernetworks); the axes before the last of both broadcast.
        observables: With a circuit: as for :class:`.CircuitProgram`.
        input_params: With a circuit: as for :class:`.CircuitProgram`.
        weight_params: With a circuit: as for :class:`.CircuitProgram`.
        frozen_params: With a circuit: as for :class:`.CircuitProgram`.
        observables_layout: With a circuit: as for :class:`.CircuitProgram`.
        estimator: As for :class:`.TorchQuantumModule`; default: exact simulation in this process.
        backend: As for :class:`.TorchQuantumModule`, like all that follow.
        gradient: How to differentiate.
        shots: Shots per evaluation, or
        precision: the standard error per evaluation; at most one of them.
        pass_manager: Transpiles the circuit, once per program.
        seed: Seeds the shots of the default estimator.

    Returns:
        Shape ``(*batch, O)``, or as the measurement says, in the dtype and on the device of the
        inputs; complex for :class:`.State`.

    Raises:
        BridgeError: A subclass of it for anything that is wrong, before a job is submitted.

    Cost:
        With the exact engine one sweep over the state forward and two backward; with an
        estimator one job with one PUB forward, one backward.

    Example:
        >>> import torch
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge import CircuitProgram, expectation
        >>> theta = Parameter("theta")
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(theta, 0)
        >>> program = CircuitProgram(circuit, "Z")
        >>> angle = torch.tensor([0.5], dtype=torch.float64)
        >>> jacobian = torch.func.jacrev(lambda w: expectation(program, weights=w))(angle)
        >>> round(jacobian.item(), 6)  # -sin(0.5)
        -0.479426
    """
    chosen = (
        circuit, observables, input_params, weight_params, frozen_params, observables_layout,
        estimator, backend, gradient, shots, precision, pass_manager, seed,
    )  # fmt: skip
    if weights is None:
        weights = torch.zeros(0, dtype=torch.get_default_dtype())
    if is_compiling():
        name = _held_node(*chosen)
        program = cast("CircuitProgram", circuit)  # others have been refused
        if program.frozen_params or weights.dim() > 1:
            inputs, weights = _aligned(program, inputs, weights)
        return _recorded(inputs, weights, name, *_wanted(inputs, weights))
    node = _node_for(*chosen)
    if node.program.frozen_params:
        inputs, weights = _aligned(node.program, inputs, weights)
    return evaluate_eagerly(node, inputs, weights)


def _aligned(
    program: CircuitProgram, inputs: Tensor | None, weights: Tensor
) -> tuple[Tensor | None, Tensor]:
    """Return weights as constants where they are frozen, and a row of them for each of the inputs.

    Weights that all rows share stay as they are.
    """
    checked = checked_weights(weights, program)
    if program.frozen_params:
        device = checked.device
        places = constant(program, "trained", device, torch.int64)
        none = torch.zeros(checked.shape[-1], dtype=torch.bool, device=device)
        checked = torch.where(none.index_fill(0, places, True), checked, checked.detach())
    if checked.dim() > 1 and isinstance(inputs, Tensor) and inputs.dim():
        batch = common_batch(tuple(inputs.shape[:-1]), tuple(checked.shape[:-1]))
        inputs = inputs.expand(*batch, inputs.shape[-1])
        checked = checked.expand(*batch, checked.shape[-1])
    return inputs, checked


_ROLES = ("observables", "input_params", "weight_params", "frozen_params", "observables_layout")
_CHOICES = tuple(field.name for field in fields(Execution))


def _node_for(circuit: Any, *chosen: Any) -> Node:
    """Return the node for the arguments of :func:`expectation`, made now or before.

    Programs, estimators, gradients and pass managers count by identity, plain values by value.
    """
    circuit = as_program(circuit, **dict(zip(_ROLES, chosen, strict=False)))
    choices = chosen[len(_ROLES) :]

    def make() -> tuple[Any, Node]:
        execution = Execution(**dict(zip(_CHOICES, choices, strict=True)))
        return (circuit, choices), Node(make_engine(circuit, execution)[0])  # kept: ids are the key

    # With its type, since 1, 1.0 and True are equal and only the first is a number of shots.
    key = (
        (type(c), c if isinstance(c, (int, float)) or is_named_gradient(c) else id(c))
        for c in choices
    )
    return _recent_nodes((id(circuit), *key), make)[1]


@_while_recording
def _held_node(circuit: Any, *chosen: Any) -> str:
    """Return the name of a node that lives as long as the program."""
    if not isinstance(circuit, CircuitProgram):
        raise TracingError(
            "Expected a CircuitProgram where torch.compile or torch.export records: it holds what "
            f"the recorded function needs; got {type(circuit).__name__}. Make it once, outside: "
            "CircuitProgram(circuit, observables, input_params=...)."
        )
    node = _node_for(circuit, *chosen)
    circuit.__dict__.setdefault("recorded_nodes", {})[node.name] = node
    return _portable_name(node.name) or node.name
