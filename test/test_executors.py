# SPDX-License-Identifier: Apache-2.0
"""Jobs on pools of threads and processes and on Dask give what they give here."""

from __future__ import annotations

import math
import multiprocessing
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from circuits import A, X, hybrid, rotation
from qiskit.primitives import (
    BackendEstimatorV2,
    BackendSamplerV2,
    BaseEstimatorV2,
    StatevectorEstimator,
    StatevectorSampler,
)
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from qiskit_aer.primitives import SamplerV2 as AerSampler
from torch import Tensor

from qiskit_torch_bridge import Probabilities, TorchQuantumModule, Tracker
from qiskit_torch_bridge.backends import ExecutorEstimator, ExecutorSampler
from qiskit_torch_bridge.backends.simulators import FreshSeedsEstimator
from qiskit_torch_bridge.exceptions import (
    EstimatorTypeError,
    ExecutionError,
    SamplerTypeError,
)
from qiskit_torch_bridge.primitives import (
    BatchedStatevectorEstimator,
    BatchedStatevectorSampler,
)

INPUTS = torch.tensor([[0.4, -0.2], [1.0, 0.7]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.3, -0.6, 0.9], dtype=torch.float64)
STABILIZER = {"backend_options": {"method": "stabilizer"}}  # which knows no rotations
EXECUTORS = ["threads", "processes", "dask"]


