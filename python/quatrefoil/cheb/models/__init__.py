"""What is built on the methods of ``quatrefoil.cheb``: Chebyshev-Tucker tensors and potentials. Methods never import it."""
