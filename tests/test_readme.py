"""The README's example of the planner does what it says."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_point_mass_is_brought_to_rest_at_the_origin():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (example,) = (block for block in blocks if "Problem(" in block)
    names = {}
    exec(example, names)
    assert names["z"].abs().max() < 0.05
