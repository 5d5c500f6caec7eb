"""Agents of others: shipped ones, exported weights, and a stand-in for the Hugging Face Hub."""

import base64
import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from contextlib import closing

import gymnasium as gym
import msgspec
import numpy as np
import pytest
import torch
from console import command
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from agent import Agent
from agent.calibration import Restoration, described
from agent.gate import SoftGate
from agent.hub import SHIPPED, located, model_card, shipped
from agent.restoration.autoencoder import Autoencoder, AutoencoderConfig
from agent.restoration.harm import Harm
from agent.restoration.restorer import BlindRestorer
from robot_room.app.commands import evaluate, watch
from robot_room.app.runs.loading import loaded

LARGEST = 1.5e6  # bytes of a shipped agent


@pytest.fixture(scope="module")
def agent():
    return Agent("RobotRoom-v0", seed=3)


@pytest.fixture(scope="module")
def restoration(agent):
    network = Autoencoder((64, 64, 3), AutoencoderConfig(width=8))
    harm = Harm(network.summary_size)
    return Restoration(BlindRestorer(network, harm), SoftGate(9.0), calibrated_on=described(agent))


def size(folder):
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def test_an_exported_restorer_comes_back_up_to_half_precision(agent, restoration, tmp_path):
    agent.save_pretrained(tmp_path / "agent")
    restoration.save_pretrained(tmp_path / "agent" / "restorer")
    restoration.save(tmp_path / "exact")
    exported = tmp_path / "agent" / "restorer"
    assert 2 * size(exported) == pytest.approx(size(tmp_path / "exact"), rel=0.2)
    again = Restoration.from_pretrained(tmp_path / "agent")
    assert again.calibrated_on == restoration.calibrated_on
    assert again.gate.innovation_threshold == 9.0
    state = restoration.restorer.autoencoder.state_dict()
    for name, value in again.restorer.autoencoder.state_dict().items():
        torch.testing.assert_close(value, state[name].half().to(value.dtype), atol=0, rtol=0)
    Agent.from_pretrained(tmp_path / "agent")  # is not disturbed by it


def test_an_agent_without_a_restorer_says_which_have_one(agent, tmp_path):
    agent.save_pretrained(tmp_path / "agent")
    with pytest.raises(ValueError, match="which has no restorer; allowed: "):
        Restoration.from_pretrained(tmp_path / "agent")
    with pytest.raises(ValueError, match="name: got 'RobotRoom-v9'"):
        Restoration.from_pretrained("RobotRoom-v9")


