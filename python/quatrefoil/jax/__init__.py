"""JAX: every op of every table as a call of XLA's on the CPU, with gradients, and the plan of a call.

XLA's foreign function interface is a C ABI, and ctypes speaks it: nothing is compiled against JAX, an installation made without JAX serves
it, and Numba's kernels are reached like compiled ones. That costs 7 us of Python a call beside the kernel, where a handler in C++ would
cost less and ``jax.pure_callback``, which copies, costs 150 (processor time, one core, two inputs of 64 numbers, a busy machine).

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
