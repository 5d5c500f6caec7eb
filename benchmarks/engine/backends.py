"""Where the jobs of a sweep run: processes of this machine, or a Ray cluster.

A backend takes jobs by key and yields their outcomes in order of completion: a record or a failure. It
writes nothing.
"""

import importlib
import multiprocessing
import os
import platform
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib.metadata import version
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

import torch

PACKAGES = ("robot-room", "torch", "numpy", "gymnasium", "stable-baselines3")

Record = dict[str, Any]
Job = tuple[Callable[..., Record], tuple[Any, ...]]
"""An importable function and its arguments."""


class Failure(str):
    """The reason why a job failed."""


class Backend(Protocol):
    """Interface of a backend."""

    def run(self, jobs: Mapping[Path, Job]) -> Iterator[tuple[Path, Record | Failure]]:
        """Yield outcomes in order of completion."""
        ...


def attempt(job: Job) -> Record | Failure:
    """Run a job with one thread."""
    torch.set_num_threads(1)
    function, arguments = job
    try:
        return function(*arguments)
    except Exception:  # whatever it is, it breaks this job only, and is reported with it
        return Failure(traceback.format_exc().strip())


def machine() -> Record:
    """Versions and processor, as they are kept in a record."""
    return {
        "versions": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "processor": _processor(),
    }


def _processor() -> str:
    """The processor's name, which `platform` does not give on Linux."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(": ", 1)[1]
    return platform.processor() or platform.machine()


class Processes:
    """Processes of this machine. If one dies, only its own job fails.

    Args:
        workers: jobs at a time; 1 where seconds are to be compared.
        jobs_per_process: before a fresh one is started; more where jobs are short.
    """

    def __init__(self, workers: int = 1, jobs_per_process: int = 1) -> None:
        if workers < 1:
            raise ValueError(f"workers: got {workers}, allowed: at least 1")
        self.workers, self.jobs_per_process = workers, jobs_per_process

    def run(self, jobs: Mapping[Path, Job]) -> Iterator[tuple[Path, Record | Failure]]:
        """Yield outcomes in order of completion."""
        due, workers = list(jobs.items()), [_Worker() for _ in range(min(self.workers, len(jobs)))]
        try:
            while due or any(worker.key is not None for worker in workers):
                for number, worker in enumerate(workers):
                    if due and worker.key is None:
                        if worker.served == self.jobs_per_process or not worker.process.is_alive():
                            worker.stop()
                            workers[number] = worker = _Worker()
                        worker.give(*due.pop(0))
                busy: dict[Any, _Worker] = {
                    worker.pipe: worker for worker in workers if worker.key is not None
                }
                for pipe in wait(list(busy)):
                    yield busy[pipe].take()
        finally:
            for worker in workers:
                worker.stop()


class _Worker:
    """A process that runs one job after the other."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()  # so that the pipe ends when the process does
        self.key: Path | None = None
        self.served = 0

    def give(self, key: Path, job: Job) -> None:
        self.key = key
        self.served += 1
        with suppress(BrokenPipeError):  # it died: `take` says so
            self.pipe.send(job)

    def take(self) -> tuple[Path, Record | Failure]:
        assert self.key is not None
        key, self.key = self.key, None
        try:
            return key, self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            return key, Failure(f"its process ended with exit code {self.process.exitcode}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.join()
        self.pipe.close()


def _serve(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError):
        while True:
            pipe.send(attempt(pipe.recv()))


def _end_with_parent() -> None:
    """End this process when its parent is gone, for whatever reason.

    Nobody would have the job's outcome, and its load would falsify the times of other jobs.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


class OnRay:
    """A running Ray cluster. The package must be installed on its nodes.

    Jobs of a node that is lost run again on the others.

    Args:
        address: "host:port", as `ray start --head` prints it.
        num_cpus: processors that a job takes; a job computes with one thread, whatever it takes.
        num_gpus: GPUs that a job takes, or a part of one.
        retries: how often a job is run again whose node is lost.

    Raises:
        ImportError: Ray is missing.
        ValueError: there is no cluster at the address, or none of its nodes can ever run a job.
    """

    def __init__(
        self, address: str, num_cpus: float = 1, num_gpus: float = 0, retries: int = 3
    ) -> None:
        self.resources = {"num_cpus": num_cpus, "num_gpus": num_gpus}
        self.retries = retries
        for name, least in (("num_cpus", 0), ("num_gpus", 0), ("retries", 0)):
            value = {**self.resources, "retries": retries}[name]
            if not value >= least or value == float("inf"):
                raise ValueError(f"{name}: got {value}, allowed: at least {least}")
        try:
            self._ray: Any = importlib.import_module("ray")
        except ImportError as error:
            raise ImportError("backend: ray is missing; pip install 'robot-room[ray]'") from error
        self.address = address
        host, _, port = address.rpartition(":")
        allowed = "host:port of a running cluster, as `ray start --head` prints it"
        if not host or not port.isdigit():
            raise ValueError(f"address: got {address!r}, allowed: {allowed}")
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
            self._ray.init(
                address, logging_level="error", log_to_driver=False, ignore_reinit_error=True
            )
        except (OSError, OverflowError, RuntimeError, self._ray.exceptions.RayError) as error:
            raise ValueError(f"address: got {address!r} ({error}), allowed: {allowed}") from error
        self._require_room()

    def _require_room(self) -> None:
        """Refuse jobs that would wait for ever."""
        for name, kind in (("num_cpus", "CPU"), ("num_gpus", "GPU")):
            nodes = [node["Resources"].get(kind, 0) for node in self._ray.nodes() if node["Alive"]]
            if self.resources[name] > max(nodes, default=0):
                allowed = f"at most {max(nodes, default=0):g}, what the largest node of the cluster has"
                raise ValueError(f"{name}: got {self.resources[name]:g}, allowed: {allowed}")

    def run(self, jobs: Mapping[Path, Job]) -> Iterator[tuple[Path, Record | Failure]]:
        """Yield outcomes in order of completion."""
        options = {**self.resources, "max_calls": 1, "max_retries": self.retries}
        remote = self._ray.remote(**options)(attempt)
        keys = {remote.remote(job): key for key, job in jobs.items()}
        while keys:
            (done,), _ = self._ray.wait(list(keys))
            try:
                outcome = self._ray.get(done)
            except self._ray.exceptions.RayError as error:  # lost more often than it is retried
                outcome = Failure(str(error))
            yield keys.pop(done), outcome

    def close(self) -> None:
        """Disconnect from the cluster, which continues to run."""
        self._ray.shutdown()
