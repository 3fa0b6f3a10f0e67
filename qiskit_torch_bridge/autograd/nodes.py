# SPDX-License-Identifier: Apache-2.0
"""Engines as torch refers to them: by name, with the standard errors of a thread's last passes."""

from __future__ import annotations

import base64
import functools
import itertools
import json
import threading
import weakref
from typing import Any, Protocol

from torch import Tensor

from ..arguments import UNREADABLE
from ..arrays import FloatArray
from ..engines import Engine, Gradients, Values, make_engine
from ..engines.interface import BOTH, Wanted
from ..exceptions import BridgeError, ResultError, TracingError
from ..execution import Exact, Execution
from ..program import CircuitProgram
from ..rules import Differentiation

EXACT = "exact:"
"""What the names of exact engines begin with that can be taken to another process."""

_names = map("#{}".format, itertools.count())
_living: weakref.WeakValueDictionary[str, Node] = weakref.WeakValueDictionary()


class Context(Protocol):
    """What autograd functions keep between passes, in the object that PyTorch hands them."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]
    node: Node
    name: str
    wanted: Wanted
    arrays: tuple[FloatArray, FloatArray]
    kept: object

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for the backward pass."""

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for forward mode."""

    def set_materialize_grads(self, value: bool) -> None:
        """Say whether missing gradients become zeros."""


class StandardErrors(threading.local):
    """The standard errors of the last passes of a thread; each thread sees its own."""

    stds: FloatArray | None = None
    values: FloatArray | None = None
    gradient: FloatArray | None = None


class Node:
    """An engine in a graph of torch's: what autograd functions and operators hold.

    Attributes:
        name: Text that stands for it in recorded programs of this process.
        program: The engine's program.
        last: Standard errors ``(B, O)`` of the last values, these values where more is made of
            them, and standard errors ``(W,)`` of the last gradient in this thread.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._begin()

    def _begin(self) -> None:
        self.name = next(_names)
        _living[self.name] = self
        self.last = StandardErrors()
        self._displaced: dict[tuple[int, ...], tuple[Differentiation, Node]] = {}

    @property
    def program(self) -> CircuitProgram:
        """The program that is evaluated."""
        return self.engine.program

    @property
    def order(self) -> float:
        """How often values can be differentiated."""
        return self.engine.order

    def evaluate(self, x: FloatArray, w: FloatArray, keep: bool = False) -> Values:
        """Evaluate all rows, and note the standard errors."""
        return self.note(self.engine.evaluate(x, w, keep))

    def note(self, values: Values) -> Values:
        """Note the standard errors of a forward pass.

        Raises:
            ResultError: If an engine of somebody else has read something else than was asked for.
        """
        if values.evs.shape[1:] != (self.program.num_outputs,):
            raise ResultError(
                f"{type(self.engine).__name__} returned values of shape {values.evs.shape}; "
                f"expected ({len(values.evs)}, {self.program.num_outputs}), the numbers that "
                f"{self.program.measurement!r} reads. An engine for observables only has to refuse "
                "other measurements: see the page 'Write an engine of your own'."
            )
        self.last.stds, self.last.values = values.stds, None
        if values.stds is not None and not self.program.measurement.is_read:
            self.last.values = values.evs.copy()  # the array itself is the caller's
        return values

    def vjp(
        self,
        x: FloatArray,
        w: FloatArray,
        cotangent: FloatArray,
        kept: object = None,
        wanted: Wanted = BOTH,
    ) -> Gradients:
        """Return the vector-Jacobian products, and note the standard errors."""
        gradients = self.engine.vjp(x, w, cotangent, kept, wanted)
        self.last.gradient = gradients.stds
        return gradients

    def displaced(self, columns: tuple[int, ...]) -> tuple[Differentiation, Node]:
        """Return the plan for derivatives with respect to columns, and the node of its points."""
        if columns not in self._displaced:
            engine: Any = self.engine  # of an order that has it
            d, at_points = engine.differentiation(columns)
            self._displaced[columns] = d, Node(at_points)
        return self._displaced[columns]

    def set_precision(self, forward: float | None, gradient: float | None) -> None:
        """Ask for other precisions from now on, also in programs recorded already."""
        self.engine = self.engine.at_precision(forward, gradient)
        self._displaced.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {"engine": self.engine}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def __deepcopy__(self, memo: dict[int, Any]) -> Node:
        # An estimator may stand for a device or a session, of which there is one: it is shared.
        memo[id(self)] = twin = Node(self.engine)
        return twin


def node_named(name: str) -> Node:
    """Return the node that a name stands for.

    Raises:
        TracingError: If it has gone with its module, or lived in another process.
    """
    if name.startswith(EXACT):
        return _exact_node(name)
    node = _living.get(name)
    if node is None:
        raise TracingError(
            "The module that this program was recorded from is gone, or belongs to another "
            "process. Keep the module as long as the program, and compile or trace anew elsewhere; "
            "torch.export makes programs that stand alone, of modules on the exact engine."
        )
    return node


def portable_name(node: Node) -> str:
    """Return a name that says all there is to an exact engine, for any process with this package.

    Raises:
        TracingError: If the engine is not exact: estimators and devices cannot be written down.
    """
    engine: Any = node.engine
    if not engine.stands_alone:
        raise TracingError(
            "torch.export makes programs that stand alone, and estimators do not fit into one. "
            "Export module.with_backend(estimator=Exact(), gradient='adjoint'), which is exact, "
            "or take the circuit along as qiskit.qasm3.dumps(module.to_circuit()) and the weights "
            "as module.state_dict()."
        )
    state = engine.program.to_state()
    circuit = base64.b64encode(state["circuit"]).decode()
    exact: Exact = engine.exact
    return EXACT + json.dumps([circuit, state["program"], exact.method, exact.dtype])


@functools.lru_cache(maxsize=16)
def _exact_node(name: str) -> Node:
    try:
        circuit, program, method, dtype = json.loads(name.removeprefix(EXACT))
        state = {"circuit": base64.b64decode(circuit, validate=True), "program": program}
        execution = Execution(estimator=Exact(method, dtype))
        return Node(make_engine(CircuitProgram.from_state(state), execution)[0])
    except BridgeError:
        raise
    except UNREADABLE as error:  # text that is nested too deeply among them
        raise TracingError(f"The program holds a damaged circuit: {error}.") from error
