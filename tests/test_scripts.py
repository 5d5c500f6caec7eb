"""The scripts as a user runs them, small."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import gymnasium as gym
import imageio.v3 as imageio
import imageio_ffmpeg
import numpy as np
import pytest
from console import command

import robot_room
from agent import Agent, AgentConfig
from agent.calibration import calibrate_restorer
from agent.learner import TrainingConfig
from agent.presets import EVERY_ROOM, MOMENTUM
from agent.replay import Episode
from agent.restoration.denoiser import Denoiser, DenoiserConfig
from agent.restoration.training import AutoencoderTrainer, DenoiserTrainer
from robot_room.app.commands import train
from robot_room.app.runs.loading import loaded

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
SMALL = [
    *("--agent.training.num-envs", "4", "--agent.training.random-steps", "20"),
    *("--agent.training.updates-per-step", "0.5", "--agent.planner.candidates", "20"),
]


def start(name, *arguments):
    command = [str(ROOT / "scripts" / "run"), name, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=os.environ, cwd=ROOT)


def run(name, *arguments):
    process = start(name, *arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "tiny"
    code, out, err = run("train", "--env-steps", 40, "--episodes", 1, "--out", path, *SMALL)
    assert (code, out) == (0, ""), err
    return path


def test_training_leaves_numbers_and_pictures(trained):
    summary = json.loads((trained / "summary.json").read_text())
    assert (summary["env_steps"], summary["updates"], summary["episodes"]) == (40, 20, 1)
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["time/total_timesteps"] == 40
    assert {"train/elbo", "train/kl", "train/loss", "time/fps"} <= set(lines[-1])
    assert len(list(trained.glob("events.out.tfevents.*"))) == 1
    picture = imageio.imread(trained / "imagination.png")
    assert picture.shape[0] > 3 * 128 and picture.std() > 10
    assert len(imageio.imread(trained / "rollout.gif")) > 5


@pytest.mark.parametrize(("name", "preset"), [("every-room", EVERY_ROOM), ("momentum", MOMENTUM)])
def test_a_preset_is_the_agent_of_python(name, preset):
    agent = train.new_agent(train.Train("RobotRoomMaze-v0", seed=3, device="cpu", preset=name))
    assert type(agent.world_model) is preset["world_model"] and agent.config == preset["config"]
    assert agent.exploration == preset["exploration"] and agent.seed == 3
    other = AgentConfig(training=TrainingConfig(num_envs=2))
    with pytest.raises(ValueError, match=f"preset: got {name} and settings of --agent"):
        train.Train(preset=name, agent=other)


def test_any_environment_is_trained_from_its_images():
    settings = train.Train("CartPole-v1", '{"sutton_barto_reward": true}', pixels=True, frames=2)
    agent = train.new_agent(settings)
    task = agent.env_spec.kwargs
    assert task["env_id"] == "CartPole-v1" and task["env_kwargs"] == {"sutton_barto_reward": True}
    assert agent.observation_space.shape == (64, 64, 6)
    with pytest.raises(ValueError, match=r"frames, frame_repeat.*: got 2, 1 and \(\) without --pixels"):
        train.Train(frames=2)


def test_evaluate_prints_one_json_object(trained):
    code, out, err = command("evaluate", trained, "--episodes", 4, "--seed", 7, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert list(result) == [
        "env_id",
        "env_kwargs",
        "episodes",
        "seed",
        "success_rate",
        "mean_steps",
        "path_ratio",
        "spl",
        "mean_return",
        "decision_ms",
    ]
    assert (result["env_id"], result["episodes"], result["seed"]) == ("RobotRoom-v0", 4, 7)


def test_watch_records_a_gif_without_a_screen(trained, tmp_path):
    code, _, err = command("watch", trained, "--record", tmp_path / "rollout.gif", "--episodes", 1)
    assert code == 0, err
    frames = imageio.imread(tmp_path / "rollout.gif")
    assert frames[0].shape[1] > 2 * 320
    assert np.abs(frames[0].astype(int) - frames[-1]).max() > 50  # something moved


def test_watch_records_a_film_without_a_screen(trained, tmp_path):
    code, _, err = command("watch", trained, "--record", tmp_path / "rollout.mp4", "--episodes", 1)
    assert code == 0, err
    count, seconds = imageio_ffmpeg.count_frames_and_secs(tmp_path / "rollout.mp4")
    assert count > 5 and seconds == pytest.approx(count / 8, abs=0.13)


def test_ctrl_c_saves_and_the_run_goes_on(tmp_path):
    path = tmp_path / "interrupted"
    process = start("train", "--env-steps", 100_000, "--out", path, *SMALL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:  # until learning has begun
        metrics = path / "metrics.jsonl"
        if metrics.exists() and metrics.read_text():
            break
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    assert f"saved; continue with: robot-room train --resume {path}" in err.replace("\n", "")
    steps = json.loads((path / "agent" / "config.json").read_text())["num_timesteps"]
    code, _, err = run("train", "--resume", path, "--env-steps", steps + 8, "--episodes", 1)
    assert code == 0, err
    assert json.loads((path / "summary.json").read_text())["env_steps"] == steps + 8


@pytest.mark.parametrize("dataset", [False, True])
def test_a_run_goes_on_to_where_it_was_to_go(tmp_path, dataset):
    """Whether it was cut short in its environment or offline, among the updates of its episodes."""
    agent = Agent("RobotRoom-v0", AgentConfig(training=TrainingConfig(4, random_steps=20)), seed=1)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (10, 5, 64, 64, 3)).astype(np.uint8)
    episodes = [Episode(list(x), list(np.zeros((4, 2), np.float32)), [0.0] * 4) for x in frames]

    def interrupt(progress):
        if progress.num_updates >= 10:
            raise KeyboardInterrupt

    learn = partial(agent.learn_from, episodes) if dataset else partial(agent.learn, 60)
    with pytest.raises(KeyboardInterrupt):
        learn(interrupt)
    steps = agent.num_timesteps
    agent.save(tmp_path / "run" / "agent")
    code, _, err = command("train", "--resume", tmp_path / "run", "--episodes", 1)
    assert code == 0, err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["env_steps"] == (steps if dataset else 60) and steps < 60
    assert summary["updates"] == 2 * summary["env_steps"]


@pytest.mark.parametrize(
    ("kind", "sizes", "updates", "trainer", "pictures"),
    [
        (
            "diffusion",
            ("--denoiser.width", "8", "--denoiser.steps", "20"),
            "--training.updates",
            (DenoiserTrainer, "restorer_training"),
            ("restorer_samples.png", "restorer_restored.png"),
        ),
        (
            "autoencoder",
            ("--autoencoder.width", "8"),
            "--autoencoder-training.updates",
            (AutoencoderTrainer, "autoencoder_training"),
            ("restorer_restored.png",),
        ),
    ],
)
def test_a_restorer_learns_from_a_runs_frames_and_continues(
    trained, kind, sizes, updates, trainer, pictures, monkeypatch
):
    monkeypatch.setattr("agent.calibration.HARM_FRAMES", 200)
    few = ("--kind", kind, "--calibration-episodes", "4", "--false-alarms", "0.4")
    code, _, err = command("train_restorer", trained, *sizes, updates, "3", *few)
    assert code == 0, err
    for name in pictures:
        assert imageio.imread(trained / name).std() > 10
    made, folder = trainer
    done = made.load(trained / folder)
    assert done.updates == 3 and done.network.config.width == 8
    code, _, err = command("train-prior", trained, updates, "5", *few)
    assert code == 0, err
    assert made.load(trained / folder).updates == 5
    failing = ("--env-kwargs", '{"corruption": "blackout", "severity": 5}')
    code, out, err = command(
        "evaluate", trained, "--episodes", 1, "--seed", 7, "--json", "--restorer", *failing
    )
    assert code == 0, err
    assert json.loads(out)["env_kwargs"] == {"corruption": "blackout", "severity": 5}
    picture = trained / "restorer.gif"
    code, _, err = command("watch", trained, "--record", picture, "--episodes", 1, "--prior", *failing)
    assert code == 0, err
    assert imageio.imread(picture)[0].shape[1] > 3 * 320  # camera, what was made of it, belief


def test_a_restorer_of_an_agent_that_has_learned_more_is_refused(trained, tmp_path):
    shutil.copytree(trained / "agent", tmp_path / "agent")
    agent = Agent.load(tmp_path / "agent")
    denoiser = Denoiser((64, 64, 3), DenoiserConfig(width=8))
    calibrate_restorer(agent, denoiser, 4, 0.4).save(tmp_path / "restorer")
    loaded(tmp_path, None, "{}", restorer=True)
    agent.learn(8).save(tmp_path / "agent")
    with pytest.raises(
        ValueError, match=r"restorer: got one calibrated on .* 40 steps, allowed: .* 48 steps"
    ):
        loaded(tmp_path, None, "{}", restorer=True)


def test_an_environment_of_another_package_is_named_by_the_user(tmp_path, monkeypatch):
    """Loading imports nothing that a file names; resuming, watching and evaluating say what to do."""
    package = "import gymnasium as gym\nfrom robot_room.env import RobotRoomEnv\n"
    package += "class Room(RobotRoomEnv): pass\n"
    package += "gym.register('Elsewhere-v0', 'elsewhere:Room', max_episode_steps=5)\n"
    (tmp_path / "elsewhere.py").write_text(package)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path, named = tmp_path / "run", ("--env-id", "elsewhere:Elsewhere-v0")
    code, _, err = run("train", *named, "--env-steps", 24, "--episodes", 1, "--out", path, *SMALL)
    assert code == 0, err
    monkeypatch.syspath_prepend(tmp_path)  # whoever tried to import it here would succeed
    film = ("--record", tmp_path / "film.gif", "--episodes", 1)
    commands = (
        ("train", "--resume", path, "--env-steps", 32, "--episodes", 1),
        ("evaluate", path, "--episodes", 1),
        ("watch", path, *film),
    )
    for arguments in commands:
        code, _, err = command(*arguments)
        assert code == 1 and "Elsewhere-v0" in err and "import the package" in err, err
    assert "elsewhere" not in sys.modules
    try:
        for arguments in commands:
            code, _, err = command(*arguments, *named)
            assert code == 0, err
    finally:
        gym.registry.pop("Elsewhere-v0", None)
        sys.modules.pop("elsewhere", None)


def test_a_missing_restorer_is_reported(trained, tmp_path):
    shutil.copytree(trained / "agent", tmp_path / "agent")
    code, _, err = command("evaluate", tmp_path, "--episodes", 1, "--restorer")
    assert code == 1 and "robot-room train-restorer" in err and "Traceback" not in err


def test_picture_shows_the_room_and_its_observation(tmp_path):
    code, _, err = run("picture", "--out", tmp_path / "room.png")
    assert code == 0, err
    picture = imageio.imread(tmp_path / "room.png").astype(int)
    assert picture.shape == (512, 1040, 3)
    blocks = picture[:, :512].reshape(64, 8, 64, 8, 3).mean((1, 3))  # a pixel of the observation each
    assert np.abs(blocks - picture[4::8, 532::8]).max() <= 1


def test_the_gallery_shows_every_variant_and_every_corruption(tmp_path):
    code, _, err = run("gallery", "--out", tmp_path)
    assert code == 0, err
    variants, corruptions = (imageio.imread(tmp_path / f"{n}.png") for n in ("variants", "corruptions"))
    assert variants.shape == (3 * 226 + 12, 4 * 204 + 12, 3)
    assert corruptions.shape == (5 * 226 + 12, 5 * 204 + 12, 3)
    tiles = [
        variants[34 + 226 * r : 226 + 226 * r, 12 + 204 * c : 204 + 204 * c]
        for r, c in np.ndindex(3, 4)
    ]
    goals = {
        name: bool(np.all(tile == (255, 0, 0), axis=-1).sum() > 100)
        for name, tile in zip(robot_room.VARIANTS, tiles, strict=False)
    }
    # A noisy camera, other colours, and a goal that is told by another image.
    unusual = ("NoisyCamera", "Varied", "Shifted", "GoalImage")
    for name, shown in goals.items():
        assert shown != any(word in name for word in unusual), name
    assert all(tile.std() > 10 for tile in tiles[: len(goals)])


def test_the_benchmarks_of_the_room_run(tmp_path):
    for name, arguments in (
        ("speed", ["--rounds", "1", "--seconds", "0.01", "--no-peers"]),
        ("memory", ["--steps", "20000", "--rounds", "2"]),
    ):
        out = tmp_path / f"{name}.json"
        module = f"benchmarks.environment.{name}"
        whole = [sys.executable, "-m", module, *arguments, "--out", str(out)]
        subprocess.run(whole, check=True, cwd=ROOT, capture_output=True)
        assert json.loads(out.read_text())


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("train", ["--env-id", "NoRoom-v0"], "error: env: got 'NoRoom-v0'"),
        ("train", ["--env-id", "CartPole-v1"], "error: observation space: got"),
        ("train", ["--out", "tests"], "error: out: got tests, which exists"),
        ("collect", ["a-v0", "--episodes", "0"], "error: episodes: got 0"),
        ("collect", ["a-v0", "--env-id", "NoRoom-v0"], "error: "),
        ("collect", ["a-v0", "--policy", "exprt"], "error: policy: got exprt, allowed: random"),
        ("collect", ["a-v0", "--env-id", "CartPole-v1"], "error: "),
        ("collect", ["a-v0", "--env-kwargs", "{fog}"], "error: "),
        ("collect", ["a-v0", "--env-kwargs", '{"fog": 1}'], "error: "),
        ("play", ["--env-id", "NoRoom-v0"], "error: "),
        ("evaluate", ["nowhere"], "error: run: got nowhere"),
        ("watch", ["nowhere", "--record", "a.txt"], "error: record: got a.txt"),
    ],
)
def test_bad_input_gets_one_line(script, arguments, message):
    code, out, err = command(script, *arguments)
    assert (code, out) == (1, "") and message in err and "Traceback" not in err
