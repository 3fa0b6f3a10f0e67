# SPDX-License-Identifier: Apache-2.0
"""quimb on JAX: each term as the network of its light cone, differentiated by JAX.

``Circuit.local_expectation`` builds the network of the reverse light cone and simplifies it; the
order is cotengra's. Gates hold traced arrays, and JAX compiles the value and gradient of the sum:
https://quimb.readthedocs.io/en/latest/tensor-circuit.html and
https://quimb.readthedocs.io/en/latest/examples/ex_circuit_local_expectation.html
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import quimb as qu
import quimb.tensor as qtn
from adjoint_reference import Step
from workloads import Term, Workload

from peers.candidate import Candidate, split

jax.config.update("jax_enable_x64", True)
jnp = jax.numpy
FIXED = {"cx": "CNOT", "h": "H"}


def local(work: Workload) -> Candidate:
    """Values and gradients of all rows, vectorized and compiled."""

    def loss(values: Any) -> tuple[Any, Any]:
        circuit = qtn.Circuit(work.qubits, to_backend=jnp.asarray, convert_eager=True)
        for name, qubits, parameter, factor in work.gates:
            gate = FIXED.get(name, name.upper())
            angles = () if parameter is None else (factor * values[parameter],)
            # Traced gates cannot be split into two tensors.
            circuit.apply_gate(gate, *angles, *qubits, contract=len(qubits) == 1)
        evs = jnp.stack([sum(_expectation(circuit, term) for term in o) for o in work.observables])
        return evs.sum(), evs

    gradient = jax.jit(jax.vmap(jax.value_and_grad(loss, has_aux=True)))
    values = jnp.array(work.values)

    def step() -> Any:
        return jax.block_until_ready(gradient(values))

    def read(result: Any) -> Step:
        (_, evs), by_values = result
        return split(work, np.array(evs), np.array(by_values))

    return Candidate(step, read)


def _expectation(circuit: qtn.Circuit, term: Term) -> Any:
    operator = jnp.asarray(qu.kron(*(qu.pauli(letter) for letter in term.word)))
    found = circuit.local_expectation(
        operator, term.qubits, optimize="greedy", simplify_sequence="R", backend="jax"
    )
    return term.coefficient * jnp.real(found)
