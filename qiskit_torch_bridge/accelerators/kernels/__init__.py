# SPDX-License-Identifier: Apache-2.0
"""The state vector's kernels for accelerators, in Triton, from version 3.3 on."""
