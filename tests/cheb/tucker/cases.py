import numpy as np


def tensor_of_spectrum(rng, n, sigma):
    """sum_i sigma_i a_i x b_i x .. with orthonormal columns: every unfolding has exactly the singular values sigma."""
    first, *others = (np.linalg.qr(rng.standard_normal((m, len(sigma))))[0] for m in n)
    products = np.ones((1, len(sigma)))
    for U in others:
        products = (products[:, None] * U).reshape(-1, len(sigma))
    return ((first * sigma) @ products.T).reshape(n)
