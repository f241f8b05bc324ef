from . import convolution, kernel, layer, scan

CASES = [*convolution.CASES, *kernel.CASES, *layer.CASES, *scan.CASES]
