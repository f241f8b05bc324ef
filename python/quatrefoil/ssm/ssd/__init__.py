"""Mamba-2's kernel, compatible with mamba-ssm: the scan in chunks (state-space duality)."""

from .chunk_scan import CHUNK_SCAN

OPS = (CHUNK_SCAN,)
