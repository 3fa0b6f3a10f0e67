# SPDX-License-Identifier: Apache-2.0
"""Sweeps by Triton's kernel against dense products of rotations, and against their derivatives.

The kernel runs by Triton's interpreter, one program after the other, so that tapes are short here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

pytest.importorskip("triton", minversion="3.3")

from qiskit_torch_bridge.accelerators.kernels import plan
from qiskit_torch_bridge.accelerators.kernels.launch import (
    adjoint,
    adjoint_tangent,
    apply,
    apply_tangent,
)
from qiskit_torch_bridge.accelerators.kernels.plan import (
    Block,
    Launch,
    Mode,
    RunTables,
    choose_block,
    lay_out_blocks,
)
from qiskit_torch_bridge.simulation.tape.operations import Angle, FixedMatrix, Rotation
from qiskit_torch_bridge.simulation.tape.paulis import PauliString

CPU = torch.device("cpu")
FAMILIES = ((Mode.KET, torch.float64), (Mode.ADJOINT, torch.float64),
            (Mode.TANGENT_ADJOINT, torch.float64), (Mode.ADJOINT, torch.float32))  # fmt: skip
SHARED_BYTES = 99 << 10
"""What a program may have of a multiprocessor's shared memory on consumers' GPUs."""


@dataclass(frozen=True)
class Problem:
    """A random tape, angles and vectors, and which derivatives are wanted."""

    operations: list[Rotation | FixedMatrix]
    num_bits: int
    theta: Tensor  # (slots, B)
    moved: Tensor
    bra: Tensor  # (B, 2**n)
    moved_bra: Tensor
    wanted: NDArray[np.bool_]

    @property
    def zero(self) -> Tensor:
        """The basis state 0."""
        zero = torch.zeros_like(self.bra)
        zero[:, 0] = 1
        return zero

    def states(self, theta: Tensor) -> Tensor:
        """Apply the tape to the basis state 0, rotation by rotation."""
        psi, slot = self.zero, 0
        for operation in self.operations:
            if isinstance(operation, FixedMatrix):
                psi = multiply(psi, operation, self.num_bits)
                continue
            x, z, k = operation.pauli
            there = torch.arange(1 << self.num_bits) ^ x
            signs = torch.tensor([1 - 2 * ((j & z).bit_count() & 1) for j in there.tolist()])
            half = theta[slot, :, None] / 2
            psi = half.cos() * psi - 1j * half.sin() * (1j**k * signs * psi[:, there])
            slot += 1
        return psi

    def gradient(self, theta: Tensor, bra: Tensor) -> Tensor:
        """Return twice the real part of the bra times derivatives of states."""
        return torch.func.grad(lambda t: 2 * (bra.conj() * self.states(t)).real.sum())(theta)


def multiply(psi: Tensor, operation: FixedMatrix, num_bits: int) -> Tensor:
    """Apply a fixed matrix by its elements."""
    out = torch.zeros_like(psi)
    mask = sum(1 << b for b in operation.bits)
    places = [sum((j >> i & 1) << b for i, b in enumerate(operation.bits))
              for j in range(1 << len(operation.bits))]  # fmt: skip
    rest = torch.tensor([i for i in range(1 << num_bits) if not i & mask])
    for row, to in enumerate(places):
        for column, source in enumerate(places):
            element = complex(operation.matrix[row, column])
            out[:, rest | to] += element * psi[:, rest | source]
    return out


def make_problem(num_bits: int, rows: int, rotations: int, seed: int, matrix: bool) -> Problem:
    """Draw rotations of all kinds, about few bits and about many, and perhaps a matrix."""
    rng = np.random.default_rng(seed)
    operations: list[Rotation | FixedMatrix] = []
    for number in range(rotations):
        x, z = (int(mask) for mask in rng.integers(0, 1 << num_bits, 2))
        kind = rng.integers(4)
        if kind == 0:
            x = 0
        elif kind == 1 and num_bits:
            x = 1 << int(rng.integers(num_bits))
        k = ((x & z).bit_count() + 2 * int(rng.integers(2))) % 4
        operations.append(Rotation(PauliString(x, z, k), Angle()))
        if matrix and number == rotations // 2:
            bits = rng.permutation(num_bits)[: min(num_bits, 2)].tolist()
            numbers = rng.normal(size=(2, 1 << len(bits), 1 << len(bits)))
            unitary = np.linalg.qr(numbers[0] + 1j * numbers[1])[0]
            operations.append(FixedMatrix(tuple(bits), unitary))
    angles = torch.as_tensor(rng.normal(size=(2, rotations, rows)))
    vectors = torch.as_tensor(rng.normal(size=(2, rows, 1 << num_bits, 2)))
    vectors = torch.view_as_complex(vectors / vectors.square().sum((2, 3), True).sqrt())
    wanted = rng.random(rotations) < 0.7
    wanted[rng.integers(rotations)] = True
    return Problem(operations, num_bits, angles[0], angles[1], vectors[0], vectors[1], wanted)


def split(vectors: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.stack([vectors.real, vectors.imag]).to(dtype)


def check(problem: Problem, mode: Mode, dtype: torch.dtype) -> None:
    """Sweep forward from garbage and then back, and compare all vectors and derivatives."""
    theta, moved = problem.theta, problem.moved
    c, s, h = (t.to(dtype) for t in ((theta / 2).cos(), (theta / 2).sin(), moved / 2))
    tables = RunTables(problem.operations, problem.num_bits, dtype, CPU)
    some = tables.want(problem.wanted)
    only = torch.as_tensor(problem.wanted)[:, None]
    # Each operation rounds each number a few times; inner products add up 2**n of them.
    tolerance = 64 * torch.finfo(dtype).eps * len(problem.operations)

    def same(found: Tensor, expected: Tensor) -> None:
        assert found.dtype in (dtype, torch.float64)
        assert (found - expected).abs().max() <= tolerance

    states, tangents = torch.func.jvp(problem.states, (theta,), (moved,))
    ket = torch.full((2, *states.shape), torch.nan, dtype=dtype)
    bra = split(problem.bra, dtype)
    if not mode.has_tangents:
        apply(ket, c, s, tables, from_zero=True)
        same(ket, split(states, dtype))
        if mode.has_bra:
            found = adjoint(ket, bra, c, s, some, in_full=True)
            same(found, only * problem.gradient(theta, problem.bra))
        else:
            apply(ket, c, s, tables, inverse=True)
        same(ket, split(problem.zero, dtype))
        return
    dket = torch.full_like(ket, torch.nan)
    apply_tangent(ket, dket, c, s, h, tables, from_zero=True)
    same(ket, split(states, dtype))
    same(dket, split(tangents, dtype))
    if mode.has_bra:
        dbra = split(problem.moved_bra, dtype)
        found = adjoint_tangent(ket, dket, bra, dbra, c, s, h, some)
        given, along = (theta, problem.bra), (moved, problem.moved_bra)
        same(found, only * torch.func.jvp(problem.gradient, given, along)[1])


def largest_whole(mode: Mode, dtype: torch.dtype) -> int:
    """Return the most bits of a state that is swept as a whole."""
    return max(n for n in range(20) if choose_block(mode, dtype, n).dimension >= n)


@pytest.mark.parametrize("rows", [1, 3, 33])
@pytest.mark.parametrize("num_bits", [0, 1, 4, 6])
def test_small_states(num_bits: int, rows: int) -> None:
    """With fewer amplitudes than registers, fewer than threads, and of several rows to a warp."""
    mode = Mode.ADJOINT if rows == 3 else Mode.TANGENT_ADJOINT if rows == 1 else Mode.KET
    check(make_problem(num_bits, rows, 5, num_bits + rows, True), mode, torch.float64)


@pytest.mark.parametrize("beyond", [-1, 0, 1, 2])
@pytest.mark.parametrize(("mode", "dtype"), FAMILIES)
def test_whole_states_and_cosets(
    mode: Mode, dtype: torch.dtype, beyond: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Around the most bits that fit a program; several launches even where they fit."""
    monkeypatch.setattr(plan, "MOST_OF_WHOLE", 3)
    num_bits = largest_whole(mode, dtype) + beyond
    check(make_problem(num_bits, 1, 4, num_bits, beyond == 1), mode, dtype)


