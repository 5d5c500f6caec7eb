"""Sweeps: every job runs once and leaves a whole file, whatever goes wrong, wherever it runs."""

import json
import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Client, Listener
from pathlib import Path

import pytest

from benchmarks.comparison.budgets import Budget
from benchmarks.comparison.job import run_job
from benchmarks.engine.backends import Failure, OnRay, Processes, attempt
from benchmarks.engine.jobs import FailedJobsError, read_record, run_jobs

pytestmark = pytest.mark.slow


OUTSIDE = ("straight", "RobotRoom-v0", 0, Budget(0.99, 100, 1.0), False, "outside:make")
"""A job of the comparison, of an algorithm that is not its own."""


def number(value):
    return {"value": value}


def inverse(log, value):
    with log.open("a") as tried:
        tried.write(str(value))
    return {"value": 1 / value}


def die_once(flag, value):
    """Kills its own process the first time, as a machine out of memory would."""
    if not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"value": value}


def slow(log, value):
    """Writes a line when it starts and one when it ends."""
    with log.open("a") as lines:
        lines.write(f"start {value} {os.environ.get('RAY_NODE', '')}\n")
    time.sleep(0.5)
    return {"value": value}


def test_a_job_runs_once_and_leaves_its_record(tmp_path):
    jobs = {tmp_path / "out" / f"{i}.json": (i,) for i in range(3)}
    records = run_jobs(number, jobs, {}, workers=2)
    assert [record["value"] for record in records] == [0, 1, 2]
    assert records[0]["versions"]["torch"] and records[0]["processor"]
    path = tmp_path / "out" / "1.json"
    kept = {"value": "kept", "settings": {}}
    path.write_text(json.dumps(kept))
    assert run_jobs(number, jobs, {})[1] == kept
    assert sorted(each.name for each in path.parent.iterdir()) == ["0.json", "1.json", "2.json"]


