"""What holds for every function of quatrefoil, unless its own page says otherwise.

Arrays
------
Functions take NumPy arrays, PyTorch tensors or JAX arrays on the CPU and return the same kind. All arrays of a call must be of one kind: a
mix is a TypeError that names both arguments. Any strides, read-only arrays, and axes of length 0 and 1 are allowed. No function writes to
an input, except three of upstream's functions that update a state in place (``final_states_out`` of ``causal_conv1d_fn``, ``conv_state``
of ``causal_conv1d_update``, ``state`` of ``selective_state_update``). CUDA tensors and CuPy arrays are computed on their device by the
array library's own functions, see *backend*; a mix of devices is a TypeError. JAX arrays have a section of their own, see *JAX*. Calls on
meta tensors return meta tensors if the shape does not depend on numbers. Threads may share objects (operators, boundaries, results,
layers).

Of the libraries that follow the array API standard (``__array_namespace__``), NumPy, PyTorch and CuPy are supported. Arrays of others are a
TypeError: pass ``numpy.from_dlpack(x)``, which does not copy arrays on the host.

In shapes, capital letters are sizes, and a letter that occurs twice is one size. ``...`` stands for any number of batch axes.

Dtypes
------
float32 or float64, and complex64 or complex128 where the page says complex. All arrays of a call have the same precision, and so has the
result. float16 and bfloat16 are allowed where the page says so: computed in float32, returned in their own dtype. Everything else is a
TypeError, including integers, bools, lists and masked arrays: nothing is converted silently.

Classes and geometry take more: estimators, ``ChebTucker`` and its calls, boundaries, data, points. There lists, integers and objects with
``__array__``, such as data frames, count as float64, or have the dtype of the other arrays. Bools, complex numbers, objects and masked
arrays are a TypeError, and arrays keep their dtype.

out, backend, num_threads
-------------------------
They are the last arguments, by keyword only.

out
    An array for the result, which is returned: C-contiguous, of exactly its shape and dtype, sharing no memory with an input. For calls
    that return one array, not in half precision and without gradients.
backend
    "native" (compiled kernels), "numba" (no compiler needed: loops compiled at their first call, or the functions of "array" over NumPy)
    or "array" for this call. The default is the choice of ``with qf.use_backend(...)``, then that of the environment variable
    QUATREFOIL_BACKEND, then "native" if it was built. ``qf.show_config()`` shows which one it is, and why. An unavailable backend is an
    error with the reason.
    "array" computes with functions of the array API from NumPy, PyTorch or CuPy. It runs on devices, where it never waits for a result:
    values that raise an error on the host, such as a point outside its domain, give NaN there. It needs array-api-compat for tensors and
    CuPy arrays, takes more time and memory than a kernel, and has not yet run on a GPU. What it cannot do there is a
    NotImplementedError.
num_threads
    1 to 2^31 - 1. The default is that of ``qf.set_num_threads``, initially QUATREFOIL_NUM_THREADS or the processors that this process may
    use.

The same result
---------------
The bits of a result do not depend on ``num_threads``: sums have a fixed order. They do depend on the backend and on the instruction set
(QUATREFOIL_ISA), within the error that a page states. ``rng`` is None for fresh numbers, a seed (an int of 64 bits), or a
``numpy.random.Generator``; the same seed gives the same numbers.

NaN
---
A NaN in data does not raise: it stays in its own batch item and channel, or in its own point, as the page says. In points and geometry,
where it has no meaning, it is a ValueError. Results that are too large for their dtype are infinite or NaN. In compiled kernels numbers
below the smallest normal one (1.2e-38 in float32, 2.2e-308 in float64) count as 0.

Errors
------
ValueError for shapes and values, TypeError for kinds and dtypes, MemoryError if memory is exhausted, ``numpy.linalg.LinAlgError`` for a
matrix that is singular or not positive definite, NotImplementedError for missing features. The text names the function, the argument, the
expected and the actual value. Ctrl-C interrupts a compiled kernel.

JAX
---
``pip install 'quatrefoil[jax]'``. The compiled program calls the kernel on its own memory, through XLA's foreign function interface: about
10 us per call more than for NumPy arrays. ``jax.jit``, ``grad`` and ``vmap`` (one item after the other) work; forward mode (``jvp``,
``jacfwd``) is a TypeError. Wrong arguments raise the usual errors at tracing; a kernel's errors for values are a
``jax.errors.JaxRuntimeError`` with the same text. ``use_backend`` applies when a call is traced. Without ``jax_enable_x64``, when JAX has
no int64, indices may be int32.

JAX arrays on other devices are a TypeError (in a program that ``jax.jit`` compiled for one, an error of XLA). So are ``out=`` and updates
in place, as JAX arrays are immutable: use ``selective_state_step`` instead of ``selective_state_update``. Functions and objects that must
read numbers (eigenvalues, decompositions, boundaries, ``qf.wos.solve``, samples, fits) raise a TypeError that names the argument: pass
``numpy.asarray(x)``.

Gradients
---------
A page lists the arrays it is differentiable in. PyTorch gets these gradients by ``backward``, ``torch.func.grad`` and ``vmap``, and
``torch.compile``; JAX by ``jax.grad`` and ``jax.vjp``, conjugated as in JAX's convention. For NumPy there are functions of the same name
with the suffix ``_vjp``: they take the inputs and then the gradient of the result (a tuple for several results), and return the gradients
of the present inputs in their order. The gradient with respect to a complex w is PyTorch's, dL/dRe w + i dL/dIm w. Requesting a gradient
that does not exist raises: second derivatives unless the page says otherwise, and forward mode.
"""
