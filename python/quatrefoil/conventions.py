"""Conventions of every function of quatrefoil, unless its own documentation says otherwise.

Arrays
------
Functions accept NumPy arrays, PyTorch tensors or JAX arrays on the CPU and return arrays of the same library. All arrays of a call must be
from one library; otherwise a TypeError names both arguments. Any strides, read-only arrays, and axes of length 0 and 1 are allowed. No
function writes to an input, except three functions with the interface of mamba-ssm and causal-conv1d, which update a state in place
(``final_states_out`` of ``causal_conv1d_fn``, ``conv_state`` of ``causal_conv1d_update``, ``state`` of ``selective_state_update``).
Operations on CUDA tensors and CuPy arrays run on their device, with GPU kernels or the array library's own functions (see *backend*);
mixing devices raises a TypeError. For JAX arrays, see *JAX*. Calls on meta tensors return meta tensors if the shape of the result does not
depend on values. Threads may share objects (operators, boundaries, results, layers).

Of the libraries that follow the array API standard (``__array_namespace__``), NumPy, PyTorch and CuPy are supported. Arrays of others raise
a TypeError: pass ``numpy.from_dlpack(x)``, which does not copy arrays on the host.

In shapes, capital letters are sizes, and a letter that occurs twice stands for the same size. ``...`` stands for any number of batch axes.

Dtypes
------
Arrays are float32 or float64, or complex64 or complex128 where the documentation says complex. All arrays of a call have the same
precision, and so does the result. float16 and bfloat16 are allowed where the documentation says so: the computation is in float32, and
results have the dtype of the arguments. Everything else raises a TypeError, including integers, bools, lists and masked arrays: nothing is
converted silently.

Classes and geometry accept more (estimators, ``ChebTucker`` and its calls, boundaries, data, points). There, lists, integers and objects
with ``__array__``, such as data frames, are converted to the dtype of the other arrays, or to float64 if no other argument is an array.
Bools, complex numbers, masked arrays and other objects raise a TypeError. Arrays keep their dtype.

out, backend, num_threads
-------------------------
These are the last arguments, and they are keyword-only.

out
    An array that receives the result and is returned: C-contiguous, with exactly the shape and dtype of the result, sharing no memory with
    an input. Calls that return several arrays or a half-precision array, and calls that record gradients, do not accept it.
backend
    The backend of this call: "native" (compiled kernels), "numba" (no compiler needed: loops compiled on their first call, or the functions
    of "array" with NumPy), "cuda" (compiled GPU kernels) or "array". The default is the choice of ``with qf.use_backend(...)``, then that
    of the environment variable QUATREFOIL_BACKEND, then "native" if it was built, otherwise "numba". On a device, the last two are replaced
    by "cuda" if a suitable kernel is installed, otherwise "array". ``qf.show_config()`` shows the backend for host arrays, and the reason.
    An unavailable backend raises an error with the reason.
    "array" calls array API functions of NumPy, PyTorch or CuPy. It needs array-api-compat for tensors and CuPy arrays, and takes more time
    and memory than a kernel. Operations that it cannot run on a device raise NotImplementedError. On a device, neither "array" nor "cuda"
    checks values: those that raise an error on the host, such as a point outside its domain, give NaN. Neither has run on a GPU yet.
num_threads
    1 to 2^31 - 1. The default is set by ``qf.set_num_threads``, initially QUATREFOIL_NUM_THREADS or, if it is not set, the number of
    processors that this process may use, limited by OMP_NUM_THREADS.

Reproducibility
---------------
Results are bitwise identical for any ``num_threads``, because sums have a fixed order. They depend on the backend and the instruction set
(QUATREFOIL_ISA), within the documented error. ``rng`` is None for fresh numbers, a seed (a 64-bit int), or a ``numpy.random.Generator``;
the same seed gives the same numbers.

NaN
---
A NaN in data does not raise an error: it stays in its own batch item and channel, or in its own point, as documented. In points and
geometry, where it has no meaning, it raises a ValueError. Results that are too large for their dtype are infinite or NaN. Compiled kernels
treat numbers below the smallest normal one (1.2e-38 in float32, 2.2e-308 in float64) as 0.

Errors
------
ValueError for shapes and values, TypeError for array types and dtypes, MemoryError if memory is exhausted, ``numpy.linalg.LinAlgError`` for
a matrix that is singular or not positive definite, NotImplementedError for missing features. The message names the function, the argument,
the expected and the actual value. Ctrl-C interrupts a compiled kernel.

JAX
---
Install with ``pip install 'quatrefoil[jax]'``. The compiled program calls the kernel on its own arrays, through XLA's foreign function
interface: about 10 us more per call than for NumPy arrays. ``jax.jit``, ``grad`` and ``vmap`` (one item at a time) work; forward mode
(``jvp``, ``jacfwd``) raises a TypeError. Invalid arguments raise the usual errors during tracing; a kernel's errors about values become
``jax.errors.JaxRuntimeError`` with the same text. ``use_backend`` applies when a call is traced. Without ``jax_enable_x64``, when JAX has
no int64, indices may be int32.

JAX arrays on other devices raise a TypeError, or an XLA error inside a program that ``jax.jit`` compiled for such a device. ``out=`` and
updates in place raise a TypeError too, because JAX arrays are immutable: use ``selective_state_step`` instead of
``selective_state_update``. Functions and objects that must read values (eigenvalues, decompositions, boundaries, ``qf.wos.solve``, samples,
fits) raise a TypeError that names the argument: pass ``numpy.asarray(x)``.

Gradients
---------
The documentation of a function lists the arrays with respect to which it is differentiable. In PyTorch these gradients are available from
``backward``, ``torch.func.grad`` and ``vmap``, and ``torch.compile``; in JAX from ``jax.grad`` and ``jax.vjp``, conjugated as in JAX's
convention. For NumPy there are functions of the same name with the suffix ``_vjp``: they accept the inputs, then the gradient of the
result (a tuple for several results), and return the gradients of the present inputs in their order. The gradient with respect to a complex
w is PyTorch's, dL/dRe w + i dL/dIm w. Requesting a gradient that is not available raises an error. This includes forward mode, and second
derivatives unless they are documented.
"""
