# SPDX-License-Identifier: Apache-2.0
"""Samplers of the runtime against a service on this machine: the same care as with estimators.

Everything but the service is real, as in :mod:`test_runtime`. It answers with each outcome as often
as it is expected, so that frequencies differ from probabilities by less than one shot.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from circuits import rotation
from faults import FakeTime
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.transpiler import generate_preset_pass_manager

from qiskit_torch_bridge import CircuitProgram, OnBackend, Probabilities, TorchQuantumModule
from qiskit_torch_bridge.backends import prepare
from qiskit_torch_bridge.exceptions import BackendError, InputError, JobError, UnknownJobError
from qiskit_torch_bridge.jobs import DispatchingSampler, Jobs, Journal
from qiskit_torch_bridge.program.readouts import Outcomes

pytest.importorskip("qiskit_ibm_runtime", reason="the client of IBM's service is not installed")

from ibm_service import Ending, Fault, IBMService, running  # needs the runtime

pytestmark = [
    # What the runtime says of itself, and what its requests leave to the garbage collector.
    pytest.mark.filterwarnings("ignore:.*SamplerV2 class is deprecated"),
    pytest.mark.filterwarnings("ignore:.*RuntimeOptions class is deprecated"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SHOTS = 1000


@pytest.fixture
def ibm(monkeypatch: pytest.MonkeyPatch) -> Iterator[IBMService]:
    with running(monkeypatch) as service:
        yield service


class Use:
    """A dispatching sampler over one of the runtime's, and a circuit that gives 1 at times."""

    def __init__(self, ibm: IBMService, mode: Any = None, journal: Any = None, **retry: Any):
        self.ibm, self.time = ibm, FakeTime()
        ibm.clock = lambda: self.time.now
        self.inner = ibm.sampler(mode)
        circuit, self.theta = rotation()
        # The plugin that a device names for translation does not load in Qiskit 1.4.
        manager = generate_preset_pass_manager(
            0, self.inner.backend(), initial_layout=[3], translation_method="translator"
        )
        self.circuit: QuantumCircuit = Outcomes((3,)).measure(manager.run(circuit))
        self.sampler = DispatchingSampler(
            self.inner, Jobs(retry=self.time.retry(**retry), journal=journal)
        )

    def pub(self, angles: Any = 0.7) -> Any:
        return self.circuit, {(self.theta,): np.asarray(angles)[..., None]}

    def bits(self, angles: Any = 0.7) -> Any:
        return self.sampler.run([self.pub(angles)], shots=SHOTS).result()[0].data.meas

    def frequencies(self, angles: Any = 0.7) -> Any:
        return (self.bits(angles).array & 1).mean((-2, -1))


def assert_right(use: Use, pubs: int = 1) -> None:
    """Some PUBs give what they should, and the service is paid for one job each."""
    for k in range(pubs):
        exact = math.sin((0.7 + k) / 2) ** 2
        np.testing.assert_allclose(use.frequencies(0.7 + k), exact, rtol=0, atol=1 / SHOTS)
    assert list(use.ibm.paid().values()) == [1] * pubs
    assert use.sampler.used.jobs == len(use.ibm.jobs)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 2)], ids=str)
def test_outcomes_arrive_in_their_shapes(ibm: IBMService, shape: Any) -> None:
    angles = np.linspace(-2, 2, math.prod(shape)).reshape(shape)
    bits = Use(ibm).bits(angles)
    assert (bits.shape, bits.num_shots, bits.num_bits) == (shape, SHOTS, 1)
    found = (bits.array & 1).mean((-2, -1))
    np.testing.assert_allclose(found, np.sin(angles / 2) ** 2, rtol=0, atol=1 / SHOTS)
    assert ibm.jobs[0].body["program_id"] == "sampler"


def test_tags_arrive_and_the_options_are_as_before(ibm: IBMService) -> None:
    use = Use(ibm)
    use.inner.options.environment.job_tags = ["mine"]
    assert_right(use, pubs=2)
    first, second = (job.tags for job in ibm.jobs)
    assert first[:2] == second[:2] == ["mine", "qiskit-torch-bridge"] and first[2] != second[2]
    assert use.inner.options.environment.job_tags == ["mine"]


