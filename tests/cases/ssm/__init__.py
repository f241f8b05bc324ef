from . import convolution, kernel, layer, scan

CASES = [*convolution.CASES, *kernel.CASES, *layer.CASES, *scan.CASES]
from . import convolution, s5, scan
CASES = [*convolution.CASES, *scan.CASES, *s5.CASES]
from . import convolution, kalmanet, scan
CASES = [*convolution.CASES, *kalmanet.CASES, *scan.CASES]
from . import convolution, mamba, scan
CASES = [*convolution.CASES, *scan.CASES, *mamba.CASES]
