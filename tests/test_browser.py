"""The explorer in a real browser: Voila and JupyterLab on localhost, driven as a person would with mouse and keyboard

Needs Chromium (Debian: `apt-get install chromium`; elsewhere set ATTRNB_CHROMIUM to its path), and the
packages of the `dev` extra.
`ATTRNB_PICTURES=nbs/images pytest tests/test_browser.py` also makes the pictures of the pages again.
"""

import importlib.util
import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest

CHROMIUM = (
    os.environ.get("ATTRNB_CHROMIUM")
    or shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("google-chrome")
)
MISSING = [m for m in ("playwright", "voila", "jupyterlab") if importlib.util.find_spec(m) is None]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}: pip install -e '.[dev]'"),
    pytest.mark.skipif(
        not CHROMIUM, reason="needs Chromium: apt-get install chromium, or set ATTRNB_CHROMIUM to the path of one"
    ),
]
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync".split()
)
ROOT = Path(__file__).parents[1]
PATIENCE = 180_000  # milliseconds; a page of JupyterLab takes long on a busy machine

CELL = """import torch
torch.set_num_threads(1)
from attrnb.explore import explore
from attrnb.neflag import NeFLAG
from attrnb.paths import PathIntegratedGradients
from attrnb.samples import SHAPE_CLASSES, sample_model, shape_images

samples = shape_images(24, seed=1)
explorer = explore(sample_model(), samples.images, labels=samples.targets.tolist(), categories=SHAPE_CLASSES)
explorer.folder = {folder!r}
explorer"""


def write_notebook(folder: Path, *cells: str) -> Path:
    path = folder / "explore.ipynb"
    made = [
        dict(cell_type="code", id=f"cell{k}", metadata={}, execution_count=None, outputs=[], source=source)
        for k, source in enumerate(cells)
    ]
    path.write_text(
        json.dumps(
            dict(
                cells=made,
                metadata=dict(kernelspec=dict(name="python3", display_name="python3", language="python")),
                nbformat=4,
                nbformat_minor=5,
            )
        )
    )
    return path


@contextmanager
def server(kind: str, notebook: Path):
    "The server's address, with its token"
    from attrnb.explore import _await_server, _end_server, _launch, _listen

    folder = notebook.parent
    settings, config = folder / "settings", folder / "config"
    settings.mkdir()
    config.mkdir()
    (settings / "overrides.json").write_text(
        json.dumps(
            {  # no news, no kernel dialog, every cell in the page
                "@jupyterlab/apputils-extension:notification": dict(fetchNews="false", checkForUpdates=False),
                "@jupyterlab/notebook-extension:tracker": dict(windowingMode="none", autoStartDefaultKernel=True),
            }
        )
    )
    name = dict(notebook="JupyterNotebookApp", jupyterlab="LabApp").get(kind)
    more = [f"--{name}.expose_app_in_browser=True", f"--{name}.app_settings_dir={settings}"] if name else []
    environment = dict(
        JUPYTER_PLATFORM_DIRS="1",
        JUPYTER_CONFIG_DIR=str(config),
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        PYTHONPATH=os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    )
    with _listen(0) as ours:
        process = _launch(notebook, kind, ours, "secret", environment, more)
    try:
        _await_server(process, PATIENCE / 1000)
        yield process.address
    finally:
        _end_server(process, folder / "nothing", 30)