@pytest.mark.parametrize("lag", [0.0, 25.0])
def test_a_lost_answer_is_found_by_its_tag(ibm: IBMService, lag: float) -> None:
    ibm.lag = lag
    ibm.faults["submit"] = [Fault(None, done=True)]
    assert_right(Use(ibm))
    assert len(ibm.jobs) == 1 and ibm.requests["submit"] == 1


def test_without_an_index_the_user_is_asked(ibm: IBMService) -> None:
    ibm.faults["submit"] = [Fault(None, done=True)]
    use = Use(ibm)
    ibm.faults["index"] = [Fault(403)]
    with pytest.raises(UnknownJobError, match="cannot be found out") as caught:
        use.bits()
    assert len(ibm.jobs) == 1 and caught.value.tag == ibm.jobs[0].tags[-1]


def test_faults_of_the_service_are_tried_again(ibm: IBMService) -> None:
    ibm.faults["submit"] = [Fault(429), Fault(429)]
    ibm.endings = [Ending("Failed", "Internal error.", 1006)]
    ibm.faults["result"] = [Fault(408)]
    assert_right(Use(ibm))
    assert len(ibm.jobs) == 2


def test_a_job_over_its_time_is_halved(ibm: IBMService) -> None:
    ibm.endings = [Ending("Failed", "Ran too long.", 1305)]
    angles = np.linspace(0, 1, 5)
    found = Use(ibm).frequencies(angles)
    np.testing.assert_allclose(found, np.sin(angles / 2) ** 2, rtol=0, atol=1 / SHOTS)
    assert [job.pub.shape for job in ibm.jobs] == [(5,), (2,), (3,)]


def test_a_job_that_failed_for_good(ibm: IBMService) -> None:
    ibm.endings = [Ending("Failed", "Instructions are not supported.", 1517)]
    with pytest.raises(JobError, match="1517.*job-0"):
        Use(ibm).bits()
    assert len(ibm.jobs) == 1


@pytest.mark.parametrize("known", ["id", "tag", "result"])
def test_a_new_process_finds_the_job(ibm: IBMService, tmp_path: Any, known: str) -> None:
    from journals import cut_after

    use = Use(ibm, journal=Journal(tmp_path / "journal"))
    first = use.bits()
    use.sampler.journal.close()
    if known != "result":
        cut_after(tmp_path / "journal", "submitted" if known == "id" else "intended")
    again = Use(ibm, journal=Journal(tmp_path / "journal"))
    np.testing.assert_array_equal(again.bits().array, first.array)
    assert len(ibm.jobs) == again.sampler.used.jobs == 1


@pytest.mark.parametrize(("name", "mode"), [("Session", "dedicated"), ("Batch", "batch")])
def test_jobs_belong_to_their_session(ibm: IBMService, name: str, mode: str) -> None:
    import qiskit_ibm_runtime

    with getattr(qiskit_ibm_runtime, name)(backend=ibm.backend()) as opened:
        assert_right(Use(ibm, opened), pubs=2)
    assert [job.body["session_id"] for job in ibm.jobs] == [opened.session_id] * 2
    assert ibm.sessions[opened.session_id]["mode"] == mode


def test_the_client_side_sampler_has_tags_and_a_service_too(ibm: IBMService) -> None:
    kinds = pytest.importorskip(
        "qiskit_ibm_runtime.executor_sampler", reason="this release has no client-side sampler"
    )
    if not hasattr(kinds, "Sampler"):
        pytest.skip("the client-side sampler of this release hands no tags on")
    use = Use(ibm)
    sampler = kinds.Sampler(mode=ibm.backend())
    sampler.options.environment.job_tags = ["mine"]
    ibm.faults["submit"] = [Fault(None, done=True)]
    job = DispatchingSampler(sampler, Jobs(retry=use.time.retry())).run([use.pub()])
    assert job.job_ids == ("job-0",) and len(ibm.jobs) == 1
    assert ibm.jobs[0].body["program_id"] == "executor" and len(ibm.jobs[0].tags) == 3
    assert sampler.options.environment.job_tags == ["mine"]


