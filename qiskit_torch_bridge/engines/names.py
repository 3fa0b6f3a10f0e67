# SPDX-License-Identifier: Apache-2.0
"""Engines by name: for recorded programs, which can refer to an engine by text only."""

from __future__ import annotations

import base64
import functools
import json

from ..arguments import UNREADABLE
from ..exceptions import BridgeError, TracingError
from ..program import CircuitProgram
from .estimator import EstimatorEngine, living
from .selection import make_engine
from .statevector import StatevectorEngine

EXACT = "exact:"


def engine_named(name: str) -> EstimatorEngine:
    """Return the engine that a name stands for.

    Raises:
        TracingError: If it has gone with its module, or lived in another process.
    """
    if name.startswith(EXACT):
        return _exact_engine(name)
    engine = living.get(name)
    if engine is None:
        raise TracingError(
            "The module that this program was recorded from is gone, or belongs to another "
            "process. Keep the module as long as the program, and compile or trace anew elsewhere; "
            "torch.export makes programs that stand alone, of modules on the exact engine."
        )
    return engine


def portable_name(engine: EstimatorEngine) -> str:
    """Return a name that says all there is to an exact engine, for any process with this package.

    Raises:
        TracingError: If the engine is not exact: estimators and devices cannot be written down.
    """
    if not isinstance(engine, StatevectorEngine) or engine.samples:
        raise TracingError(
            "torch.export makes programs that stand alone, and estimators do not fit into one. "
            "Export module.with_backend(gradient='adjoint', shots=None), which computes exactly, "
            "or take the circuit along as qiskit.qasm3.dumps(module.to_circuit()) and the weights "
            "as module.state_dict()."
        )
    state = engine.program.to_state()
    circuit = base64.b64encode(state["circuit"]).decode()
    return EXACT + json.dumps([circuit, state["program"], str(engine.dtype)])


@functools.lru_cache(maxsize=16)
def _exact_engine(name: str) -> EstimatorEngine:
    try:
        circuit, program, dtype = json.loads(name.removeprefix(EXACT))
        state = {"circuit": base64.b64decode(circuit, validate=True), "program": program}
        return make_engine(CircuitProgram.from_state(state), dtype=dtype)
    except BridgeError:
        raise
    except UNREADABLE as error:  # text that is nested too deeply among them
        raise TracingError(f"The program holds a damaged circuit: {error}.") from error