class Person:
    "Somebody at the page: looks, clicks, drags, and keeps a picture of every step"

    def __init__(self, page, folder: Path):
        self.page, self.folder, self.steps = page, folder, 0

    def one(self, css):
        return self.page.locator(css).first

    def ready(self, panels=1):
        "Until all panels show results"
        self.page.wait_for_function(
            "n => document.querySelectorAll('.attrnb-panel').length == n &&"
            " document.querySelector('.attrnb-status').innerText.includes('ready') &&"
            " [...document.querySelectorAll('.attrnb-note')].every(e => /insertion|cancelled|Error/.test(e.innerText))",
            arg=panels,
            timeout=PATIENCE,
        )

    def explains(self, *words, panel=0):
        "Until the panel shows a finished result whose text has these words"
        self.page.wait_for_function(
            "([words, k]) => { const t = document.querySelectorAll('.attrnb-note')[k].innerText; return"
            " t.includes('insertion') && words.every(w => t.includes(w)) }",
            arg=[list(words), panel],
            timeout=PATIENCE,
        )

    def says(self, css, words):
        "Until there is this text"
        self.page.wait_for_function(
            "([css, words]) => document.querySelector(css).innerText.includes(words)",
            arg=[css, words],
            timeout=PATIENCE,
        )

    def text(self, css):
        return self.one(css).inner_text()

    def source(self, css):
        return self.one(css).get_attribute("src")

    def changes(self, css, act, what="src"):
        "Do something, and wait until the picture, text or map changes"
        seen = dict(src="e.src", text="e.innerText", map="e.querySelector('canvas').toDataURL()")[what]
        read = f"c => {{ const e = document.querySelector(c); return {seen} }}"
        before = self.page.evaluate(read, css)
        act()
        self.page.wait_for_function(f"([c, before]) => ({read})(c) != before", arg=[css, before], timeout=PATIENCE)

    def drag(self, css, to: float, handle=0):
        "Drag the handle of a slider to a fraction of its width; of a slider with two the one that is asked for"
        slider = self.page.locator(f"{css} input[type=range]").nth(handle)
        slider.scroll_into_view_if_needed()
        box = slider.bounding_box()
        low, high, now = (float(slider.evaluate(f"e => e.{what}")) for what in ("min", "max", "value"))
        y, at = box["y"] + box["height"] / 2, (lambda share: box["x"] + 8 + (box["width"] - 16) * share)
        self.page.mouse.move(at((now - low) / (high - low)), y)
        self.page.mouse.down()
        self.page.mouse.move(at(to), y, steps=6)
        self.page.mouse.up()

    def cell(self, css, across: float, down: float):
        "Click into the field of a picture, at shares of its width and height"
        field = self.one(f"{css} .attrnb-cells")
        field.scroll_into_view_if_needed()
        box = field.bounding_box()
        field.click(position=dict(x=box["width"] * across, y=box["height"] * down))

    def tab(self, name, panel=0):
        self.page.locator(".attrnb-panel").nth(panel).get_by_role("tab", name=name).click()
        self.page.wait_for_function(  # its chart is drawn when it comes on the screen
            "k => [...document.querySelectorAll('.attrnb-panel')[k].querySelectorAll('.attrnb-caption')].some(e =>"
            " e.offsetParent && e.innerText.trim())",
            arg=panel,
            timeout=PATIENCE,
        )

    def look(self, name, css=".attrnb-explorer", keep=False):
        "A picture of the step; of those to keep a small one for the pages"
        self.page.wait_for_timeout(300)
        self.steps += 1
        target = self.one(css)
        png = target.screenshot(path=self.folder / f"{self.steps:02d}-{name}.png")
        self.sizes()
        pictures = os.environ.get("ATTRNB_PICTURES")
        if keep and pictures:
            from PIL import Image

            image = Image.open(BytesIO(png)).convert("RGB")
            image.save(ROOT / pictures / f"explore-{name}.jpg", quality=76, optimize=True)

    def sizes(self):
        "Nothing is cut off or overlaps: the panels lie side by side, and what is in them fits"
        boxes = self.page.evaluate(
            "[...document.querySelectorAll('.attrnb-panel')].map(e => { const r = e.getBoundingClientRect(); return"
            " [r.left, r.top, r.right, r.bottom, e.scrollWidth - e.clientWidth] })"
        )
        for k, (_left, _top, right, bottom, beyond) in enumerate(boxes):
            assert beyond <= 1, f"panel {k} is {beyond} pixels too narrow for what is in it"
            for other in boxes[k + 1 :]:
                assert right <= other[0] + 1 or bottom <= other[1] + 1, "panels overlap"
        broken = self.page.evaluate(
            "[...document.querySelectorAll('.attrnb-explorer img')].filter(e => e.offsetParent && e.complete &&"
            " !e.naturalWidth).length"
        )
        assert broken == 0, f"{broken} pictures are broken"


