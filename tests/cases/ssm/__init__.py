from . import convolution, dplr, kalmanet, kernel, layer, mamba, s5, scan

CASES = [
    *convolution.CASES,
    *dplr.CASES,
    *kalmanet.CASES,
    *kernel.CASES,
    *layer.CASES,
    *mamba.CASES,
    *s5.CASES,
    *scan.CASES,
]
