from . import convolution, kernel, scan

CASES = [*convolution.CASES, *kernel.CASES, *scan.CASES]
