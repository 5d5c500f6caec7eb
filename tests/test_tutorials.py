"""The tutorials: notebooks in step with their pages, with exercises, solutions and pictures."""

import ast
import re

import nbformat
import pytest

from scripts import notebooks

PAGES = notebooks.pages()
CELL = re.compile(r"^```\{code-cell\} ipython3\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_there_are_five():
    assert [page.name[0] for page in PAGES] == list("12345")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_ends_in_exercises_with_hidden_solutions_and_shows_pictures(page):
    text = page.read_text()
    lesson, _, exercises = text.partition("\n## Exercises\n")
    count = len(re.findall(r"^\*\*\d\.\*\*", exercises, re.MULTILINE))
    hidden = exercises.count(f":tags: [{notebooks.SOLUTION}]") + exercises.count("<details>")
    assert count == hidden >= 3
    assert notebooks.SOLUTION not in lesson and "plt.subplots" in lesson
    assert all(f":tags: [{notebooks.SOLUTION}]" in cell for cell in CELL.findall(exercises))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_notebook_of_a_page_is_in_step(page):
    """If this fails: scripts/run notebooks."""
    kept = notebooks.NOTEBOOKS / f"{page.stem}.ipynb"
    assert kept.read_text() == notebooks.text(page)
    book = nbformat.read(kept, 4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert len(code) >= len(CELL.findall(page.read_text())) > 5
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    folded = [cell for cell in code if cell.metadata.get("jupyter", {}).get("source_hidden")]
    assert all(cell.source.startswith("# @title Solution\n") for cell in folded)
    for cell in code:
        if cell.id != "setup":  # which has commands of Jupyter
            ast.parse(cell.source)


def test_no_notebook_is_left_over():
    assert {path.stem for path in notebooks.NOTEBOOKS.iterdir()} == {page.stem for page in PAGES}


def test_the_badge_leads_to_the_notebook_once_the_repository_has_an_address(monkeypatch, tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.robot-room]\nrepository = ""\n')
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    assert notebooks.repository() is None
    assert "colab" not in notebooks.links("1_a")
    assert not any(cell.id == "setup" for cell in notebooks.notebook(PAGES[0]).cells)
    address = "https://github.com/someone/robot-room"
    (tmp_path / "pyproject.toml").write_text(f'[tool.robot-room]\nrepository = "{address}"\n')
    assert notebooks.repository() == "someone/robot-room"
    where = "github/someone/robot-room/blob/main/docs/tutorials/notebooks/1_a.ipynb"
    assert f"(https://colab.research.google.com/{where})" in notebooks.links("1_a")
    (setup,) = (cell for cell in notebooks.notebook(PAGES[0]).cells if cell.id == "setup")
    assert "!git clone -q https://github.com/someone/robot-room\n" in setup.source
    assert "%cd robot-room\n" in setup.source
