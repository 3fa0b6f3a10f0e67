# SPDX-License-Identifier: Apache-2.0
"""PUBs for Aer in gates that it knows, and whose parameters it binds.

An algorithm hands over its circuit as it was built, of library blocks and of controlled rotations.
"""

from __future__ import annotations

from collections.abc import Sequence

from qiskit.primitives.containers.bindings_array import BindingsArray

from ..exceptions import CircuitError
from ..program import AnalysisCache
from ..program.lowering import accepts_aer
from .capabilities import is_aer
from .families import Primitive, Pub, family_of


class AerCircuits:
    """Writes the circuits of PUBs in gates that Aer runs, if Aer is among the primitives.

    Args:
        primitives: Where the PUBs go.
    """

    def __init__(self, primitives: Sequence[Primitive]) -> None:
        self._needed = any(map(is_aer, primitives))
        self._analysed = AnalysisCache()

    def __call__(self, pub: Pub) -> Pub:
        """Return the PUB with the same values at the same points."""
        circuit = pub.circuit
        if not self._needed or all(accepts_aer(i.operation) for i in circuit.data):
            return pub
        try:
            form = self._analysed(circuit).aer_form
        except CircuitError:  # what has no gradient is between the caller and Aer
            return pub
        known, kept = list(circuit.parameters), tuple(form.parameters)
        values = pub.parameter_values.as_array(known)[..., [known.index(p) for p in kept]]
        # Parameters of the global phase alone are gone.
        bindings = BindingsArray({kept: values} if kept else {}, pub.parameter_values.shape)
        form.metadata = circuit.metadata
        return family_of(pub).with_values(pub, form, bindings)
