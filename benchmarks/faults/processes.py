"""Trials in a forked process, so that a crash, a hang or a kill is one trial's alone."""

import ctypes
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import NamedTuple

TRACE_ME, TRACE_NEXT_CALL = 0, 24  # requests of Linux's ptrace


class Ended(NamedTuple):
    """How a process ended."""

    code: int
    """Its exit code; −N if signal N killed it."""
    said: str
    """What the trial returned, or its traceback."""
    peak: int
    """Largest memory that it had, bytes."""


def forked(trial: Callable[[], str], seconds: float, kill: bool = False) -> Ended:
    """Run a trial in a process of its own.

    Args:
        trial: returns what it has to say.
        seconds: after which the process is killed; −9 is then its code.
        kill: whether to sleep until then, and not to look how it goes.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code = 0
        try:
            said = trial()
        except BaseException:
            said, code = traceback.format_exc(), 1
        os.write(writer, said.encode()[-60_000:])
        os._exit(code)
    os.close(writer)
    deadline = time.monotonic() + seconds
    if kill:
        time.sleep(seconds)
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            break
        time.sleep(0.001)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    return Ended(os.waitstatus_to_exitcode(status), said, usage.ru_maxrss * 1024)


def interrupted(trial: Callable[[], str], seconds: float) -> str:
    """Run a trial in this process, with a Ctrl-C after some seconds unless it is done by then."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        return trial()
    except KeyboardInterrupt:
        return "interrupted"
    finally:
        timer.cancel()


def killed_at_call(trial: Callable[[], object], number: int) -> bool:
    """Kill a process before its system call of this number, from 0; False if it ended by then."""
    libc = ctypes.CDLL(None, use_errno=True)
    child = os.fork()
    if child == 0:
        libc.ptrace(TRACE_ME, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        trial()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    stops = 0
    while os.WIFSTOPPED(status):
        if stops == 2 * number:  # each call stops twice: when it begins and when it ends
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return True
        if libc.ptrace(TRACE_NEXT_CALL, child, None, None) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")
        _, status = os.waitpid(child, 0)
        stops += 1
    return False


BLOCK = 64
"""Bytes of a block of Python's allocator, about."""


def own_memory() -> int:
    """Memory that this process has now, bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def used_memory() -> int:
    """Bytes that are in use: what glibc's allocator has given out, and Python's own.

    Unlike `own_memory`, this does not count what is free and was not given back to the system.
    """
    libc = ctypes.CDLL("libc.so.6")
    libc.mallinfo2.restype = _MallocInfo
    info = libc.mallinfo2()
    return info.uordblks + info.hblkhd + sys.getallocatedblocks() * BLOCK


class _MallocInfo(ctypes.Structure):
    # See mallinfo(3).
    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = tuple((name, ctypes.c_size_t) for name in _names.split())
