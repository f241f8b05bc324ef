import numpy as np

from . import Case


def _conv(shape, taps, D=True, reverse=None):
    def make(rng):
        h = shape[-2]
        arguments = [rng.standard_normal(shape), rng.standard_normal((h, taps)), rng.standard_normal(h) if D else None]
        return arguments, {} if reverse is None else {"k_reverse": rng.standard_normal((h, reverse))}

    return make


def _scan(shape, a_shape=None, h0=True, complex=False, **options):
    def make(rng):
        def normal(size):
            return rng.standard_normal(size) + (1j * rng.standard_normal(size) if complex else 0)

        axis = options.get("axis", -1)
        start = [n for i, n in enumerate(shape) if i != axis % len(shape)]
        a = normal(shape if a_shape is None else a_shape)
        return [0.9 * a / (1 + abs(a)), normal(shape), np.asarray(normal(start)) if h0 else None], options

    return make


CASES = [
    *[
        Case("fft_conv", f"L{n}", _conv((2, 2, n), n))
        for n in (1, 2, 3, 63, 64, 65, 127, 256, 257, 700, 1000, 1024, 1100, 1500, 4097, 8760)
    ],
    Case("fft_conv", "empty-batch", _conv((0, 3, 70), 70)),
    Case("fft_conv", "no-channels", _conv((2, 0, 70), 70)),
    Case("fft_conv", "no-samples", _conv((2, 3, 0), 5)),
    Case("fft_conv", "no-taps", _conv((2, 3, 70), 0)),
    Case("fft_conv", "short-kernel", _conv((3, 300), 7, D=False)),
    Case("fft_conv", "long-kernel", _conv((2, 2, 1, 100), 900)),
    Case("fft_conv", "both-directions", _conv((2, 3, 200), 150, reverse=180)),
    Case("fft_conv", "both-directions-short", _conv((2, 3, 33), 20, reverse=40)),
    Case("fft_conv", "long-reverse", _conv((1, 2, 129), 129, D=False, reverse=1000)),
    Case("fft_conv", "both-directions-radix-3", _conv((1, 2, 1500), 1500, reverse=1500)),
    Case("fft_conv", "both-directions-radix-5", _conv((1, 2, 1250), 1250, reverse=1300)),
    Case("fft_conv", "many-channels", _conv((3, 40, 130), 130)),
    *[Case("linear_scan", f"L{n}", _scan((3, 5, n))) for n in (1, 2, 15, 16, 17, 100)],
    Case("linear_scan", "empty", _scan((3, 0))),
    Case("linear_scan", "no-rows", _scan((0, 7))),
    Case("linear_scan", "one-row", _scan((1000,))),
    Case("linear_scan", "reverse", _scan((37, 61), reverse=True)),
    Case("linear_scan", "first-axis", _scan((50, 4, 9), axis=0)),
    Case("linear_scan", "middle-axis", _scan((4, 50, 33), axis=1, reverse=True)),
    Case("linear_scan", "constant", _scan((20, 45), a_shape=(20, 1), h0=False)),
    Case("linear_scan", "shared", _scan((6, 20, 45), a_shape=(45,))),
    Case("linear_scan", "channels", _scan((6, 20, 45), a_shape=(20, 45))),
    Case("linear_scan", "inner-constant", _scan((5, 45, 70), a_shape=(70,), axis=1)),
    Case("linear_scan", "inner-shared", _scan((5, 45, 70), a_shape=(5, 45, 1), axis=-2)),
    Case("linear_scan", "complex", _scan((7, 64), complex=True)),
    Case("linear_scan", "complex-axis", _scan((64, 7), complex=True, axis=0, reverse=True)),
]
