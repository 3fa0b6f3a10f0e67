# SPDX-License-Identifier: Apache-2.0
"""The kernels of the state vector on CUDA, in Triton."""
