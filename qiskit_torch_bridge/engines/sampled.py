# SPDX-License-Identifier: Apache-2.0
"""The outcomes of a circuit, drawn where something else is read of it."""

from __future__ import annotations

import functools
from typing import Any

from ..backends.counterparts import find_counterpart, prepare_counterpart
from ..exceptions import MeasurementError
from ..execution import Exact, Execution
from ..primitives import BatchedStatevectorSampler
from ..primitives.capabilities import is_sampler
from ..primitives.families import Primitive
from ..program import CircuitProgram
from ..program.measured_qubits import visible_qubits
from ..program.readouts import Outcomes, Readout, RecordedBits
from .evaluators import Sampling
from .make import Place, form_for


def make_sampling(program: CircuitProgram, execution: Execution, place: Place) -> Sampling:
    """Return what draws the outcomes of a program's circuit in the place where it is evaluated.

    Of a measurement of outcomes its own qubits are measured, of any other all qubits of the circuit
    as it was given; bit ``j`` of an outcome is that of qubit ``j`` then.

    Args:
        program: The program as it was given.
        execution: How it is evaluated.
        place: Where. The circuit stays as it is transpiled there.

    Raises:
        MeasurementError: If nothing is known that draws outcomes there.
    """
    asked = program.with_rotations.with_readout(_outcomes(program.readout, program))
    on = execution.on_backend
    if on is None:
        sampler: Any = _sampler_for(execution, place)
        given = any(place.isa_circuit is p.circuit for p in (program, asked))
        if not given:  # it was transpiled, and is not again
            asked = asked.rewritten(lambda _: place.isa_circuit)
        return Sampling(form_for(asked, (sampler,)), sampler)
    sampling: Any = place.primitive
    if sampling is not None and is_sampler(sampling):
        # It is outcomes that are read, of these qubits.
        read = _outcomes(place.program.readout, place.program)
        return Sampling(place.program.with_readout(read), sampling)
    found: Any = prepare_counterpart(asked, on, place.isa_circuit, execution.seed)
    return Sampling(form_for(found.program, (found.primitive,)), found.primitive)


@functools.singledispatch
def _outcomes(readout: Readout, program: CircuitProgram) -> Outcomes | RecordedBits:
    """Return which qubits are measured where a program reads something."""
    return Outcomes(visible_qubits(program.circuit, "auto"))


@_outcomes.register
def _(readout: Outcomes, program: CircuitProgram) -> Outcomes:
    return Outcomes(readout.qubits)


@_outcomes.register
def _(readout: RecordedBits, program: CircuitProgram) -> RecordedBits:
    return RecordedBits(readout.bits)


def _sampler_for(execution: Execution, place: Place) -> Primitive:
    if execution.maker is not None:
        raise MeasurementError(
            f"Nothing is known that draws outcomes where {type(execution.maker).__name__} "
            "evaluates. Move the module to draw them: module.with_backend(estimator=sampler)."
        )
    primitive = place.primitive
    if primitive is None:
        dtype = (execution.exact or Exact()).dtype
        return BatchedStatevectorSampler(seed=execution.seed, dtype=dtype)
    sampler = primitive if is_sampler(primitive) else find_counterpart(primitive)
    if sampler is None:
        raise MeasurementError(
            f"No sampler is known that goes with {type(primitive).__name__}, so no outcomes can be "
            "drawn where it evaluates. Give one: module.with_backend(estimator=sampler)."
        )
    return sampler
