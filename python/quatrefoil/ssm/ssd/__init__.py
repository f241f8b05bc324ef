"""Mamba-2's kernels, drop-ins for mamba-ssm: its scan in chunks (state-space duality), and the whole inside of a block."""

from .block import mamba_split_conv1d_scan_combined, mamba_split_conv1d_scan_combined_vjp
from .chunk_scan import CHUNK_SCAN, mamba_chunk_scan_combined, mamba_chunk_scan_combined_vjp

OPS = (CHUNK_SCAN,)

__all__ = [
    "mamba_chunk_scan_combined",
    "mamba_chunk_scan_combined_vjp",
    "mamba_split_conv1d_scan_combined",
    "mamba_split_conv1d_scan_combined_vjp",
]