@contextmanager
def opened(kind: str, tmp_path: Path, *cells):
    from playwright.sync_api import sync_playwright

    notebook = write_notebook(tmp_path, *cells)
    with server(kind, notebook) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, headless=True)
        page = browser.new_page(viewport=dict(width=1340, height=1440))
        page.set_default_timeout(PATIENCE)
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        if kind != "voila":
            page.goto(address, timeout=PATIENCE)
            page.wait_for_selector(".jp-NotebookPanel .jp-CodeCell")
            page.evaluate(
                """async () => {
                const w = window.jupyterapp.shell.currentWidget;
                await w.context.ready; await w.sessionContext.ready;
                while (w.sessionContext.session?.kernel?.status != 'idle')
                    await new Promise(r => setTimeout(r, 100)) }"""
            )
            page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")
            if kind == "jupyterlab":
                page.evaluate("() => { window.jupyterapp.commands.execute('application:toggle-left-area') }")
        else:
            page.goto(address, timeout=PATIENCE)
        folder = tmp_path / f"pictures-{kind}"
        folder.mkdir()
        person = Person(page, folder)
        page.wait_for_selector(".attrnb-panel")
        yield person
        ours = [e for e in errors if "attrnb" in e or "widget" in e.lower()]
        browser.close()
        assert not ours, ours


