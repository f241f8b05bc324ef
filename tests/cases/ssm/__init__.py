from . import convolution, kalmanet, scan

CASES = [*convolution.CASES, *kalmanet.CASES, *scan.CASES]
