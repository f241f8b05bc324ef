"""Imported first: refuses any interpreter but the main one, where NumPy's state and that of the compiled part would be shared or wait for a
lock that nobody gives back."""

import importlib


def is_main() -> bool:
    for name in ("_interpreters", "_xxsubinterpreters"):  # from Python 3.13 on; before
        try:
            interpreters = importlib.import_module(name)
        except ImportError:
            continue
        return bool(interpreters.get_current() == interpreters.get_main())
    return True


if not is_main():
    raise ImportError("quatrefoil cannot be imported in a sub-interpreter; import it in the main interpreter, or start another process")
