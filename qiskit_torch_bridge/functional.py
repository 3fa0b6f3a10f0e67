# SPDX-License-Identifier: Apache-2.0
"""The seam to torch: expectation values as a differentiable function of inputs and weights.

The autograd function below knows no gradient rule. It asks the engine for a plan of evaluations
and carries that plan out in torch, calling itself at the displaced points; so a gradient is a
graph like any other and can be differentiated as often as wanted.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from threading import Lock
from typing import Any

import numpy as np
import torch
from qiskit.circuit import QuantumCircuit
from torch import Tensor

from .engines import EstimatorEngine, make_engine
from .exceptions import HigherOrderError, InputError, InputTypeError
from .program import CircuitProgram
from .rules import Differentiation


class _Expectation(torch.autograd.Function):
    """``(B, I)`` inputs and ``(W,)`` or ``(B, W)`` weights to ``(B, O)`` expectation values."""

    @staticmethod
    def forward(inputs: Tensor, weights: Tensor, engine: EstimatorEngine) -> Tensor:
        values = _placed(inputs, weights, engine.program)
        return torch.from_numpy(engine.expval(values.detach().numpy()))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:2])
        ctx.set_materialize_grads(False)  # a missing tangent must not cost evaluations
        ctx.engine = inputs[2]

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        if cotangent is None:
            return None, None, None
        inputs, weights = ctx.saved_tensors
        program = ctx.engine.program
        needs_inputs, needs_weights = ctx.needs_input_grad[:2]
        columns = program.input_columns if needs_inputs else ()
        columns += program.weight_columns if needs_weights else ()
        values = _placed(inputs, weights, program)
        gradient = _vjp(ctx.engine, values, cotangent, columns)  # (B, C)
        split = len(program.input_columns) if needs_inputs else 0
        # narrow, since slices have no batching rule in PyTorch's older vmap (is_grads_batched)
        for_weights = gradient.narrow(1, split, len(columns) - split)
        if weights.dim() == 1:
            for_weights = for_weights.sum(0)
        return (
            gradient.narrow(1, 0, split) if needs_inputs else None,
            for_weights if needs_weights else None,
            None,
        )

    @staticmethod
    def jvp(ctx: Any, inputs_t: Tensor | None, weights_t: Tensor | None, _: None) -> Tensor:
        if _is_nested_forward_mode():
            raise HigherOrderError(
                "PyTorch drops forward mode over forward mode of custom functions. Use "
                "torch.func.hessian, or jacfwd over jacrev, for second derivatives."
            )
        inputs, weights = ctx.saved_tensors
        program = ctx.engine.program
        values = _placed(inputs, weights, program)
        columns: tuple[int, ...] = ()
        tangents = []
        if inputs_t is not None:
            columns += program.input_columns
            tangents.append(inputs_t)
        if weights_t is not None:
            columns += program.weight_columns
            tangents.append(weights_t.expand(len(values), -1))
        found = ctx.engine.differentiation(columns)
        if found is None:
            raise HigherOrderError(
                f"The gradient {ctx.engine.gradient_name} has no forward mode. Use "
                "gradient='parameter-shift', 'aqgd' or 'finite-difference'."
            )
        tangent = torch.cat(tangents, -1)  # (B, C)
        evs = _at_shift_points(found, values)  # (S, B, O)
        jacobian = [found[0].combine(values, evs[..., o], torch) for o in range(evs.shape[-1])]
        return torch.stack([(row * tangent).sum(-1) for row in jacobian], -1)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], inputs: Tensor, weights: Tensor, engine: Any
    ) -> tuple[Tensor, int]:
        """Fold the mapped axis into the batch: still one job."""
        size = info.batch_size
        inputs = _front(inputs, in_dims[0], size)  # (N, B, I)
        rows = inputs.shape[1]
        if in_dims[1] is not None:
            weights = weights.movedim(in_dims[1], 0)
            if weights.dim() == 2:  # one vector of weights per mapped element
                weights = weights[:, None].expand(-1, rows, -1)
            weights = weights.reshape(size * rows, weights.shape[-1])
        elif weights.dim() == 2:
            weights = weights.repeat(size, 1)
        evs = _Expectation.apply(inputs.reshape(size * rows, inputs.shape[2]), weights, engine)
        return evs.reshape(size, rows, engine.program.num_observables), 0


class _PluginGradient(torch.autograd.Function):
    """The vector-Jacobian product of an engine that computes it itself; differentiable no more."""

    @staticmethod
    def forward(values: Tensor, cotangent: Tensor, engine: Any, columns: Any) -> Tensor:
        return torch.from_numpy(
            engine.vjp(values.detach().numpy(), cotangent.detach().numpy(), columns)
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.name = inputs[2].gradient_name

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> Any:
        raise HigherOrderError(
            f"The gradient {ctx.name} can be taken once, not differentiated again. For second "
            "derivatives use gradient='parameter-shift', 'aqgd' or 'finite-difference'."
        )

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], values: Tensor, cotangent: Tensor, *rest: Any
    ) -> tuple[Tensor, int]:
        size = info.batch_size
        values = _front(values, in_dims[0], size)
        cotangent = _front(cotangent, in_dims[1], size)
        result = _PluginGradient.apply(values.flatten(0, 1), cotangent.flatten(0, 1), *rest)
        return result.reshape(*values.shape[:2], result.shape[-1]), 0


def _is_nested_forward_mode() -> bool:
    """Whether two ``torch.func`` forward-mode transforms are at work, one inside the other."""
    stack: list[Any] = (
        getattr(getattr(torch._C, "_functorch", None), "get_interpreter_stack", list)() or []
    )
    return sum("Jvp" in str(level.key()) for level in stack) > 1


def _front(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """Bring the mapped axis to the front, or repeat a tensor that has none."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _placed(inputs: Tensor, weights: Tensor, program: CircuitProgram) -> Tensor:
    """Put inputs ``(B, I)`` and weights ``(W,)`` or ``(B, W)`` in program order ``(B, P)``."""
    rows = weights.expand(inputs.shape[0], -1)
    return torch.cat([inputs, rows], -1)[:, torch.from_numpy(program.placement)]


