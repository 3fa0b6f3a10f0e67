# SPDX-License-Identifier: Apache-2.0
"""The candidates, one module per package, each written the way its documentation recommends.

A module is imported only in the environment that has its package. Each of its functions takes a
workload and returns a :class:`peers.candidate.Candidate`.
"""
