"""Mamba-2's kernel, compatible with mamba-ssm: the scan in chunks (state-space duality)."""

from .chunk_scan import CHUNK_SCAN, mamba_chunk_scan_combined, mamba_chunk_scan_combined_vjp

OPS = (CHUNK_SCAN,)

__all__ = [
    "mamba_chunk_scan_combined",
    "mamba_chunk_scan_combined_vjp",
]