def test_exported_weights_act_as_the_agent_up_to_half_precision(agent, tmp_path):
    agent.save_pretrained(tmp_path / "agent")
    assert sorted(path.name for path in (tmp_path / "agent").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    assert size(tmp_path / "agent") < LARGEST
    again = Agent.from_pretrained(tmp_path / "agent")
    assert (again.num_timesteps, again.env_id) == (agent.num_timesteps, "robot_room:RobotRoom-v0")
    state = agent.world_model.state_dict()
    for name, value in again.world_model.state_dict().items():
        assert value.dtype == state[name].dtype
        torch.testing.assert_close(value, state[name].half().to(value.dtype), atol=0, rtol=0)
    frame, _ = gym.make("RobotRoom-v0").reset(seed=5)
    z = [each.decide(frame)[0].belief.density.mean for each in (agent, again)]
    torch.testing.assert_close(*z, atol=0.02, rtol=0.02)


def test_exported_weights_can_learn_on(agent, tmp_path):
    agent.save_pretrained(tmp_path / "agent")
    again = Agent.load(tmp_path / "agent")
    assert again.replay.num_steps == 0
    again.learn(112)
    assert again.num_timesteps == agent.num_timesteps + 112
    again.save(tmp_path / "agent")  # a whole checkpoint takes the place of the weights
    assert Agent.load(tmp_path / "agent").replay.num_steps == again.replay.num_steps


def test_a_checkpoint_that_lacks_files_and_does_not_say_so_is_refused(agent, tmp_path):
    agent.save_pretrained(tmp_path / "agent")
    config = tmp_path / "agent" / "config.json"
    told = json.loads(config.read_text())
    assert told.pop("weights_only") is True
    config.write_text(json.dumps(told))
    with pytest.raises(ValueError, match=r"optimizer\.safetensors: missing"):
        Agent.load(tmp_path / "agent")
    config.write_text(json.dumps(told | {"weights_only": 1}))
    with pytest.raises(ValueError, match=r"weights_only: got 1, allowed: true or false"):
        Agent.load(tmp_path / "agent")


@pytest.mark.parametrize(
    "name", ["RobotRoom-v9", "a/b/c", "", "../agent", "user/", "user/na me", "-/x"]
)
def test_an_agent_that_does_not_exist_is_refused_without_the_network(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"name: got .*allowed: one of \[.*RobotRoom-v0"):
        Agent.from_pretrained(name)


def test_without_huggingface_hub_the_error_says_what_to_do(agent, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: Agent.from_pretrained("user/name"), lambda: agent.push_to_hub("user/name")):
        with pytest.raises(ImportError, match=r"pip install 'robot-room\[hub\]'"):
            call()


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_agent_is_small_and_does_what_its_card_says(name):
    folder = SHIPPED / name
    files = {"config.json", "model.safetensors", "metrics.json", "README.md"}
    assert {path.name for path in folder.iterdir()} - {"restorer"} == files
    assert size(folder) < LARGEST
    if (folder / "restorer").exists():
        assert size(folder / "restorer") < LARGEST
        known = Restoration.from_pretrained(name).calibrated_on
        assert known == described(Agent.from_pretrained(name))
    assert located(f"robot_room:{name}") == folder
    metrics = json.loads((folder / "metrics.json").read_text())
    card = (folder / "README.md").read_text()
    agent = Agent.from_pretrained(name)
    env = gym.make(agent.env_spec)
    assert metrics["env_id"] == env.spec.id and metrics["env_kwargs"] == env.spec.kwargs
    if name == env.spec.id:
        assert metrics["success_rate"] >= 0.95
        assert f"| success rate | {metrics['success_rate']:g} |" in card
        starts = range(metrics["seed"], metrics["seed"] + 2)  # of the evaluation
        arrived = [episode(env, start, agent.predict)[1]["is_success"] for start in starts]
        assert any(arrived)
    else:  # another's environment, from its camera's pixels
        assert env.spec.kwargs["env_id"] == name
        assert f"| mean return | {metrics['mean_return']:g} |" in card

        def at_random(frame, state):
            return env.action_space.sample(), state

        env.action_space.seed(0)
        own, other = (episode(env, metrics["seed"], acts)[0] for acts in (agent.predict, at_random))
        assert own > other


def episode(env, seed, predict):
    """The return of an episode, and the last step's info."""
    frame, _ = env.reset(seed=seed)
    state, total, over = None, 0.0, False
    while not over:
        action, state = predict(frame, state)
        frame, reward, terminated, truncated, info = env.step(action)
        total, over = total + reward, terminated or truncated
    return total, info


def test_a_run_is_pushed_with_its_restorer_unless_that_is_outdated(
    agent, restoration, tmp_path, monkeypatch
):
    pushed = []

    def push(agent, repo_id, metrics, film, restorer, private):
        pushed.append(None if restorer is None else sorted(path.name for path in restorer.iterdir()))
        return repo_id

    monkeypatch.setattr(Agent, "push_to_hub", push)
    agent.save(tmp_path / "agent")
    assert command("push", tmp_path, "user/name") == (0, "user/name\n", "")
    restoration.save(tmp_path / "restorer")
    assert command("push", tmp_path, "user/name") == (0, "user/name\n", "")
    assert pushed == [None, ["config.json", "model.safetensors"]]
    dataclasses.replace(restoration, calibrated_on="another agent").save(tmp_path / "restorer")
    code, _, err = command("push", tmp_path, "user/name")
    assert code == 1 and "restorer: got one calibrated on another agent, allowed: " in err
    assert len(pushed) == 2


def test_commands_take_the_name_of_a_shipped_agent(tmp_path, monkeypatch, capsys):
    assert str(watch.FIRST) in shipped()
    evaluate.main(evaluate.Evaluate(watch.FIRST, episodes=2, json=True))
    assert json.loads(capsys.readouterr().out)["env_id"] == str(watch.FIRST)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"run: got nowhere.*or a shipped agent: .*RobotRoom-v0"):
        loaded(tmp_path.relative_to(tmp_path) / "nowhere", None, "{}", False)


