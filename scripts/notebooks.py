"""Write the tutorials of the documentation as Jupyter notebooks, without outputs.

    scripts/run notebooks

The pages in docs/tutorials are text that Sphinx executes. Colab opens notebooks from GitHub alone, so
they are kept beside the pages, in docs/tutorials/notebooks; a test compares them.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

import nbformat
from myst_nb.core.read import read_myst_markdown_notebook

ROOT = Path(__file__).parents[1]
TUTORIALS = ROOT / "docs" / "tutorials"
NOTEBOOKS = TUTORIALS / "notebooks"
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
SOLUTION = "hide-cell"  # the tag of a cell that is folded until it is asked for

SETUP = """\
# In Colab, fetch the project first. Elsewhere, start Jupyter in docs/tutorials of a clone.
import os

if "COLAB_RELEASE_TAG" in os.environ:
    !git clone -q https://github.com/{repository}
    %cd {name}
    %pip install -q -e ".[agent,benchmarks]"
    %cd docs/tutorials"""


def repository() -> str | None:
    """`owner/name` on GitHub, from `[tool.robot-room]` of pyproject.toml; None if it is not there."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["robot-room"]
    found = re.search(r"github\.com/([\w.-]+/[\w.-]+?)/?$", settings["repository"])
    return found[1] if found else None


def pages() -> list[Path]:
    """The tutorials, in order."""
    return sorted(TUTORIALS.glob("[0-9]_*.md"))


def links(page: str) -> str:
    """Where to get a page's notebook, for Sphinx; with a badge once the repository has an address."""
    download = f"{{download}}`Download this page as a notebook <notebooks/{page}.ipynb>`"
    if (where := repository()) is None:
        return download
    colab = f"https://colab.research.google.com/github/{where}/blob/main/docs/tutorials/notebooks"
    return f"[![Open in Colab]({BADGE})]({colab}/{page}.ipynb) {download}"


def notebook(page: Path) -> dict[str, Any]:
    """A page as a notebook whose solutions are folded in Jupyter and in Colab."""
    book = read_myst_markdown_notebook(page.read_text())
    for number, cell in enumerate(book.cells):
        cell.id = f"cell-{number}"  # not a random one, so that the file is the same each time
        if SOLUTION in cell.metadata.get("tags", []):
            cell.metadata.update({"jupyter": {"source_hidden": True}, "cellView": "form"})
            cell.source = f"# @title Solution\n{cell.source}"
    if (where := repository()) is not None:
        setup = SETUP.format(repository=where, name=where.split("/")[1])
        book.cells.insert(1, nbformat.v4.new_code_cell(setup, id="setup"))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}})
    nbformat.validate(book)
    return book


def text(page: Path) -> str:
    """The notebook's file."""
    return nbformat.writes(nbformat.from_dict(notebook(page))) + "\n"


def main() -> None:
    """Run the script."""
    NOTEBOOKS.mkdir(exist_ok=True)
    wanted = {NOTEBOOKS / f"{page.stem}.ipynb": text(page) for page in pages()}
    for path in NOTEBOOKS.glob("*.ipynb"):
        if path not in wanted:
            path.unlink()
    for path, content in wanted.items():
        path.write_text(content)


if __name__ == "__main__":
    main()
