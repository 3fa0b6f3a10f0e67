# SPDX-License-Identifier: Apache-2.0
"""Expectation values as a function of tensors: checked, converted, evaluated, given back alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from qiskit.circuit import QuantumCircuit
from torch import Tensor

from .arrays import FloatArray, IntArray
from .autograd.calls import Call
from .autograd.evaluations import Expectation, placed
from .autograd.exact import exact_expectation
from .autograd.transforms import (
    array_module,
    is_compiling,
    is_concrete,
    is_differentiated_elsewhere,
    is_exporting,
    older_vmap,
    transformed,
)
from .engines import EngineCache, EstimatorEngine, StatevectorEngine, engine_named, portable_name
from .exceptions import InputError, TracingError
from .program import CircuitProgram
from .program.angle_map import take_entries

if TYPE_CHECKING:
    from .primitives import Evaluation

_engines = EngineCache()


def evaluate(engine: EstimatorEngine, inputs: Tensor | None, weights: Tensor) -> Tensor:
    """Check and convert inputs and weights, evaluate, and return values as the caller had them.

    Shapes: inputs ``(*batch, I)`` and weights ``(W,)`` to ``(*batch, *output_shape)``. The
    computation is in double precision on the CPU; the result has the dtype and device of the
    inputs (of the weights where inputs have no floating dtype).
    """
    if is_compiling():
        return _record(engine, inputs, weights)
    return evaluate_eagerly(engine, inputs, weights)


def evaluate_eagerly(engine: EstimatorEngine, inputs: Tensor | None, weights: Tensor) -> Tensor:
    """Do what :func:`evaluate` does, now."""
    call = Call.of(engine.program, inputs, weights)
    if engine.is_limited and not transformed():
        check_budget(engine, len(call.inputs), *_wanted(call.inputs, call.weights))
    return call.finished(_evaluate(engine, call.inputs, call.weights))


def _record(engine: EstimatorEngine, inputs: Tensor | None, weights: Tensor) -> Tensor:
    """Have a compiler record one operator, which does the same when there are numbers."""
    name = _portable_name(engine.name) or engine.name
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

    The engine itself would not do as an argument: older compilers take no objects for constants.
    """
    torch.compiler.allow_in_graph(_recorded)
    if not is_exporting():
        return ""
    refuse_onnx()
    return portable_name(engine_named(name))


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
    """Evaluate the engine of a name; compilers call this too, and look at what it calls."""
    if is_differentiated_elsewhere():
        return evaluate_eagerly(engine_named(name), inputs, weights)
    # Defined above this file, in compiled.py, since it does what is written here.
    operator = torch.ops.qiskit_torch_bridge.expectation
    evs: Tensor = operator(inputs, weights, name, for_inputs, for_weights)[0]
    return evs


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


def submitted(engine: EstimatorEngine, inputs: Tensor | None, weights: Tensor) -> PendingOutput:
    """Submit the job of a forward pass now; the weights are those of this moment."""
    call = Call.of(engine.program, inputs, weights)
    if isinstance(engine, StatevectorEngine) and not engine.samples:
        output = evaluate(engine, inputs, weights)
        return PendingOutput(lambda: output)
    check_budget(engine, len(call.inputs), *_wanted(call.inputs, call.weights))
    # Copies: what is submitted is differentiated, however an optimizer changes weights in place.
    call = call._replace(inputs=call.inputs.clone(), weights=call.weights.clone())
    values = placed(call.inputs, call.weights, engine.program).detach().numpy()
    graph = torch.is_grad_enabled()
    wait = engine.submit(values)

    def finish() -> Tensor:
        with torch.set_grad_enabled(graph):
            arrived = Arrived(engine, wait())
            return call.finished(_evaluate(engine, call.inputs, call.weights, arrived))

    return PendingOutput(finish)


class Arrived:
    """An engine whose next values are there already; everything else is the engine's."""

    def __init__(self, engine: EstimatorEngine, evaluation: Evaluation) -> None:
        self._engine, self._evaluation = engine, evaluation

    def evaluate(self, values: Any) -> Evaluation:
        """Return the values that have arrived, at the points they were asked for at."""
        return self._evaluation

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def _evaluate(
    engine: EstimatorEngine, inputs: Tensor, weights: Tensor, arrived: Arrived | None = None
) -> Tensor:
    """Evaluate rows ``(B, I)`` on the engine: ``(B, O)``; sampled values may have arrived."""
    source = engine if arrived is None else arrived
    if not isinstance(engine, StatevectorEngine):
        return Expectation.apply(inputs, weights, source)
    if engine.takes_angles:  # torch differentiates the expressions, to any order
        program = engine.program
        if not transformed() and is_concrete(inputs, weights):
            numbers = placed(inputs, weights, program).detach().numpy()
            program.analysed.check(numbers)
            inputs = _watched(inputs, program.input_columns, numbers, engine)
            weights = _watched(weights, program.weight_columns, numbers, engine)
        values = placed(inputs, weights, program)
        m = array_module(values)
        angles = engine.angles(values, m, _Columns(inputs, weights, program, m))
        evs = exact_expectation(angles, weights.new_zeros(0), engine)
    else:
        evs = exact_expectation(inputs, weights, engine)
    if engine.samples:  # the estimator's values, the exact derivatives
        sampled = Expectation.apply(inputs.detach(), weights.detach(), source)
        return sampled.detach() + (evs - evs.detach())
    return evs


def _wanted(inputs: Tensor | None, weights: Tensor) -> tuple[bool, bool]:
    """Whether a backward pass may ask for the gradients of inputs and of weights."""
    graph = torch.is_grad_enabled()
    return graph and inputs is not None and inputs.requires_grad, graph and weights.requires_grad


