"""Faults that tests inject into a process."""

import contextlib
import ctypes
import errno
import os
from pathlib import Path

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
WAIT_ALL = 0x40000000  # __WALL


@contextlib.contextmanager
def hung_thread(pid, name):
    """Stops one thread of a process, as a debugger does."""
    [tid] = [
        int(task.name)
        for task in Path(f"/proc/{pid}/task").iterdir()
        if (task / "comm").read_text() == f"{name}\n"
    ]
    trace(PTRACE_SEIZE, tid)
    trace(PTRACE_INTERRUPT, tid)
    os.waitpid(tid, WAIT_ALL)
    try:
        yield
    finally:
        try:
            trace(PTRACE_DETACH, tid)
        except ProcessLookupError:
            # It was killed. Its parent can reap it only after its tracer has waited for it.
            os.waitpid(tid, WAIT_ALL)


def trace(request, tid):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_ulong, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(request, tid, None, None) == -1:
        code = ctypes.get_errno()
        if code == errno.ESRCH:
            raise ProcessLookupError(code, "ptrace")
        raise OSError(code, "ptrace")
