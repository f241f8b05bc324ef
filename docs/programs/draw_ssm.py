import sys

import matplotlib.pyplot as plt
import numpy as np

import quatrefoil as qf

H, N, L = 3, 32, 600
dt = np.geomspace(0.01, 0.1, H)  # memory of a channel: long, medium, short
A = np.broadcast_to(-0.5 + 1j * np.pi * np.arange(N), (H, N)).copy()
C = np.broadcast_to((1 + 0j) / np.arange(1, N + 1) ** 1.5, (H, N)).copy()
t = np.arange(L)
u = np.sign(np.sin(t / 40)) + 0.2 * np.random.default_rng(0).standard_normal(L)
K = qf.ssm.s4d_kernel(dt, A, C, L)
y = qf.ssm.s4d_conv(np.broadcast_to(u, (H, L)).copy(), dt, A, C)  # the whole sequence at once

state, streamed = np.zeros((H, N), complex), []  # and sample by sample
for sample in u:
    now, state = qf.ssm.s4d_step(np.full(H, sample), state, dt, A, C)
    streamed.append(now)

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
for h in range(H):
    left.plot(t, K[h] / abs(K[h]).max(), label=f"dt = {dt[h]:.3f}")
    right.plot(t, y[h] / abs(y[h]).max() + 2.5 * (h + 1), color=f"C{h}")
    right.plot(t[::15], np.array(streamed)[::15, h] / abs(y[h]).max() + 2.5 * (h + 1), "o", ms=3, color=f"C{h}")
right.plot(t, u, color="0.5", lw=0.8)
left.set(title="kernels", xlabel="lag")
left.legend()
right.set(title="input (grey), outputs at once (lines), step by step (dots)", xlabel="sample", yticks=[])
figure.savefig(sys.argv[1], dpi=110)