class Watched(Executor):
    """Counts what is submitted."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.count = inner, 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.count += 1
        return self.inner.submit(fn, *args, **kwargs)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A Dask client with two worker processes."""
    distributed = pytest.importorskip("distributed", reason="Dask is not installed: distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=":0",  # whatever port is free
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(params=EXECUTORS, scope="module")
def executor(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "dask":
        yield request.getfixturevalue("client")
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
    with pytest.warns(UserWarning, match="makes no use of it.*ExecutorEstimator"):
        m = module(backend=given)
    assert_same(m, module(backend=noisy()))
    assert_same(sampled(sampling(given)), sampled(sampling(noisy())))
    assert watched.count == 0


@pytest.mark.filterwarnings("ignore:Aer accepts executor=")
def test_aer_takes_a_dask_client_too(client: Any) -> None:
    """As its documentation says; a client is no ``concurrent.futures.Executor``."""
    given = noisy(executor=client, max_job_size=1)
    assert_same(module(backend=given), module(backend=noisy()))


@pytest.mark.filterwarnings("ignore:Aer accepts executor=")
def test_a_simulator_with_an_executor_cannot_be_pickled() -> None:
    """Its module says so, and what else to save."""
    with ThreadPoolExecutor(1) as pool:
        m = module(backend=noisy(executor=pool))
        with pytest.raises(EstimatorTypeError, match="state_dict"):
            pickle.dumps(m)


def test_a_request_is_divided_among_workers(executor: Any) -> None:
    """Two rows forward, and the rows of the gradient, are two jobs each; the numbers are exact.

    The circuit has a controlled rotation, which Aer binds rightly only where the package knows
    that it is Aer.
    """
    aer = AerEstimator.from_backend(noisy())
    workers = [ExecutorEstimator(executor, aer) for _ in range(2)]
    spread = module(estimator=workers)
    with Tracker() as tracker:
        assert_same(spread, module(estimator=aer), 1e-12)
    assert tracker.usage.jobs == 4 + 2
    assert spread.cost(len(INPUTS)).usage.jobs == 4


def test_jobs_run_on_the_executor() -> None:
    with ThreadPoolExecutor(1) as pool:
        watched = Watched(pool)
        step(module(estimator=ExecutorEstimator(watched, AerEstimator())))
    assert watched.count == 2


MAKERS = {
    "batched": BatchedStatevectorEstimator,
    "statevector": StatevectorEstimator,
    "aer": AerEstimator,
    "backend": lambda: BackendEstimatorV2(backend=AerSimulator()),
}


def values(estimator: BaseEstimatorV2, jobs: int) -> list[float]:
    """What the same job gives, several times at once: <Z> = cos(0.7) with some noise."""
    circuit, _ = rotation()
    running = [estimator.run([(circuit, "Z", [0.7])], precision=0.01) for _ in range(jobs)]
    return [float(job.result()[0].data.evs) for job in running]


@pytest.mark.parametrize("name", MAKERS)
def test_each_job_has_noise_of_its_own_and_the_same_again(executor: Any, name: str) -> None:
    """Of 10,000 shots, no two of four counts agree for this seed; another run has the same four."""
    first, again = (values(ExecutorEstimator(executor, MAKERS[name](), seed=8), 4) for _ in "12")
    assert first == again and len(set(first)) == 4
    # Six standard errors of the precision asked for.
    assert max(abs(v - math.cos(0.7)) for v in first) < 0.06


def test_seeds_are_those_of_jobs_here() -> None:
    """What a worker measures is what the same estimator measures here with the same seed."""
    with ThreadPoolExecutor(1) as pool:
        there = values(ExecutorEstimator(pool, sampling(noisy()), seed=3), 3)
    assert there == values(FreshSeedsEstimator(sampling(noisy()), seed=3), 3)


def test_a_pool_runs_the_estimator_as_it_was() -> None:
    """Options that are set after the job was submitted are the next one's."""
    aer = AerEstimator(options={"default_precision": 0.0})
    with ThreadPoolExecutor(1) as pool:
        begin = threading.Event()
        pool.submit(begin.wait, 30)  # what follows has to wait
        job = ExecutorEstimator(pool, aer, seed=1).run([(rotation()[0], "Z", [0.7])])
        aer.options.default_precision = 0.3
        begin.set()
        evs = job.result()[0].data.evs
    assert float(evs) == pytest.approx(math.cos(0.7), abs=1e-12)


SAMPLERS = {
    "batched": BatchedStatevectorSampler,
    "statevector": StatevectorSampler,
    "aer": AerSampler,
    "backend": lambda: BackendSamplerV2(backend=AerSimulator()),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_have_outcomes_of_their_own_and_the_same_again(executor: Any, name: str) -> None:
    """Registers, shots and metadata arrive; no two of three jobs agree in all 500 shots."""
    circuit, _ = rotation()
    circuit.measure_all()

    def outcomes() -> list[bytes]:
        sampler = ExecutorSampler(executor, SAMPLERS[name](), seed=8)
        running = [sampler.run([(circuit, [0.7])], shots=500) for _ in range(3)]
        results = [job.result()[0] for job in running]
        assert all(r.metadata["shots"] == 500 and r.data.shape == () for r in results)
        return [r.data.meas.array.tobytes() for r in results]

    first = outcomes()
    assert first == outcomes() and len(set(first)) == 3
    p, ones = math.sin(0.35) ** 2, np.mean([list(found) for found in first])
    assert abs(ones - p) < 6 * math.sqrt(p * (1 - p) / 1500)


def test_a_request_of_probabilities_is_divided_among_workers(executor: Any) -> None:
    """The values of a circuit with a controlled rotation, which Aer would bind wrongly."""
    workers = [ExecutorSampler(executor, AerSampler(), seed=k) for k in range(2)]
    roles = {"input_params": X, "weight_params": A, "initial_weights": WEIGHTS}
    spread = TorchQuantumModule(hybrid(), Probabilities(), estimator=workers, shots=10_000, **roles)
    with Tracker() as tracker:
        outputs = spread(INPUTS)
        outputs.square().sum().backward()
    assert tracker.usage.jobs == spread.cost(len(INPUTS)).usage.jobs == 4
    exact = TorchQuantumModule(hybrid(), Probabilities(), **roles)(INPUTS)
    # Six standard errors of a frequency at most.
    torch.testing.assert_close(outputs, exact, rtol=0, atol=6 * 0.5 / 100)


@pytest.mark.parametrize("wrong", [None, 4, ThreadPoolExecutor])
def test_executors_submit(wrong: Any) -> None:
    with pytest.raises(EstimatorTypeError, match="ProcessPoolExecutor"):
        ExecutorEstimator(wrong, AerEstimator())
    with pytest.raises(EstimatorTypeError, match="ProcessPoolExecutor"):
        ExecutorSampler(wrong, AerSampler())


def test_executors_run_what_they_are_for() -> None:
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(SamplerTypeError, match="V2 sampler"):
            ExecutorSampler(pool, AerEstimator())
        with pytest.raises(EstimatorTypeError, match="V2 estimator"):
            ExecutorEstimator(pool, AerSampler())


def test_errors_of_a_worker_arrive(executor: Any) -> None:
    estimator = ExecutorEstimator(executor, AerEstimator(options=STABILIZER))
    with pytest.raises(ExecutionError, match="ExecutorEstimator failed"):
        TorchQuantumModule(hybrid(), input_params=X, estimator=estimator)(INPUTS)
