r"""Settings of any algorithm, ours or a baseline, tuned with Optuna on tuning seeds and tuning starts.

    python -m benchmarks.comparison.tune --algorithm ppo --env-id RobotRoom-v0 --trials 30
    python -m benchmarks.comparison.tune --algorithm my_package.module:make
    python -m benchmarks.comparison.tune --storage postgresql://user@host/tuning    # several machines

A trial trains with suggested settings, ours for a number of environment steps and all others for CPU
seconds, and is evaluated on the way, with and without its policy's noise. Its value is its mean success
over these evaluations. It is pruned where it is worse than half of the others were. All processes and
machines that share a storage work at one study; a trial whose machine is lost is tried again. Nothing
is tuned on the seeds or starts of results.

A new study begins with what is stored: the trials in its own file, or those of the tuning by hand that
came before (`benchmarks/results/tune`), if they had as much training and as many evaluations.
"""

import inspect
import json
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import BaseTrial, FrozenTrial, TrialState, create_trial
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

import robot_room  # noqa: F401 - registers its environments
from agent import Agent, AgentConfig
from agent.learner import Progress
from benchmarks.comparison import baselines
from benchmarks.comparison.algorithms import Make, load, parse, train
from benchmarks.comparison.baselines import NORMED, OFF_POLICY, SETTINGS, SMALL, Setting
from benchmarks.comparison.budgets import OURS
from benchmarks.engine.jobs import Record, at_least_one, command, read_record, write_record
from robot_room.app.evaluation.protocol import TUNING_SEED, Policy, env_spec, evaluate

ALGORITHMS = (OURS, *SETTINGS)
FIRST_SEED = 100
EPISODES = 50
HEARTBEAT = 60
"""Seconds between two signs of life of a trial; after two without one it is taken for lost."""
BY_HAND = Path("benchmarks/results/tune")
NETWORKS: dict[str, dict[str, Any]] = {"plain": {}, "small": SMALL, "normed": NORMED}
DONE = (TrialState.COMPLETE, TrialState.PRUNED)
Space = dict[str, BaseDistribution]


@dataclass
class Tune:
    """Run the trials that are missing, then print the table of the best."""

    algorithm: str = "ppo"
    """world-model, one of the baselines, or one from outside: module:function, NAME=module:function."""
    env_id: str = "RobotRoom-v0"
    """The environment."""
    trials: int = 30
    """In the study, those of other machines and of earlier calls counted; 0: only print."""
    seconds: float = 120.0
    """CPU seconds of training in a trial of any other than ours, evaluations not counted."""
    env_steps: int = 500
    """Environment steps in a trial of ours."""
    evaluations: int = 12
    """In a trial, evenly over its training."""
    seed: int = FIRST_SEED
    """Training seed, from 100."""
    storage: str = "sqlite:///runs/tune.db"
    """URL of a database; machines that share one work at the same study."""
    out: Path = Path("benchmarks/results/tuning")
    """Folder of the studies' trials, a JSON file each."""
    figure: Path | None = None
    """File of a figure of pruning and of the settings' importance."""

    def __post_init__(self) -> None:
        space(self.algorithm)
        at_least_one(self, "env_steps", "evaluations")
        if self.trials < 0:
            raise ValueError(f"trials: got {self.trials}, allowed: 0 or more")
        if not self.seconds > 0:
            raise ValueError(f"seconds: got {self.seconds}, allowed: more than 0")
        if self.seed < FIRST_SEED:
            raise ValueError(
                f"seed: got {self.seed}, allowed: {FIRST_SEED} or more; results use others"
            )
        env_spec(self.env_id)

    @property
    def name(self) -> str:
        """Of the study."""
        algorithm = self.algorithm if self.algorithm in ALGORITHMS else parse(self.algorithm).name
        return f"{algorithm}-{self.env_id.replace(':', '.')}"

    @property
    def settings(self) -> Record:
        """What makes the trials of a study comparable."""
        ours = self.algorithm == OURS
        length = {"env_steps": self.env_steps} if ours else {"seconds": self.seconds}
        return {"study": self.name, **length, "evaluations": self.evaluations, "seed": self.seed}


class Tunable(Protocol):
    """An algorithm from outside that can be tuned."""

    space: Mapping[str, BaseDistribution]
    arguments: Mapping[str, Any]
    """Values that a new study tries first."""

    def with_settings(self, **values: Any) -> Make:
        """The algorithm with these values."""
        ...


