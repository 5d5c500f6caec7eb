"""Settings of the documentation: `python -m sphinx -W -b html docs docs/_build/html`."""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from scripts import notebooks  # noqa: E402 - the path is needed first

project = "RobotRoom"
author = "the RobotRoom developers"
copyright = f"2026, {author}"
release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "tutorials/notebooks", "jupyter_execute"]
default_role = "code"  # docstrings write `name`, as Markdown does

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_title = "RobotRoom"
html_theme_options = {"navigation_with_keys": True}

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

nb_execution_mode = "cache"  # executes a page again only if it has changed
nb_execution_cache_path = str(ROOT / "docs" / "_build" / ".jupyter_cache")
nb_execution_raise_on_error = True
nb_execution_timeout = 1800  # seconds for a cell; a busy machine is slow
nb_code_prompt_show = "Solution"  # the only cells that are hidden
nb_code_prompt_hide = "Solution"
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

SECTIONS = ("Args:", "Attributes:", "Raises:", "Returns:", "Yields:")


def table(rows: list[str]) -> list[str]:
    """A Markdown table as reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for number, row in enumerate(rows):
        if number == 1:  # |---|---|
            continue
        for cell, text in enumerate(row.strip().strip("|").split("|")):
            mark = "-" if cell else "* -"
            lines.append(f"   {mark:>3} {text.strip()}".rstrip())
    return [*lines, ""]


def escape(line: str) -> str:
    """Formulas use characters that reStructuredText would take for markup."""
    parts = re.split(r"(`[^`]*`)", line)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"(?<=\w)_(?![A-Za-z0-9])|(?<=[^\s*])\*(?!\*)|\|", r"\\\g<0>", parts[i])
    return "".join(parts)


def from_markdown(app, what, name, obj, options, lines: list[str]) -> None:
    """Docstrings are Markdown with Google's sections; autodoc expects reStructuredText."""
    result: list[str] = []
    rows: list[str] = []
    section, literal, fenced, in_list = "", False, False, False
    depth = 0  # indentation of the last line that was not empty
    for line in [*lines, ""]:
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        if rows and not text.startswith("|"):
            result += table(rows)
            rows = []
        if text.startswith("```"):
            fenced = not fenced
            if fenced:
                result += ["", f".. code-block:: {text[3:] or 'text'}", ""]
        elif fenced:
            result.append("    " + line)
        elif text.startswith("|") and text.endswith("|"):
            rows.append(text)
        elif text.startswith("## "):
            result += [f".. rubric:: {text[3:]}", ""]
        elif not text or text.startswith(">>>"):
            result.append(line)
        else:
            after_blank = not result or not result[-1].strip()
            if not indent:
                section = text if text in SECTIONS else ""
                in_list = text.startswith("* ")
                literal = False
            elif not section and not in_list and after_blank and not literal:
                literal = True
                result += ["::", ""]
            block = section == "Returns:" if section else not in_list and not literal
            if block and not after_blank and indent != depth:
                result.append("")  # a block quote needs empty lines around it
            if text == "Returns:":  # napoleon would take what is before a colon for a type
                result.append(":returns:")
            elif not indent and re.match(r"\S.*\S {3,}\S", text):
                result.append("| " + escape(line))
            else:
                result.append(line if literal else escape(line))
        if text:
            depth = indent
    lines[:] = result


def with_links(app, name: str, source: list[str]) -> None:
    """Below the title of a tutorial, say where its notebook is."""
    folder, _, page = name.rpartition("/")
    if folder == "tutorials" and page[0].isdigit():
        source[0] = re.sub(
            r"^# .*$", rf"\g<0>\n\n{notebooks.links(page)}", source[0], count=1, flags=re.M
        )


def setup(app) -> None:
    """Docstrings are converted before napoleon sees them."""
    app.connect("autodoc-process-docstring", from_markdown, priority=100)
    app.connect("source-read", with_links)
