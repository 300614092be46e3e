"""The site is in order, checked without Quarto: settings, navigation, links, labels, citations, figures, mathematics,
spelling. What stands here is what Quarto and nbdev would warn about, or pass over in silence."""

import copy
import csv
import json
import re
import subprocess
import sys
from functools import lru_cache

import pytest
import yaml
from house import NOTEBOOKS as PAGES
from house import ROOT, is_exported, module_of, rooms

NBS, ROOMS = ROOT / "nbs", rooms()
pages = pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)


@lru_cache
def notebook(path):
    return json.loads(path.read_text(encoding="utf-8"))


def cells(path, kind):
    return [(c, "".join(c["source"])) for c in notebook(path)["cells"] if c["cell_type"] == kind]


def options(source):
    "The `#| key: value` lines at the head of a code cell"
    lines = []
    for line in source.splitlines():
        if not line.startswith("#|"):
            break
        lines.append(line[2:].strip())
    return lines


def quarto_options(source):
    return yaml.safe_load("\n".join(o for o in options(source) if re.match(r"[\w-]+:( |$)", o))) or {}


def is_shown(source):
    "Whether the site shows the code of a cell (`hide_exported` takes the place of nbdev's `rm_export`)"
    words = {re.match(r"[\w-]+", o)[0] for o in options(source)}
    kept = not words & {"export", "hide", "default_exp"} and ("exporti" not in words or "code-fold" in words)
    return kept and quarto_options(source).get("echo", True) and quarto_options(source).get("include", True)


def without_fences(markdown):
    return re.sub(r"^(```+).*?^\1\s*$", "", markdown, flags=re.S | re.M)


def without_code(markdown):
    "Prose and mathematics of a Markdown cell: no code blocks, code spans or comments"
    markdown = re.sub(r"^(```+|~~~+).*?^\1\s*$", "", markdown, flags=re.S | re.M)
    markdown = re.sub(r"<!--.*?-->", "", markdown, flags=re.S)
    return re.sub(r"(`+)(?!`).*?\1", "code", markdown)


MATHS = re.compile(r"\$\$(?P<display>.*?)\$\$|(?<![\\$])\$(?=\S)(?P<inline>[^$]*?\S)\$(?!\d)", re.S)


def prose(path):
    "Prose of every Markdown cell without code and mathematics"
    return [MATHS.sub("formula", without_code(s)) for _, s in cells(path, "markdown")]


# Settings and navigation

SETTINGS = {
    "": "project website bibliography link-citations format format-links crossref",
    "project": "type output-dir resources",
    "website": (
        "title description site-url repo-url repo-branch repo-subdir repo-actions favicon open-graph twitter-card"
        " search page-navigation back-to-top-navigation navbar sidebar page-footer"
    ),
    "website.open-graph": "image image-alt",
    "website.twitter-card": "card-style image image-alt",
    "website.search": "location type",
    "website.navbar": "background foreground logo logo-alt collapse-below left tools",
    "website.sidebar": "style collapse-level contents",
    "website.page-footer": "left right",
    "format": "html gfm",
    "format.html": "theme toc toc-depth code-copy code-overflow code-summary",
    "format.html.theme": "light dark",
    "format.gfm": "variant",
    "crossref": "eq-prefix fig-prefix tbl-prefix",
}


@lru_cache
def settings():
    return yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))


def hrefs(contents):
    "All (text, href) of a sidebar or navbar, in order"
    for item in contents:
        if "href" in item:
            yield item["text"], item["href"]
        assert set(item) <= {"text", "href", "section", "contents", "menu", "icon"}, item
        yield from hrefs(item.get("contents", []) + item.get("menu", []))


def test_settings_hold_known_keys():
    assert (NBS / "_quarto.yml").resolve() == ROOT / "_quarto.yml"
    for place, known in SETTINGS.items():
        found = settings()
        for part in filter(None, place.split(".")):
            found = found[part]
        assert set(found) == set(known.split()), place
    assert settings()["project"]["output-dir"] == "_docs"