def load_tunable(algorithm: str) -> Tunable:
    """Import an algorithm from outside.

    Raises:
        ValueError: there is no such algorithm, or it cannot be tuned.
    """
    make = load(parse(algorithm).target)
    ranges = getattr(make, "space", None)
    if (
        not isinstance(ranges, Mapping)
        or not ranges
        or not all(isinstance(of, BaseDistribution) for of in ranges.values())
        or not callable(getattr(make, "with_settings", None))
        or not isinstance(getattr(make, "arguments", None), Mapping)
    ):
        raise ValueError(
            f"algorithm: got {algorithm!r}, allowed: {', '.join(ALGORITHMS)}, or one with `space` "
            "(Optuna's distributions by name), `arguments` and `with_settings`"
        )
    return cast(Tunable, make)


def space(algorithm: str) -> Space:
    """The settings that are searched, and their ranges.

    Raises:
        ValueError: it is neither built-in nor an algorithm that can be tuned.
    """
    if algorithm not in ALGORITHMS:
        return dict(load_tunable(algorithm).space)
    if algorithm == OURS:
        return {
            "horizon": CategoricalDistribution([4, 6, 8, 12, 16, 20]),
            "discount": FloatDistribution(0.9, 0.99),
            "learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
            "updates_per_step": CategoricalDistribution([1.0, 2.0, 3.0]),
            "exploration_std": FloatDistribution(0.1, 0.6),
            "longest_episode": CategoricalDistribution([5, 10, 20, 40]),
        }
    ranges: Space = {
        "gamma": FloatDistribution(0.9, 0.99),
        "learning_rate": FloatDistribution(1e-4, 3e-3, log=True),
        "network": CategoricalDistribution(list(NETWORKS)),
        "short_episodes": CategoricalDistribution([False, True]),
    }
    if algorithm == "ppo":
        ranges["n_steps"] = CategoricalDistribution([64, 128, 256])
    if algorithm == "a2c":
        ranges["n_steps"] = CategoricalDistribution([8, 16, 32])
        ranges["use_rms_prop"] = CategoricalDistribution([True, False])
    return ranges


def suggested(trial: BaseTrial, ranges: Space) -> dict[str, Any]:
    """A value for each setting."""
    found = {}
    for name, of in ranges.items():
        if isinstance(of, FloatDistribution):
            found[name] = trial.suggest_float(name, of.low, of.high, log=of.log)
        elif isinstance(of, CategoricalDistribution):
            found[name] = trial.suggest_categorical(name, of.choices)
    return found


def baseline_setting(algorithm: str, params: dict[str, Any]) -> Setting:
    """A baseline's setting from values of its `space`."""
    own = {name: params[name] for name in params if name not in ("network", "short_episodes")}
    fixed = {"ppo": {"batch_size": 256}, "a2c": {}}.get(algorithm, OFF_POLICY)
    if algorithm == "drq-sac":
        fixed = fixed | {"replay_buffer_class": baselines.ShiftedReplay}
    noise = 0.3 if algorithm in ("td3", "ddpg") else None
    limit = 10 if params["short_episodes"] else None
    return Setting(fixed | own | NETWORKS[params["network"]], noise, limit)


def our_config(params: dict[str, Any]) -> AgentConfig:
    """Our configuration from values of its `space`."""
    usual, plan = AgentConfig(), ("horizon", "discount")
    return replace(
        usual,
        planner=replace(usual.planner, **{name: params[name] for name in plan}),
        training=replace(
            usual.training, **{name: value for name, value in params.items() if name not in plan}
        ),
    )


def evaluate_both(policy: Policy, env_id: str) -> Record:
    """Evaluate with and without the policy's noise; the better of the two."""
    results = [
        evaluate(policy, env_id, EPISODES, TUNING_SEED, deterministic).summary()
        | {"deterministic": deterministic}
        for deterministic in (True, False)
    ]
    return max(results, key=lambda result: result["success_rate"])


