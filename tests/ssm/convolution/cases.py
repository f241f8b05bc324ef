from case import Case


def _conv(shape, taps, D=True, reverse=None):
    def make(rng):
        h = shape[-2]
        arguments = [rng.standard_normal(shape), rng.standard_normal((h, taps)), rng.standard_normal(h) if D else None]
        return arguments, {} if reverse is None else {"k_reverse": rng.standard_normal((h, reverse))}

    return make


CASES = [
    # many rows: errors are relative to the largest result, which must not be a cancelled sum of two or three terms
    *[Case("fft_conv", f"L{n}", _conv((5, 8, n), n)) for n in (1, 2, 3)],
    *[Case("fft_conv", f"L{n}", _conv((2, 2, n), n)) for n in (63, 64, 65, 127, 256, 257, 700, 1000, 1024, 1100, 1500)],
    Case("fft_conv", "L4097", _conv((1, 1, 4097), 4097)),
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
    # rows of 3072 + 28 and 4096 + 34 samples: the last 28 and 34 need shorter transforms of their own
    Case("fft_conv", "cut", _conv((2, 3, 3100), 3100)),
    Case("fft_conv", "cut-kernel-ends-in-the-rest", _conv((1, 2, 3100), 3080, D=False)),
    Case("fft_conv", "cut-short-kernel", _conv((1, 2, 3100), 9)),
    Case("fft_conv", "cut-long-kernel", _conv((1, 2, 4130), 6000)),
    Case("fft_conv", "cut-both-directions", _conv((1, 2, 3100), 3100, reverse=3100)),
    Case("fft_conv", "many-channels", _conv((3, 40, 130), 130)),
]
NAN_STAYS = {"fft_conv": ("..1 H", "", "L65 L1024 many-channels both-directions")}