def test_settings_agree_with_the_package():
    urls = dict(
        re.findall(r'^(Repository|Documentation) = "(.*?)/?"', (ROOT / "pyproject.toml").read_text(), flags=re.M)
    )
    assert (
        settings()["website"]["repo-url"] == urls["Repository"]
        and settings()["website"]["site-url"] == urls["Documentation"]
    )


def test_a_cell_says_once_how_it_is_folded_and_folded_machinery_is_shown():
    from nbdev.processors import FilterDefaults

    steps = [getattr(step, "__name__", "") for step in FilterDefaults().procs()]
    assert not {"add_fold", "rm_export"} & {*steps} and [*steps][-2:] == ["hide_exported", "NarrowCode"]


def test_files_of_the_settings_exist():
    website, html = settings()["website"], settings()["format"]["html"]
    files = [
        website["favicon"],
        website["open-graph"]["image"],
        website["twitter-card"]["image"],
        website["navbar"]["logo"],
        settings()["bibliography"],
    ]
    files += [html["theme"][mode][1] for mode in ("light", "dark")]
    for file in files:
        assert (NBS / file).is_file(), file


def test_the_logo_has_a_size():
    "In the flexible box of the navigation bar a picture without a size of its own is 4 x 0 pixels"
    logo = (NBS / settings()["website"]["navbar"]["logo"]).read_text(encoding="utf-8")
    assert re.match(r'<svg [^>]*\bwidth="64" height="64"', logo)


def luminance(colour):
    "Relative luminance of #rrggbb (WCAG 2)"
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear))


def test_the_navigation_bar_can_be_read():
    navbar = settings()["website"]["navbar"]
    assert navbar["foreground"] == "white"
    assert 1.05 / (luminance(navbar["background"]) + 0.05) >= 4.5


def test_every_page_is_in_the_sidebar():
    listed = [href for _, href in hrefs(settings()["website"]["sidebar"]["contents"])]
    assert len(listed) == len(set(listed))
    assert sorted(listed) == sorted(p.relative_to(NBS).as_posix() for p in PAGES)


def test_the_navigation_bar_leads_to_pages():
    bar = settings()["website"]["navbar"]
    for text, href in hrefs(bar["left"]):
        assert (NBS / href).is_file(), (text, href)
    assert [
        i["text"] for i in bar["left"]
    ] == "Home|Get started|Methods|Measure|Explore|Benchmark|Tutorials|Reference|About".split("|")


def test_llms_txt_lists_every_page(readme):
    pytest.importorskip("nbdev")
    text = (NBS / "llms.txt").read_text(encoding="utf-8")
    assert text == readme.llms()
    assert re.match(r"# attrnb\n\n> .+\n", text)
    links = re.findall(r"^- \[[^\]]+\]\((.+?)\): .+$", text, flags=re.M)
    from nbdev.config import nbpath2html

    assert sorted(links) == sorted(
        f"{settings()['website']['site-url']}/{nbpath2html(p.relative_to(NBS)).as_posix()}.md" for p in PAGES
    )


# Pages


@pages
def test_title_stands_alone(path):
    "nbdev turns the cell with the title into front matter, and drops whatever else it holds"
    title = cells(path, "markdown")[0][1]
    assert notebook(path)["cells"][0]["cell_type"] == "markdown"
    assert re.fullmatch(r"# [^\n]+\n\n> [^\n]+(\n\n- aliases: \[/[\w.]+\.html\])?", title), title
    assert "$" not in title.splitlines()[0]
    for _, source in cells(path, "markdown")[1:]:
        assert not re.search(r"^# ", without_code(source), flags=re.M), "a second title"