def test_a_job_of_an_algorithm_from_outside_runs_in_another_process(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    (record,) = run_jobs(run_job, {tmp_path / "0.json": OUTSIDE}, {})
    assert record["curve"][-1]["success_rate"] == 1 and record["algorithm"] == "straight"


def test_older_records_are_read_with_the_names_of_today(tmp_path):
    old = {"settings": {}, "curve": [{"steps_over_oracle": 1.5}]}
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert read_record(tmp_path / "old.json")["curve"] == [{"path_ratio": 1.5}]


def test_a_broken_job_is_tried_twice_and_named_and_the_others_stay(tmp_path):
    log, good, bad = tmp_path / "log", tmp_path / "good.json", tmp_path / "bad.json"
    with pytest.raises(FailedJobsError, match=r"1 of 2 jobs failed 2 times") as caught:
        run_jobs(inverse, {bad: (log, 0), good: (log, 1)}, {})
    assert f"{bad}: Traceback" in str(caught.value) and "ZeroDivisionError" in str(caught.value)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["good.json", "log"]
    assert log.read_text() == "010"  # the broken one again when all others are done


def test_a_job_whose_process_dies_is_tried_again(tmp_path):
    jobs = {tmp_path / f"{i}.json": (tmp_path / f"flag{i}", i) for i in range(2)}
    records = run_jobs(die_once, jobs, {}, workers=2)
    assert [record["value"] for record in records] == [0, 1]


def test_a_process_that_dies_says_how():
    ((_, outcome),) = Processes().run({0: (os._exit, (3,))})
    assert outcome == Failure("its process ended with exit code 3")


def test_processes_serve_as_many_jobs_as_they_may():
    jobs = {i: (process, ()) for i in range(4)}
    pids = [record["pid"] for _, record in Processes(jobs_per_process=2).run(jobs)]
    assert len(set(pids)) == 2 and pids[0] == pids[1] != pids[2] == pids[3]
    assert os.getpid() not in pids


def process():
    return {"pid": os.getpid()}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_job_outlives_the_process_that_asked_for_it(how):
    with Listener() as listener:
        asking = multiprocessing.get_context("spawn").Process(target=ask, args=(listener.address,))
        asking.start()
        with listener.accept() as job:
            assert job.recv() == "at work" and not job.poll()
            os.kill(asking.pid, how)
            assert job.poll(60)
            with pytest.raises(EOFError):  # its end of the line was closed as it ended
                job.recv()
        asking.join()


def ask(address):
    list(Processes().run({0: (work, (address,))}))


def work(address):
    with Client(address) as line:
        line.send("at work")
        time.sleep(3600)


def test_a_half_written_record_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "0.json"
    path.write_text('{"value": ')
    with pytest.raises(ValueError, match="got no record"):
        run_jobs(number, {path: (0,)}, {})
    assert path.read_text() == '{"value": '


def test_results_of_other_settings_are_not_taken_for_these(tmp_path):
    path, other = tmp_path / "0.json", tmp_path / "1.json"
    run_jobs(number, {path: (1,)}, {"steps": 5, "sizes": (1, 2)})
    before = path.read_text()
    assert run_jobs(number, {path: (2,)}, {"steps": 5, "sizes": (1, 2)})[0]["value"] == 1
    with pytest.raises(ValueError, match=r"got settings .*5.*, allowed: .*6"):
        run_jobs(number, {other: (2,), path: (2,)}, {"steps": 6, "sizes": (1, 2)})
    assert path.read_text() == before and not other.exists()


def test_an_attempt_reports_its_error_as_it_was():
    failure = attempt((int, ("x",)))
    assert isinstance(failure, Failure) and "invalid literal" in failure


@pytest.mark.slow
def test_a_lost_node_costs_no_job_and_repeats_none(tmp_path, monkeypatch):
    """A real Ray cluster of two nodes; one is killed in the middle."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # the nodes know this file, too
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else other work on the machine starves them
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "env_vars": {"RAY_NODE": "head"}}
    )
    lost = cluster.add_node(num_cpus=1, env_vars={"RAY_NODE": "lost"})
    try:
        cluster.wait_for_nodes()
        log = tmp_path / "log"
        jobs = {tmp_path / "out" / f"{i}.json": (log, i) for i in range(6)}
        with pytest.raises(ValueError, match="num_gpus: got 1, allowed: at most 0"):
            OnRay(cluster.address, num_gpus=1)
        on_ray = OnRay(cluster.address, num_cpus=0.6, retries=5)  # one job a node
        backend = Killing(on_ray, lambda: cluster.remove_node(lost, False))
        stored = str(tmp_path / "shared")
        records = run_jobs(slow, jobs, {}, backend=backend, stored=stored)
        (outside,) = run_jobs(run_job, {tmp_path / "outside.json": OUTSIDE}, {}, backend=on_ray)
    finally:
        backend.close()
        cluster.shutdown()
    assert outside["curve"][-1]["success_rate"] == 1
    assert [record["value"] for record in records] == list(range(6))
    assert len(list((tmp_path / "out").iterdir())) == 6
    for path in jobs:
        assert read_record(tmp_path / "shared" / "out" / path.name) == read_record(path)
    starts = log.read_text().splitlines()
    assert any(line.endswith("lost") for line in starts) and any(
        line.endswith("head") for line in starts
    )
    assert 6 <= len(starts) <= 7  # only what was under way on the lost node ran again
    before = {path: path.read_text() for path in jobs}
    run_jobs(slow, jobs, {})
    assert before == {path: path.read_text() for path in jobs}


class Killing:
    """A backend that loses a node after its second outcome."""

    def __init__(self, backend, kill):
        self.backend, self.kill, self.close = backend, kill, backend.close

    def run(self, jobs):
        for number, outcome in enumerate(self.backend.run(jobs)):
            yield outcome
            if number == 1:
                self.kill()


def test_a_job_leaves_its_record_in_shared_storage_and_is_not_run_again(tmp_path):
    log, shared = tmp_path / "log", (tmp_path / "shared").as_uri()
    job = (log, 2)
    (first,) = run_jobs(inverse, {tmp_path / "one" / "a" / "0.json": job}, {"x": 1}, stored=shared)
    assert read_record(tmp_path / "shared" / "a" / "0.json") == first and first["versions"]
    # Another machine that has nothing but the storage: it takes the record over.
    elsewhere = tmp_path / "two" / "a" / "0.json"
    assert run_jobs(inverse, {elsewhere: job}, {"x": 1}, stored=shared) == [first]
    assert log.read_text() == "2"
    # Those of other settings are not taken for these.
    other = {tmp_path / "three" / "a" / "0.json": job}
    assert run_jobs(inverse, other, {"x": 2}, stored=shared)[0]["settings"] == {"x": 2}
    assert log.read_text() == "22"
    assert [path.name for path in (tmp_path / "shared" / "a").iterdir()] == ["0.json"]


@pytest.mark.parametrize("where", ["nothing://bucket/x", "/dev/null/x"])
def test_storage_that_cannot_be_written_to_is_named_before_any_job(tmp_path, where):
    log = tmp_path / "log"
    with pytest.raises(ValueError, match=f"storage: got '{where}'"):
        run_jobs(inverse, {tmp_path / "a" / "0.json": (log, 2)}, {}, stored=where)
    assert not log.exists()


@pytest.mark.parametrize("name", ["num_cpus", "num_gpus", "retries"])
def test_resources_below_zero_are_named(name):
    with pytest.raises(ValueError, match=f"{name}: got -1, allowed: at least 0"):
        OnRay("127.0.0.1:1", **{name: -1})


def test_the_cluster_file_is_one_of_ray():
    import yaml
    from ray.autoscaler._private.util import prepare_config, validate_config

    path = Path(__file__).parent.parent / "benchmarks" / "cluster.yaml"
    validate_config(prepare_config(yaml.safe_load(path.read_text())))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "127.0.0.1:port", "127.0.0.1:99999"])
def test_a_cluster_that_cannot_be_reached_is_named(address):
    with pytest.raises(ValueError, match=f"address: got '{address}'.*allowed: host:port"):
        OnRay(address)