def test_the_card_has_metadata_that_the_hub_reads():
    from huggingface_hub import ModelCard

    card = ModelCard(model_card("user/name", "robot_room:RobotRoom-v0", 500, 3, {"success_rate": 0.99}))
    assert (card.data.library_name, card.data.license) == ("robot-room", "mit")
    assert card.data.pipeline_tag == "reinforcement-learning" and "RobotRoom-v0" in card.data.tags
    (result,) = card.data.eval_results
    assert (result.dataset_name, result.metric_type, result.metric_value) == (
        "RobotRoom-v0",
        "success_rate",
        0.99,
    )
    assert "import robot_room" in card.text and 'from_pretrained("user/name")' in card.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"repo_id": "no name"}, "repo_id: got 'no name'"),
        ({"metrics": {"success": "high"}}, "metrics: success: got 'high'"),
        ({"film": SHIPPED / "nowhere.gif"}, "film: got"),
        ({"restorer": SHIPPED / "nowhere"}, "restorer: got"),
    ],
)
def test_a_senseless_upload_is_refused_before_the_network_is_used(
    agent, arguments, message, monkeypatch
):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=message):
        agent.push_to_hub(**({"repo_id": "user/name"} | arguments))


class StandIn:
    """The part of the Hub's API that uploading and downloading a few small files needs."""

    def __init__(self):
        self.repos = {}
        self.seen = []

    def __call__(self, environ, start_response):
        request = Request(environ)
        self.seen.append(f"{request.method} {request.path}")
        return self.answer(request)(environ, start_response)

    def answer(self, request):
        path = request.path
        if path == "/api/repos/create":
            if request.headers.get("Authorization") != "Bearer hf_good":
                return Response('{"error": "Invalid token"}', 401)
            told = request.get_json()
            name = f"{told['organization']}/{told['name']}"
            if name in self.repos:
                return reply({"url": f"{request.host_url}{name}"}, 409)
            self.repos[name] = {}
            return reply({"url": f"{request.host_url}{name}"})
        if path == "/api/validate-yaml":
            return reply({"warnings": [], "errors": []})
        if found := re.fullmatch(r"/api/models/(user/name)/(\w+)/(\w+)", path):
            return self.of_repo(*found.group(1, 2), request)
        if found := re.fullmatch(r"/(user/name)/resolve/(\w+)/(.+)", path):
            return self.file(*found.groups())
        return reply({"error": "not found"}, 404)

    def of_repo(self, name, what, request):
        files = self.repos.get(name)
        if files is None:
            return reply({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        if what == "preupload":
            asked = request.get_json()["files"]
            sent = [
                {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in asked
            ]
            return reply({"files": sent})
        if what == "commit":
            for line in request.get_data().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    value = entry["value"]
                    files[value["path"]] = base64.b64decode(value["content"])
            url = f"{request.host_url}{name}/commit/{self.sha(name)}"
            return reply({"success": True, "commitOid": self.sha(name), "commitUrl": url})
        if what == "tree":
            sizes = {file: len(contents) for file, contents in files.items()}

            def oid(file):
                return hashlib.sha1(files[file]).hexdigest()

            return reply([{"type": "file", "path": f, "size": sizes[f], "oid": oid(f)} for f in files])
        siblings = [{"rfilename": file} for file in files]
        return reply({"id": name, "modelId": name, "sha": self.sha(name), "siblings": siblings})

    def file(self, name, revision, file):
        contents = self.repos.get(name, {}).get(file)
        if contents is None:
            return reply({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        tag = hashlib.sha1(contents).hexdigest()
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": self.sha(name)}
        return Response(contents, headers=headers)  # of HEAD, the server leaves the contents out

    def sha(self, name):
        return hashlib.sha1(repr(sorted(self.repos[name].items())).encode()).hexdigest()


def reply(value, status=200, headers=None):
    return Response(json.dumps(value), status, headers, mimetype="application/json")


@pytest.fixture
def hub(tmp_path):
    """A stand-in, and the environment variables that lead to it and to nothing else."""
    stand_in = StandIn()
    server = make_server("127.0.0.1", 0, stand_in, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    variables = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "huggingface"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0",
    }
    with closing(server) if hasattr(server, "close") else server:
        yield stand_in, variables
        server.shutdown()


SESSION = """
import sys
from pathlib import Path
import numpy as np
import robot_room
from agent import Agent
from agent.calibration import Restoration

agent = Agent.load(sys.argv[1])
try:
    agent.push_to_hub("user/name", token="hf_bad")
except ValueError as error:
    print("refused:", error)
film, restorer = Path(sys.argv[2]), Path(sys.argv[3])
print(agent.push_to_hub("user/name", {"success_rate": 0.5}, film, token="hf_good"))
print(agent.push_to_hub("user/name", {"success_rate": 1.0}, film, restorer, token="hf_good"))
again = Agent.from_pretrained("user/name")
frame = np.full((64, 64, 3), 128, np.uint8)
Restoration.from_pretrained("user/name").attach(again)
print("acts:", np.abs(again.predict(frame)[0]).max() <= 1, again.num_timesteps)
try:
    Agent.from_pretrained("user/other")
except ValueError as error:
    print("absent:", error)
"""


@pytest.mark.slow
def test_an_agent_goes_to_the_hub_and_comes_back(agent, restoration, hub, tmp_path):
    stand_in, variables = hub
    agent.save(tmp_path / "agent")
    restoration.save_pretrained(tmp_path / "restorer")
    (tmp_path / "film.gif").write_bytes(b"GIF89a")
    paths = [str(tmp_path / name) for name in ("agent", "film.gif", "restorer")]
    command = [sys.executable, "-c", SESSION, *paths]
    environment = os.environ | variables
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0].startswith("refused: repo_id: got 'user/name', which the Hub refuses:")
    assert said[1] == said[2] == f"{variables['HF_ENDPOINT']}/user/name"
    assert said[3] == f"acts: True {agent.num_timesteps}"
    assert said[4].startswith("absent: name: got 'user/other', which cannot be had from the Hub:")
    files = stand_in.repos["user/name"]
    parts = ["config.json", "model.safetensors"]
    assert sorted(files) == ["README.md", *parts, "replay.gif", *(f"restorer/{each}" for each in parts)]
    assert (
        b'"value": 1.0' in files["README.md"]
        and b"![The agent acting](replay.gif)" in files["README.md"]
    )
    fetched = [line for line in stand_in.seen if line.startswith("GET") and "/resolve/" in line]
    assert {line.rpartition("/")[2] for line in fetched} == {"config.json", "model.safetensors"}


@pytest.mark.slow
def test_an_agent_of_a_stranger_runs_no_code(agent, hub, tmp_path):
    stand_in, variables = hub
    agent.save_pretrained(tmp_path / "agent")
    files = {path.name: path.read_bytes() for path in (tmp_path / "agent").iterdir()}
    told = msgspec.json.decode(files["config.json"])
    spec = json.loads(told["env_spec"]) | {"entry_point": "evil:Room"}
    files["config.json"] = msgspec.json.encode(told | {"env_spec": json.dumps(spec)})
    stand_in.repos["user/name"] = files | {"evil.py": b"open('evil', 'w')"}
    program = "import robot_room; from agent import Agent; Agent.from_pretrained('user/name')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0 or "ValueError" in done.stderr, done.stderr
    assert not (tmp_path / "evil").exists() and not any("evil" in line for line in stand_in.seen)
    assert not list(tmp_path.rglob("evil.py"))


def test_predictions_of_a_shipped_agent_repeat():
    frame, _ = gym.make("RobotRoom-v0").reset(seed=1)
    first, second = (Agent.from_pretrained("RobotRoom-v0").predict(frame)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