def run_trial(trial: optuna.Trial, config: Tune) -> float:
    """Train with suggested settings; the mean success over the evaluations on the way.

    Raises:
        TrialPruned: it is worse than half of the other trials were at the same evaluation.
    """
    params = suggested(trial, space(config.algorithm))
    rates: list[float] = []

    def look(policy: Policy, share: float, env_steps: int, seconds: float) -> None:
        while len(rates) < config.evaluations and share >= (len(rates) + 1) / config.evaluations:
            result = evaluate_both(policy, config.env_id)
            rates.append(result["success_rate"])
            trial.report(rates[-1], len(rates))
            trial.set_user_attr("env_steps", env_steps)
            trial.set_user_attr("seconds", round(seconds, 1))
            if trial.should_prune():
                raise optuna.TrialPruned

    if config.algorithm == OURS:
        agent = Agent(config.env_id, our_config(params), seed=config.seed, device="cpu")

        def callback(progress: Progress) -> None:
            owed = agent.config.training.updates_per_step * progress.num_timesteps
            if progress.num_updates >= owed:
                steps = progress.num_timesteps
                look(agent, steps / config.env_steps, steps, progress.seconds)

        agent.learn(config.env_steps, callback)
        look(agent, 1.0, agent.num_timesteps, agent.progress.seconds)
    elif config.algorithm not in ALGORITHMS:
        make = load_tunable(config.algorithm).with_settings(**params)
        with closing(train(make, env_spec(config.env_id), config.seed)) as training:
            for policy, env_steps, seconds in training:
                look(policy, seconds / config.seconds, env_steps, seconds)
                if seconds >= config.seconds:
                    break
    else:
        setting = baseline_setting(config.algorithm, params)
        training = baselines.train(config.algorithm, setting, config.env_id, config.seed)
        seconds = 0.0
        while seconds < config.seconds:
            began = time.process_time()  # others may work on the machine; each has one thread
            snapshot = next(training)
            seconds += time.process_time() - began
            look(snapshot.policy, seconds / config.seconds, snapshot.env_steps, seconds)
    return float(np.mean(rates))


def open_study(config: Tune) -> optuna.Study:
    """The study in the database; a new one begins with what is stored in files.

    Raises:
        ValueError: there is no such database, or its study or the stored file has other settings.
    """
    try:
        if config.storage.startswith("sqlite:///"):
            file = Path(config.storage.removeprefix("sqlite:///"))
            file.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = optuna.storages.RDBStorage(
                config.storage,
                heartbeat_interval=HEARTBEAT,
                heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(3),
            )
    except (SQLAlchemyError, ImportError, ValueError, OSError) as error:
        allowed = "the URL of a database: sqlite:///FILE, postgresql://USER@HOST/NAME, mysql://…"
        said = str(error).splitlines()[0]
        raise ValueError(f"storage: got {config.storage!r} ({said}), allowed: {allowed}") from error
    stored = list(stored_trials(config))
    study = optuna.create_study(
        study_name=config.name,
        storage=storage,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2),
        direction="maximize",
        load_if_exists=True,
    )
    found = study.user_attrs.get("settings", config.settings)
    if found != config.settings:
        allowed = f"{config.settings}, or another --storage"
        raise ValueError(f"storage: got a study with settings {found}, allowed: {allowed}")
    study.set_user_attr("settings", config.settings)
    seed = config.seed + len(study.trials)  # so that two machines do not try the same
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    if not study.trials:
        study.add_trials(stored)
        if config.algorithm not in ALGORITHMS:
            study.enqueue_trial(dict(load_tunable(config.algorithm).arguments), skip_if_exists=True)
    return study


def stored_trials(config: Tune) -> Iterator[FrozenTrial]:
    """The trials in the study's file; without one, those of the tuning by hand.

    Raises:
        ValueError: a file is not what this or the earlier tuning writes.
    """
    ranges, path = space(config.algorithm), config.out / f"{config.name}.json"
    if path.exists():
        for trial in read_record(path, config.settings)["trials"]:
            yield frozen(trial["state"], trial["params"], ranges, trial["rates"], trial["value"])
    elif config.algorithm in SETTINGS:
        for by_hand in sorted((BY_HAND / config.env_id).glob("*.json")):
            record = read_record(by_hand)
            settings = record["settings"]
            alike = (60 * settings["minutes"], settings["evaluations"], record["training_seed"])
            wanted = (config.seconds, config.evaluations, config.seed)
            if record["algorithm"] == config.algorithm and alike == wanted:
                params = params_by_hand(config.algorithm, SETTINGS[config.algorithm][record["setting"]])
                rates = [point["success_rate"] for point in record["curve"]][1:]
                yield frozen("COMPLETE", params, ranges, rates, float(np.mean(rates)))


def frozen(
    state: str, params: dict[str, Any], ranges: Space, rates: list[float], value: float | None
) -> FrozenTrial:
    """A trial that was run before."""
    return create_trial(
        state=TrialState[state],
        params=params,
        distributions={name: ranges[name] for name in params},
        intermediate_values=dict(enumerate(rates, 1)),
        value=value,
    )