@pytest.mark.parametrize(
    "kind",
    [
        "voila",
        "jupyterlab",
        pytest.param(
            "notebook",
            marks=pytest.mark.skipif(importlib.util.find_spec("notebook") is None, reason="needs Jupyter Notebook"),
        ),
    ],
)
def test_a_person_uses_the_explorer(kind, tmp_path):
    with opened(kind, tmp_path, CELL.format(folder=str(tmp_path / "saved"))) as person:
        page, keep = person.page, kind == "voila"
        person.ready()
        assert "circle" in person.text(".attrnb-note") and "probability" in person.text(".attrnb-note")
        person.look("start", keep=keep)

        # another input, by its thumbnail
        person.changes(".attrnb-input img", lambda: page.locator("button.attrnb-thumb-3").click())
        person.explains("star")
        person.look("input")

        # another class, by its button, and by name
        other = person.text(".attrnb-top-2").split()[0]
        assert other != "star"
        page.locator(".attrnb-top-2").click()
        person.explains(other)
        page.locator(".attrnb-search input").fill("star")
        page.keyboard.press("Enter")
        person.explains("star")
        person.look("class", keep=keep)

        # a slider of the method, with the mouse and with the keyboard
        person.changes(".attrnb-map", lambda: person.drag(".attrnb-set-n_points", 0.3), "map")
        points = int(person.one(".attrnb-set-n_points .attrnb-typed").input_value())
        assert points > 10
        page.locator(".attrnb-set-n_points input[type=range]").focus()
        person.changes(".attrnb-map", lambda: page.keyboard.press("ArrowLeft"), "map")
        person.ready()
        typed = person.one(".attrnb-set-n_points .attrnb-typed")
        assert int(typed.input_value()) == points - 1
        typed.fill(str(points + 1))
        person.changes(".attrnb-map", lambda: page.keyboard.press("Enter"), "map")
        person.ready()
        person.look("slider", ".attrnb-panel", keep=keep)

        # the display needs no new result
        person.changes(".attrnb-map", lambda: person.drag(".attrnb-opacity", 0.4), "map")
        person.changes(".attrnb-map", lambda: person.drag(".attrnb-opacity", 0.95), "map")
        person.changes(".attrnb-map", lambda: page.locator(".attrnb-view label", has_text="map").click(), "map")
        person.changes(".attrnb-map", lambda: page.locator(".attrnb-view label", has_text="overlay").click(), "map")

        # the flux points, and the curves with their scrubber
        person.tab("Flux")
        person.changes(".attrnb-inside .attrnb-caption", lambda: person.drag(".attrnb-inside", 0.6), "text")
        person.look("flux", ".attrnb-panel", keep=keep)
        person.tab("Curves")
        person.changes(".attrnb-curves .attrnb-frame", lambda: person.drag(".attrnb-curves", 0.25))
        person.says(".attrnb-curves .attrnb-caption", "25% removed")
        page.locator(".attrnb-curve label", has_text="insertion").click()
        person.says(".attrnb-curves .attrnb-caption", "25% inserted")
        person.cell(".attrnb-curves", 25.5 / 33, 0.5)
        person.says(".attrnb-curves .attrnb-caption", "78% inserted")
        person.look("curves", ".attrnb-panel", keep=keep)

        # another method; its layers
        person.changes(
            ".attrnb-map", lambda: page.locator(".attrnb-methods label", has_text="Equilibrium").click(), "map"
        )
        person.ready()
        person.tab("Layers")
        person.changes(
            ".attrnb-inside .attrnb-caption",
            lambda: person.cell(".attrnb-inside", 0.5, 20.5 / 33),
            "text",
        )
        person.look("layers", ".attrnb-panel", keep=keep)

        # a region, by two clicks, and by dragging
        person.changes(".attrnb-note", lambda: person.cell(".attrnb-input", 1.5 / 8, 3.5 / 8), "text")
        person.cell(".attrnb-input", 4.5 / 8, 6.5 / 8)
        page.wait_for_function(
            "/region[^]*probability without it/.test(document.querySelector('.attrnb-note').innerText)",
            timeout=PATIENCE,
        )
        page.wait_for_function(
            "/36.*84/.test(document.querySelector('.attrnb-region-rows .attrnb-typed').innerText)", timeout=PATIENCE
        )
        # the same with the keyboard: the frame walks from the last cell to the one of row 3, column 5
        field = page.locator(".attrnb-input .attrnb-cells").first
        field.focus()
        for key in ["ArrowUp"] * 4 + ["ArrowRight", "Enter"]:
            page.keyboard.press(key)
        person.says(".attrnb-input .attrnb-says", "row 3 of 8, column 6 of 8")
        page.wait_for_function(
            "/24.*36/.test(document.querySelector('.attrnb-region-rows .attrnb-typed').innerText)", timeout=PATIENCE
        )
        person.cell(".attrnb-input", 1.5 / 8, 6.5 / 8)
        page.wait_for_function(
            "/24.*84/.test(document.querySelector('.attrnb-region-rows .attrnb-typed').innerText)", timeout=PATIENCE
        )
        before = person.text(".attrnb-note")
        person.changes(".attrnb-note", lambda: person.drag(".attrnb-region-columns", 0.55, handle=1), "text")
        assert person.text(".attrnb-note") != before
        person.ready()
        person.look("region", keep=keep)

        # a second panel with a path, cancelled while it works, then done again
        page.locator(".attrnb-add").click()
        page.wait_for_function("document.querySelectorAll('.attrnb-panel').length == 2", timeout=PATIENCE)
        person.ready(2)
        second = page.locator(".attrnb-panel").nth(1)
        second.locator(".attrnb-methods label", has_text="Geodesic IG").click()
        page.wait_for_function("!document.querySelector('.attrnb-cancel').disabled", timeout=PATIENCE)
        page.wait_for_function(
            "/Geodesic IG/.test(document.querySelector('.attrnb-status').innerText)", timeout=PATIENCE
        )
        page.wait_for_function(  # the map of the earlier method is pale
            "getComputedStyle(document.querySelectorAll('.attrnb-map .attrnb-canvas')[1]).opacity == 0.35",
            timeout=PATIENCE,
        )
        person.look("working", keep=keep)
        page.locator(".attrnb-cancel").click()
        page.wait_for_function(
            "/cancelled/.test(document.querySelectorAll('.attrnb-note')[1].innerText)", timeout=PATIENCE
        )
        page.wait_for_function("document.querySelector('.attrnb-cancel').disabled", timeout=PATIENCE)
        person.look("cancelled")
        second.locator(".attrnb-methods label", has_text="Integrated Gradients").click()
        person.ready(2)
        person.tab("Path", 1)
        scrub = second.locator(".attrnb-inside .attrnb-frame")
        scrub.wait_for()
        page.wait_for_function(
            "document.querySelectorAll('.attrnb-panel')[1].querySelector('.attrnb-inside"
            " .attrnb-caption').innerText.includes('of the way')",
            timeout=PATIENCE,
        )
        person.cell(".attrnb-panel:nth-child(2) .attrnb-inside", 16.5 / 33, 0.5)
        page.wait_for_function(
            "document.querySelectorAll('.attrnb-panel')[1].querySelector('.attrnb-inside"
            " .attrnb-caption').innerText.startsWith('50%')",
            timeout=PATIENCE,
        )
        person.look("overview", keep=keep)

        # an own class in one panel only
        second.locator(".attrnb-class select").select_option(label="circle")
        page.wait_for_function(
            "document.querySelectorAll('.attrnb-note')[1].innerText.startsWith('circle')", timeout=PATIENCE
        )
        assert "star" in person.text(".attrnb-note")

        # save
        page.locator(".attrnb-save").first.click()
        page.wait_for_function(
            "document.querySelector('.attrnb-saved').innerText.includes('written')", timeout=PATIENCE
        )
        assert sorted(f.suffix for f in (tmp_path / "saved").iterdir()) == [".png", ".py", ".safetensors"]
        person.look("saved")

        # and the second panel goes
        second.locator(".attrnb-remove").click()
        page.wait_for_function("document.querySelectorAll('.attrnb-panel').length == 1", timeout=PATIENCE)
        person.look("end")