@pytest.mark.parametrize("mode", [Mode.KET, Mode.ADJOINT, Mode.TANGENT_ADJOINT])
def test_cosets_of_several_rows(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks, so that there are several runs, and launches with few rotations each."""
    monkeypatch.setattr(plan, "choose_block", lambda *_: Block(1, 6, 1))
    monkeypatch.setattr(plan, "MOST_ROTATIONS", 2)
    monkeypatch.setattr(plan, "COSET_BITS", 1)
    check(make_problem(9, 2, 6, 7, True), mode, torch.float64)


def test_given_states_without_rotations() -> None:
    """An empty tape keeps what it is given, and a matrix alone can begin."""
    state = torch.randn(2, 3, 4, dtype=torch.float64)
    none = torch.zeros(0, 3, dtype=torch.float64)
    before = state.clone()
    apply(state, none, none, RunTables([], 2, torch.float64, CPU))
    assert torch.equal(state, before)
    swap = FixedMatrix((0,), np.array([[0, 1j], [1j, 0]]))
    tables = RunTables([swap], 2, torch.float64, CPU)
    apply(state, none, none, tables, from_zero=True)
    expected = torch.zeros_like(state)
    expected[1, :, 1] = 1
    assert torch.equal(state, expected)
    apply(state, none, none, tables, inverse=True)
    assert torch.equal(state[0, :, 0], torch.ones(3, dtype=torch.float64))


def test_nothing_is_undone_before_the_first_wanted_derivative() -> None:
    problem = make_problem(4, 2, 6, 0, False)
    c, s = (problem.theta / 2).cos(), (problem.theta / 2).sin()
    wanted = np.arange(6) == 4
    tables = RunTables(problem.operations, 4, torch.float64, CPU).want(wanted)
    ket, bra = (
        split(problem.states(problem.theta), torch.float64),
        split(problem.bra, torch.float64),
    )
    found = adjoint(ket, bra, c, s, tables)
    expected = problem.gradient(problem.theta, problem.bra)
    assert torch.allclose(found[4], expected[4], rtol=0, atol=1e-13)
    assert not found[[0, 1, 2, 3, 5]].any()
    angles = problem.theta.clone()
    angles[4:] = 0
    assert torch.allclose(ket, split(problem.states(angles), torch.float64), rtol=0, atol=1e-14)
    none = tables.want(np.zeros(6, dtype=np.bool_))
    assert not adjoint(ket.clone(), bra, c, s, none).any()


@pytest.mark.parametrize("num_bits", [12, 24, 31])
def test_places_are_all_indices_once(num_bits: int) -> None:
    """Exclusive ors of the tables are vectors over GF(2): the sizes of spans tell."""
    rng = np.random.default_rng(num_bits)
    masks = [int(m) for m in rng.integers(1, 1 << num_bits, 9)]
    rotations = [Rotation(PauliString(m, 0), Angle()) for m in masks]
    block = Block(3, 8, 3)
    sweep = lay_out_blocks(rotations, num_bits, block, 4, CPU)
    assert int((sweep.records[:, 0] >> 16).max()) < 1 << 13
    for step in sweep.steps:
        assert isinstance(step, Launch)
        places = step.places.numpy().astype(np.int64)
        low = min(step.log_cosets, plan.COSET_BITS)
        sizes = (1 << 8, 1 << 3, 1 << low, 1 << (step.log_cosets - low))
        assert len(places) == sum(sizes)
        rank, basis = 0, {}
        for place in (p for p in places.tolist() if p):
            assert 0 < place < 1 << num_bits
            while place and place.bit_length() in basis:
                place ^= basis[place.bit_length()]
            if place:
                basis[place.bit_length()] = place
                rank += 1
        assert rank == num_bits == sum(size.bit_length() - 1 for size in sizes)


COMPILE = """
import json, subprocess, sys, tempfile, pathlib
import torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from qiskit_torch_bridge.accelerators.kernels.launch import kernel_constants
from qiskit_torch_bridge.accelerators.kernels.plan import Mode, choose_block
from qiskit_torch_bridge.accelerators.kernels.runs import NUMBERS, sweep

tool = pathlib.Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
if not tool.exists() or not tool.with_name("ptxas").exists():
    print(json.dumps("no tools"))
    sys.exit()
found = []
for dtype, number in ((torch.float32, "fp32"), (torch.float64, "fp64")):
    pointers = {name: "*" + number for name in sweep.arg_names[:7]}
    pointers |= {"derivatives": "*fp64", "records": "*i32", "places": "*i32"}
    for mode in Mode:
        places = [(90, choose_block(mode, dtype, 30))]
        if mode is Mode.ADJOINT and dtype == torch.float32:  # the most warps, of an older GPU
            places.append((80, max(choose_block(mode, dtype, n) for n in range(13))))
        for capability, block in places:
            constants = kernel_constants(mode, dtype, block)
            types = pointers | dict.fromkeys(NUMBERS, "i32") | dict.fromkeys(constants, "constexpr")
            source = ASTSource(sweep, types, constants)
            options = {"num_warps": 1 << block.warps, "enable_fp_fusion": True}
            kernel = triton.compile(source, GPUTarget("cuda", capability, 32), options)
            with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
                file.write(kernel.asm["cubin"])
                file.flush()
                command = [tool, "-res-usage", file.name]
                report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            words = dict(w.split(":") for w in report.split() if w[:4] in ("REG:", "STAC", "LOCA"))
            found.append([mode.name, number, capability, block, kernel.metadata.shared, words])
print(json.dumps(found))
"""


def test_kernels_compile_without_spills() -> None:
    """For two generations of GPUs, of which none is needed for it."""
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    root = str(Path(__file__).parents[1])
    environment["PYTHONPATH"] = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    if found == "no tools":
        pytest.skip("Triton has no ptxas and cuobjdump here.")
    assert len(found) == 9
    for *which, shared, words in found:
        assert words["STACK"] == "0" and words["LOCAL"] == "0", which
        assert shared <= SHARED_BYTES, which
