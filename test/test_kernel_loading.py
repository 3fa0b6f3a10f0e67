# SPDX-License-Identifier: Apache-2.0
"""What compiled kernels are found by on disk."""

from __future__ import annotations

import collections
import subprocess
import sys
from types import FunctionType

import pytest
from numba.core.caching import IndexDataCacheFile

from qiskit_torch_bridge.simulation.kernels import disk_cache
from qiskit_torch_bridge.simulation.kernels.disk_cache import OneFileEach
from qiskit_torch_bridge.simulation.kernels.loading import KernelLoader


def version_of(loader, purpose=""):
    loader(purpose, "kind", purpose)
    return loader.versions[-1]


def recording(folder):
    """A loader that remembers the versions it makes kernels of."""
    versions = []
    loader = KernelLoader(folder, lambda version, *kind: (versions.append(version), len)[1])
    loader.versions = versions
    return loader


def test_kernels_are_of_the_sources_that_were_there_when_they_were_imported(tmp_path):
    """Sources that change under a process are not what it compiles, and must not be taken for it.

    The next process compiles what is written then.
    """
    here, other = tmp_path / "here", tmp_path / "other"
    for folder in (here, other):
        folder.mkdir()
        (folder / "passes.py").write_text("before = 1")
    loader = recording(here)
    before = version_of(loader)
    (here / "passes.py").write_text("after = 2")
    assert version_of(loader, " of another kind") == before
    assert version_of(recording(here)) == before
    assert version_of(recording(other)) == before
    (tmp_path / "next").mkdir()
    (tmp_path / "next" / "passes.py").write_text("after = 2")
    assert version_of(recording(tmp_path / "next")) != before


def overtaken(kind, place):
    """A cache whose data are written after those of another process for another signature."""
    other = kind(place, "passes", "stamp")
    other._load_index = dict  # it has looked before either wrote

    class Overtaken(kind):
        def _save_data(self, name, data):
            other.save(("complex128", "here"), "code for complex128")
            super()._save_data(name, data)

    return Overtaken(place, "passes", "stamp")


def what_is_found(kind, place):
    overtaken(kind, place).save(("complex64", "here"), "code for complex64")
    reader = kind(place, "passes", "stamp")
    return {dtype: reader.load((dtype, "here")) for dtype in ("complex64", "complex128")}


def test_signatures_compiled_at_the_same_time_are_kept_apart(tmp_path):
    assert what_is_found(OneFileEach, str(tmp_path)) == {
        "complex64": "code for complex64",
        "complex128": "code for complex128",
    }


def test_numba_alone_hands_out_code_of_another_signature(tmp_path):
    """When this is no longer so, :class:`OneFileEach` can go."""
    assert what_is_found(IndexDataCacheFile, str(tmp_path))["complex128"] == "code for complex64"


def test_only_what_was_written_for_a_key_is_read(tmp_path):
    cache = OneFileEach(str(tmp_path), "passes", "stamp")
    cache.save("key", "code")
    assert cache.load("key") == "code"
    assert cache.load("another") is None
    assert OneFileEach(str(tmp_path), "passes", "later").load("key") is None
    (file,) = tmp_path.iterdir()
    for damaged in (b"", file.read_bytes()[:-5], b"neither"):
        file.write_bytes(damaged)
        assert cache.load("key") is None
    cache._save_data(cache._name("key"), ("another", "code"))
    assert cache.load("key") is None


def test_all_that_is_kept_on_disk_has_such_a_cache():
    from qiskit_torch_bridge.primitives.inversion import invert
    from qiskit_torch_bridge.simulation.columns.kernels import kernel as columns
    from qiskit_torch_bridge.simulation.columns.kernels.draw import draw
    from qiskit_torch_bridge.simulation.statevector.kernels import kernel as statevector

    for compiled in (invert, draw, columns(), statevector(False), statevector(True)):
        assert type(compiled._cache._cache_file) is OneFileEach


ENCLOSED = """
import runpy
import sys
import numpy as np
from numba import njit

name_apart = runpy.run_path(sys.argv[2])["name_apart"]  # without PyTorch and all else

def make(k):
    def fill(x):
        for i in range(len(x)):
            for j in range(i):
                x[i] += k * np.sin(x[j]) + np.cos(x[i]) * np.exp(-x[j] ** 2)
        for i in range(len(x)):
            x[i] = k
    return njit(name_apart(k)(fill) if sys.argv[1] == "apart" else fill)

fill_1, fill_2 = make(1), make(2)

@njit(cache=True)
def first(x):
    fill_1(x); fill_1(x[1:]); fill_1(x[2:])
    return x[3]

@njit(cache=True)
def second(x):
    fill_2(x); fill_2(x[1:]); fill_2(x[2:])
    return x[3]
"""


def run_enclosed(folder, how, *functions):
    calls = ", ".join(f"enclosed.{name}(enclosed.np.ones(5))" for name in functions)
    done = subprocess.run(
        [sys.executable, "-c", f"import enclosed; print(*[{calls}])", how, disk_cache.__file__],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [float(word) for word in done.stdout.split()]


@pytest.mark.parametrize(("how", "seen"), [("apart", [1, 2]), ("alike", [1, 1])])
def test_functions_of_one_name_call_each_other_across_processes(tmp_path, how, seen):
    """Unless they are named apart. When ``alike`` is right too, :func:`name_apart` can go."""
    (tmp_path / "enclosed.py").write_text(ENCLOSED)
    assert run_enclosed(tmp_path, how, "first") == [1]
    assert run_enclosed(tmp_path, how, "second") == [2]
    assert run_enclosed(tmp_path, how, "first", "second") == seen


def compiled_functions(function, found):
    """Collect the functions of this package that kernels are made of, by name."""
    function = getattr(function, "py_func", function)
    ours = getattr(function, "__module__", None) or ""
    if not isinstance(function, FunctionType) or not ours.startswith("qiskit_torch_bridge"):
        return
    name = ours, function.__qualname__
    if function in found[name]:
        return
    found[name].add(function)
    enclosed = [cell.cell_contents for cell in function.__closure__ or ()]
    for other in [*enclosed, *map(function.__globals__.get, function.__code__.co_names)]:
        compiled_functions(other, found)


def test_compiled_functions_have_names_of_their_own():
    from qiskit_torch_bridge.simulation.columns.kernels import kernel as columns
    from qiskit_torch_bridge.simulation.statevector.kernels import kernel as statevector

    found = collections.defaultdict(set)
    for kernel in (columns(), statevector(False), statevector(True)):
        compiled_functions(kernel, found)
    assert len(found) > 100
    assert {name for name, functions in found.items() if len(functions) > 1} == set()
