"""scripts/check_site.py names each fault that is planted into a page, and nothing on a page without one"""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
spec = importlib.util.spec_from_file_location("check_site", SCRIPTS / "check_site.py")
check_site = importlib.util.module_from_spec(spec)
sys.modules["check_site"] = check_site
spec.loader.exec_module(check_site)

needs_browser = [
    pytest.mark.skipif(not check_site.browser_path(), reason="needs Chromium, or ATTRNB_CHROMIUM set to its path"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="needs playwright"),
]
DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg"
    "=="
)
FRAME = '<img src="{}" alt="{}" data-label="{}" width="40" height="40" style="display:{}">'
FRAMES = "".join(FRAME.format(DOT, k, k, "none" if k else "block") for k in range(2))
MOVE = (
    "const b=this.closest('.attrnb-live');b.querySelectorAll('img').forEach((f,i)=>"
    "{f.style.display=i==this.value?'block':'none'});b.querySelector('output').textContent=this.value"
)
SLIDER = (
    '<div class="attrnb-live"><input type="range" min="0" max="1" step="1" value="0" oninput="{}"><output>0</output>'
    + FRAMES.replace("{", "{{").replace("}", "}}")
    + "</div>"
)
GOOD = f"""<h1 id="top">A page</h1><p>Words, <a href="other.html#there">a link</a> and <a href="#top">an anchor</a>.</p>
<img src="{DOT}" alt="a dot" width="40" height="40">
<div class="cell-output"><pre>short</pre></div>
<p><span class="math display"><mjx-container>x</mjx-container></span></p>{SLIDER.format(MOVE)}
<details><summary>The code</summary><pre><code>?@fig-in-code</code></pre></details>"""

FAULTS = {
    "leads nowhere": '<a href="lost.html">x</a>',
    "no such anchor": '<a href="other.html#lost">x</a>',
    "no alt text": f'<img src="{DOT}" width="40" height="40">',
    "?@fig-lost is not resolved": "<p>As ?@fig-lost shows</p>",
    "MB with its pictures": f"<!-- {'x' * 1_000_001} -->",
    "scrolls sideways by": '<p style="width: 1500px">wide</p>',
    "an output is cut": f'<div class="cell-output"><pre style="overflow: auto">{"wide " * 400}</pre></div>',
    "contrast 1.6 : 1 of p": '<p style="color: #ccc">pale</p>',
    "contrast 2.8 : 1 of i": '<p style="opacity: .4"><i>faded</i></p>',
    "1 of 2 formulas are not typeset": r'<span class="math inline">\(x\)</span>',
    "a formula with an error": "<mjx-merror>Undefined</mjx-merror>",
    "shows 4 x 4": f'<img src="{DOT}" alt="a logo" width="4" height="4">',
    "doesn't move its picture": SLIDER.format(""),
    "error of a script": "<script>undefined.x</script>",
}


def page(body: str) -> str:
    return f'<!doctype html><html lang="en"><body style="margin: 8px"><main>{body}</main></body></html>'


def site(folder: Path, body: str) -> Path:
    (folder / "page.html").write_text(page(body), encoding="utf-8")
    (folder / "other.html").write_text(page('<h2 id="there">There</h2>'), encoding="utf-8")
    return folder


@pytest.mark.parametrize("fault", list(FAULTS)[:5])
def test_the_files_tell(fault, tmp_path):
    where = site(tmp_path, GOOD + FAULTS[fault])
    found = list(check_site.from_the_files([where / "page.html"], where))
    assert len(found) == 1 and fault in found[0], found


def test_a_page_without_fault_from_its_files(tmp_path):
    where = site(tmp_path, GOOD)
    assert list(check_site.from_the_files(sorted(where.glob("*.html")), where)) == []


class TestBrowser:
    pytestmark = needs_browser

    def test_all_faults_are_seen_and_nothing_else(self, tmp_path):
        good, bad = tmp_path / "good", tmp_path / "bad"
        good.mkdir()
        bad.mkdir()
        site(good, GOOD)
        assert list(check_site.check(good, [good / "page.html"], (390, 1200), 500)) == []
        for k, body in enumerate(FAULTS.values()):
            (site(bad, GOOD + body) / "page.html").rename(bad / f"fault{k}.html")
        paths = [bad / f"fault{k}.html" for k in range(len(FAULTS))]
        found = list(check_site.check(bad, paths, (1200,), 200))
        for k, fault in enumerate(FAULTS):
            own = [line for line in found if line.startswith(f"fault{k}.html")]
            assert own and all(fault in line for line in own), (fault, own)

    def test_the_dark_theme_is_looked_at(self, tmp_path):
        switch = (
            '<a class="quarto-color-scheme-toggle" onclick="document.body.classList.toggle(\'quarto-dark\')">theme</a>'
            "<style>body.quarto-dark { background: #111; color: #eee } body.quarto-dark p { color: #333 }</style>"
        )
        where = site(tmp_path, GOOD + switch)
        found = list(check_site.check(where, [where / "page.html"], (800,), 500))
        assert found and all("dark" in line and "contrast" in line for line in found), found

    def test_the_command_says_how_many(self, tmp_path, capsys):
        where = site(tmp_path, GOOD)
        assert check_site.main([str(where), "--pages", "page.html", "--widths", "800"]) == 0
        assert "1 pages at 800 pixels: 0 findings" in capsys.readouterr().out
        assert check_site.main([str(where), "--pages", "lost.html"]) == 1
