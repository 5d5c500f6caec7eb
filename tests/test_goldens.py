import json

import pytest
from goldens import CASES, PATH, rollout_hash

from robot_room.loops import available


@pytest.mark.parametrize("compiled", [False, True] if available() else [False])
@pytest.mark.parametrize("case", CASES)
def test_v0_is_what_it_was(case, compiled):
    name, kwargs = CASES[case]
    assert rollout_hash(name, {**kwargs, "compiled": compiled}) == json.loads(PATH.read_text())[case]


def test_every_golden_is_checked():
    assert set(json.loads(PATH.read_text())) == set(CASES)
