"""The Python examples of the README and of the documentation run as they stand."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted(p for p in (ROOT / "docs").rglob("*.md") if "_build" not in p.parts),
]


def examples(page: Path) -> list[str]:
    """The page's Python blocks, each at its line, so that a traceback points into the page."""
    text = page.read_text()
    blocks = re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return ["\n" * text.count("\n", 0, block.start(1)) + block[1] for block in blocks]


def run(page: Path) -> dict[str, object]:
    """The names that the page's blocks leave, run one after the other in one namespace."""
    names: dict[str, object] = {"__name__": page.stem}
    for example in examples(page):
        exec(compile(example, str(page), "exec"), names)
    return names


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    # `test_outside` runs those about own algorithms, with a stand-in for their library.
    [p for p in PAGES if examples(p) and p.stem != "own_algorithm"],
    ids=lambda p: p.stem,
)
def test_the_examples_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some save an agent
    run(page)


def test_the_point_mass_is_brought_to_the_origin_and_slow():
    (example,) = (e for e in examples(ROOT / "docs" / "agent.md") if "Problem(" in e)
    names = {}
    exec(example, names)
    position, velocity = names["z"][0].abs().split(2)
    assert position.max() < 0.05 and velocity.max() < 0.15


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_to_files_and_pictures_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = [t.split("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in t]
    missing = [t for t in targets if t and not (page.parent / t).exists()]
    assert not missing
