# SPDX-License-Identifier: Apache-2.0
"""Finds jobs that were submitted before: by their ids, or by their tags if no id has arrived."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from typing import Any

from qiskit.primitives import BaseEstimatorV2

from .entries import Entry, tags_of

MOST_DUPLICATES = 10
"""Of a job that was submitted more than once; the runtime repeats a request five times."""


def jobs_of(entry: Entry, estimators: Sequence[BaseEstimatorV2]) -> list[tuple[Any, int]]:
    """Return the jobs of a request that was submitted before, and which estimator has each.

    There is more than one if the client of a service has repeated a submission by itself.
    Estimators that can fetch jobs have ``retrieve_job(job_id)`` and ``find_job(tag)``; for those of
    the runtime its service is asked.
    """
    found = []
    for home, estimator in enumerate(estimators):
        found += [(job, home) for job in _fetched(estimator, entry)]
        if found:
            break
    return found


def finds_jobs(estimator: BaseEstimatorV2) -> bool:
    """Whether the jobs of an estimator can be found by their tags."""
    if hasattr(estimator, "find_job"):
        return True
    return tags_of(estimator)[1] is not None and hasattr(_service_of(estimator), "jobs")


def _fetched(estimator: BaseEstimatorV2, entry: Entry) -> list[Any]:
    service = _service_of(estimator)
    if entry.job_id is None:
        if hasattr(estimator, "find_job"):
            job = estimator.find_job(entry.tag)
            return [] if job is None else [job]
        return _at_service(service, entry.tag, estimator) if finds_jobs(estimator) else []
    retrieve = getattr(estimator, "retrieve_job", getattr(service, "job", None))
    if retrieve is None:
        return []
    try:
        return [retrieve(entry.job_id)]
    except Exception as error:
        if isinstance(error, LookupError) or type(error).__name__ == "RuntimeJobNotFound":
            return []  # it is another estimator's, or gone
        raise


def _service_of(estimator: Any) -> Any:
    """Return the service that has the jobs of an estimator of the runtime."""
    service = getattr(estimator, "_service", None)
    return service if callable(getattr(service, "job", None)) else None


def _at_service(service: Any, tag: str, estimator: Any) -> list[Any]:
    """Return the jobs with a tag, the oldest first.

    A service with several instances looks in the one that was used last, by whomever.
    """
    jobs = service.jobs(job_tags=[tag], limit=MOST_DUPLICATES)
    instance = getattr(getattr(estimator, "_backend", None), "_instance", None)
    if not jobs and instance is not None:
        jobs = service.jobs(job_tags=[tag], limit=MOST_DUPLICATES, instance=instance)
    return list(reversed(jobs))


def only_one(jobs: Sequence[Any]) -> Any:
    """Return the job whose result comes first, and cancel others, which do the same."""
    if len(jobs) == 1:
        return jobs[0]
    done = [job for job in jobs if job.done()]
    job = [*done, *(job for job in jobs if not job.in_final_state()), *jobs][0]
    warnings.warn(
        f"A submission was repeated on its way: jobs {', '.join(map(id_of, jobs))} do the same. "
        f"The result of {id_of(job)} is used, and the others are cancelled if they have not run "
        "yet; look whether they are on your bill.",
        RuntimeWarning,
        stacklevel=2,
    )
    for other in jobs:
        if other is not job:
            with contextlib.suppress(Exception):  # it has ended
                other.cancel()
    return job


def id_of(job: Any) -> str:
    """Return what a service calls a job."""
    identity = getattr(job, "job_id", None)
    identity = identity() if callable(identity) else identity
    return str(id(job) if identity is None else identity)
