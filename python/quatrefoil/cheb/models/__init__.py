"""Models on top of the methods of ``quatrefoil.cheb``: Chebyshev-Tucker tensors and potentials of charges. Methods never import them."""
