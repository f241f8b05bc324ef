from . import convolution, dplr, kernel, scan

CASES = [*convolution.CASES, *dplr.CASES, *kernel.CASES, *scan.CASES]
