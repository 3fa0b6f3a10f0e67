# SPDX-License-Identifier: Apache-2.0
"""What a kernel takes from one of qiskit-machine-learning."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BaseSamplerV2

from ..algorithms.module_parts import PLACES, means_exact_values
from ..arguments import shown
from ..exceptions import AlgorithmError, AlgorithmTypeError


def read_kernel(kernel: Any, given: Collection[str]) -> dict[str, Any]:
    """Return the arguments of :class:`.FidelityKernel` that a kernel stands for.

    Args:
        kernel: The kernel of the other package, read by what it has.
        given: The arguments that are given besides, which are not read.

    Raises:
        AlgorithmTypeError: If it is no fidelity kernel.
        AlgorithmError: If its sampler is of version 1, or training parameters have some values and
            lack others.
    """
    circuit = getattr(kernel, "feature_map", None)
    fidelity = getattr(kernel, "fidelity", None)
    simulates = hasattr(kernel, "clear_cache")
    if not isinstance(circuit, QuantumCircuit) or (fidelity is None and not simulates):
        raise AlgorithmTypeError(
            "Expected a FidelityQuantumKernel or FidelityStatevectorKernel of "
            f"qiskit-machine-learning, or a trainable one; got {shown(kernel)}."
        )
    arguments: dict[str, Any] = {"feature_map": circuit, **_read_roles(kernel)}
    if not PLACES & set(given) and fidelity is not None:
        sampler = getattr(fidelity, "_sampler", None)  # there is no public name for it
        if not means_exact_values(sampler, circuit.num_qubits):
            if not isinstance(sampler, BaseSamplerV2):
                raise AlgorithmError(
                    "Expected a kernel whose fidelity has a V2 sampler; got "
                    f"{shown(sampler)}. Give estimator= as well."
                )
            arguments["estimator"] = sampler
    shots = getattr(kernel, "_shots", None)
    if simulates and shots is not None and not (PLACES | {"precision"}) & set(given):
        arguments["shots"] = shots
    if getattr(kernel, "enforce_psd", False) and {"estimator", "shots"} & set(arguments):
        arguments["psd"] = "clip"
    return arguments


def _read_roles(kernel: Any) -> dict[str, Any]:
    """Return which parameters are trained, and their values if they have any."""
    trained = list(getattr(kernel, "training_parameters", ()))
    if not trained:
        return {}
    values = list(kernel.parameter_values)
    known = [value is not None for value in values]
    if any(known) and not all(known):
        missing = [p.name for p, is_known in zip(trained, known, strict=True) if not is_known]
        raise AlgorithmError(
            "Expected a kernel of which all training parameters have a value, or none; got one "
            f"without those of {', '.join(missing)}. Call kernel.assign_training_parameters."
        )
    roles: dict[str, Any] = {"weight_params": trained}
    return {**roles, "initial_weights": [float(v) for v in values]} if all(known) else roles