def params_by_hand(algorithm: str, setting: Setting) -> dict[str, Any]:
    """Where a setting that was tried by hand lies in the `space`; what it leaves out has a default."""
    usual = inspect.signature(baselines.CLASSES[algorithm].__init__).parameters
    known = {}
    for name in space(algorithm):
        default = usual[name].default if name in usual else None
        known[name] = setting.arguments.get(name, default)
    extractor = setting.arguments.get("policy_kwargs", {}).get("features_extractor_class")
    network = {baselines.SmallCnn: "small", baselines.NormedCnn: "normed"}.get(extractor, "plain")
    return known | {"network": network, "short_episodes": setting.longest_episode is not None}


def best_first(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Complete trials by their value, then pruned ones by how far they came."""

    def rank(trial: FrozenTrial) -> tuple[bool, float, int]:
        complete = trial.state is TrialState.COMPLETE
        return complete, trial.value or 0.0, len(trial.intermediate_values)

    return sorted((trial for trial in trials if trial.state in DONE), key=rank, reverse=True)


def importances(study: optuna.Study) -> dict[str, float]:
    """How much each setting matters for being in the better half of the trials, summing to 1.

    PED-ANOVA (arXiv 2304.10255). Empty if fewer than four trials are complete.
    """
    if sum(trial.state is TrialState.COMPLETE for trial in study.trials) < 4:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.5)
        return optuna.importance.get_param_importances(study, evaluator=evaluator)


def save(study: optuna.Study, path: Path) -> None:
    """Write the trials that are done."""
    trials = [
        {
            "state": trial.state.name,
            "value": trial.value if trial.state is TrialState.COMPLETE else None,
            "params": trial.params,
            "rates": list(trial.intermediate_values.values()),
        }
        | {
            name: trial.user_attrs[name]
            for name in ("env_steps", "seconds")
            if name in trial.user_attrs
        }
        for trial in study.trials
        if trial.state in DONE
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_record(path, {"settings": study.user_attrs["settings"], "trials": trials})


def draw(study: optuna.Study, path: Path) -> None:
    """Draw success over a trial's training, pruned trials in grey, and the settings' importance."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    best = best_first(study.trials)[:1]
    for trial in study.trials:
        if trial.state in DONE and trial.intermediate_values:
            x, y = zip(*sorted(trial.intermediate_values.items()), strict=True)
            pruned = trial.state is TrialState.PRUNED
            colour = "#c1121f" if trial in best else "#aaaaaa" if pruned else "#1d4e89"
            left.plot(x, y, color=colour, alpha=1 if trial in best else 0.6)
            if pruned:
                left.plot(x[-1], y[-1], "x", color=colour)
    left.set(xlabel="evaluation", ylabel="success rate", ylim=(-0.02, 1.02))
    left.xaxis.get_major_locator().set_params(integer=True)
    left.set_title("trials: best red, pruned grey with a cross", fontsize=10)
    found = importances(study)
    right.barh(list(found)[::-1], list(found.values())[::-1], color="#1d4e89")
    right.set_title("importance", fontsize=10)
    figure.suptitle(study.study_name, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def table(study: optuna.Study, rows: int = 10) -> Table:
    """The best trials."""
    title = f"{study.study_name}: {len(best_first(study.trials))} trials, the best of them"
    found = Table(title=title)
    for heading in ("mean success, %", "at the end, %", "settings"):
        found.add_column(heading)
    for trial in best_first(study.trials)[:rows]:
        rates = list(trial.intermediate_values.values())
        mean = (
            f"{100 * trial.value:.0f}"
            if trial.state is TrialState.COMPLETE and trial.value
            else "pruned"
        )
        said = ", ".join(f"{name}={_short(value)}" for name, value in trial.params.items())
        found.add_row(mean, f"{100 * rates[-1]:.0f}" if rates else "", said)
    return found


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main(config: Tune) -> None:
    """Run the tuning."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = open_study(config)
    done = sum(trial.state in DONE for trial in study.trials)
    path = config.out / f"{config.name}.json"
    if done < config.trials:
        enough = optuna.study.MaxTrialsCallback(config.trials, states=DONE)

        def report(study: optuna.Study, trial: FrozenTrial) -> None:
            save(study, path)
            value = trial.state.name.lower() if trial.value is None else f"{trial.value:.3f}"
            print(f"trial {trial.number}: {value}, {json.dumps(trial.params)}", flush=True)

        study.optimize(lambda trial: run_trial(trial, config), callbacks=[report, enough])
    Console(width=110).print(table(study))
    for name, share in importances(study).items():
        print(f"importance of {name}: {share:.2f}")
    if config.figure is not None:
        draw(study, config.figure)


if __name__ == "__main__":
    command(Tune, main)