def check_budget(engine: EstimatorEngine, rows: int, for_inputs: bool, for_weights: bool) -> None:
    """Raise if there is no room for this evaluation and the backward pass that may follow."""
    if engine.is_limited:
        columns = engine.program.input_columns if for_inputs else ()
        engine.check_budget(rows, columns + (engine.program.weight_columns if for_weights else ()))


class _Columns:
    """The columns of values ``(B, P)``, each from where it comes: inputs or weights.

    So a derivative by one of them does not pass through an expression of the other alone, which
    may have no derivative there.
    """

    def __init__(self, inputs: Tensor, weights: Tensor, program: CircuitProgram, m: Any) -> None:
        self._parts = inputs, weights.expand(inputs.shape[0], -1)
        self._placement, self._m = program.placement, m
        self._width = len(program.input_params)  # not of the tensor: a tracer knows it by name only
        #: Zero for inputs, one for weights.
        self.kinds = (program.placement >= self._width).astype(np.int64)

    def take_entries(self, columns: IntArray) -> Tensor:
        """Return columns ``(B, F)`` that are all inputs, or all weights."""
        kind, places = int(self.kinds[columns[0]]), self._placement[columns]
        found: Tensor = take_entries(self._parts[kind], places - kind * self._width, self._m)
        return found


def _watched(
    tensor: Tensor, columns: Sequence[int], values: FloatArray, engine: StatevectorEngine
) -> Tensor:
    """Return a tensor whose gradient, if it is asked for, raises where there is none."""
    if not tensor.requires_grad:
        return tensor
    alias = tensor.view_as(tensor)  # the user's own tensor must not gather hooks

    def check(gradient: Tensor | None) -> None:
        if gradient is None or older_vmap(gradient) or transformed() or not is_concrete(gradient):
            return  # nothing that could be looked at
        if not torch.isfinite(gradient).all():
            engine.check_derivatives(values, columns)

    alias.register_hook(check)
    return alias


def expectation(
    circuit: QuantumCircuit | CircuitProgram,
    inputs: Tensor | None = None,
    weights: Tensor | None = None,
    *,
    observables: Any = None,
    input_params: Any = None,
    weight_params: Any = None,
    estimator: Any = None,
    gradient: Any = None,
    shots: int | None = None,
    precision: float | None = None,
    pass_manager: Any = None,
    seed: int | None = None,
    observables_layout: Any = None,
    dtype: Any = None,
) -> Tensor:
    r"""Return expectation values of a circuit as a differentiable function, without any state.

    .. math:: f_o(x, w) = \langle 0 | U^\dagger(x, w)\, O_o\, U(x, w) | 0 \rangle

    It is made for ``torch.func``: ``grad``, ``jacrev``, ``jacfwd``, ``hessian`` and ``vmap`` apply,
    over inputs and over weights.

    Args:
        circuit: A circuit, or a :class:`.CircuitProgram`, which is analysed only once however
            often it is evaluated.
        inputs: Shape ``(*batch, I)``, radians; ``None`` if the circuit has no inputs.
        weights: Shape ``(W,)``, radians; ``None`` if it has no weights.
        observables: With a circuit: as for :class:`.CircuitProgram`.
        input_params: With a circuit: as for :class:`.CircuitProgram`.
        weight_params: With a circuit: as for :class:`.CircuitProgram`.
        estimator: Any V2 estimator; default: exact simulation in this process.
        gradient: As for :class:`.TorchQuantumModule`.
        shots: Shots per evaluation, or
        precision: the standard error per evaluation; at most one of them.
        pass_manager: Transpiles the circuit, once per program.
        seed: Seeds the shots of the default estimator.
        observables_layout: With a circuit: as for :class:`.CircuitProgram`.
        dtype: As for :class:`.TorchQuantumModule`.

    Returns:
        Shape ``(*batch, O)``, in the dtype and on the device of the inputs.

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
        circuit, observables, input_params, weight_params, observables_layout, estimator, gradient,
        shots, precision, pass_manager, seed, dtype,
    )  # fmt: skip
    if weights is None:
        weights = torch.zeros(0, dtype=torch.get_default_dtype())
    if is_compiling():
        name = _held_engine(*chosen)
        return _recorded(inputs, weights, name, *_wanted(inputs, weights))
    return evaluate_eagerly(_engine_for(*chosen), inputs, weights)


def _engine_for(
    circuit: Any,
    observables: Any,
    input_params: Any,
    weight_params: Any,
    observables_layout: Any,
    *choices: Any,
) -> EstimatorEngine:
    """Return the engine for the arguments of :func:`expectation`."""
    roles = {
        "observables": observables,
        "input_params": input_params,
        "weight_params": weight_params,
        "observables_layout": observables_layout,
    }
    given = {name: role for name, role in roles.items() if role is not None}
    if not isinstance(circuit, CircuitProgram):
        circuit = CircuitProgram(circuit, **given)
    elif given:
        raise InputError(
            f"A CircuitProgram already has its {next(iter(given))}; give it when making the "
            "program."
        )
    names = ("estimator", "gradient", "shots", "precision", "pass_manager", "seed", "dtype")
    return _engines(circuit, **dict(zip(names, choices, strict=True)))


@_while_recording
def _held_engine(circuit: Any, *rest: Any) -> str:
    """Return the name of an engine that lives as long as the program."""
    if not isinstance(circuit, CircuitProgram):
        raise TracingError(
            "Expected a CircuitProgram where torch.compile or torch.export records: it holds what "
            f"the recorded function needs; got {type(circuit).__name__}. Make it once, outside: "
            "CircuitProgram(circuit, observables, input_params=...)."
        )
    engine = _engine_for(circuit, *rest)
    circuit.__dict__.setdefault("recorded_engines", {})[engine.name] = engine
    return _portable_name(engine.name) or engine.name
