"""A hand in the agent's work: sessions, their pictures, and learning while somebody looks on."""

import dataclasses
import itertools
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import gymnasium as gym
import imageio.v3 as imageio
import imageio_ffmpeg
import numpy as np
import pytest
import torch
from console import command
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from window_session import any_restoration

from agent import Agent, AgentConfig
from agent.gate import AcceptAll
from agent.learner import Progress
from agent.metrics import RunLogger
from agent.planning import ICEM, RandomShooting
from agent.restoration.restorer import Identity
from agent.world_model import WorldModelConfig
from robot_room.app.commands import watch
from robot_room.app.watching.display import Learning, view
from robot_room.app.watching.inspection import inspect_decision
from robot_room.app.watching.keys import ACTIONS, HELP, KEYS, press
from robot_room.app.watching.live import PICTURES, Spectator, frame, record
from robot_room.app.watching.session import Score, Session
from robot_room.app.watching.value_map import CELLS, WALL
from robot_room.drawing import draw
from robot_room.viewer import Viewer

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
ROOM = "RobotRoomRandomGoal-v0"


@pytest.fixture(scope="module")
def agent():
    return Agent(ROOM, AgentConfig(), seed=0)


@pytest.fixture
def session(agent):
    with closing(Session(agent, agent.env_spec, 7)) as made:
        yield made


@pytest.fixture
def screen():
    """A virtual screen of its own where Xvfb and xdotool are installed, else SDL's dummy driver."""
    if not (shutil.which("Xvfb") and shutil.which("xdotool")):
        yield {"SDL_VIDEODRIVER": "dummy"}
        return
    read_end, write_end = os.pipe()
    size = ["-screen", "0", "1280x1024x24", "-nolisten", "tcp"]
    server_command = ["Xvfb", "-displayfd", str(write_end), *size]
    with subprocess.Popen(server_command, pass_fds=[write_end], stderr=subprocess.DEVNULL) as server:
        os.close(write_end)
        with os.fdopen(read_end) as number:
            display = f":{number.readline().strip()}"
        yield {"DISPLAY": display, "SDL_VIDEODRIVER": "x11"}
        server.terminate()