NAMES = """() => {
const e = document.activeElement, label = e.closest("label");
const names = [e.getAttribute("aria-label"), label?.innerText, e.innerText];
return names.find((name) => name?.trim())?.trim() ?? e.tagName }"""


@pytest.mark.parametrize("kind", ["voila", "jupyterlab", "notebook"])
def test_the_keyboard_is_enough(kind, tmp_path):
    "The tabulator goes through all controls, and what they do is done with keys"
    if importlib.util.find_spec(kind) is None:
        pytest.skip(f"needs {kind}")
    with opened(kind, tmp_path, CELL.format(folder=str(tmp_path / "saved"))) as person:
        page = person.page
        person.ready()
        page.locator(".attrnb-add").focus()
        reached = [page.evaluate(NAMES)]
        while "Again" not in reached and len(reached) < 90:
            page.keyboard.press("Tab")
            reached.append(page.evaluate(NAMES))
        order = (
            "Add panel, star, later inputs, another class, by name or number, rows from, rows to, No region, Explain"
        )
        order = [*order.replace("class, by", "class; by").split(", "), "signed", "overlay", "Strength", "Percentile"]
        order += ["Substrate", "NeFLAG", "explain another class in this panel only", "Settings", "n_points", "Save"]
        order = [name.replace(";", ",") for name in order]
        places = [next((k for k, there in enumerate(reached) if there.startswith(name)), None) for name in order]
        assert None not in places and places == sorted(places), (order, places, reached)
        assert not {"INPUT", "BUTTON", "SELECT"} & set(reached), "a control without a name"

        # back to the methods, and on with the arrow keys
        page.locator(".attrnb-methods input:checked").focus()
        person.changes(".attrnb-title", lambda: page.keyboard.press("ArrowRight"), "text")
        person.explains("star" if "star" in person.text(".attrnb-note") else "circle")
        assert person.text(".attrnb-title") == "Equilibrium"
        page.locator(".attrnb-tabs [role=tab]").first.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.wait_for_function(
            "[...document.querySelectorAll('.attrnb-curves .attrnb-caption')].some(e => e.innerText.trim())",
            timeout=PATIENCE,
        )
        page.locator(".attrnb-curves .attrnb-scrub").focus()
        person.changes(".attrnb-curves .attrnb-caption", lambda: page.keyboard.press("ArrowRight"), "text")
        page.locator(".attrnb-opacity input").first.focus()
        person.changes(".attrnb-map", lambda: page.keyboard.press("PageDown"), "map")
        page.locator(".attrnb-save").focus()
        page.keyboard.press("Enter")
        person.says(".attrnb-saved", "written")


