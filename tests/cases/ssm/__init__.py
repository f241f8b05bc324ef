from . import convolution, s5, scan

CASES = [*convolution.CASES, *scan.CASES, *s5.CASES]
