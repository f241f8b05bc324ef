"""Run code in a separate Python process, or in several threads."""

import contextvars
import os
import subprocess
import sys
import textwrap
import threading

from quatrefoil._backends.numba import NOTICE


def run_python(code, *arguments, timeout=300, check=True, options=(), **environment):
    """Run code in a new interpreter with additional environment variables; return the completed process with its output."""
    done = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **{name: str(value) for name, value in environment.items()}},
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    done.stderr = done.stderr.replace(f"{NOTICE}\n", "")  # printed on slow machines
    return done


def in_threads(count, work):
    """Call ``work(i)`` in ``count`` threads with the caller's context; raise the first error."""
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
