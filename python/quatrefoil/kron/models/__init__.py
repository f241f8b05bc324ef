"""Estimators, solvers and operators on top of the methods of ``quatrefoil.kron``. Methods never import them."""
