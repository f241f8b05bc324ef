"""What holds for every function of quatrefoil, unless its own page says otherwise.

Arrays
------
NumPy arrays, PyTorch tensors or JAX arrays on the CPU, and the same kind comes back. All arrays of a call are of one kind: a mix is a
TypeError that names both arguments. Any strides, read-only arrays, axes of length 0 and 1 will do. No function writes to an input; what
three of upstream's functions update in place, they update here too (``final_states_out`` of ``causal_conv1d_fn``, ``conv_state`` of
``causal_conv1d_update``, ``state`` of ``selective_state_update``). CUDA tensors and CuPy arrays are computed on their device, by the array
library's own functions: see *backend*; a mix of devices is a TypeError. What is special about JAX arrays stands below, see *JAX*. Calls on
meta tensors alone give meta tensors, where no numbers are needed to know a shape. Objects (operators, boundaries, results, layers) may be
shared by threads.

Of the libraries that follow the array API standard (``__array_namespace__``) NumPy's, PyTorch's and CuPy's arrays are taken. Another one's
are a TypeError that says what they are: hand over ``numpy.from_dlpack(x)``, which copies nothing where x is on the host.

In shapes, capital letters are sizes, and a letter that occurs twice is one size. ``...`` stands for any number of batch axes.

Dtypes
------
float32 or float64, and complex64 or complex128 where the page says complex; all arrays of a call have the same precision, and so has the
result. float16 and bfloat16 only where the page says so: computed in float32, returned in their own dtype. Everything else is a
TypeError, also integers, bools, lists and masked arrays: nothing is converted in silence.

Classes and geometry take more: estimators, ``ChebTucker`` and its calls, boundaries, data, points. Lists, integers and what has
``__array__``, such as a data frame, count as float64 there, or as what the arrays beside them are. Bools, complex numbers, objects and
masked arrays are a TypeError, and arrays keep their dtype.

out, backend, num_threads
-------------------------
They come last and by keyword.

out
    An array for the result, C-contiguous, of exactly its shape and dtype, which shares no memory with an input; it is returned. For
    calls that return one array, not of half precision and without gradients.
backend
    "native" (compiled kernels), "numba" (no compiler needed: loops that are compiled at their first call, or else the functions of
    "array" over NumPy) or "array" for this call. Without it the choice of ``with qf.use_backend(...)`` holds, then that of the
    environment's QUATREFOIL_BACKEND, then "native" if it was built. ``qf.show_config()`` shows which it is, and why. An unavailable
    backend is an error with the reason.
    "array" computes with functions of the array API, those of NumPy, PyTorch or CuPy. It is what runs on a device, where it never waits
    for a result: what the host answers with an error because of a value, such as a point outside of its domain, is NaN there. It needs
    array-api-compat for tensors and CuPy arrays, takes more time and memory than a kernel, and has not yet run on a GPU. What it cannot
    do there is a NotImplementedError.
num_threads
    1 to 2^31 - 1. Without it ``qf.set_num_threads`` holds, which begins with QUATREFOIL_NUM_THREADS or the processors that this process may
    use.

The same result
---------------
The bits of a result do not depend on ``num_threads``: sums are taken in a fixed order. They do depend on the backend and on the
instruction set (QUATREFOIL_ISA), within the error that a page names. ``rng`` is None for fresh numbers, a seed (an int of 64 bits), or a
``numpy.random.Generator``; the same seed gives the same numbers.

NaN
---
A NaN in data does not raise: it stays in its own batch item and channel, or in its own point, as the page says. Where it can mean nothing,
in points and geometry, it is a ValueError. Results that are too large for their dtype are infinite or NaN. In compiled kernels numbers
below the least normal one (1.2e-38 in float32, 2.2e-308 in float64) count as 0.

Errors
------
ValueError for shapes and values, TypeError for kinds and dtypes, MemoryError where there is no room, ``numpy.linalg.LinAlgError`` for a
matrix that is singular or not positive definite, NotImplementedError for what does not exist yet. The text names the function and the
argument, what was expected and what it got. Ctrl-C interrupts a compiled kernel.

JAX
---
``pip install 'quatrefoil[jax]'``. The compiled program calls the kernel on its own memory, through XLA's foreign function interface: some
10 us a call more than for NumPy arrays. ``jax.jit``, ``grad`` and ``vmap`` (item after item) work; forward mode (``jvp``, ``jacfwd``) is a
TypeError. Wrong arguments raise at tracing, as they do elsewhere; what a kernel finds in the numbers is a ``jax.errors.JaxRuntimeError``
with the same text. ``use_backend`` counts where a call is traced. Without ``jax_enable_x64``, where JAX has no int64, indices
may be int32.

JAX arrays on other devices are a TypeError (in a program for one, compiled by ``jax.jit``, an error of XLA's). So are ``out=`` and what is
updated in place, as JAX arrays are immutable: take ``selective_state_step`` for ``selective_state_update``. Functions and objects that have
to look at numbers (eigenvalues, decompositions, boundaries, ``qf.wos.solve``, samples, fits) raise a TypeError that names the argument:
give ``numpy.asarray(x)``.

Gradients
---------
A page lists the arrays it is differentiable in. PyTorch gets these gradients: ``backward``, ``torch.func.grad`` and ``vmap``,
``torch.compile``; JAX gets them by ``jax.grad`` and ``jax.vjp``, conjugated as it means them. For NumPy they are the functions of the same
name with ``_vjp`` behind it: they take the inputs and then the gradient of the result (a tuple where there are several), and return the
gradients of the inputs that were given, in their order. The gradient with respect to a complex w is PyTorch's, dL/dRe w + i dL/dIm w. What
has no gradient raises where one is asked for: a second derivative does, but where the page says otherwise, and forward mode does.
"""
