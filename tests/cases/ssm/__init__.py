from . import convolution, kalmanet, kernel, layer, mamba, s5, scan

CASES = [
    *convolution.CASES,
    *kalmanet.CASES,
    *kernel.CASES,
    *layer.CASES,
    *mamba.CASES,
    *s5.CASES,
    *scan.CASES,
]
