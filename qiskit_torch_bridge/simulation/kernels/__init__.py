# SPDX-License-Identifier: Apache-2.0
"""What the compiled kernels of all simulators share, and how kernels are loaded."""