@pages
def test_page_opens_in_colab(path):
    there = [k for k, c in enumerate(notebook(path)["cells"]) if "colab.research" in "".join(c["source"])]
    assert there == [1] and notebook(path)["cells"][1]["id"] == "colab"
    source = "".join(notebook(path)["cells"][1]["source"])
    found = re.fullmatch(r"\[!\[Open in Colab\]\((.+?)\)\]\((.+?)\) \w.*`%pip install attrnb`\.", source)
    colab = "https://colab.research.google.com"
    assert found[1] == f"{colab}/assets/colab-badge.svg"
    assert found[2] == f"{colab}/github/attrnb/attrnb/blob/main/{path.relative_to(ROOT).as_posix()}"


def test_a_badge_is_put_once_and_renewed(readme):
    title, text = dict(id="a", source=["# A"]), dict(id="b", source=["b"])
    first = readme.with_badge(dict(cells=[title, text]), "old.ipynb")
    assert [c["id"] for c in first["cells"]] == ["a", "colab", "b"]
    moved = dict(cells=[title, text, first["cells"][1]])
    assert readme.with_badge(moved, "wing/10_new.ipynb") == readme.with_badge(first, "wing/10_new.ipynb") != first
    assert "/nbs/wing/10_new.ipynb)" in readme.with_badge(moved, "wing/10_new.ipynb")["cells"][1]["source"][0]
    assert "colab" not in (ROOT / "README.md").read_text(encoding="utf-8")


@pages
def test_notebook_is_clean(path):
    clean = pytest.importorskip("nbdev.clean")
    nb = notebook(path)
    ids = [c["id"] for c in nb["cells"]]
    assert len(ids) == len(set(ids))
    assert path.stat().st_size < 3_000_000
    counts = [c["execution_count"] for c, _ in cells(path, "code") if c["execution_count"] is not None]
    assert counts == sorted(counts)
    from fastcore.nbio import dict2nb, nb2dict

    before = copy.deepcopy(nb)
    cleaned = dict2nb(copy.deepcopy(nb))
    clean.clean_nb(cleaned)
    after = json.loads(json.dumps(nb2dict(cleaned)))
    for old, new in zip(before["cells"], after["cells"], strict=True):
        assert old["metadata"] == new["metadata"] and old.get("execution_count") == new.get("execution_count")


@pages
def test_headings_hold_no_mathematics(path):
    for text in [without_code(s) for _, s in cells(path, "markdown")]:
        for heading in re.findall(r"^#+ .*$", text, flags=re.M):
            assert "$" not in heading, heading


KNOWN_OPTIONS = set(
    "label fig-cap fig-alt fig-subcap layout-ncol tbl-cap code-fold code-summary code-overflow echo output eval include"
    " warning".split()
)
NBDEV_OPTIONS = set(
    "default_exp export exporti exports exportd hide slow gpu exec_doc notest hide_line filter_stream cuda eval".split()
)


@pages
def test_cell_options_are_known(path):
    for _, source in cells(path, "code"):
        for line in options(source):
            word = re.match(r"[\w-]+", line)[0]
            assert word in KNOWN_OPTIONS | NBDEV_OPTIONS, line
            if word in KNOWN_OPTIONS - NBDEV_OPTIONS:
                assert re.match(r"[\w-]+: \S", line), line
        for key in ("fig-cap", "fig-alt", "label", "tbl-cap"):
            assert isinstance(quarto_options(source).get(key, ""), str), source
        rest = source.splitlines()[len(options(source)) :]
        assert not any(re.match(r"\s*#\| *(label|fig-|code-fold|hide$|slow$)", line) for line in rest), (
            f"options below the head of the cell:\n{source}"
        )


def has_picture(cell):
    return sum(any(m.startswith("image/") for m in o.get("data", {})) for o in cell["outputs"])


