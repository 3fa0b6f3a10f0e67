# SPDX-License-Identifier: Apache-2.0
"""Jobs on pools of threads and processes and on Dask give what they give here."""

from __future__ import annotations

import importlib
import multiprocessing
import pickle
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from circuits import A, X, hybrid, rotation
from documented import code_with
from qiskit.primitives import BackendEstimatorV2, BaseEstimatorV2
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from torch import Tensor

from qiskit_torch_bridge import TorchQuantumModule
from qiskit_torch_bridge.exceptions import EstimatorTypeError
from qiskit_torch_bridge.primitives import BatchedStatevectorEstimator

INPUTS = torch.tensor([[0.4, -0.2], [1.0, 0.7]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.3, -0.6, 0.9], dtype=torch.float64)
EXECUTORS = ["threads", "processes", "dask"]


class Watched(Executor):
    """Counts what is submitted."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.count = inner, 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.count += 1
        return self.inner.submit(fn, *args, **kwargs)


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The class that the how-to shows, in a module that other processes can import."""
    folder: Path = tmp_path_factory.mktemp("documented")
    code = code_with("class OnExecutor", "how-tos/use-several-backends.rst")
    (folder / "on_executor.py").write_text(code)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("on_executor")
    sys.path.remove(str(folder))
    del sys.modules["on_executor"]


@pytest.fixture(scope="module")
def client(documented: ModuleType) -> Iterator[Any]:
    """A Dask client with two worker processes."""
    distributed = pytest.importorskip("distributed", reason="Dask is not installed: distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(params=EXECUTORS, scope="module")
def executor(documented: ModuleType, request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "dask":
        yield request.getfixturevalue("client").get_executor(pure=False)
        return
    if request.param == "threads":
        pool: Executor = ThreadPoolExecutor(2)
    else:
        pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    with pool:
        yield pool


def noisy(**options: Any) -> AerSimulator:
    noise = NoiseModel(basis_gates=["rx", "ry", "rz", "cx"])
    noise.add_all_qubit_quantum_error(depolarizing_error(0.1, 2), ["cx"])
    return AerSimulator(noise_model=noise, method="density_matrix", **options)


def sampling(simulator: AerSimulator) -> BackendEstimatorV2:
    """With a fixed seed, so that the same circuits give the same counts."""
    options = {"seed_simulator": 11, "default_precision": 0.05}
    return BackendEstimatorV2(backend=simulator, options=options)


def module(**where: Any) -> TorchQuantumModule:
    return TorchQuantumModule(
        hybrid(),
        ["ZI", "XX"],
        input_params=X,
        weight_params=A,
        initial_weights=WEIGHTS,
        gradient="parameter-shift",
        **where,
    )


def sampled(estimator: BaseEstimatorV2) -> TorchQuantumModule:
    return module(estimator=estimator, pass_manager=generate_preset_pass_manager(1, noisy()))


def step(m: TorchQuantumModule) -> tuple[Tensor, Tensor]:
    outputs = m(INPUTS)
    outputs.sum().backward()
    return outputs.detach(), m.weight.grad


def assert_same(a: TorchQuantumModule, b: TorchQuantumModule, atol: float = 0.0) -> None:
    for found, expected in zip(step(a), step(b), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def test_aer_takes_an_executor_and_makes_no_use_of_it(executor: Any) -> None:
    """Values and gradients are those without one, because they come about in the same way.

    If this fails since jobs were submitted, Aer's option has an effect again: the how-to says that
    it has none.
    """
    watched = Watched(executor)
    given = noisy(executor=watched, max_job_size=1)
    assert_same(module(backend=given), module(backend=noisy()))
    assert_same(sampled(sampling(given)), sampled(sampling(noisy())))
    assert watched.count == 0


def test_aer_takes_a_dask_client_too(client: Any) -> None:
    """As its documentation says; a client is no ``concurrent.futures.Executor``."""
    given = noisy(executor=client, max_job_size=1)
    assert_same(module(backend=given), module(backend=noisy()))


def test_a_simulator_with_an_executor_cannot_be_pickled() -> None:
    """Its module says so, and what else to save."""
    with ThreadPoolExecutor(1) as pool:
        m = module(backend=noisy(executor=pool))
        with pytest.raises(EstimatorTypeError, match="state_dict"):
            pickle.dumps(m)


def test_a_request_is_divided_among_workers(executor: Any, documented: ModuleType) -> None:
    """Two rows forward, and the rows of the gradient, are two jobs each; the numbers are exact.

    The circuit has a controlled rotation, which Aer binds rightly only where the package knows
    that it is Aer.
    """
    aer = AerEstimator.from_backend(noisy())
    watched = Watched(executor)
    spread = module(estimators=[documented.OnExecutor(watched, aer) for _ in range(2)])
    assert_same(spread, module(estimator=aer), 1e-12)
    assert watched.count == 4


def test_shots_from_a_worker_are_those_from_here(executor: Any, documented: ModuleType) -> None:
    """One job forward, one backward, with the same circuits and the same seed: the same counts."""
    watched = Watched(executor)
    there = documented.OnExecutor(watched, sampling(noisy()))
    assert_same(sampled(there), sampled(sampling(noisy())))
    assert watched.count == 2


def values(estimator: BaseEstimatorV2, jobs: int) -> set[float]:
    """What the same job gives, several times at once: <Z> = cos(0.7) with some noise."""
    circuit, _ = rotation()
    running = [estimator.run([(circuit, "Z", [0.7])], precision=0.1) for _ in range(jobs)]
    return {float(job.result()[0].data.evs) for job in running}


def test_each_job_has_noise_of_its_own(executor: Any, documented: ModuleType) -> None:
    """Aer's noise is normal: that two of four values agree does not happen."""
    assert len(values(documented.OnExecutor(executor, AerEstimator()), 4)) == 4


def test_dask_takes_equal_jobs_for_one_unless_told_otherwise(
    client: Any, documented: ModuleType
) -> None:
    """Why the how-to says ``pure=False``."""
    assert len(values(documented.OnExecutor(client.get_executor(), AerEstimator()), 4)) == 1


def test_a_generator_that_travels_starts_anew() -> None:
    """Why the how-to leaves the package's own estimator at home."""
    saved = pickle.dumps(BatchedStatevectorEstimator())
    assert len({x for _ in range(4) for x in values(pickle.loads(saved), 1)}) == 1
