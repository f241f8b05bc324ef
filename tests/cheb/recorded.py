import numpy as np


class Recorded:
    """A function that records its points. It fails once, when it has computed ``broken`` values."""

    def __init__(self, f, broken=-1):
        self.f, self.broken, self.calls, self.seen = f, broken, 0, []

    def __call__(self, *x):
        if len(self.seen) == self.broken:
            self.broken = -1
            raise RuntimeError("the license is lost")
        self.calls += 1
        self.seen.extend(zip(*map(np.ravel, np.broadcast_arrays(*x))))
        return self.f(*x)
