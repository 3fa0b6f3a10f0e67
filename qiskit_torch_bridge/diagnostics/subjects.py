# SPDX-License-Identifier: Apache-2.0
"""What is diagnosed: circuits at many points at once, and modules as functions of one vector."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from qiskit.circuit import QuantumCircuit
from torch import Tensor, nn

from .. import memory
from ..arguments import (
    require_callable,
    require_instance,
    require_real_array,
    require_whole_number,
)
from ..arrays import FloatArray
from ..exceptions import BridgeError, InputError
from ..execution import Execution
from ..functional import expectation
from ..module import TorchQuantumModule
from ..program import CircuitProgram, State

Circuit: TypeAlias = QuantumCircuit | CircuitProgram | TorchQuantumModule
"""What has a circuit: of programs and modules it is taken, whatever they measure. Frozen weights of
a module keep their values."""
Draw: TypeAlias = Callable[[np.random.Generator, tuple[int, int]], Any]
"""Returns angles of a shape ``(K, P)``, drawn from a generator."""
Loss: TypeAlias = Callable[[nn.Module], Tensor]
"""Returns one number, the loss of a module."""

BYTES = 1 << 27
"""What states of one piece of work may take."""
MOST_SAMPLES = 10**8


def circuit_of(circuit: Any, name: str = "circuit") -> QuantumCircuit:
    """Return the circuit of a circuit, a program or a module."""
    what = "a QuantumCircuit, a CircuitProgram or a TorchQuantumModule"
    kinds = (QuantumCircuit, CircuitProgram, TorchQuantumModule)
    given: Circuit = require_instance(circuit, name, cast("Any", kinds), what)
    if not isinstance(given, TorchQuantumModule):
        return given.circuit if isinstance(given, CircuitProgram) else given
    frozen = given.program.frozen_params
    values = dict(zip(given.program.weight_params, all_weights(given).tolist(), strict=True))
    if not frozen:
        return given.program.circuit
    return given.program.analysed.assigned({p: values[p] for p in frozen})


def all_weights(module: TorchQuantumModule) -> FloatArray:
    """Return the weights of a module ``(W,)``, those that are frozen as well."""
    return module.join_weights().detach().double().cpu().numpy()


def execution_of(circuit: Circuit) -> dict[str, Any]:
    """Return where and how it is evaluated, as arguments of :func:`.expectation`."""
    if not isinstance(circuit, TorchQuantumModule):
        return {}
    return {f.name: getattr(circuit.execution, f.name) for f in fields(Execution)}


def require_samples(samples: Any, least: int) -> int:
    """Return a number of samples."""
    return require_whole_number(samples, "samples", least, MOST_SAMPLES)


def draw_points(generator: np.random.Generator, shape: tuple[int, int], draw: Any) -> FloatArray:
    r"""Return points ``(K, P)``: uniform in :math:`[0, 2\pi)`, or from the function given."""
    memory.require_for(
        4 * 8 * math.prod(shape),
        f"Drawing {shape[0]} points of {shape[1]} angles",
        "Take fewer samples.",
    )
    if draw is None:
        return generator.uniform(0, 2 * math.pi, shape)
    require_callable(draw, "draw", "a function of a numpy.random.Generator and a shape (K, P)")
    points = require_real_array(draw(generator, shape), "what draw returns", shape)
    if not np.isfinite(points).all():
        raise InputError("Expected what draw returns to be finite angles; some are not.")
    return points


def prepare_states(
    circuit: QuantumCircuit, points: FloatArray, multiple_of: int = 1
) -> Iterator[Tensor]:
    """Yield the states ``(K', 2**n)`` at points ``(K, P)`` of all parameters, piece by piece.

    Each piece is of a multiple of some number of points.
    """
    program = CircuitProgram(circuit, State(), input_params=list(circuit.parameters))
    rows = multiple_of * max(1, (BYTES >> (4 + min(circuit.num_qubits, 60))) // multiple_of)
    for start in range(0, len(points), rows):
        yield expectation(program, torch.from_numpy(points[start : start + rows]))


class FlatModule:
    """A module as a function of one vector of all its trainable parameters.

    What is computed with it is computed on the device of its parameters and in their dtype; of a
    quantum module alone, in double precision. Vectors are on the processor, and so is what comes of
    them.

    Args:
        module: Any module.

    Attributes:
        center: Its parameters at present, ``(W,)``, in double precision.
        count: How many numbers they are.

    Raises:
        InputError: If it has no trainable parameters.
    """

    def __init__(self, module: Any) -> None:
        self.module: nn.Module = require_instance(module, "module", nn.Module, "a torch module")
        self.parameters = {n: p for n, p in module.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise InputError(
                f"Expected module to have trainable parameters; {type(module).__name__} has none."
            )
        self._alone = isinstance(module, TorchQuantumModule)
        vectors = [p.detach().reshape(-1).double().cpu() for p in self.parameters.values()]
        self.center = torch.cat(vectors)
        self.count = len(self.center)

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """Return a vector ``(W,)`` as parameters by name."""
        sizes = [p.numel() for p in self.parameters.values()]
        parts = zip(self.parameters.items(), flat.split(sizes), strict=True)
        return {name: part.reshape(p.shape) for (name, p), part in parts}

    def at(self, flat: Tensor, function: Callable[[nn.Module], Any]) -> Any:
        """Return a function of the module with a vector ``(W,)`` in place of its parameters."""
        given = {}
        for name, part in self.split(flat).items():
            p = self.parameters[name]
            given[f"module.{name}"] = part.to(p.device, part.dtype if self._alone else p.dtype)
        return torch.func.functional_call(_Applied(self.module, function), given, ())

    def over(self, function: Callable[..., Tensor], chunk: int | None = None) -> Any:
        """Return a function of vectors applied to rows of them, as one batch of evaluations."""
        batched = torch.func.vmap(function, randomness="different", chunk_size=chunk)

        def apply(*rows: Tensor) -> Any:
            try:
                return batched(*rows)
            except BridgeError:
                raise
            except RuntimeError as error:
                raise InputError(
                    "Expected a module and a loss that torch.func.vmap evaluates for many "
                    "parameters at once: no .item(), no numpy(), no branches on values, and "
                    "batch normalisation in eval() mode. It says: "
                    f"{str(error).splitlines()[0]}"
                ) from error

        return apply

    def loss(self, loss: Loss | None) -> Callable[[Tensor], Tensor]:
        """Return a loss as a function of a vector ``(W,)``; ``None`` for the module's output."""
        if loss is None:
            chosen: Loss = _output_of
        else:
            chosen = require_callable(loss, "loss", "a function of the module that returns a loss")

        def evaluate(flat: Tensor) -> Tensor:
            found = require_instance(
                self.at(flat, chosen), "what loss returns", Tensor, "a tensor of one number"
            )
            if found.numel() != 1 or found.is_complex():
                raise InputError(
                    "Expected the loss to be one real number; got "
                    f"{found.dtype} of shape {tuple(found.shape)}. Give loss=, a function of the "
                    "module, such as lambda m: criterion(m(inputs), targets)."
                )
            return found.reshape(()).to(flat)

        return evaluate


def _output_of(module: nn.Module) -> Tensor:
    """The loss of a module that takes nothing and gives it."""
    program = getattr(module, "program", None)
    if getattr(program, "input_params", ()):
        raise InputError(
            "Expected loss to be given for a module with inputs, such as "
            "lambda m: criterion(m(inputs), targets); got none."
        )
    return module()


class _Applied(nn.Module):
    """A function of a module, as a module of its own, so that its parameters can be replaced."""

    def __init__(self, module: nn.Module, function: Callable[[nn.Module], Any]) -> None:
        super().__init__()
        self.module = module
        self.function = function

    def forward(self) -> Any:
        return self.function(self.module)
