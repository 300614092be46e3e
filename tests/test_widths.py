"What a page shows has room on it: printed lines of at most 100 characters, tables of at most five columns"

import json
import re

import pytest
from house import NOTEBOOKS, ROOT
from test_site import cells, options, quarto_options

# pages that still have wider outputs; best is none
TOO_WIDE = set("cli/30_command explore/90_saving explore/95_server".split())

pages = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def shown_outputs(path):
    "Text and Markdown of the outputs that the site shows"
    for cell, source in cells(path, "code"):
        if "hide" not in options(source) and all(quarto_options(source).get(k, True) for k in ("include", "output")):
            for output in cell["outputs"]:
                data = output.get("data", {})
                richer = [k for k in data if k != "text/plain"]
                yield (
                    "".join(output.get("text", [] if richer else data.get("text/plain", []))),
                    "".join(data.get("text/markdown", [])),
                )


def columns_of(markdown):
    "The most columns of a table in the text"
    rows = [line for line in without_blocks(markdown).splitlines() if line.startswith("|")]
    return max((len(re.findall(r"(?<!\\)\|", row)) - 1 for row in rows), default=0)


def without_blocks(markdown):
    return re.sub(r"^(```+|~~~+).*?^\1\s*$", "", markdown, flags=re.S | re.M)


def too_wide(path):
    "Lines of printed text over 100 characters, and tables of more than five columns"
    outputs = list(shown_outputs(path))
    lines = [line for text, _ in outputs for line in text.splitlines() if len(line) > 100]
    tables = [*(markdown for _, markdown in outputs), *(source for _, source in cells(path, "markdown"))]
    return lines + [f"a table of {columns_of(t)} columns" for t in tables if columns_of(t) > 5]


@pages
def test_printed_lines_and_tables_have_room_on_a_page(path):
    "A line of 100 characters and five columns are what a page shows without being scrolled sideways"
    name, found = path.relative_to(ROOT / "nbs").with_suffix("").as_posix(), too_wide(path)
    assert not found or name in TOO_WIDE, found


def test_wide_lines_and_tables_are_found(tmp_path):
    def page(*outputs, source="f()", kind="code"):
        cell = dict(cell_type=kind, source=[source], outputs=list(outputs))
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.ipynb"
        file.write_text(json.dumps(dict(cells=[cell])), encoding="utf-8")
        return file

    six, long = "| a | b | c | d | e | f |", ["x" * 101]
    five = six.replace(" f |", "").replace("e", r"e\|e")
    assert too_wide(page(dict(text=long))) and too_wide(page(dict(data={"text/plain": long})))
    assert too_wide(page(dict(data={"text/markdown": [six], "text/plain": []})))
    assert too_wide(page(source=six, kind="markdown")) == ["a table of 6 columns"]
    assert not too_wide(page(dict(text=["x" * 100]), dict(data={"text/markdown": [five], "text/plain": long})))
    assert not too_wide(page(dict(text=long), source="#| hide\nf()")) and not too_wide(
        page(source=five, kind="markdown")
    )