@pages
def test_every_figure_has_label_caption_and_alternative_text(path):
    for cell, source in cells(path, "code"):
        given = quarto_options(source)
        if has_picture(cell) and "hide" not in options(source):
            assert str(given.get("label", "")).startswith("fig-"), source
            assert has_picture(cell) == 1, "several figures in one cell"
            assert len(given.get("fig-cap", "")) > 20 and len(given.get("fig-alt", "")) > 20, source
        if str(given.get("label", "")).startswith("fig-"):
            assert has_picture(cell), f"labelled as a figure, but nothing is stored:\n{source}"
    for cell, source in cells(path, "markdown"):
        if cell["id"] == "colab":  # a badge in a line of text, which is no figure
            continue
        for caption, attributes in re.findall(r"!\[([^\]]*)\]\([^)]+\)(\{[^}]*\})?", source):
            assert caption and "fig-alt=" in attributes, caption


def labels(path):
    found = []
    for _, source in cells(path, "code"):
        found += [quarto_options(source)["label"]] if "label" in quarto_options(source) else []
    for _, source in cells(path, "markdown"):
        found += re.findall(r"\{#((?:eq|fig|tbl|sec|lst|thm)-[\w-]+)", without_code(source))
    return found


@pages
def test_labels_are_unique_and_references_resolve(path):
    found = labels(path)
    assert len(found) == len(set(found)), sorted(k for k in found if found.count(k) > 1)
    texts = prose(path) + [
        str(quarto_options(s).get(k, "")) for _, s in cells(path, "code") for k in ("fig-cap", "fig-alt")
    ]
    for text in texts:
        for key in re.findall(r"(?<![\w@/.])-?@((?:[Ee]q|[Ff]ig|[Tt]bl|[Ss]ec|[Ll]st|[Tt]hm)-[\w-]+)", text):
            assert key[0].lower() + key[1:] in found, f"@{key} is not on this page"


@lru_cache
def bibliography():
    text = (NBS / "references.bib").read_text(encoding="utf-8")
    return re.findall(r"^@\w+\{([^,\s]+),", text, flags=re.M), text


def citations(path):
    keys = []
    for text in prose(path):
        text = re.sub(r"\]\([^)]*\)|<https?:[^>]*>|https?://\S+", "]", text)
        keys += [
            k
            for k in re.findall(r"(?<![\w.])@([A-Za-z0-9_][\w:.#$%&+?<>~/-]*)", text)
            if not re.match(r"(?i)(eq|fig|tbl|sec|lst|thm)-", k)
        ]
    return [k.rstrip(".:,;?/") for k in keys]


def test_bibliography_is_well_formed():
    keys, text = bibliography()
    assert len(keys) == len(set(keys)) == text.count("\n@") + text.startswith("@")
    for entry in re.split(r"\n(?=@)", text.strip()):
        assert entry.count("{") == entry.count("}"), entry
        fields = set(re.findall(r"^\s+(\w+)\s*=", entry, flags=re.M))
        assert {"author", "title", "year"} <= fields, entry


@pages
def test_citations_exist(path):
    keys, _ = bibliography()
    for key in citations(path):
        assert key in keys, f"@{key} is not in references.bib"
    assert not any("**References.**" in s for _, s in cells(path, "markdown")), "references are cited, not written out"
    if citations(path):
        assert sum("::: {#refs}\n:::" in s for _, s in cells(path, "markdown")) == 1, (
            "a page that cites has one place for its references"
        )


def test_every_reference_is_cited():
    cited = {key for path in PAGES for key in citations(path)}
    assert not set(bibliography()[0]) - cited


def slug(heading):
    "Pandoc's identifier of a heading"
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    text = re.sub(r"[`*]", "", text).lower()
    text = re.sub(r"[^\w\s.-]", "", text)
    return re.sub(r"^[^a-z]+", "", re.sub(r"\s+", "-", text.strip()))


def anchors(path):
    found = []
    for _, source in cells(path, "markdown"):
        text = re.sub(r"^(```+).*?^\1\s*$", "", source, flags=re.S | re.M)
        for heading in re.findall(r"^#+ +(.*?)\s*$", text, flags=re.M):
            explicit = re.search(r"\{#([\w-]+)[^}]*\}", heading)
            found.append(explicit[1] if explicit else slug(heading))
    return found


