"The code of a page in lines of at most 88 characters, whatever the sources have: see `attrnb._rooms.NarrowCode`"

import ast
import io
import json
import re
import subprocess
import tokenize

import pytest
from house import NOTEBOOKS, ROOT

from attrnb import _rooms
from conftest import is_visible

WIDTH = 88
WHOLE = 12  # lines with a string that cannot be cut, such as one long replacement field
TEXT = 40  # lines of texts in three quotes, which are scripts and style sheets in other languages


def visible(path):
    cells = [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
    return [source for source in map("".join, (c["source"] for c in cells)) if is_visible(source)]


def long_lines(source):
    return [line for line in source.splitlines() if len(line) > WIDTH and not line.startswith("#|")]


def parsed(source):
    "The syntax tree, with the words of each docstring"
    tree = ast.parse(re.sub(r"^[%!].*$", "pass", source, flags=re.M))
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and ast.get_docstring(node):
            node.body[0].value.value = node.body[0].value.value.split()
    return ast.dump(tree)


def lines_in_texts(source):
    lines, inside = source.splitlines(), set()
    for node in ast.walk(ast.parse(re.sub(r"^[%!].*$", "pass", source, flags=re.M))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" in node.value:
            inside |= {*range(node.lineno, node.end_lineno)}
    return [lines[k] for k in sorted(inside)]


def words_of_comments(source):
    tokens = tokenize.generate_tokens(io.StringIO(re.sub(r"^[%!].*$", "", source, flags=re.M)).readline)
    comments = [token.string.strip("#") for token in tokens if token.type == tokenize.COMMENT]
    return [word for word in " ".join(comments).split() if word != "returns"]


def test_the_code_of_all_pages_fits_and_does_what_it_did():
    sources = [source for path in NOTEBOOKS for source in visible(path)]
    narrow = _rooms._narrowed(sources)
    assert len(sources) == len(narrow) > 1000
    assert sum(map(len, map(long_lines, sources))) > 1000  # else there is nothing to do
    for old, new in zip(sources, narrow, strict=True):
        heads = [[line for line in text.splitlines() if line.startswith("#|")] for text in (old, new)]
        assert heads[0] == heads[1] and new.splitlines()[: len(heads[0])] == heads[0], new
        assert old == new or parsed(old) == parsed(new), new
        assert old == new or words_of_comments(old) == words_of_comments(new), new
    texts = [line for source in narrow if long_lines(source) for line in long_lines("\n".join(lines_in_texts(source)))]
    left = [line for source in narrow for line in long_lines(source)]
    assert len(texts) <= TEXT, "\n".join(texts)
    assert len(left) - len(texts) <= WHOLE, "\n".join(line for line in left if line not in texts)


def test_fenced_code_in_the_text_fits():
    for path in NOTEBOOKS:
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for block in re.findall(r"^```.*?^```", "".join(cell["source"]), flags=re.S | re.M):
                assert cell["cell_type"] == "code" or not long_lines(block), (path.name, long_lines(block))


def test_a_page_is_made_with_it():
    from fastcore.nbio import read_nb
    from nbdev.processors import FilterDefaults

    path = ROOT / "nbs/00_statistics.ipynb"
    assert any(map(long_lines, visible(path)))
    page = FilterDefaults().nb_proc(read_nb(path))
    page.process()
    code = [cell.source for cell in page.nb.cells if cell.cell_type == "code"]
    assert any("def bootstrap_interval(" in source for source in code) and not any(map(long_lines, code))


def test_without_ruff_the_page_keeps_its_code(monkeypatch, capsys):
    source = f"f({'value, ' * 20})"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess("", 1, b"", b"No module\n"))
    assert _rooms._narrowed([source]) == [source]
    assert capsys.readouterr().err == "The page keeps its long lines of code: No module\n"


def test_a_cell_that_would_do_something_else_stays(monkeypatch):
    monkeypatch.setattr(_rooms, "_formatted", lambda sources: [s.replace("1", "2") for s in sources])
    assert _rooms._narrowed(["a = 1", "a  = 3"]) == ["a = 1", "a  = 3"]


@pytest.mark.parametrize(
    "source",
    [
        "x = '" + "word " * 30 + "'",
        "f(a, b'" + "word " * 30 + "')",
        "f('''" + "word " * 30 + "''')",
        "x = f(['" + "word " * 30 + "', 'b'])['" + "word " * 30 + "']",
        "x = 'a' '" + "word " * 30 + "'",
        "f(\n    'a'\n    f'" + "{word!r:>{n}} {{}} " * 10 + "',\n    b,\n)",
        "x = r'" + r"\d+|" * 30 + "'",
        "def f():\n    '" + "word " * 30 + "'",
        "if a:  # " + "word " * 30 + "\n    b\nelse:  # " + "word " * 30 + "\n    c",
        "x = '''\n  # " + "word " * 30 + "''' # " + "word " * 30,
        "x = [\n    # - a\n    1,  # " + "word " * 30 + "\n]  # " + "word " * 30,
        "def f(\n    a,  # " + "word " * 30 + "\n) -> int:  # " + "word " * 30 + "\n    return a",
        "a = " + " + ".join(["value"] * 30) + ";",
        "f(x)['\\N{GREEK SMALL LETTER ALPHA} " + "word " * 30 + "']",
    ],
)
def test_odd_places(source):
    (narrow,) = _rooms._narrowed([source])
    assert parsed(source) == parsed(narrow)
    assert _rooms._narrowed([narrow]) == [narrow]
    for line in long_lines(narrow):
        assert "b'" in line or 'b"' in line or '"""' in source + line or "'''" in source or "'a'" in source, narrow


def test_what_is_no_python_stays():
    sources = ["%time f()", "%%bash\nls    -l", "print( 1 )", "!ls    -l"]
    assert _rooms._narrowed(sources) == ["%time f()", "%%bash\nls    -l", "print(1)", "!ls    -l"]
