# SPDX-License-Identifier: Apache-2.0
"""Angles that a device does not take, found before anything is submitted.

Devices with fractional gates run ``rzz`` for angles from zero to a quarter turn alone; a shifted or
a trained angle leaves that range.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from qiskit.circuit import Parameter, ParameterExpression, QuantumCircuit
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from ..arrays import FloatArray
from ..exceptions import InputError
from ..program import AngleMap
from ..program.definitions import operations_of

LIMITED = {"rzz": (0.0, math.pi / 2)}
SLACK = 1e-9


def has_limited_angles(circuit: QuantumCircuit) -> bool:
    """Whether a transpiled circuit has a gate with a limited angle."""
    return any(operation.name in LIMITED for operation in operations_of(circuit))


def check_angles(pub: EstimatorPub) -> None:
    """Raise :class:`.InputError` if a PUB binds an angle that its gate does not take."""
    circuit = pub.circuit
    parameters = list(circuit.parameters)
    values = pub.parameter_values.as_array(parameters).reshape(-1, len(parameters))
    for operation in operations_of(circuit):
        limits = LIMITED.get(operation.name)
        if limits is None:
            continue
        (angle,) = operation.params
        found = _angles(angle, values, parameters)
        outside = (found < limits[0] - SLACK) | (found > limits[1] + SLACK)
        if outside.any():
            raise InputError(
                f"The device runs {operation.name} with angles from 0 to pi/2; "
                f"{angle} is {found[outside][0]:.6g} at one of the points. Nothing was submitted. "
                "Get the device without fractional gates, "
                "service.backend(name, use_fractional_gates=False), and make the module anew."
            )


def _angles(
    angle: ParameterExpression | float, values: FloatArray, parameters: Sequence[Parameter]
) -> FloatArray:
    found: FloatArray = AngleMap([angle], parameters).angles(values)[:, 0]
    return found