@pages
def test_links_and_their_anchors_exist(path):
    for _, source in cells(path, "markdown"):
        text = re.sub(r"^(```+).*?^\1\s*$", "", source, flags=re.S | re.M)
        for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)]*))?\)", text):
            page = path if not target else (path.parent / target).resolve()
            assert page.exists(), f"{path.name} links to {target}"
            assert not target.endswith((".html", ".md", ".qmd")), (
                f"{path.name} links to {target}; pages are linked by their notebook"
            )
            if anchor and page.suffix == ".ipynb":
                assert anchor in anchors(page), (
                    f"{path.name}: no heading #{anchor} in {page.name}; there are {anchors(page)}"
                )


@pages
def test_link_texts_hold_no_code(path):
    "nbdev makes a link of every public name in backticks; a link inside of a link is broken"
    for _, source in cells(path, "markdown"):
        text = re.sub(r"^(```+).*?^\1\s*$", "", source, flags=re.S | re.M)
        assert not re.search(r"(?<!!)\[[^\]\n]*`[^\]\n]*\]\(", text), source


@pages
def test_fenced_blocks_are_closed(path):
    for _, source in cells(path, "markdown"):
        text = re.sub(r"^(```+).*?^\1\s*$", "", source, flags=re.S | re.M)
        assert "```" not in re.sub(r"`[^`\n]*`", "", text), f"an open code fence:\n{source}"
        depth, lines = 0, text.splitlines()
        for k, line in enumerate(lines):
            if line.startswith(":::"):
                opens = re.fullmatch(r":{3,} *(\{[^}]+\}|\w[\w-]*)", line)
                assert opens or re.fullmatch(r":{3,}", line), line
                depth += 1 if opens else -1
                assert depth >= 0, source
                if opens:
                    assert k == 0 or not lines[k - 1].strip() or lines[k - 1].startswith(":::"), (
                        f"no blank line before {line}"
                    )
        assert depth == 0, f"an open fenced block:\n{source}"


@pages
def test_tables_and_lists_are_seen_as_such(path):
    "Pandoc wants a blank line before a list or a table, and counts every bar of a table's row"
    for _, source in cells(path, "markdown"):
        lines = re.sub(r"^(```+).*?^\1\s*$", "", source, flags=re.S | re.M).splitlines()
        for before, line in zip(["", *lines], lines):
            starts = re.match(r"([-*]|\d+\.) ", line)
            if starts or line.startswith("|"):
                assert (
                    not before.strip() or before.startswith((" ", "|", ":::")) or re.match(r"([-*]|\d+\.) ", before)
                ), f"no blank line before {line!r}"
        for table in re.findall(r"(?:^\|.*\n?)+", "\n".join(lines), flags=re.M):
            bars = [len(re.findall(r"(?<!\\)\|", row)) for row in table.strip().splitlines()]
            assert len(set(bars)) == 1, f"rows of different length (a bar inside of code or mathematics?):\n{table}"


@pages
def test_tables_with_long_rows_have_columns_in_proportion(path):
    "Where a row is too long for one line, pandoc gives columns the widths of their dashes: a letter beside a sentence"
    for _, source in cells(path, "markdown"):
        for table in re.findall(r"(?:^\|.*\n?)+", without_fences(source), flags=re.M):
            rows = table.strip().splitlines()
            columns = [[c.strip() for c in column] for column in zip(*(re.split(r"(?<!\\)\|", r[1:-1]) for r in rows))]
            if len(rows) < 3 or max(map(len, rows)) <= 72:
                continue
            longest = [max(len(c) for k, c in enumerate(column) if k != 1) for column in columns]
            dashes = [len(column[1]) for column in columns]
            assert len(set(dashes)) > 1 or max(longest) <= 3 * min(longest), f"as `|----|--------|`:\n{table[:300]}"


