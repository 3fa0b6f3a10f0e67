# SPDX-License-Identifier: Apache-2.0
"""What a training step costs at least, counted from the workload: operations and bytes."""

from __future__ import annotations

from workloads import Workload

AMPLITUDE = 16  # bytes: two float64


def operations(work: Workload) -> float:
    """Return the floating-point operations of one step by the adjoint method.

    Counted per amplitude, with 2**n amplitudes in each of B rows. A rotation makes both the real
    and the imaginary part of each new amplitude as c a + s b: two multiplications and one addition
    each, so

    - forward, one rotation: 6;
    - backward, the same rotation undone on bra and ket: 12, and the inner product of its
      derivative, Im(conj(bra) ket): 4; so 16.

    The observables' sum is applied to make the bra: for each set of terms that flip the same qubits
    a real diagonal multiplies the ket and is added: 4. The expectation values take one inner
    product of bra and ket: 4. CX costs nothing, it only exchanges amplitudes. Engines may do with
    less where a state factorises, or merge gates before they touch the state; none is obliged to
    do more.
    """
    masks = {
        frozenset(q for letter, q in zip(term.word, term.qubits, strict=True) if letter != "Z")
        for term in work.total
    }
    per_amplitude = 22 * work.rotations + 4 * len(masks) + 4
    return float(per_amplitude) * amplitudes(work)


def traffic(work: Workload) -> float:
    """Return the bytes that one step moves if every gate sweeps the state once.

    Forward, a rotation reads and writes each amplitude; backward, it does so for bra and ket. A CX
    does the same for the half of them where the control is one. An engine that applies several
    gates to a block of the state while it is in cache moves less through memory: the rate of this
    traffic may exceed the memory's, and by how much says how well it does that.
    """
    entanglers = len(work.gates) - work.rotations
    sweeps = 3 * (work.rotations + entanglers / 2)
    return sweeps * 2 * AMPLITUDE * amplitudes(work)


def least_traffic(work: Workload) -> float:
    """Return the bytes that cannot be avoided once a state does not fit into cache.

    The forward pass writes the state once, the backward pass reads it once: no engine moves less,
    however many gates it applies in between.
    """
    return 2.0 * AMPLITUDE * amplitudes(work)


def amplitudes(work: Workload) -> float:
    """Return the number of amplitudes in all rows."""
    return float(len(work.x)) * 2.0**work.qubits