@pytest.mark.screen
def test_every_key_and_the_mouse_in_a_real_window(screen, tmp_path):
    program = [sys.executable, str(HERE / "window_session.py"), str(tmp_path)]
    done = subprocess.run(program, env=os.environ | screen, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    pictures = {path.stem: imageio.imread(path) for path in tmp_path.glob("*.png")}
    assert pictures["start"].shape == (720, 1000, 3)
    assert pictures["light"].mean() > pictures["dragged"].mean() + 50
    camera = {name: picture[60:200, 450:] for name, picture in pictures.items() if len(picture) == 720}
    for name in ("dragged", "hand", "noise", "distractors", "restorer"):
        assert (camera[name] != camera["start"]).mean() > 0.01, name


def test_a_session_goes_on_as_the_agent_would_alone(agent, session):
    env = gym.make(ROOM)
    frame, _ = env.reset(seed=7)
    state = None
    for _ in range(10):
        np.testing.assert_array_equal(session.frame, frame)
        action, state = agent.predict(frame, state)
        frame, *_ = env.step(action)
        session.step()


def test_the_script_opens_a_window_and_ends_when_it_is_closed(agent, tmp_path, monkeypatch):
    import pygame

    shown = []

    class Window(Viewer):
        def show(self, view):
            shown.append(view)
            if len(shown) == 6:
                pygame.event.post(pygame.event.Event(pygame.QUIT))
            return super().show(view)

    monkeypatch.setattr(watch, "Viewer", Window)
    agent.save(tmp_path / "agent")
    watch.main(watch.Watch(tmp_path, frames_per_second=1000))
    assert len(shown) == 6 and not pygame.display.get_init()


def test_an_inspection_is_computed_by_the_model(agent, session):
    inspection, plan = session.inspection, session.decision.plan
    model, z = agent.world_model, session.decision.belief.density.mean
    with torch.no_grad():
        for number, action in enumerate(plan.actions[0]):
            z, reward = model.step(z, action[None])
            if number == 0:
                assert inspection.reward == pytest.approx(float(reward[0]), abs=1e-5)
            frame = list(inspection.filmstrip.values())[number]
            assert np.abs(frame.astype(int) - model.decode(z)[0].numpy()).max() <= 1
    elites = agent.config.planner.elites
    assert len(inspection.filmstrip) == agent.config.planner.horizon
    assert inspection.paths.elites.shape == (elites, agent.config.planner.horizon + 1, 2)
    assert len(inspection.paths.candidates) == plan.candidates.shape[1] - elites


def test_a_long_plan_is_shown_at_a_few_steps_until_the_episode_ends(monkeypatch):
    planner = ICEM(horizon=30, candidates=20)
    agent = Agent(ROOM, AgentConfig(WorldModelConfig(continuation=True), planner), seed=0)
    with closing(Session(agent, agent.env_spec, 7)) as session:
        model, given = agent.world_model, (session.decision, agent.planner)
        for ends_at, shown in ((0, [1, 4, 7, 11, 14, 17, 20, 24, 27, 30]), (3, [1, 2, 3])):
            steps = itertools.count(1)

            def continuation(states, ends_at=ends_at, steps=steps):
                return torch.full((len(states),), float(next(steps) != ends_at))

            monkeypatch.setattr(model, "imagine", lambda z, c=continuation: (z, model.step, c))
            inspection = inspect_decision(model, *given)
            assert list(inspection.filmstrip) == ["next", *(f"in {k} steps" for k in shown[1:])]
            last = 1 + (ends_at or planner.horizon)  # places of a path, the robot's own the first
            for path in (inspection.paths.chosen, *inspection.paths.candidates):
                assert np.isnan(path[last:]).all()


def test_steps_are_shown_as_they_were_planned():
    """The map's model shortens imagined steps that it is unsure of, and so do the paths."""
    agent = Agent.from_pretrained("RobotRoomDoor-v0")
    with closing(Session(agent, agent.env_spec, 2)) as session:
        model, shown = agent.world_model, list(session.inspection.filmstrip.values())
        z = session.decision.belief.density.mean
        m, step, _ = model.imagine(z)
        with torch.no_grad():
            for action, frame in zip(session.decision.plan.actions[0], shown, strict=False):
                m, _ = step(m, action[None])
                decoded = model.decode(torch.cat([m, z[:, m.shape[1] :]], 1))[0].numpy()
                assert np.abs(frame.astype(int) - decoded).max() <= 1
        assert len(shown) > 1 and m.shape[1] < z.shape[1]


def test_each_path_is_that_of_its_own_actions(agent, session, monkeypatch):
    def brightness(frames):
        return frames.mean((1, 2))[:, :2]

    monkeypatch.setattr("robot_room.app.watching.inspection.locate_robot", brightness)
    plan, model = session.decision.plan, agent.world_model
    other = plan._replace(actions=-plan.actions)  # iCEM follows its best candidate, others need not
    decision = session.decision._replace(plan=other)
    inspection = inspect_decision(model, decision, session.chosen.planner)
    elites = agent.config.planner.elites
    best = decision.plan.candidates[0].clamp(-1, 1)
    rows = ((inspection.paths.chosen, decision.plan.actions[0]), (inspection.paths.elites[0], best[0]))
    for way, actions in (*rows, (inspection.paths.candidates[3], best[elites + 3])):
        z, expected = decision.belief.density.mean, []
        with torch.no_grad():
            expected.append(brightness(model.decode(z).numpy())[0])
            for action in actions:
                z, _ = model.step(z, action[None])
                expected.append(brightness(model.decode(z).numpy())[0])
        np.testing.assert_allclose(way, expected, atol=1e-3)


def test_paths_come_from_decoded_frames_and_not_from_the_room(agent, session):
    """Where the decoder shows a robot at one place whatever happens, all paths stay there."""
    env = gym.make(ROOM)
    shown, _ = env.reset(options={"robot_position": (0.5, -0.25), "goal_position": (-0.5, 0.5)})

    class Dreamer:
        step = staticmethod(agent.world_model.step)
        imagine = staticmethod(agent.world_model.imagine)

        @staticmethod
        def decode(z):
            return torch.from_numpy(shown).expand(len(z), -1, -1, -1)

    inspection = inspect_decision(Dreamer, session.decision, session.chosen.planner)
    for ways in (inspection.paths.chosen, inspection.paths.elites, inspection.paths.candidates):
        np.testing.assert_allclose(ways, np.broadcast_to([0.5, -0.25], ways.shape), atol=0.01)


def test_disturbed_episodes_count_for_nothing(session):
    goal = session.info["goal_position"]
    session.drag(session.info["robot_position"] + 0.01)  # takes the robot
    session.drag(goal - 0.2 * np.sign(goal))
    session.drag(goal)
    while not session.episode.over:
        session.step()
    assert session.score.finished == 0
    session.step()
    assert session.episode.number == 1 and not session.episode.touched


def test_success_is_counted_for_each_set_of_conditions(session):
    first = session.score
    first.finished, first.arrived, first.ratios = 3, 2, [1.0, 2.0]
    press(session, ["m"])
    assert session.score == Score() and session.score is not first
    session.score.finished = 1
    press(session, ["m", "m", "m"])  # through all planners, back to its own
    assert session.chosen.planner == session.agent.config.planner
    assert session.score is first and "3 episodes so far" in session.notice
    press(session, ["m"])
    assert session.score.finished == 1
    press(session, ["]", "r"])
    assert session.episode.touched  # noise goes on into the next episode


def test_a_finished_episode_answers_a_drag_in_the_same_room(agent):
    session = Session(agent, dataclasses.replace(agent.env_spec, max_episode_steps=3), 7)
    goal = session.info["goal_position"]
    while not session.episode.over:
        session.step()
    place = np.array([0.5, 0.5]) * np.where(goal > 0, -1, 1)
    session.drag(place)
    assert session.episode.number == 1 and session.episode.touched and not session.episode.over
    np.testing.assert_array_equal(session.info["robot_position"], place)
    np.testing.assert_array_equal(session.info["goal_position"], goal)
    session.drag(None)
    steps = 0
    while not session.episode.over:  # the limit of steps begins anew, too
        session.step()
        steps += 1
    assert steps == 3 and session.score.finished == 1
    session.close()


def test_the_value_map_is_the_best_imagined_return_from_each_place(agent, session):
    before, state = session.frame.copy(), session._env.unwrapped.get_state()
    for _ in range(2 * CELLS):
        session.explore()
    values = session.values.values
    assert session.values.complete and np.isfinite(values).all()
    np.testing.assert_array_equal(session.frame, before)  # nobody was moved
    assert repr(session._env.unwrapped.get_state()) == repr(state)
    env = gym.make(ROOM)
    for row, column in ((0, 0), (4, 9), (CELLS - 1, 6)):
        x = (column + 0.5) / CELLS * 2 - 1
        y = 1 - (row + 0.5) / CELLS * 2
        places = {
            "robot_position": np.clip([x, y], -0.9, 0.9),
            "goal_position": session.info["goal_position"],
        }
        if np.linalg.norm(places["robot_position"] - places["goal_position"]) < 0.1:
            continue
        frame, _ = env.reset(options=places)
        decision, _ = agent.decide(frame)
        model, z = agent.world_model, decision.belief.density.mean
        total, weight = 0.0, 1.0
        with torch.no_grad():
            for action in decision.plan.actions[0]:
                z, reward = model.step(z, action[None])
                weight *= agent.config.planner.discount
                total += weight * float(reward[0])
        # The noise of a batch of places is not that of one place; searches differ by little.
        assert values[row, column] == pytest.approx(total, abs=0.1 * np.ptp(values) + 0.05)
    names = [frame.name for frame in view(session).frames]
    assert names == ["camera", "belief", "uncertainty", "value map"]
    assert view(session).frames[-1].note == "light: good to be there"
    goal = session.info["goal_position"]
    session.drag(goal)
    session.drag(-0.5 * goal)
    session.explore()
    assert session.values.rows == 1  # another goal, another map
    shown = view(session).frames[-1]
    assert (shown.name, shown.note) == ("value map", f"1 of {CELLS} rows")
    assert (shown.picture[0] > 0).any() and (shown.picture[1:] == 0).all()


def test_walls_have_no_value():
    agent = Agent("RobotRoomMaze-v0", seed=0)
    with closing(Session(agent, agent.env_spec, 0)) as session:
        for _ in range(CELLS):
            session.explore()
        unknown = np.isnan(session.values.values)
        assert 0.05 < unknown.mean() < 0.95
        assert (session.values.picture()[unknown] == WALL).all()


def test_a_training_is_shown_with_its_step_loss_and_success(agent, session):
    learning, progress = Learning(), Progress(num_timesteps=40, num_updates=10, metrics={"loss": -3.0})
    learning.add(progress)
    learning.add(progress)  # nothing has happened since
    progress.num_updates, progress.outcomes = 20, [True, False, True, True]
    learning.add(progress)
    shown = view(session, learning)
    loss, success = shown.plots
    assert loss.curves["loss"] == [-3.0, -3.0] and (loss.start, loss.every) == (10, 10)
    assert np.isnan(success.curves["success"][0]) and success.curves["success"][1] == 0.75
    assert success.limits == (0, 1)
    draw(shown, (900, 700))
    for updates in range(21, 2000):
        progress.num_updates = updates
        learning.add(progress)
    assert len(learning.updates) <= 400 and learning.updates[-1] == 1999


def test_pictures_that_fail_do_not_end_the_learning(tmp_path, monkeypatch):
    agent = Agent("RobotRoom-v0", seed=1)
    monkeypatch.setitem(sys.modules, "pygame", None)
    with (
        closing(Spectator(agent, tmp_path)) as spectator,
        pytest.warns(RuntimeWarning, match="no more pictures of this training: A window needs pygame"),
    ):
        agent.learn(112, spectator)
    assert agent.num_timesteps == 112


def test_a_still_that_cannot_be_written_is_said(session, tmp_path):
    viewer = Viewer((320, 240), 1000, "test")
    (tmp_path / "file").touch()
    press(session, ["s"])
    assert frame(session, viewer, tmp_path / "file") and session.notice.startswith("no still: ")
    press(session, ["s"])
    assert frame(session, viewer, tmp_path / "new" / "stills") and session.notice.startswith("wrote ")
    (still,) = (tmp_path / "new" / "stills").glob("*.png")
    np.testing.assert_array_equal(imageio.imread(still), viewer.picture())
    viewer.close()


def test_an_outdated_restorer_is_an_error_only_if_asked_for(agent, tmp_path):
    agent.save(tmp_path / "agent")
    old = tmp_path / "prior"  # the folder's old name
    dataclasses.replace(any_restoration(agent), calibrated_on="another agent").save(old)
    film = ["--record", tmp_path / "film.gif", "--episodes", 1, "--size", 300, 200]
    code, _, err = command("watch", tmp_path, *film, "--restorer")
    assert code == 1 and "calibrated on another agent" in err
    code, _, err = command("watch", tmp_path, *film)
    assert code == 0 and (tmp_path / "film.gif").exists(), err
    code, _, err = command("watch", tmp_path, "--record", tmp_path / "no" / "film.gif")
    assert code == 1 and err.startswith("error: record: got"), err


def test_what_a_room_does_not_allow_does_not_happen():
    agent = Agent("RobotRoomDoor-v0", seed=0)
    session = Session(agent, agent.env_spec, 0)
    walls = np.argwhere((np.asarray(session._env.render())[::8, ::8] == 48).all(-1))
    row, column = walls[len(walls) // 2]
    before = session.info["robot_position"]
    session.drag(np.array([column / 32 - 1, 1 - row / 32]))
    np.testing.assert_array_equal(session.info["robot_position"], before)
    assert session.notice == "there is a wall"
    session.drag(None)
    session.drag(session.info["goal_position"])
    assert "stays at the centre" in session.notice
    press(session, {"p", "x", "left"})
    assert "train-restorer" in session.notice and not session.chosen.restoring
    session.close()


@pytest.mark.parametrize("config", [AgentConfig(), None])
def test_keys_in_any_order_never_break_it(config):
    agent = Agent(ROOM, config, seed=0)
    generator = np.random.default_rng(0)
    session = Session(agent, agent.env_spec, 0, any_restoration(agent))
    keys = [*ACTIONS, "tab", "left shift"]
    for _ in range(100):
        press(session, map(str, generator.choice(keys, generator.integers(0, 4))))
        if generator.random() < 0.3:
            session.drag(generator.uniform(-1.2, 1.2, 2) if generator.random() < 0.7 else None)
        if generator.random() < 0.5:
            session.step()
        draw(view(session), (320, 240))
    session.close()


def test_every_key_is_there_once_and_told_of():
    names = [key.name for line in KEYS for key in line]
    assert len(names) == len(set(names)) == len(ACTIONS)
    assert (HELP[0], HELP[1], HELP[3]) == (
        ("MOUSE", "drag robot or goal"),
        ("SPACE", "pause"),
        (", .", "slower or faster"),
    )
    shown = " ".join(keys for keys, _ in HELP).lower().replace("esc", "escape").split()
    assert set(shown) == (ACTIONS.keys() | {"mouse"}) - {"q"}


def test_a_session_leaves_its_agent_alone(agent, session):
    planner = agent.config.planner
    for _ in range(3):
        press(session, {"m", "="})
    assert isinstance(session.chosen.planner, RandomShooting) and agent.config.planner is planner
    assert agent.restorer == Identity() and agent.gate == AcceptAll()


def test_an_environment_that_is_no_room_can_be_watched():
    gym.register("Stripes-v0", entry_point=f"{__name__}:Stripes", max_episode_steps=5)
    agent = Agent("Stripes-v0", seed=0)
    session = Session(agent, agent.env_spec, 0)
    press(session, "hhdrp")
    session.drag(np.zeros(2))
    for _ in range(7):
        session.step()
        draw(view(session), (500, 400))
    assert view(session).overlay is None and (session.score.finished, session.episode.number) == (1, 2)
    session.close()


class Stripes(gym.Env):
    """Grey images without a robot, and nothing but them to look at."""

    observation_space = gym.spaces.Box(0, 255, (16, 16, 1), np.uint8)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


@pytest.mark.parametrize("ending", ["gif", "mp4"])
def test_a_recording_has_every_step_and_holds_the_last(session, tmp_path, ending):
    path, seen = tmp_path / f"film.{ending}", []
    step = session.step

    def counted():
        seen.append(session.episode.over)
        step()

    session.step = counted
    session.drag(session.info["goal_position"] + [0.3, 0.0])  # so that it may be short
    record(session, path, 1, (700, 480), 10)  # large enough to show the number of the step
    assert seen[-1] and not any(seen[:-1])
    if ending == "mp4":
        assert imageio_ffmpeg.count_frames_and_secs(path)[0] == len(seen) + 4
    else:
        film = imageio.imread(path, index=None)  # a GIF merges equal pictures
        assert film.shape == (len(seen), 480, 700, 3)


def test_learning_does_not_depend_on_who_looks_on(tmp_path):
    weights = []
    for name, viewer in (("alone", False), ("watched", True)):
        agent = Agent("RobotRoom-v0", seed=1)
        window = Viewer((320, 240), 0, "test") if viewer else None
        with RunLogger(tmp_path / name) as log, closing(Spectator(agent, log, window)) as spectator:
            agent.learn(120, [spectator] if viewer else [])
        weights.append(agent.world_model.state_dict())
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key]), key
    events = EventAccumulator(str(tmp_path / "watched"), {"images": 0})
    pictures = events.Reload().Images("agent_view")
    assert 1 <= len(pictures) <= PICTURES
    picture = imageio.imread(pictures[-1].encoded_image_string)
    assert picture.shape == (600, 840, 3) and picture.std() > 20


def test_closing_the_window_does_not_stop_learning(tmp_path):
    import pygame

    agent = Agent("RobotRoom-v0", seed=1)
    spectator = Spectator(agent, RunLogger(None), Viewer((320, 240), 0, "test"))
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    agent.learn(112, spectator)
    assert agent.num_timesteps == 112
    spectator.close()
