"""The README's example of the planner does what it says."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_point_mass_is_brought_to_the_origin_and_slow():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (example,) = (block for block in blocks if "Problem(" in block)
    names = {}
    exec(example, names)
    position, velocity = names["z"][0].abs().split(2)
    assert position.max() < 0.05 and velocity.max() < 0.15
