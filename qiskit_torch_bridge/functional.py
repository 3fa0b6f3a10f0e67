# SPDX-License-Identifier: Apache-2.0
"""Expectation values as a function of tensors: checked, converted, evaluated, given back alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from torch import Tensor

from .arrays import FloatArray
from .autograd import Expectation, placed
from .engines import EngineCache, EstimatorEngine, StatevectorEngine
from .exact_autograd import exact_expectation
from .exceptions import InputError, InputTypeError
from .program import CircuitProgram
from .transforms import older_vmap, transformed

_engines = EngineCache()


def evaluated(engine: EstimatorEngine, inputs: Tensor | None, weights: Tensor) -> Tensor:
    """Check and convert inputs and weights, evaluate, and return values as the caller had them.

    Shapes: inputs ``(*batch, I)`` and weights ``(W,)`` to ``(*batch, *output_shape)``. The
    computation is in double precision on the CPU; the result has the dtype and device of the
    inputs (of the weights where inputs have no floating dtype).
    """
    call = _Call.of(engine.program, inputs, weights)
    _check_budget(engine, call)
    return call.finished(_evaluate(engine, call.inputs, call.weights))


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
    call = _Call.of(engine.program, inputs, weights)
    if isinstance(engine, StatevectorEngine) and not engine.samples:
        output = evaluated(engine, inputs, weights)
        return PendingOutput(lambda: output)
    _check_budget(engine, call)
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

    def __init__(self, engine: EstimatorEngine, evs: Any) -> None:
        self._engine, self._evs = engine, evs

    def expval(self, values: Any) -> Any:
        """Return the values that have arrived, at the points they were asked for at."""
        return self._evs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


class _Call(NamedTuple):
    """Checked inputs ``(B, I)`` and weights in double precision, and how outputs must look."""

    inputs: Tensor
    weights: Tensor
    like: Tensor
    shape: tuple[int, ...]

    @classmethod
    def of(cls, program: CircuitProgram, inputs: Tensor | None, weights: Tensor) -> _Call:
        weights = checked_weights(weights, program)
        like = weights
        if inputs is None:
            if program.input_params:
                raise InputError(
                    f"Expected inputs of shape (..., {len(program.input_params)}); got none. The "
                    f"circuit's inputs are {_listing(program.input_params)}."
                )
            inputs = weights.new_zeros(0)
        else:
            inputs = _checked_inputs(inputs, program)
            like = inputs if inputs.is_floating_point() else weights
        shape = (*inputs.shape[:-1], *program.output_shape)
        if inputs.dim() != 2:
            inputs = inputs.reshape(math.prod(inputs.shape[:-1]), inputs.shape[-1])
        return cls(_double(inputs), _double(weights), like, shape)

    def finished(self, evs: Tensor) -> Tensor:
        """Return values ``(B, O)`` as the caller had the inputs."""
        like = self.like
        if not like.is_floating_point():
            like = evs.new_zeros(0, dtype=torch.get_default_dtype(), device=like.device)
        if like.dtype != evs.dtype or like.device != evs.device:
            evs = evs.to(device=like.device, dtype=like.dtype)
        return evs if evs.shape == self.shape else evs.reshape(self.shape)


def _evaluate(
    engine: EstimatorEngine, inputs: Tensor, weights: Tensor, arrived: Arrived | None = None
) -> Tensor:
    """Evaluate rows ``(B, I)`` on the engine: ``(B, O)``; sampled values may have arrived."""
    source = engine if arrived is None else arrived
    if not isinstance(engine, StatevectorEngine):
        return Expectation.apply(inputs, weights, source)
    if engine.takes_angles:  # torch differentiates the expressions, to any order
        program = engine.program
        if not transformed():
            numbers = placed(inputs, weights, program).detach().numpy()
            program.analysed.check(numbers)
            inputs = _watched(inputs, program.input_columns, numbers, engine)
            weights = _watched(weights, program.weight_columns, numbers, engine)
        values, columns = placed(inputs, weights, program), _Columns(inputs, weights, program)
        evs = exact_expectation(engine.angles(values, torch, columns), weights.new_zeros(0), engine)
    else:
        evs = exact_expectation(inputs, weights, engine)
    if engine.samples:  # the estimator's values, the exact derivatives
        sampled = Expectation.apply(inputs.detach(), weights.detach(), source)
        return sampled.detach() + (evs - evs.detach())
    return evs


def _check_budget(engine: EstimatorEngine, call: _Call) -> None:
    """Raise if there is no room for this evaluation and the backward pass that may follow."""
    if not engine.is_limited or transformed():
        return
    columns: tuple[int, ...] = ()
    if torch.is_grad_enabled():
        columns += engine.program.input_columns if call.inputs.requires_grad else ()
        columns += engine.program.weight_columns if call.weights.requires_grad else ()
    engine.check_budget(len(call.inputs), columns)


class _Columns:
    """The columns of values ``(B, P)``, each from where it comes: inputs or weights.

    So a derivative by one of them does not pass through an expression of the other alone, which
    may have no derivative there.
    """

    def __init__(self, inputs: Tensor, weights: Tensor, program: CircuitProgram) -> None:
        self._parts = inputs, weights.expand(len(inputs), -1)
        self._placement = program.placement

    def __getitem__(self, index: tuple[Any, int]) -> Tensor:
        inputs, weights = self._parts
        place, width = int(self._placement[index[1]]), inputs.shape[-1]
        return inputs[..., place] if place < width else weights[..., place - width]


def _watched(
    tensor: Tensor, columns: Sequence[int], values: FloatArray, engine: StatevectorEngine
) -> Tensor:
    """Return a tensor whose gradient, if it is asked for, raises where there is none."""
    if not tensor.requires_grad:
        return tensor
    alias = tensor.view_as(tensor)  # the user's own tensor must not gather hooks

    def check(gradient: Tensor | None) -> None:
        if gradient is None or older_vmap(gradient) or transformed():
            return  # nothing that could be looked at
        if not torch.isfinite(gradient).all():
            engine.check_derivatives(values, columns)

    alias.register_hook(check)
    return alias


def _double(tensor: Tensor) -> Tensor:
    if tensor.dtype == torch.float64 and tensor.device.type == "cpu":
        return tensor
    return tensor.to("cpu").to(torch.float64)  # in this order: not every device has float64


def _listing(parameters: Sequence[Parameter]) -> str:
    return ", ".join(p.name for p in parameters) or "(none)"


def _checked_inputs(inputs: Any, program: CircuitProgram) -> Tensor:
    if not isinstance(inputs, Tensor):
        raise InputTypeError(
            f"Expected inputs to be a torch.Tensor; got {type(inputs).__name__}. Convert them "
            "with torch.as_tensor(...)."
        )
    if inputs.is_complex():
        raise InputTypeError(
            f"Expected real inputs; got {inputs.dtype}. Gate angles are real: pass the real and "
            "imaginary parts as two inputs, with torch.view_as_real(...)."
        )
    expected = len(program.input_params)
    if inputs.dim() == 0 or inputs.shape[-1] != expected:
        raise InputError(
            f"Expected inputs of shape (..., {expected}); got {tuple(inputs.shape)}. The "
            f"circuit's inputs are {_listing(program.input_params)}."
        )
    return inputs


def checked_weights(weights: Any, program: CircuitProgram) -> Tensor:
    """Return weights ``(W,)`` as a tensor, or say what is wrong with them."""
    if not isinstance(weights, Tensor):
        try:
            weights = torch.as_tensor(np.asarray(weights))
        except (TypeError, ValueError) as error:
            raise InputTypeError(
                f"Expected weights to be real numbers; got {weights!r}."
            ) from error
    if weights.is_complex():
        raise InputTypeError(f"Expected real weights; got {weights.dtype}.")
    expected = len(program.weight_params)
    if weights.shape != (expected,):
        raise InputError(
            f"Expected weights of shape ({expected},); got {tuple(weights.shape)}. The circuit's "
            f"weights are {_listing(program.weight_params)}."
        )
    return weights


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
    roles = {
        "observables": observables,
        "input_params": input_params,
        "weight_params": weight_params,
        "observables_layout": observables_layout,
    }
    if isinstance(circuit, CircuitProgram):
        program = circuit
        named = [name for name, value in roles.items() if value is not None]
        if named:
            raise InputError(
                f"A CircuitProgram already has its {named[0]}; give it when making the program."
            )
    else:
        program = CircuitProgram(circuit, **{k: v for k, v in roles.items() if v is not None})
    if weights is None:
        weights = torch.zeros(0, dtype=torch.get_default_dtype())
    engine = _engines(
        program,
        estimator=estimator,
        gradient=gradient,
        shots=shots,
        precision=precision,
        pass_manager=pass_manager,
        seed=seed,
        dtype=dtype,
    )
    return evaluated(engine, inputs, weights)
