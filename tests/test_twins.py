"""scripts/twins.py: links of the rendered site's Markdown twins, on a small site made by hand"""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import twins  # noqa: E402

PAGES = {
    "index": "[NeFLAG](04_neflag.ipynb) and [why](tutorials/which_method.ipynb#why), [site](https://x.y/z.ipynb)",
    "neflag": '# The search {#search}\n\n<a href="#fig-one">figure 1</a>, [rule](equilibrium/10_equations.ipynb#law)'
    "\n\n![A curve](neflag_files/one.png)\n\n```\n[no link](gone.ipynb)\n```\nand `[none](gone.html)`",
    "tutorials/which_method": "[back](../04_neflag.ipynb#search) [home](/index.html)",
    "equilibrium/equations": "[up](../index.html.md) [mail](mailto:a@b.c)",
}
IDS = {"neflag": "search fig-one", "tutorials/which_method": "why", "equilibrium/equations": "law"}


@pytest.fixture
def site(tmp_path):
    "A rendered site of four pages"
    for name, text in PAGES.items():
        twin = tmp_path / f"{name}.html.md"
        twin.parent.mkdir(exist_ok=True)
        twin.write_text(text)
        (tmp_path / f"{name}.html").write_text("".join(f'<h2 id="{i}">' for i in IDS.get(name, "").split()))
    (tmp_path / "neflag_files").mkdir()
    (tmp_path / "neflag_files/one.png").touch()
    (tmp_path / "llms.txt").write_text(f"- [Home]({twins.SITE}/index.html.md)\n")
    return tmp_path


def test_links_to_notebooks_become_links_to_twins(site, capsys):
    assert twins.main(str(site)) == 0, capsys.readouterr().out
    index = (site / "index.html.md").read_text()
    assert index == (
        "[NeFLAG](neflag.html.md) and [why](tutorials/which_method.html.md#why), [site](https://x.y/z.ipynb)"
    )
    assert "(../neflag.html.md#search)" in (site / "tutorials/which_method.html.md").read_text()
    once = {p: p.read_text() for p in site.rglob("*.md")}
    assert twins.main(str(site)) == 0 and once == {p: p.read_text() for p in site.rglob("*.md")}


@pytest.mark.parametrize(
    "page, text, lost",
    [
        ("index", "[a](05_nothing.ipynb)", "index.html.md: nothing.html.md"),
        ("index", "[a](04_neflag.ipynb#nowhere)", "index.html.md: neflag.html.md#nowhere"),
        ("index", '<a href="#fig-lost">figure 2</a>', "index.html.md: #fig-lost"),
        ("tutorials/which_method", "![x](one.png)", "tutorials/which_method.html.md: one.png"),
        ("neflag", '<img src="neflag_files/two.png">', "neflag.html.md: neflag_files/two.png"),
    ],
)
def test_a_link_to_nothing_is_named(site, capsys, page, text, lost):
    (site / f"{page}.html.md").write_text(text)
    assert twins.main(str(site)) == 1
    assert lost in capsys.readouterr().out.splitlines()


def test_a_page_of_llms_without_a_twin_and_a_site_without_twins(site, tmp_path_factory, capsys):
    (site / "llms.txt").write_text(f"- [Gone]({twins.SITE}/gone.html.md)\n")
    assert twins.main(str(site)) == 1
    assert "llms.txt: gone.html.md" in capsys.readouterr().out
    assert twins.main(str(tmp_path_factory.mktemp("empty"))) == 1


def test_every_page_of_the_sources_is_mapped_to_a_page_of_the_sidebar():
    "A link to any notebook of nbs/ becomes the address that llms.txt gives it"
    listed = (ROOT / "nbs/llms.txt").read_text()
    for notebook in (ROOT / "nbs").rglob("[!.]*.ipynb"):
        if ".ipynb_checkpoints" in notebook.parts:
            continue
        name = notebook.relative_to(ROOT / "nbs").as_posix()
        link = twins.mapped(f"[x]({name})")[4:-1]
        assert f"{twins.SITE}/{link})" in listed, (name, link)
