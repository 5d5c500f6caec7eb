"""The workbench's examples are short, and neither they nor `benchmarks` need private names.

That they run is a test of all pages (`test_readme`).
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST = {"## A planner": 10, "## A world model": 25, "## An exploration": 10, "## A room": 15}
PAGES = ("workbench.md", "layouts.md")


def blocks(text):
    return re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("heading", LONGEST)
def test_an_example_is_short(heading):
    text = (ROOT / "docs" / "workbench.md").read_text()
    section = text.split(f"{heading}\n")[1].split("\n## ")[0]
    lines = [line for line in blocks(section)[0].splitlines() if line.strip()]
    assert 0 < len(lines) <= LONGEST[heading]


def private_names(source):
    """Private names of others: attributes and imports that the source does not define itself."""
    nodes = list(ast.walk(ast.parse(source)))
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    own |= {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
    for node in nodes:
        names = [each.name for each in node.names] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.Attribute):
            of = node.value.id if isinstance(node.value, ast.Name) else ""
            mine = of == "os" or (of in ("self", "cls") and node.attr in own)
            names = [] if mine else [node.attr]
        yield from (n for n in names if n.startswith("_") and not n.startswith("__"))


NAMED_TUPLES = {"_replace", "_asdict", "_fields"}
"""Public in spite of their names."""
OF_OTHERS = {"_get_samples", "_all_work_items"}
"""Of stable-baselines3 and Cosmic Ray, which have no public ones for it."""


@pytest.mark.parametrize("page", PAGES)
def test_an_example_needs_no_private_name(page):
    for block in blocks((ROOT / "docs" / page).read_text()):
        assert not list(private_names(block))


def test_the_benchmarks_need_no_private_name_of_the_agent_or_the_room():
    for path in sorted((ROOT / "benchmarks").rglob("*.py")):
        found = set(private_names(path.read_text())) - NAMED_TUPLES - OF_OTHERS
        assert not found, f"{path.name}: {found}"


def test_a_private_name_is_found():
    source = "model._kl(q)\nself._x = self._x + self._y\nfrom a import _b"
    assert sorted(private_names(source)) == ["_b", "_kl", "_y"]
