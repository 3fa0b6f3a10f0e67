# SPDX-License-Identifier: Apache-2.0
"""The facts about dependencies that the package works around are still true.

A test fails when a dependency changes, so that the work-around can go. None of them tests this
package. The facts are those of ``doctor``'s table.
"""

from __future__ import annotations

from importlib.metadata import version

import pytest

from qiskit_torch_bridge.doctor.facts import FACTS


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.name)
def test_what_is_known_of_dependencies(fact):
    seen = fact.observe()
    here = version(fact.package)
    as_known = seen == fact.evidence if fact.is_expected else not seen
    assert as_known, (
        f"On {fact.package} {here} this is{'' if fact.is_expected else ' not'} expected to be "
        f"true: {fact.stated.format(version=here, seen=fact.evidence)!r}; found {seen!r}. What "
        f"the package does about it: {fact.handled}"
    )


def test_each_fact_is_told_once_and_in_full():
    assert len({fact.name for fact in FACTS}) == len(FACTS)
    for fact in FACTS:
        assert fact.stated and fact.otherwise and fact.handled
        assert fact.remedy or fact.kind != "fault"
        assert (fact.verify is None) is (fact.broken == ("", "")) and all(fact.versions)
