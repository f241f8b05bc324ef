import numpy as np

import quatrefoil as qf

angle = np.linspace(0, 2 * np.pi, 128, endpoint=False)
square = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]])
hole = np.array([1.0, 0.8]) + 0.4 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
domain = qf.wos.Polygon(square, holes=[hole])
points = np.random.default_rng(0).uniform(0, 2, (2000, 2))
points = points[domain.contains(points)]
u = qf.wos.solve(domain, points, dirichlet_per_ring=[0, 1], walks=1000, gradient=True, rng=0)  # 0 on the outline, 1 on the hole
print(u.value[0], "+-", u.stderr[0], "gradient", u.grad[0], "+-", u.grad_stderr[0])
