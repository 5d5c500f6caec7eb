"""An algorithm in a Python of its own, with other packages than this project's.

`Elsewhere` is a `make` as `benchmarks.comparison.algorithms` describes it. It starts a process of
another virtual environment, in which another `make` of the same kind runs, and passes on what that
yields. Frames and actions travel over pipes; states of the policy stay there.
"""

import importlib
import json
import os
import pickle
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from gymnasium.envs.registration import EnvSpec

from benchmarks.engine.peers import ROOT, peers_python


@dataclass(frozen=True)
class Elsewhere:
    """Runs a `make` in a virtual environment that is created when it is first needed."""

    environment: str
    """The virtual environment is `.venv-ENVIRONMENT`, in the project's root."""
    requirements: tuple[str, ...]
    """Arguments of `pip install` there; numpy and gymnasium must be among what they install."""
    target: str
    """module:function, importable there; the project's root is on its path."""
    settings: str
    """What results depend on, in one line."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Of `target`, after environment and seed; what JSON can hold."""
    space: Mapping[str, Any] = field(default_factory=dict)
    """What tuning tries instead of them: Optuna's distributions, by name."""

    def with_settings(self, **arguments: Any) -> "Elsewhere":
        """The same with other arguments."""
        return replace(self, arguments=arguments)

    def __call__(self, env: EnvSpec, seed: int) -> Iterator[tuple["Remote", int, float]]:
        """Yield the policy, environment steps, and CPU seconds of training so far.

        CPU seconds, as the process has one thread and other work may share the machine.

        Raises:
            RuntimeError: pip, or the algorithm there, fails.
        """
        asked = self.target, env.to_json(), str(seed), json.dumps(dict(self.arguments))
        remote = Remote(self.environment, self.requirements, *asked)
        try:
            while (progress := remote.ask("next")) is not None:
                yield remote, *progress
        finally:
            remote.close()


class Remote:
    """The policy of a process elsewhere."""

    def __init__(self, environment: str, requirements: Sequence[str], *asked: str) -> None:
        python = peers_python(environment, requirements)
        command = [python, "-m", "benchmarks.engine.elsewhere", *asked]
        one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | one_thread,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Any, int]:
        """Actions for observations; the state is a number that stands for the one there."""
        return self.ask("predict", observation, state, episode_start, deterministic)

    def ask(self, *request: Any) -> Any:
        """Send a request and return its answer.

        Raises:
            RuntimeError: the algorithm fails, or its process has ended.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            pickle.dump(request, self._process.stdin)
            self._process.stdin.flush()
            failed, answer = pickle.load(self._process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            code = self._process.wait()
            raise RuntimeError(f"the process of the algorithm ended with exit code {code}") from error
        if failed:
            raise RuntimeError(answer)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except OSError:  # what was still to be sent has no reader
                    pass


class _Server:
    """Answers requests with a `make`'s snapshots and policy."""

    def __init__(self, target: str, spec: EnvSpec, seed: int, arguments: Mapping[str, Any]) -> None:
        module, _, name = target.partition(":")
        make = getattr(importlib.import_module(module), name)
        self.training = iter(make(spec, seed, **arguments))
        self.policy: Any = None
        self.seconds = 0.0
        self.states: dict[int, Any] = {}
        self.calls = 0

    def next(self) -> tuple[int, float] | None:
        """Train until the algorithm yields; None when its training is over."""
        began = time.process_time()
        found = next(self.training, None)
        if self.policy is not None:  # to make it is not to train it
            self.seconds += time.process_time() - began
        if found is None:
            return None
        self.policy, env_steps = found
        return int(env_steps), self.seconds

    def predict(
        self, observation: Any, state: int | None, episode_start: Any, deterministic: bool
    ) -> tuple[Any, int]:
        """The policy's answer; only the state of the last answer is kept."""
        before = None if state is None else self.states[state]
        action, after = self.policy.predict(observation, before, episode_start, deterministic)
        self.calls += 1
        self.states = {self.calls: after}
        return action, self.calls


def serve(requests: BinaryIO, answers: BinaryIO, *asked: Any) -> None:
    """Answer until nobody asks; `asked` is what the server is made from."""
    server: _Server | None = None
    while True:
        try:
            name, *arguments = pickle.load(requests)
        except EOFError:
            return
        try:
            server = server or _Server(*asked)
            answer = False, getattr(server, name)(*arguments)
        except Exception:  # whatever it is, it is reported where it was asked for
            answer = True, traceback.format_exc().strip()
        pickle.dump(answer, answers)
        answers.flush()


def main() -> None:
    """Serve over standard input and output; what libraries print goes to standard error."""
    target, spec, seed, arguments = sys.argv[1:]
    asked = target, EnvSpec.from_json(spec), int(seed), json.loads(arguments)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers, *asked)


if __name__ == "__main__":
    main()