@pages
def test_a_private_name_in_backticks_is_no_link(path):
    "Functions with an underscore have no heading that nbdev's link could lead to; `<code>_name</code>` is left alone"
    from nbdev.doclinks import NbdevLookup

    text = "\n".join(without_fences(s) for _, s in cells(path, "markdown"))
    for name in re.findall(r"(?<!`)`((?:\w+\.)*_\w+)(?:\(\))?`(?!`)", text):
        assert name.endswith("__") or not NbdevLookup()[name], f"<code>{name}</code>"


@pages
def test_headings_never_jump(path):
    level = 1
    for _, source in cells(path, "markdown"):
        for marks, heading in re.findall(r"^(#+) (.*)$", without_fences(source), flags=re.M):
            assert len(marks) <= level + 1, heading
            level = len(marks)


@pages
def test_sentences_begin_with_capitals(path):
    "`@Fig-x` is Figure 1, `@fig-x` figure 1"
    for text in prose(path):
        assert not (found := re.findall(r"(?:\A|[.!?]\s+|\n\n)(@(?:fig|eq|tbl|sec)-[\w-]+)", text)), found


@pages
def test_the_code_of_a_figure_stands_above_one(path):
    for cell, source in cells(path, "code"):
        if quarto_options(source).get("code-summary") == "The code of this figure":
            assert has_picture(cell), source


HEAVIEST = 900_000  # bytes of 1 MB; Quarto adds less than 0.1 MB to a page


@pages
def test_no_page_is_heavier_than_a_megabyte(path):
    "Text, code and outputs, pictures as they are, and the files that the page shows"
    weight = 0
    for cell in notebook(path)["cells"]:
        weight += len("".join(cell["source"]).encode())
        for output in cell.get("outputs", []):
            parts = output.get("data", {"text/plain": output.get("text", "")})
            shown = {k: v for k, v in parts.items() if k != "text/plain"} or parts
            for kind, content in shown.items():
                size = len("".join(content).encode() if isinstance(content, (str, list)) else json.dumps(content))
                weight += size * 3 // 4 if kind in ("image/png", "image/jpeg") else size
        for file in re.findall(r"!\[[^\]]*\]\(((?!https?:)[^)\s]+)\)", "".join(cell["source"])):
            weight += (path.parent / file).stat().st_size
    assert weight < HEAVIEST, f"{weight:,} bytes"


# Mathematics


@pages
def test_mathematics_parses(path):
    converter = pytest.importorskip("latex2mathml.converter")
    for _, source in cells(path, "markdown"):
        text = without_code(source)
        for found in MATHS.finditer(text):
            formula = (found["display"] or found["inline"]).strip()
            assert formula, source
            assert "\n\n" not in formula, f"a blank line in the formula {formula}"
            assert formula.count("{") - formula.count(r"\{") == formula.count("}") - formula.count(r"\}"), formula
            assert len(re.findall(r"\\left(?![a-z])", formula)) == len(re.findall(r"\\right(?![a-z])", formula)), (
                formula
            )
            assert (
                re.findall(r"\\begin\{(.*?)\}", formula) == re.findall(r"\\end\{(.*?)\}", formula)[::-1]
                or "\\begin" in formula
            )
            mathml = converter.convert(formula)
            unknown = set(re.findall(r"\\[A-Za-z]+", mathml)) - MATHJAX_ONLY
            assert not unknown, f"{unknown} in {formula}"
        rest = MATHS.sub("", text)
        assert not re.search(r"(?<!\\)\$", rest), f"a dollar sign that opens or closes nothing:\n{source}"


# commands that MathJax knows and the parser doesn't
MATHJAX_ONLY = {r"\arg", r"\lvert", r"\rvert", r"\lVert", r"\rVert"}