def _vjp(
    engine: EstimatorEngine, values: Tensor, cotangent: Tensor, columns: tuple[int, ...]
) -> Tensor:
    """Return the vector-Jacobian product ``(B, C)``."""
    found = engine.differentiation(columns)
    if found is None:
        return _PluginGradient.apply(values, cotangent, engine, columns)
    evs = _at_shift_points(found, values)
    return found[0].combine(values, (evs * cotangent).sum(-1), torch)


def _at_shift_points(found: tuple[Differentiation, EstimatorEngine], values: Tensor) -> Tensor:
    """Evaluate all shift points of all rows in one job: ``(S, B, O)``."""
    d, target = found
    points = d.points(values, torch)  # (S, B, K)
    flat = points.reshape(math.prod(points.shape[:2]), points.shape[2])
    evs = _Expectation.apply(flat, flat.new_zeros(0), target)
    return evs.reshape(*points.shape[:2], target.program.num_observables)


def evaluated(engine: EstimatorEngine, inputs: Tensor | None, weights: Tensor) -> Tensor:
    """Check and convert inputs and weights, evaluate, and return values as the caller had them.

    Shapes: inputs ``(*batch, I)`` and weights ``(W,)`` to ``(*batch, *output_shape)``. The
    computation is in double precision on the CPU; the result has the dtype and device of the
    inputs (of the weights where inputs have no floating dtype).
    """
    program = engine.program
    weights = checked_weights(weights, program)
    like = weights
    if inputs is None:
        if program.input_params:
            raise InputError(
                f"Expected inputs of shape (..., {len(program.input_params)}); got none. The "
                f"circuit's inputs are {_listing(program)}."
            )
        inputs = weights.new_zeros(0)
    else:
        inputs = _checked_inputs(inputs, program)
        like = inputs if inputs.is_floating_point() else weights
    batch = tuple(inputs.shape[:-1])
    flat = inputs.reshape(math.prod(batch), inputs.shape[-1])
    evs = _Expectation.apply(_double(flat), _double(weights), engine)
    if not like.is_floating_point():
        like = evs.new_zeros(0, dtype=torch.get_default_dtype(), device=like.device)
    return evs.to(device=like.device, dtype=like.dtype).reshape(*batch, *program.output_shape)


def _double(tensor: Tensor) -> Tensor:
    return tensor.to("cpu").to(torch.float64)  # in this order: not every device has float64


def _listing(program: CircuitProgram) -> str:
    return ", ".join(p.name for p in program.input_params) or "(none)"


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
            f"circuit's inputs are {_listing(program)}."
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
        names = ", ".join(p.name for p in program.weight_params) or "(none)"
        raise InputError(
            f"Expected weights of shape ({expected},); got {tuple(weights.shape)}. The circuit's "
            f"weights are {names}."
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

    Returns:
        Shape ``(*batch, O)``, in the dtype and on the device of the inputs.

    Raises:
        BridgeError: A subclass of it for anything that is wrong, before a job is submitted.

    Cost:
        One job with one PUB forward, one backward.

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
    choices = (estimator, gradient, shots, precision, pass_manager, seed)
    return evaluated(_engines(program, choices), inputs, weights)


class _EngineCache:
    """Keeps the engines of the last programs, so that a program is prepared once."""

    def __init__(self, size: int = 16) -> None:
        self._size = size
        self._entries: OrderedDict[Any, tuple[Any, EstimatorEngine]] = OrderedDict()
        self._lock = Lock()

    def __call__(self, program: CircuitProgram, choices: tuple[Any, ...]) -> EstimatorEngine:
        plain = (str, int, float)
        key = (
            id(program),
            *((type(c), c) if isinstance(c, plain) else id(c) for c in choices),
        )
        with self._lock:
            if key not in self._entries:
                names = ("estimator", "gradient", "shots", "precision", "pass_manager", "seed")
                engine = make_engine(program, **dict(zip(names, choices, strict=True)))
                self._entries[key] = ((program, choices), engine)  # kept: their ids are the key
                if len(self._entries) > self._size:
                    self._entries.popitem(last=False)
            self._entries.move_to_end(key)
            return self._entries[key][1]


_engines = _EngineCache()