BUSY = """import time
from pathlib import Path
explorer.wait()
explorer.panels[0].tabs.selected_index = 1
time.sleep(1)
Path({begin!r}).touch()
time.sleep(45)"""


def test_a_busy_kernel_is_not_missed_by_what_is_drawn(tmp_path):
    "Strength, percentile, sign, view and the film's slider need no kernel; it hears of them when it has time"
    begin, kept = tmp_path / "begin", tmp_path / "kept"
    cells = CELL.format(folder=str(tmp_path)), BUSY.format(begin=str(begin))
    with opened("jupyterlab", tmp_path, *cells) as person:
        page = person.page
        person.says(".attrnb-curves .attrnb-caption", "removed")
        while not begin.exists():
            page.wait_for_timeout(100)
        status = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status"
        page.wait_for_function(f"{status} == 'busy'", timeout=PATIENCE)
        person.changes(".attrnb-map", lambda: person.drag(".attrnb-opacity", 0.3), "map")
        person.changes(".attrnb-map", lambda: person.drag(".attrnb-percentile", 0.5), "map")
        person.changes(".attrnb-map", lambda: page.locator(".attrnb-sign label", has_text="magnitude").click(), "map")
        person.changes(".attrnb-map", lambda: page.locator(".attrnb-view label", has_text="map").click(), "map")
        person.changes(".attrnb-curves .attrnb-frame", lambda: person.drag(".attrnb-curves", 0.5))
        assert page.evaluate(status) == "busy", "the kernel was done before the pictures had changed"
        strength = float(person.one(".attrnb-opacity .attrnb-typed").input_value())
        assert 0.2 < strength < 0.4
        page.wait_for_function(f"{status} == 'idle'", timeout=PATIENCE)
        page.wait_for_timeout(1000)
        words = f"open({str(kept)!r}, 'w').write(f'{{explorer.opacity}} {{explorer.sign}} {{explorer.view}}')"
        page.evaluate(
            "code => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({ code }).done",
            words,
        )
        assert kept.read_text().split() == [str(strength), "magnitude", "map"]
        person.look("busy")


def test_the_interface_answers_during_long_work(tmp_path):
    "In JupyterLab: a click into the picture is answered while a long method runs"
    with opened("jupyterlab", tmp_path, CELL.format(folder=str(tmp_path))) as person:
        page = person.page
        person.ready()
        page.locator(".attrnb-methods label", has_text="Geodesic IG").click()
        page.wait_for_function(
            "/Geodesic IG/.test(document.querySelector('.attrnb-status').innerText)", timeout=PATIENCE
        )
        took = []
        for row in (0, 2, 4, 6):  # two clicks make a region, the third begins another
            begin = time.monotonic()
            person.changes(
                ".attrnb-region-rows .attrnb-typed",
                partial(person.cell, ".attrnb-input", 0.5 / 8, (row + 0.5) / 8),
                "text",
            )
            took.append(time.monotonic() - begin)
        working = "Geodesic" in person.text(".attrnb-status")
        page.locator(".attrnb-cancel").click()
        page.wait_for_function(
            "/cancelled|insertion/.test(document.querySelector('.attrnb-note').innerText)", timeout=PATIENCE
        )
        person.look("responsive")
        assert not working or min(took) < (0.2 if os.getloadavg()[0] <= os.cpu_count() else 5), took


@pytest.mark.parametrize("kind", ["voila", "jupyterlab"])
def test_strangers_without_the_token_are_refused(kind, tmp_path):
    with server(kind, write_notebook(tmp_path, "1 + 1")) as address:
        page, _ = address.split("?token=")
        try:
            with urllib.request.urlopen(page, timeout=60) as answer:
                assert "login" in answer.geturl(), "the page was given without the token"
        except urllib.error.HTTPError as error:
            assert error.code in (401, 403)
