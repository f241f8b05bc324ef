"""Models on top of the methods of ``quatrefoil.cheb``: tensors, trains, polynomial chaos and potentials. Methods never import them."""