@pages
def test_labelled_equations_are_blocks(path):
    for _, source in cells(path, "markdown"):
        text = without_code(source)
        for found in re.finditer(r"\$\$(.*?)\$\$([^\n]*)", text, flags=re.S):
            assert re.fullmatch(r"( \{#eq-[\w-]+\})?", found[2]), f"after $$ stands {found[2]!r}"
            if found[2]:
                before, after = text[: found.start()], text[found.end() :]
                assert not before.strip() or before.endswith("\n\n"), f"no blank line before {found[0]}"
                assert not after.strip() or after.startswith("\n\n"), f"no blank line after {found[0]}"


# The reference


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_is_documented(room):
    import importlib
    import inspect

    path, module = ROOMS[room], importlib.import_module(f"attrnb.{room}")
    exported = [s for _, s in cells(path, "code") if {"export", "exports"} & {*options(s)} and "hide" not in options(s)]
    shown = {
        m
        for _, s in cells(path, "code")
        if "hide" not in options(s)
        for m in re.findall(r"^show_doc\(([\w.]+)\)", s, flags=re.M)
    }
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            if name.startswith("_"):
                continue
            defined = any(re.search(rf"^(def|class|async def) {name}\b", s, flags=re.M) for s in exported)
            assert defined or name in shown, f"{name} is on no page"
        if inspect.isclass(thing):
            for method in vars(thing):
                if method == "attribute":
                    patched = any(re.search(rf"^def {method}\(\s*self: {name}\b", s, flags=re.M) for s in exported)
                    assert patched or f"{name}.{method}" in shown, (
                        f"{name}.{method} has no show_doc (a hidden one is left out of the page)"
                    )


def defined(source):
    "Names that the statements of a cell define: functions, classes, what is assigned"
    import ast

    names = set()
    for node in ast.parse(re.sub(r"^[%!].*$", "", source, flags=re.M)).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        for target in getattr(node, "targets", [getattr(node, "target", None)]):
            names |= {target.id} if isinstance(target, ast.Name) else set()
    return names


@pages
def test_the_code_of_a_room_is_on_its_page(path):
    for _, source in cells(path, "code"):
        if is_exported(source) and re.search(r"^(async def|def|class|@)", source, flags=re.M):
            assert is_shown(source), f"`#| exports`, or `#| exporti` with `#| code-fold: true`:\n{source}"


@pages
def test_what_a_text_announces_is_shown(path):
    "A text that ends in a colon stands before what it announces, and the page has it"
    sources = [(c["cell_type"], "".join(c["source"])) for c in notebook(path)["cells"]]
    for (kind, text), (after, source) in zip(sources, [*sources[1:], ("", "")], strict=True):
        if kind == "markdown" and re.search(r"(?<!:):\s*$", text):
            assert after == "code" and is_shown(source), f"the site shows nothing after:\n{text[-300:]}"


@pages
def test_the_code_of_what_a_text_names_is_shown(path):
    "A name in backticks that this page defines is defined where the page shows it"
    shown, hidden = set(), set()
    for _, source in cells(path, "code"):
        (shown if is_shown(source) else hidden).update(defined(source))
    text = "\n".join(s for _, s in cells(path, "markdown"))
    named = set(re.findall(r"(?<!`)`([A-Za-z_]\w*)(?:\([^`\n]*\))?`(?!`)", text))
    assert not named & (hidden - shown)


def test_a_name_in_backticks_leads_to_its_own_page():
    "nbdev makes the link from the first module that defines the name, offered or not"
    import importlib

    from nbdev.doclinks import NbdevLookup

    for room in ROOMS:
        for name in importlib.import_module(f"attrnb.{room}").__all__:
            found = NbdevLookup()[name]
            assert not found or found[1] == f"attrnb/{room.replace('.', '/')}.py", f"{name} leads to {found[0]}"


