# SPDX-License-Identifier: Apache-2.0
"""What compiled kernels are found by on disk."""

from __future__ import annotations

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
