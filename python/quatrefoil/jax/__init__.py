"""JAX: every op of every family as an XLA custom call on the CPU, with gradients.

XLA's foreign function interface is a C ABI, which is called through ctypes. Nothing is compiled against JAX, JAX can be installed later,
and Numba kernels work like compiled ones. This costs 7 us of Python per call in addition to the kernel; ``jax.pure_callback``, which
copies, costs 150 us (CPU time, one core, two inputs of 64 numbers, a busy machine).

Examples
--------
>>> import jax
>>> import quatrefoil as qf
>>> a, b = jax.numpy.full(3, 0.5), jax.numpy.ones(3)
>>> jax.jit(qf.ssm.linear_scan)(a, b)
Array([1.  , 1.5 , 1.75], dtype=float32)
>>> jax.grad(lambda a: qf.ssm.linear_scan(a, b).sum())(a)
Array([0. , 1.5, 1.5], dtype=float32)
"""
