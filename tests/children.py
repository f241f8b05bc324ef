"""Code that runs in a Python process of its own, or in several threads at once."""

import contextvars
import os
import subprocess
import sys
import textwrap
import threading

from quatrefoil._backends.numba import NOTICE


def run_python(code, *arguments, timeout=300, check=True, options=(), **environment):
    """Run code in a fresh interpreter, with these environment variables too; return what subprocess.run returns, with its text."""
    done = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **{name: str(value) for name, value in environment.items()}},
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    done.stderr = done.stderr.replace(f"{NOTICE}\n", "")  # a matter of the machine's speed
    return done


def in_threads(count, work):
    """Call ``work(i)`` in that many threads, each with the caller's context; raise the first error of any of them."""
    errors, start = [], threading.Barrier(count)

    def run(i):
        start.wait()
        try:
            work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=contextvars.copy_context().run, args=(run, i)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]
