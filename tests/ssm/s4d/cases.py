import numpy as np

from case import Case, complex_normal
from ssm.modes.cases import poles


def _layer(shape, N, outputs=(), D=True, B=False, start=False, real=False, **options):
    def make(rng):
        H = shape[-2]

        def normal(*size):
            return rng.standard_normal(size) + 1j * rng.standard_normal(size)

        dt = np.exp(rng.uniform(np.log(0.001), np.log(0.3), H))
        A = -rng.uniform(0.1, 1, (H, N)) + (0 if real else 1j * np.pi * rng.uniform(0, max(N, 1), (H, N)))
        both = options.get("bidirectional", False)
        C = normal(*((2,) if both else outputs), H, N)
        inputs = [rng.standard_normal(shape), dt, A.astype(complex), C]
        inputs += [rng.standard_normal((*outputs, H)) if D else None, normal(H, N) if B else None]
        return inputs, options | ({"initial_state": normal(*shape[:-2], H, N)} if start else {})

    return make


def _kernel(H, N, L, disc="zoh", M=None, B=False):
    def make(rng):
        dt = rng.uniform(0.2, 0.5, H)
        keywords = {"L": L, "disc": disc, **({"B": complex_normal(rng, (H, N))} if B else {})}
        return [dt, poles(rng, (H, N)), complex_normal(rng, (H, N) if M is None else (M, H, N))], keywords

    return make


CASES = [
    *[
        Case("s4d_kernel", f"{disc}-L{L}-N{N}", _kernel(3, N, L, disc))
        for disc in ("zoh", "bilinear", "dss")
        for L, N in ((1, 1), (2, 7), (17, 8), (48, 3), (49, 9), (97, 5), (1000, 16), (4097, 2))
    ],
    Case("s4d_kernel", "small", _kernel(2, 3, 20, "zoh", B=True)),
    Case("s4d_kernel", "batch", _kernel(2, 3, 11, "bilinear", M=2, B=True)),
    Case("s4d_kernel", "d3", _kernel(2, 3, 13, "dss", B=True)),
    Case("s4d_kernel", "many-channels", _kernel(21, 4, 300)),
    Case("s4d_kernel", "outputs", _kernel(3, 5, 700, M=3)),
    Case("s4d_kernel", "one-long-channel", _kernel(1, 3, 14001)),
    Case("s4d_kernel", "no-channels", _kernel(0, 3, 10)),
    Case("s4d_kernel", "no-modes", _kernel(3, 0, 10)),
    Case("s4d_kernel", "no-length", _kernel(3, 4, 0, B=True)),
    Case("s4d_kernel", "no-outputs", _kernel(3, 4, 10, M=0)),
    *[Case("s4d_conv", f"fft-{n}", _layer((2, 3, n), 5, method="fft")) for n in (1, 2, 3, 63, 65, 1000)],
    *[Case("s4d_conv", f"scan-{n}", _layer((2, 3, n), 5, method="scan")) for n in (1, 2, 3, 8, 9, 31, 32, 33, 1000)],
    Case("s4d_conv", "small", _layer((2, 2, 21), 3, B=True, start=True, return_state=True)),
    Case("s4d_conv", "long", _layer((1, 4097), 16)),
    Case("s4d_conv", "tiles", _layer((1, 2, 3300), 7, method="scan", start=True, return_state=True, B=True)),
    Case("s4d_conv", "states-by-fft", _layer((2, 3, 150), 9, method="fft", start=True, return_state=True, B=True)),
    Case("s4d_conv", "start", _layer((3, 40), 4, method="fft", start=True, D=False)),
    Case("s4d_conv", "end", _layer((3, 40), 4, method="fft", return_state=True, D=False)),
    Case("s4d_conv", "outputs", _layer((2, 3, 70), 5, outputs=(3,), start=True, return_state=True)),
    Case("s4d_conv", "outputs-by-fft", _layer((2, 3, 70), 5, outputs=(2,), method="fft", start=True, B=True)),
    Case("s4d_conv", "bilinear", _layer((2, 3, 70), 5, disc="bilinear", start=True, return_state=True, method="fft", B=True)),
    Case("s4d_conv", "bilinear-scan", _layer((2, 3, 70), 5, disc="bilinear", start=True, return_state=True)),
    Case("s4d_conv", "dss", _layer((2, 3, 70), 5, disc="dss", B=True)),
    Case("s4d_conv", "both-directions", _layer((2, 3, 70), 5, bidirectional=True, B=True)),
    Case("s4d_conv", "both-directions-short", _layer((3, 7), 2, bidirectional=True)),
    Case("s4d_conv", "both-directions-one", _layer((3, 1), 2, bidirectional=True)),
    Case("s4d_conv", "real-poles", _layer((2, 3, 70), 5, real=True)),
    Case("s4d_conv", "no-modes", _layer((2, 3, 70), 0)),
    Case("s4d_conv", "no-channels", _layer((2, 0, 70), 4)),
    Case("s4d_conv", "no-samples", _layer((2, 3, 0), 4, start=True, return_state=True)),
    Case("s4d_conv", "no-rows", _layer((0, 3, 30), 4, start=True, return_state=True)),
    Case("s4d_conv", "three-batch-axes", _layer((2, 1, 2, 3, 40), 4, outputs=(2,))),
]
NAN_STAYS = {
    "s4d_kernel": ("H", "", "zoh-L97-N5 bilinear-L97-N5 dss-L97-N5 many-channels small"),
    "s4d_conv": ("..1 H", "", "fft-65 fft-1000 scan-8 scan-33 tiles"),
}
CUTS = {"s4d_conv": ("L", "initial_state", "small tiles states-by-fft outputs bilinear-scan", False)}
OUTPUT, A_FEW_ROWS = 16 * 65536 * 4, 8 * 2 * 65536 * 8  # bytes of y, and of a few rows per thread
MEMORY = {  # an array of H N L complex numbers would take 8 GiB, or 512 MiB in the layer
    "s4d_kernel": (
        "dt, A, C = np.full(2, 0.01, np.float32), np.full((2, 128), -0.5 + 1j, np.complex64), np.ones((2, 128), np.complex64)",
        [("K = qf.ssm.s4d_kernel(dt, A, C, 2**22)\nqf.ssm.s4d_kernel_vjp(dt, A, C, K, L=2**22)", 200 << 20)],
    ),
    "s4d_conv": (
        "u, A = np.ones((1, 16, 65536), 'f'), (-0.5 + 1j * np.pi * np.arange(64) + np.zeros((16, 1))).astype(np.complex64)\n"
        "dt, D = np.full(16, 0.01, 'f'), np.ones(16, 'f')\nqf.ssm.s4d_conv(u[..., :64], dt, A, A, D)",
        [
            *[(f"qf.ssm.s4d_conv(u, dt, A, A, D, method={method!r})", 3 * OUTPUT + A_FEW_ROWS) for method in ("fft", "scan")],
            ("y = qf.ssm.s4d_conv(u, dt, A, A, D); qf.ssm.s4d_conv_vjp(u, dt, A, A, D, y)", 6 * OUTPUT + 2 * A_FEW_ROWS),
        ],
    ),
}
