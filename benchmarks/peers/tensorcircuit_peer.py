# SPDX-License-Identifier: Apache-2.0
"""TensorCircuit-NG on JAX: jit of the vectorized value and gradient, in ``complex128``.

Three ways that its documentation gives, as none is best everywhere:

- ``unrolled``: the whole circuit in one traced program, default contraction order.
- ``scanned``: ``K.scan`` over the layers, which compiles faster
  (https://github.com/tensorcircuit/tensorcircuit-ng/blob/master/examples/benchmark_mq_vs_tc_vqe.py).
- ``searched``: unrolled, its contraction order searched by cotengra, as ``tc.set_contractor``
  recommends for larger networks; "cotengra-30-64" (30 s, 64 trials) is the value in its docstring.

``K.vectorized_value_and_grad`` under ``K.jit`` is the pattern of
https://tensorcircuit-ng.readthedocs.io/en/latest/quickstart.html; Hamiltonians use
``PauliStringSum2MVP``, and with hundreds of terms a sparse matrix and ``operator_expectation``
(https://github.com/tensorcircuit/tensorcircuit-ng/blob/master/examples/mvp_vqe.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorcircuit as tc
from adjoint_reference import Step
from workloads import Gate, Observable, Workload

from peers.candidate import Candidate, reverse_bits

K = tc.set_backend("jax")
tc.set_dtype("complex128")
FIXED = {"cx": "cnot", "h": "h"}
MOST_TERMS = 200  # beyond it, one traced product per term takes minutes to compile


def unrolled(work: Workload) -> Candidate:
    """All gates traced, the default contraction order."""
    tc.set_contractor("greedy", preprocessing=True)  # the value it has after import
    return _candidate(work, _whole(work))


def scanned(work: Workload) -> Candidate:
    """One layer traced, the default contraction order."""
    tc.set_contractor("greedy", preprocessing=True)
    return _candidate(work, _layers(work))


def searched(work: Workload) -> Candidate:
    """All gates traced, contraction order by cotengra."""
    tc.set_contractor("cotengra-30-64")
    return _candidate(work, _whole(work))


def _whole(work: Workload) -> Callable[[Any], tc.Circuit]:
    def circuit(values: Any) -> tc.Circuit:
        c = tc.Circuit(work.qubits)
        _append(c, work.gates, [values[g.parameter] for g in work.gates if g.parameter is not None])
        return c

    return circuit


def _layers(work: Workload) -> Callable[[Any], tc.Circuit]:
    start, period, repeats = work.layers
    stop = start + period * repeats
    before, layer, after = work.gates[:start], work.gates[start:][:period], work.gates[stop:]
    columns = jnp.array(
        [g.parameter for g in work.gates[start:stop] if g.parameter is not None]
    ).reshape(repeats, -1)

    def advance(state: Any, angles: Any) -> Any:
        c = tc.Circuit(work.qubits, inputs=state)
        _append(c, layer, angles)
        return c.state()

    def circuit(values: Any) -> tc.Circuit:
        c = tc.Circuit(work.qubits)
        _append(c, before, [values[g.parameter] for g in before])
        c = tc.Circuit(work.qubits, inputs=K.scan(advance, values[columns], c.state()))
        _append(c, after, [values[g.parameter] for g in after])
        return c

    return circuit


def _append(c: tc.Circuit, gates: Sequence[Gate], angles: Any) -> None:
    used = 0
    for name, qubits, parameter, factor in gates:
        if parameter is None:
            getattr(c, FIXED[name])(*qubits)
        else:
            angle = angles[used] if factor == 1 else factor * angles[used]
            getattr(c, name)(*qubits, theta=angle)
            used += 1


def wide(work: Workload) -> Candidate:
    """No state: each term contracted within its light cone, the default contraction order."""
    tc.set_contractor("greedy", preprocessing=True)
    return _candidate(work, _whole(work), _by_cones(work))


def wide_searched(work: Workload) -> Candidate:
    """The same, each order searched by cotengra for two seconds in eight trials."""
    tc.set_contractor("cotengra-2-8")
    return _candidate(work, _whole(work), _by_cones(work))


def _by_cones(work: Workload) -> Callable[[tc.Circuit], Any]:
    """Each term as a network of its own (``reuse=False``), gates outside its cone left out."""

    def expectations(c: tc.Circuit) -> Any:
        return K.stack(
            [
                sum(
                    term.coefficient * _expectation(c, term, reuse=False, enable_lightcone=True)
                    for term in observable
                )
                for observable in work.observables
            ]
        )

    return expectations


def _candidate(
    work: Workload,
    circuit: Callable[[Any], tc.Circuit],
    read: Callable[[tc.Circuit], Any] | None = None,
) -> Candidate:
    measured = len(work.costs) > 0
    expectations = read or (tc.Circuit.probability if measured else _expectations(work))
    # Its first qubit comes first in the index of an outcome.
    costs = jnp.array(reverse_bits(work.costs)) if measured else 1.0

    def loss(x: Any, w: Any) -> tuple[Any, Any]:
        evs = expectations(circuit(jnp.concatenate([x, w])))
        return K.sum(costs * evs), evs

    gradient = K.jit(
        K.vectorized_value_and_grad(loss, argnums=(0, 1), vectorized_argnums=0, has_aux=True)
    )
    x, w = jnp.array(work.x), jnp.array(work.w)

    def step() -> Any:
        return jax.block_until_ready(gradient(x, w))

    def read(result: Any) -> Step:
        (_, evs), (by_inputs, by_weights) = result
        values = reverse_bits(evs) if measured else np.array(evs)
        return Step(values, np.array(by_inputs), np.array(by_weights))

    return Candidate(step, read)


def _expectations(work: Workload) -> Callable[[tc.Circuit], Any]:
    observables = work.observables
    if all(len(o) == 1 and o[0].word == "Z" and o[0].coefficient == 1 for o in observables):
        return lambda c: _marginals(c, [o[0].qubits[0] for o in observables])
    if all(len(o) == 1 for o in observables):
        return lambda c: K.stack([t.coefficient * _expectation(c, t) for (t,) in observables])
    (energy,) = observables  # the other workloads have one Hamiltonian
    structures, weights = _structures(work.qubits, energy)
    if len(energy) > MOST_TERMS:
        matrix = tc.quantum.PauliStringSum2COO(structures, weights)
        return lambda c: K.stack([tc.templates.measurements.operator_expectation(c, matrix)])
    product = tc.quantum.PauliStringSum2MVP(structures, weights)

    def expectation(c: tc.Circuit) -> Any:
        state = c.state()
        return K.stack([jnp.real(jnp.vdot(state, product(state)))])

    return expectation


def _marginals(c: tc.Circuit, qubits: Sequence[int]) -> Any:
    """Z on single qubits from the probabilities: faster than ``expectation_ps`` one by one."""
    probabilities = K.reshape(c.probability(), (2,) * c.circuit_param["nqubits"])
    everything = set(range(probabilities.ndim))
    halves = [jnp.sum(probabilities, axis=tuple(everything - {q})) for q in qubits]
    return K.stack([half[0] - half[1] for half in halves])


def _expectation(c: tc.Circuit, term: Any, **options: Any) -> Any:
    places: dict[str, list[int]] = {"x": [], "y": [], "z": []}
    for letter, qubit in zip(term.word.lower(), term.qubits, strict=True):
        places[letter].append(qubit)
    return K.real(c.expectation_ps(**places, **options))


def _structures(qubits: int, observable: Observable) -> tuple[list[list[int]], list[float]]:
    structures = np.zeros((len(observable), qubits), dtype=int)
    for row, term in zip(structures, observable, strict=True):
        row[list(term.qubits)] = ["IXYZ".index(letter) for letter in term.word]
    return structures.tolist(), [term.coefficient for term in observable]
