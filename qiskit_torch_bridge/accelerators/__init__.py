# SPDX-License-Identifier: Apache-2.0
"""The exact engine where torch's tensors are: on CUDA, and on whatever else torch computes."""
