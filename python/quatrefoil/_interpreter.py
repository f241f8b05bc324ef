"""Raises ImportError in subinterpreters, where NumPy and the compiled kernels would share state or deadlock. Imported before NumPy."""

import importlib


def is_main() -> bool:
    """Whether this is the main interpreter of the process."""
    for name in ("_interpreters", "_xxsubinterpreters"):  # Python 3.13 and later; earlier versions
        try:
            interpreters = importlib.import_module(name)
        except ImportError:
            continue
        return bool(interpreters.get_current() == interpreters.get_main())
    return True


if not is_main():
    raise ImportError("quatrefoil cannot be imported in a subinterpreter; import it in the main interpreter, or in another process")
