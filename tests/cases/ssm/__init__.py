from . import convolution, mamba, scan

CASES = [*convolution.CASES, *scan.CASES, *mamba.CASES]
