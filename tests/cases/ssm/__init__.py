from . import convolution, scan

CASES = [*convolution.CASES, *scan.CASES]
