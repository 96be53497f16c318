"""Kernels for processors with vector units: the second family of emitted code."""