@pages
def test_annotations_are_known_where_they_are_shown(path):
    "nbdev shows a function right after its cell; a name in its annotations that a later cell defines is an error there"
    import ast
    import builtins

    known = set(dir(builtins))
    for _, source in cells(path, "code"):
        if not is_exported(source) and "import" not in source:
            continue
        tree = ast.parse(re.sub(r"^[%!].*$", "", source, flags=re.M))
        for node in tree.body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                known |= {(a.asname or a.name).split(".")[0] for a in node.names}
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                known.add(node.name)
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                known |= {
                    n.id
                    for t in (node.targets if isinstance(node, ast.Assign) else [node.target])
                    for n in ast.walk(t)
                    if isinstance(n, ast.Name)
                }
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and (node.name == "__init__" or not node.name.startswith("_")):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                for annotation in [node.returns, *(a.annotation for a in arguments)]:
                    for part in ast.walk(annotation) if annotation else ():
                        text = part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else ""
                        names = (
                            {n.id for n in ast.walk(ast.parse(text, mode="eval")) if isinstance(n, ast.Name)}
                            if text
                            else set()
                        )
                        assert not names - known, (
                            f"{node.name}: {names - known} is defined below; leave the annotation out or move the cell"
                        )


@pages
def test_cells_import_or_work(path):
    "nbdev runs every cell with an import when it builds a page of a module, and none of the cells in between"
    import ast

    if module_of(path) is None:
        return
    for _, source in cells(path, "code"):
        words = {re.match(r"[\w-]+", o)[0] for o in options(source)}
        if words & {"export", "exporti", "exports", "slow"}:
            continue
        tree = ast.parse(re.sub(r"^[%!].*$", "", source, flags=re.M))
        if any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.walk(tree)):
            assert all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in tree.body), (
                f"imports belong in a cell of their own:\n{source}"
            )


# Words

# names that codespell takes for mistakes, and mistakes that tests make on purpose
WORDS = "docments,nam,blurr,fo,caf,lable,probabilty,wite,poin,probabilit,fro,tru"


def test_spelling(tmp_path):
    pytest.importorskip("codespell_lib")
    files = []
    for path in PAGES:
        target = tmp_path / (path.relative_to(NBS).as_posix().replace("/", "__") + ".txt")
        parts = ["".join(c["source"]) for c in notebook(path)["cells"]]
        parts += ["".join(o["text"]) for c, _ in cells(path, "code") for o in c["outputs"] if "text" in o]
        target.write_text("\n\n".join(parts), encoding="utf-8")
        files.append(str(target))
    files += [
        str(p)
        for p in [
            *ROOT.glob("*.md"),
            *ROOT.glob("*.toml"),
            *ROOT.glob("*.yml"),
            *(ROOT / "tests").glob("*.py"),
            *(ROOT / "scripts").glob("*.py"),
            *(ROOT / "attrnb").rglob("*.py"),
            NBS / "llms.txt",
        ]
        if p.name != "_modidx.py" and p.exists()
    ]
    done = subprocess.run(
        [sys.executable, "-m", "codespell_lib", "--ignore-words-list", WORDS, *files], capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stdout.strip(), done.stdout + done.stderr


# CSV file of a page with photographs -> how a row names its method, and the columns that tell rows of one table apart
PHOTOGRAPHS = {
    "compare_faithfulness": ("method", ["network"]),
    "compare_localisation": ("method", ["network", "truth"]),
    "equilibrium_localisation": (None, ["network", "dataset"]),
}


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_tables_of_methods_on_photographs_hold_the_four_floors(name):
    by, keys = PHOTOGRAPHS[name]
    floors = {"random", "centre", "uniform", "activity"}
    with (ROOT / "nbs" / "tutorials" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    tables = {}
    for row in rows:
        own = {row[by]} if by else {column for column, value in row.items() if value}
        key = tuple(row[k] for k in keys)
        for method in own:
            tables.setdefault(key, {}).setdefault(method, set()).add(row["image"])
    assert tables
    for key, methods in tables.items():
        assert floors <= set(methods), f"{name} {key} lacks {floors - set(methods)}"
        assert {"equilibrium_activity", "equilibrium of activity"} & set(methods), f"{name} {key}"
        assert min(len(methods[floor]) for floor in floors) >= 12, f"{name} {key}: too few photographs"
