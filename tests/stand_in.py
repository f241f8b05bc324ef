"""What stands for CuPy on a machine without a GPU: arrays in the host's memory that act as CuPy's do where that matters to what is around
kernels. They have a device, do not mix with NumPy's arrays, which they neither take nor become unasked, and count how often anybody waits
for their numbers."""

import contextlib
import functools
import types

import numpy as np

WAITED = []  # what was read back


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


def _inner(x):
    """The NumPy arrays in what a function is given."""
    if isinstance(x, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(x, (list, tuple)):
        return type(x)(map(_inner, x))
    if isinstance(x, ndarray):
        _used.append(x.device.id)
        return x._a
    return x


_used: list = []


def _outer(x, device):
    if isinstance(x, (np.ndarray, np.generic)) and not isinstance(x, np.dtype):
        return ndarray(np.asarray(x), device)
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*[_outer(item, device) for item in x])
    return type(x)(_outer(item, device) for item in x) if isinstance(x, (list, tuple)) else x


def _of(function):
    """The same of these arrays: all of one device, where the results lie."""

    @functools.wraps(function)
    def run(*args, device=None, **kwargs):
        _used.clear()
        args, kwargs = _inner(args), {name: _inner(value) for name, value in kwargs.items()}
        devices = {*_used, *([device.id] if isinstance(device, Device) else [])}
        if len(devices) > 1:
            raise ValueError(f"arrays on devices {devices}")
        return _outer(function(*args, **kwargs), devices.pop() if devices else _current[-1])

    return run


def _waits(name):
    def method(self, *args):
        WAITED.append(name)
        return getattr(self._a, name)(*args)

    return method


class ndarray:
    __module__ = "cupy"
    __array_priority__ = 100
    __array_ufunc__ = None

    def __init__(self, a, device=0):
        self._a, self.device = a, Device(device)

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly.")

    def get(self):
        WAITED.append("get")
        return self._a.copy()

    def __len__(self):
        return len(self._a)

    def __iter__(self):
        return iter([self[i] for i in range(len(self))])

    def __getitem__(self, index):
        return _of(lambda a, i: a[i])(self, index)

    def __setitem__(self, index, value):
        self._a[_inner(index)] = _inner(value)

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
for _name in [
    "reshape",
    "swapaxes",
    "sum",
    "copy",
    "mean",
    "max",
    "min",
    "any",
    "all",
    "diagonal",
    "transpose",
    "ravel",
    "std",
    "trace",
    "view",
    "dot",
]:
    setattr(ndarray, _name, (lambda name: lambda self, *args, **kwargs: _of(getattr(np.ndarray, name))(self, *args, **kwargs))(_name))
for _name in ("__bool__", "__float__", "__int__", "__index__", "__complex__", "item", "tolist"):
    setattr(ndarray, _name, _waits(_name))
_OPERATORS = "add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow matmul rmatmul and rand or ror xor rxor"
for _name in (*_OPERATORS.split(), *["eq", "ne", "lt", "le", "gt", "ge", "neg", "abs", "invert", "lshift", "rshift"]):
    setattr(ndarray, f"__{_name}__", (lambda name: lambda *args: _of(getattr(np.ndarray, name))(*args))(f"__{_name}__"))
for _name in ["add", "sub", "mul", "truediv", "floordiv", "pow", "and", "or", "xor"]:

    def _in_place(self, other, name=f"__i{_name}__"):
        self._a = getattr(self._a, name)(_inner(other))
        return self

    setattr(ndarray, f"__i{_name}__", _in_place)


class Namespace(types.ModuleType):
    """Functions of a NumPy module, of these arrays."""

    def __init__(self, module, **own):
        super().__init__("cupy")
        self._module = module
        vars(self).update(own)

    def __getattr__(self, name):
        found = getattr(self._module, name)
        if isinstance(found, types.ModuleType):
            return Namespace(found)
        plain = isinstance(found, type) or not callable(found) or name in ("isdtype", "finfo", "iinfo", "result_type")
        return found if plain else _of(found)


def _asarray(x, dtype=None, *, order=None, device=None, copy=None):
    """CuPy's takes arrays of the host, and copies them."""
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
    """Within it nobody waits for a number."""
    WAITED.clear()
    yield
    assert WAITED == []