# -- programs and modules ------------------------------------------------------------------------


def outcomes_program() -> tuple[CircuitProgram, ParameterVector]:
    """Two qubits turned by an angle each, of which the second is bit 0."""
    w = ParameterVector("w", 2)
    circuit = QuantumCircuit(2)
    circuit.ry(w[0], 0)
    circuit.ry(w[1], 1)
    return CircuitProgram(circuit, Probabilities([1, 0]), input_params=w), w


def test_a_prepared_program_of_outcomes(ibm: IBMService) -> None:
    """What arrives is measured on the device's qubits, in the order asked for."""
    program, w = outcomes_program()
    on = OnBackend(
        ibm.backend(),
        initial_layout=[4, 2],
        options={"default_shots": 100},
        transpile_options={"translation_method": "translator"},
    )
    prepared = prepare(program, on)
    assert isinstance(prepared.primitive, DispatchingSampler)
    assert prepared.program.readout == Outcomes((2, 4))
    measured = prepared.program.readout.measure(prepared.program.circuit)
    result = prepared.primitive.run([(measured, {tuple(w): [math.pi, 0.0]})]).result()
    assert result[0].data.meas.get_counts() == {"10": 100}  # qubit 0 is bit 1
    assert ibm.jobs[0].body["params"]["options"]["default_shots"] == 100


def test_circuits_and_angles_are_checked_before_they_are_sent(ibm: IBMService) -> None:
    """As for estimators: a gate with a limited angle, on a device that has it."""
    from qiskit_torch_bridge.backends.checks import check_angles

    use = Use(ibm)
    theta = ParameterVector("theta", 1)
    circuit = QuantumCircuit(2)
    circuit.rzz(theta[0], 0, 1)
    circuit.measure_all()
    sampler = DispatchingSampler(use.inner, checks=[check_angles])
    with pytest.raises(InputError, match="angles from 0 to pi/2.*Nothing was submitted"):
        sampler.run([(circuit, {tuple(theta): [2.0]})])
    assert ibm.requests["submit"] == 0


@pytest.mark.parametrize(
    ("measured", "options", "words"),
    [
        (True, {"resilience_level": 1}, "no option 'resilience_level'.*estimator, which measures"),
        (True, {"default_precision": 0.1}, "no option 'default_precision'.*default_shots"),
        (True, {"twirling": {"enable": True}}, "(?s)does not take these options.*twirling"),
        (True, {"nothing": 1}, "no option 'nothing'. Its options are: default_shots"),
        (False, {"nothing": 1}, "no option 'nothing'. Its options are: default_precision"),
        (False, {"resilience_level": 7}, "(?s)does not take these options.*resilience_level"),
    ],
)
def test_options_are_those_of_what_runs(
    ibm: IBMService, measured: bool, options: dict[str, Any], words: str
) -> None:
    """Mitigation corrects expectation values, and is an option of estimators alone."""
    program = outcomes_program()[0] if measured else CircuitProgram(rotation()[0], "Z")
    on = OnBackend(
        ibm.backend(), options=options, transpile_options={"translation_method": "translator"}
    )
    with pytest.raises(BackendError, match=words):
        prepare(program, on)


def test_a_step_of_training(ibm: IBMService) -> None:
    """With the first answer of each pass lost: values, gradient, two jobs."""
    module = TorchQuantumModule(
        rotation()[0], Probabilities(), backend=ibm.backend(), shots=SHOTS, initial_weights=[0.7]
    ).double()
    ibm.faults["submit"] = [Fault(None, done=True)]
    value = module()
    ibm.faults["submit"] = [Fault(None, done=True)]
    value[1].backward()
    one = math.sin(0.35) ** 2
    expected = torch.tensor([1 - one, one], dtype=torch.float64)
    torch.testing.assert_close(value.detach(), expected, rtol=0, atol=1 / SHOTS)
    # Half the difference of two frequencies.
    torch.testing.assert_close(module.weight.grad.item(), math.sin(0.7) / 2, rtol=0, atol=1 / SHOTS)
    assert list(ibm.paid().values()) == [1, 1] and module.estimator.used.jobs == 2
