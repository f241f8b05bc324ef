"""A stand-in for CuPy on machines without a GPU: arrays in host memory that behave like CuPy arrays as far as the library can tell.

They have a device, never mix with NumPy arrays or convert implicitly, and record every access that would wait for their values.
"""

import contextlib
import functools
import operator
import types

import numpy as np

WAITED = []  # names of the methods that have waited for values


class Device:
    def __init__(self, number=0):
        self.id = number

    def __eq__(self, other):
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self):
        return hash(self.id)

    def __repr__(self):
        return f"<CUDA Device {self.id}>"

    def __enter__(self):
        _current.append(self.id)
        return self

    def __exit__(self, *error):
        _current.pop()


_current = [0]
_device = functools.cache(Device)
_PLAIN = {int, float, bool, str, slice, type(None), type(...)}


def _unwrap(x):
    """Replace stand-in arrays in an argument with their NumPy arrays."""
    kind = type(x)
    if kind is ndarray:
        _used.append(x.device.id)
        return x._a
    if kind in _PLAIN:
        return x
    if isinstance(x, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    return kind(map(_unwrap, x)) if isinstance(x, (list, tuple)) else x


_used: list = []


def _wrap_result(x, device):
    if type(x) is np.ndarray:
        return ndarray(x, device)
    if isinstance(x, (np.ndarray, np.generic)) and not isinstance(x, np.dtype):
        return ndarray(np.asarray(x), device)
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*[_wrap_result(item, device) for item in x])
    return type(x)(_wrap_result(item, device) for item in x) if isinstance(x, (list, tuple)) else x


def _wrap(function):
    """A NumPy function for stand-in arrays, which must all be on one device; its results are on that device too."""

    @functools.wraps(function)
    def run(*args, device=None, **kwargs):
        _used.clear()
        args = [_unwrap(x) for x in args]
        if kwargs:
            kwargs = {name: _unwrap(value) for name, value in kwargs.items()}
        if isinstance(device, Device):
            _used.append(device.id)
        number = _used[0] if _used else _current[-1]
        if _used.count(number) != len(_used):
            raise ValueError(f"arrays on devices {set(_used)}")
        return _wrap_result(function(*args, **kwargs), number)

    return run


def _waiting(name):
    def method(self, *args):
        WAITED.append(name)
        return getattr(self._a, name)(*args)

    return method


class ndarray:
    __module__ = "cupy"
    __array_priority__ = 100
    __array_ufunc__ = None

    def __init__(self, a, device=0):
        self._a, self.device = a, _device(device)

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly.")

    def get(self):
        WAITED.append("get")
        return self._a.copy()

    def __len__(self):
        return len(self._a)

    def __iter__(self):
        return iter([self[i] for i in range(len(self))])

    __getitem__ = _wrap(operator.getitem)

    def __setitem__(self, index, value):
        self._a[_unwrap(index)] = _unwrap(value)

    def __repr__(self):
        return f"stand-in for a CuPy array of shape {self.shape}"

    def __reduce__(self):
        return ndarray, (self._a, self.device.id)

    @property
    def __cuda_array_interface__(self):
        return {**self._a.__array_interface__, "version": 3}

    def astype(self, dtype, copy=True):
        return ndarray(self._a.astype(dtype, copy=copy), self.device.id)


for _name in ("shape", "dtype", "ndim", "size", "nbytes", "itemsize", "strides"):
    setattr(ndarray, _name, property(lambda self, name=_name: getattr(self._a, name)))
ndarray.flags = property(lambda self: types.SimpleNamespace(c_contiguous=self._a.flags.c_contiguous))
for _name in ("T", "mT", "real", "imag"):
    setattr(ndarray, _name, property(lambda self, name=_name: ndarray(getattr(self._a, name), self.device.id)))
_METHODS = "reshape swapaxes sum copy mean max min any all diagonal transpose ravel std trace view dot"
for _name in _METHODS.split():
    setattr(ndarray, _name, _wrap(getattr(np.ndarray, _name)))
for _name in ("__bool__", "__float__", "__int__", "__index__", "__complex__", "item", "tolist"):
    setattr(ndarray, _name, _waiting(_name))
_OPERATORS = "add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow matmul rmatmul and rand or ror xor rxor"
for _name in (*_OPERATORS.split(), *["eq", "ne", "lt", "le", "gt", "ge", "neg", "abs", "invert", "lshift", "rshift"]):
    setattr(ndarray, f"__{_name}__", _wrap(getattr(np.ndarray, f"__{_name}__")))
for _name in ["add", "sub", "mul", "truediv", "floordiv", "pow", "and", "or", "xor"]:

    def _in_place(self, other, name=f"__i{_name}__"):
        self._a = getattr(self._a, name)(_unwrap(other))
        return self

    setattr(ndarray, f"__i{_name}__", _in_place)


class Namespace(types.ModuleType):
    """The functions of a NumPy module for stand-in arrays."""

    def __init__(self, module, **own):
        super().__init__("cupy")
        self._module = module
        vars(self).update(own)

    def __getattr__(self, name):
        member = getattr(self._module, name)
        if isinstance(member, types.ModuleType):
            member = Namespace(member)
        elif not isinstance(member, type) and callable(member) and name not in ("isdtype", "finfo", "iinfo", "result_type"):
            member = _wrap(member)
        vars(self)[name] = member
        return member


def _asarray(x, dtype=None, *, order=None, device=None, copy=None):
    """Like CuPy's ``asarray``, copies host arrays."""
    if isinstance(x, ndarray):
        return ndarray(np.asarray(x._a, dtype=dtype, order=order), x.device.id)
    return ndarray(np.array(x, dtype=dtype, order=order), device.id if device is not None else _current[-1])


def _asnumpy(x):
    return x.get() if isinstance(x, ndarray) else np.asarray(x)


def _may_share_memory(x, y):
    return np.may_share_memory(x._a, y._a)


cuda = types.SimpleNamespace(Device=Device)
cupy = Namespace(np, ndarray=ndarray, asarray=_asarray, array=_asarray, asnumpy=_asnumpy, cuda=cuda, may_share_memory=_may_share_memory)


@contextlib.contextmanager
def nothing_read_back():
    """Check that nothing in the block waits for a value."""
    WAITED.clear()
    yield
    assert WAITED == []
