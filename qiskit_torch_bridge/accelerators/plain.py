# SPDX-License-Identifier: Apache-2.0
r"""The state vector in torch operations: on every device, with derivatives of any order.

It reads the tape that :class:`.StatevectorSimulator` does. :meth:`PlainStatevector.evaluate` is a
function of torch like any other: autograd, ``torch.func`` and compilers look into it. Autograd
would keep a state for each rotation; so what it sees first is one function whose first derivative
is one sweep back that undoes the rotations. Only where that derivative is itself to be
differentiated is the circuit run once more with all that autograd keeps.

Reference: T. Jones & J. Gacon, arXiv:2009.02823, for the sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..program import AnalysedCircuit
from ..program.readouts import Readout
from ..simulation.statevector.readouts import compile_readout
from . import device_memory
from .initial_states import InitialStates
from .interface import Pair, TensorSimulator, keep_precision
from .readouts import make_readout
from .steps import HalfAngles, make_steps
from .tapes import TapeAngles

PARTS = {torch.complex64: torch.float32, torch.complex128: torch.float64}
"""The type of real and imaginary parts."""

FORWARD, BACKWARD, TANGENT_BACKWARD = 4, 7, 10
"""States that are there at once: vectors of a sweep, and what an operation leaves behind."""

_transformed: Callable[[], bool] = getattr(
    torch._C, "_are_functorch_transforms_active", lambda: True
)


class PlainStatevector(TensorSimulator):
    r"""What is read of one circuit's state, with derivatives of any order on any device.

    Args:
        analysed: The circuit.
        readout: What is read; ``None`` for states alone.
        inputs: The columns of its parameters that ``x`` holds.
        weights: Those that ``w`` holds.
        dtype: ``torch.complex128`` or ``torch.complex64``.
        device: Where everything is.

    Raises:
        CircuitError: If the circuit cannot be simulated exactly.
        MemoryLimitError: If its state, or what is read of it, does not fit into memory.

    Cost:
        Some passes over the state for each rotation. First derivatives take about three times as
        long, and memory for two states and what an operation leaves behind. Tangents and products
        of Hessians by :meth:`tangent` and :meth:`vjp_tangent` take two and four states. Where
        autograd or ``torch.func`` goes further, a few states for each rotation are kept.
    """

    order = float("inf")
    kernels = "torch"
    method = "statevector"

    def __init__(
        self,
        analysed: AnalysedCircuit,
        readout: Readout | None,
        inputs: Sequence[int],
        weights: Sequence[int],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.device, self.dtype = device, dtype
        self._float = PARTS[dtype]
        self.size = 0 if readout is None else readout.size
        require = device_memory.for_states(device)
        compiled = compile_readout(readout, analysed, dtype.itemsize, require)
        self.tape = compiled.tape
        self._angles = TapeAngles(compiled, inputs, weights, device)
        self._start = InitialStates(compiled.tape, self._angles, device, self._float)
        first, n = len(self._angles.leading), compiled.tape.num_bits
        self._steps = make_steps(self._angles.rest, first, n, device, self._float)
        self._readout = make_readout(compiled, device, self._float)

    def evaluate(self, x: Tensor, w: Tensor, keep: bool = False) -> tuple[Tensor, Tensor | None]:
        """Return what is read of the states, ``(B, S)``, and the final states if they are kept.

        Where amplitudes are read and qubits left out are not in state zero, a row is not a number.
        """
        self._require(len(x), FORWARD)
        with keep_precision(self.device):
            angles = self._angles(x, w)
            if _is_recorded(angles):
                values, ket = _Sweep.apply(angles, self)
            else:
                ket = self._run(angles)
                values = self._readout.read(ket)
            if not values.requires_grad:  # no angle depends on anything: gradients are zeros
                values = values + x.narrow(1, 0, 0).sum() + w.narrow(1, 0, 0).sum()
            return values, ket.detach() if keep else None

    @torch.no_grad()
    def vjp(
        self,
        x: Tensor,
        w: Tensor,
        cotangent: Tensor,
        kept: Tensor | None = None,
        wanted: tuple[bool, bool] = (True, True),
    ) -> Pair:
        """Return the gradients with respect to ``x`` and ``w``: see :meth:`.TensorSimulator.vjp`.

        The coefficients of observables may be complex: see :meth:`.StatevectorSimulator.vjp`.
        """
        self._require(len(x), BACKWARD)
        with keep_precision(self.device):
            angles = self._angles(x, w)
            ket = self._run(angles) if kept is None else kept
            gradient = self._sweep_back(angles, ket, cotangent)
            return self._angles.pull_back(x, w, gradient, wanted)

    @torch.no_grad()
    def tangent(self, x: Tensor, w: Tensor, dx: Tensor, dw: Tensor) -> Tensor:
        """Return the derivatives ``(B, S)`` of what is read along ``dx`` and ``dw``."""
        self._require(len(x), BACKWARD)
        with keep_precision(self.device):
            angles, dangles = self._angles(x, w), self._angles.tangents(x, w, dx, dw)
            return self._readout.tangent(*self._run_tangents(angles, dangles))

    @torch.no_grad()
    def vjp_tangent(
        self,
        x: Tensor,
        w: Tensor,
        cotangent: Tensor,
        dx: Tensor,
        dw: Tensor,
        dcotangent: Tensor,
        wanted: tuple[bool, bool] = (True, True),
    ) -> Pair:
        """Return the derivatives of :meth:`vjp` along ``dx``, ``dw`` and ``dcotangent``."""
        self._require(len(x), TANGENT_BACKWARD)
        with keep_precision(self.device):
            angles, dangles = self._angles(x, w), self._angles.tangents(x, w, dx, dw)
            ket, dket = self._run_tangents(angles, dangles)
            bra = self._readout.bra(ket, cotangent)
            dbra = self._readout.bra_tangent(ket, dket, cotangent, dcotangent)
            g, dg = self._sweep_tangents_back(angles, dangles, (ket, bra), (dket, dbra))
            return self._angles.pull_back_tangent(x, w, g, dx, dw, dg, wanted)

    def states(self, x: Tensor, w: Tensor) -> Tensor:
        """Return the final states ``(B, 2**n)`` of the qubits that are simulated."""
        self._require(len(x), FORWARD)
        with keep_precision(self.device):
            return torch.complex(*self._run(self._angles(x, w)).unbind(0))

    def _require(self, rows: int, states: int) -> None:
        """Raise :class:`.MemoryLimitError` unless so many states of each row fit."""
        n = self.tape.num_bits
        needed = states * rows * self.dtype.itemsize << n
        device_memory.require(needed, self.device, f"Simulating {rows} states of {n} qubits")

    def _halves(self, angles: Tensor) -> Tensor:
        return angles[: self._angles.num_rotations] / 2

    def _run(self, angles: Tensor) -> Tensor:
        """The final states, ``(2, B, 2**n)``."""
        state, halves = self._start(angles), HalfAngles.of(self._halves(angles), self._float)
        for step in self._steps:
            state = step.turn(state, halves)
        return state

    def _sweep_back(self, angles: Tensor, ket: Tensor, cotangent: Tensor) -> Tensor:
        """Return the gradient with respect to angles, ``(slots, B)``: all steps are undone."""
        halves, bra = (
            HalfAngles.of(self._halves(angles), self._float),
            self._readout.bra(ket, cotangent),
        )
        found = []
        for step in reversed(self._steps):
            found.append(step.contract(bra, ket))
            ket, bra = (step.turn(state, halves, back=True) for state in (ket, bra))
        return self._collect(found, angles) + self._start.pull_back(angles, bra)

    def _collect(self, found: list[Tensor], angles: Tensor) -> Tensor:
        """Put derivatives by half angles, from the last step to the first, among all slots."""
        after = len(angles) - self._angles.num_rotations
        whole = torch.cat(found[::-1]) if found else angles[:0]
        return pad(whole, (0, 0, len(self._angles.leading), after))

    def _run_tangents(self, angles: Tensor, dangles: Tensor) -> Pair:
        """The final states and their derivatives along tangents of the angles."""
        state = self._start(angles)
        if self._start.depends:
            dstate = self._start.tangent(angles, dangles)
        else:
            dstate = torch.zeros_like(state)
        half, dhalves = HalfAngles.of(self._halves(angles), self._float), self._halves(dangles)
        for step in self._steps:
            state, dstate = step.turn(state, half), step.turn(dstate, half)
            dstate = dstate + step.generate(state, dhalves)
        return state, dstate

    def _sweep_tangents_back(
        self, angles: Tensor, dangles: Tensor, pair: Pair, dpair: Pair
    ) -> Pair:
        """Do what :meth:`_sweep_back` does to ket and bra, and return the derivative too."""
        halves, dhalves = HalfAngles.of(self._halves(angles), self._float), self._halves(dangles)
        found, moved = [], []
        for step in reversed(self._steps):
            (ket, bra), (dket, dbra) = pair, dpair
            found.append(step.contract(bra, ket))
            moved.append(step.contract(dbra, ket) + step.contract(bra, dket))
            states = [*pair, *(d - step.generate(s, dhalves) for s, d in zip(pair, dpair))]  # noqa: B905
            ket, bra, dket, dbra = (step.turn(state, halves, back=True) for state in states)
            pair, dpair = (ket, bra), (dket, dbra)
        g = self._collect(found, angles) + self._start.pull_back(angles, pair[1])
        further = self._start.pull_back_tangent(angles, pair[1], dangles, dpair[1])
        return g, self._collect(moved, angles) + further


def _is_recorded(tensor: Tensor) -> bool:
    """Whether autograd records what is done to a tensor, and nothing else looks into it."""
    if not torch.is_grad_enabled() or not tensor.requires_grad:
        return False
    if torch.compiler.is_compiling() or torch.autograd.forward_ad._current_level >= 0:
        return False
    return not _transformed()


class _Sweep(torch.autograd.Function):
    """What is read, with a first derivative that keeps one state alone."""

    @staticmethod
    def forward(ctx: Any, angles: Tensor, simulator: PlainStatevector) -> tuple[Tensor, Tensor]:
        ket = simulator._run(angles)
        ctx.simulator = simulator
        ctx.save_for_backward(angles, ket)
        ctx.mark_non_differentiable(ket)
        ctx.set_materialize_grads(False)
        return simulator._readout.read(ket), ket

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None, _: None) -> tuple[Tensor | None, None]:
        if cotangent is None:
            return None, None
        angles, ket = ctx.saved_tensors
        simulator: PlainStatevector = ctx.simulator
        with keep_precision(simulator.device):
            if not torch.is_grad_enabled():
                return simulator._sweep_back(angles, ket, cotangent), None
            # The gradient is to be differentiated, which takes all that autograd keeps.
            read = torch.func.vjp(lambda a: simulator._readout.read(simulator._run(a)), angles)
            return read[1](cotangent)[0], None
