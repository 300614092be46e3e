"""The explorer's widgets in a real browser without Jupyter: their ES modules, with a stand-in for the model

What they look like and do in JupyterLab, Notebook and Voila is tested in test_browser.
"""

import base64

import numpy as np
import pytest
import torch

from attrnb.explore import explore
from attrnb.explore.choosers import _display_controls
from attrnb.explore.forms import _Form, _Part
from attrnb.explore.maps import _Map
from attrnb.explore.pictures import _figure, _pixels_of
from attrnb.plots import heatmap, overlay
from attrnb.samples import SHAPE_CLASSES, sample_model, shape_images

MODELS = """
window.models = {};
const bytes = (value) => {
  if (Array.isArray(value)) return value.map(bytes);
  if (typeof value?.base64 !== "string") return value;
  // not at the beginning of its buffer, as it comes from a kernel
  const text = atob(value.base64), all = new Uint8Array(text.length + 3);
  [...text].forEach((letter, k) => { all[k + 3] = letter.charCodeAt(0); });
  return new DataView(all.buffer, 3);
};
class Model {
  constructor(state) {
    this.state = Object.fromEntries(Object.entries(state).map(([name, value]) => [name, bytes(value)]));
    [this.heard, this.said, this.saved] = [[], [], 0];
    this.widget_manager = { get_model: async (id) => window.models[id] };
  }
  get(name) { return this.state[name]; }
  set(name, value) {
    this.state[name] = value;
    this.heard.filter(([event]) => event === `change:${name}`).forEach(([, act]) => act());
  }
  on(event, act) { this.heard.push([event, act]); }
  off(event, act) { this.heard = this.heard.filter(([other, known]) => other !== event || known !== act); }
  save_changes() { this.saved += 1; }
  send(message) { this.said.push(message); }
}
window.open_model = (id, state) => { window.models[id] = new Model(state); };
window.show = async (id, esm, css) => {
  document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
  const code = await import(URL.createObjectURL(new Blob([esm], { type: "text/javascript" })));
  const el = document.body.appendChild(Object.assign(document.createElement("div"), { id }));
  await code.default.render({ model: window.models[id], el });
};
null;
"""


@pytest.fixture
def page(browser):
    page = browser.new_page()
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.set_content("<!doctype html><title>widgets</title>")
    page.evaluate(MODELS)
    yield page
    page.close()
    assert not page.wrong


def sent(value):
    "What a kernel would send, with bytes as text"
    if isinstance(value, (bytes, memoryview)):
        return dict(base64=base64.b64encode(bytes(value)).decode())
    return [sent(v) for v in value] if isinstance(value, (list, tuple)) else value


def show(page, *widgets):
    "Put them on the page, one below the other, and the models of all at its disposal"
    for widget in widgets:
        state = {name: sent(value) for name, value in widget.get_state().items() if name not in ("layout", "_esm")}
        page.evaluate("([id, state]) => open_model(id, state)", [widget.model_id, state])
    for widget in widgets:
        page.evaluate("([id, esm, css]) => show(id, esm, css)", [widget.model_id, widget._esm, widget._css])


def told(page, form, part):
    "The value of a part in the browser"
    return page.evaluate("([id, key]) => models[id].get(key).value", [form.model_id, part.key])


# The map is the same in the browser and in Python

MAPS = {
    "square": (torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(0)) ** 3, (48, 48)),
    "tiny": (1e-60 * torch.randn(1, 1, 48, 48, generator=torch.Generator().manual_seed(1)).double(), (48, 48)),
    "sparse": (torch.zeros(1, 1, 48, 48).index_fill(3, torch.tensor([5]), -2.0), (48, 48)),
    "zero": (torch.zeros(1, 1, 48, 48), (48, 48)),
    "wide": (torch.randn(1, 3, 24, 48, generator=torch.Generator().manual_seed(2)), (24, 48)),
}
MAPS["not finite"] = (MAPS["square"][0].clone(), (48, 48))
MAPS["not finite"][0][0, 0, :4, :3] = torch.tensor([torch.nan, torch.inf, -torch.inf])


@pytest.mark.parametrize("name", MAPS)
def test_the_browser_draws_the_map_that_python_draws(page, name):
    attribution, (height, width) = MAPS[name]
    picture = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(3)).double()
    display = _Form(*_display_controls(True, 268).values())
    parts, shown = {part.name: part for part in display.parts.values()}, _Map(lambda: b"", display.model_id)
    shown.lay(picture, attribution, "heat map")
    show(page, display, shown)
    settings = [
        dict(sign=sign, view=view, opacity=opacity, percentile=percentile)
        for sign in ("signed", "magnitude")
        for view in ("overlay", "map")
        for opacity, percentile in ((0.9, 99.0), (0.35, 80.0), (1.0, 100.0))
    ]
    scale = 7
    for setting in settings:
        for key, value in setting.items():
            parts[key].value = value
            changed = [display.model_id, parts[key].key, parts[key].state()]
            page.evaluate("([id, key, state]) => models[id].set(key, state)", changed)
        there = page.evaluate(
            "id => { const c = document.getElementById(id).querySelector('canvas');"
            " return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data] }",
            shown.model_id,
        )
        there = np.array(there).reshape(height, width, 4)[..., :3]
        with _figure(scale * width / 1.4, scale * height / 1.4) as (ax, drawn):
            if setting["view"] == "overlay":
                how = dict(percentile=setting["percentile"], opacity=setting["opacity"])
                overlay(picture, attribution, setting["sign"], ax=ax, **how)
            else:
                heatmap(attribution, setting["sign"], setting["percentile"], colorbar=False, ax=ax)
            for text in list(ax.texts):  # the note about green pixels
                text.remove()
        ours = _pixels_of(drawn[0])[scale // 2 :: scale, scale // 2 :: scale].astype(int)
        assert ours.shape == there.shape and there.std() >= 0
        # a value on the border of two colours may fall to either side: float32 against float64
        far = np.abs(ours - there).max(2)
        assert far.max() <= 6 and (far > 2).mean() < 0.002, (setting, far.max(), (far > 2).mean())


def test_the_map_follows_the_display_and_the_region(page):
    display = _Form(*_display_controls(True, 268).values())
    shown = _Map(lambda: b"", display.model_id)
    attribution, _ = MAPS["not finite"]
    shown.lay(torch.rand(1, 3, 48, 48).double(), attribution, "heat map of Example")
    shown.outline((0, 12, 24, 48))
    show(page, display, shown)
    canvas = page.get_by_role("img", name="heat map of Example")
    before = canvas.evaluate("c => c.toDataURL()")
    page.get_by_role("slider", name="Strength").focus()
    page.keyboard.press("Home")
    assert canvas.evaluate("c => c.toDataURL()") != before
    box, frame = canvas.bounding_box(), page.locator(".attrnb-outline").bounding_box()
    part = [(frame[k] - box[k]) / box["width"] for k in ("x", "y")] + [
        frame[k] / box["width"] for k in ("width", "height")
    ]
    assert np.allclose(part, [0.25, 0, 0.75, 0.5], atol=0.01)
    assert page.locator(".attrnb-wrong").inner_text() == "green: 12 NaN or infinite"
    page.evaluate("id => models[id].set('stale', true)", shown.model_id)
    assert page.locator(".attrnb-canvas").evaluate("e => getComputedStyle(e).opacity") == "0.35"


# Forms


def test_all_parts_have_names_and_obey_the_keyboard(page):
    clicks = []
    parts = dict(
        again=_Part("button", "again", lambda: clicks.append(1), description="Again"),
        remove=_Part("button", "remove", description="✕", tooltip="remove this panel"),
        points=_Part("integer", "points", value=5, min=1, max=9, description="n_points"),
        radius=_Part("number", "radius", value=0.5, step=0.05, description="radius"),
        scale=_Part("logarithm", "scale", value=0.1, min=-3, max=1, step=0.05, description="scale"),
        rows=_Part("range", "rows", value=(2, 7), max=9, description="rows"),
        closed=_Part("switch", "closed", value=False, description="closed_form"),
        unit=_Part("menu", "unit", value="b", options=["a", "b", "c"], description="unit"),
        own=_Part("menu", "own", value=-1, options=[("as at the left", -1), ("cat", 0)], tooltip="class of this panel"),
        sign=_Part("radios", "sign", value="x", options=["x", "y"], tooltip="sign"),
        search=_Part("search", "search", options=["cat", "dog"], tooltip="another class"),
        bar=_Part("progress", "bar", value=0.25, tooltip="work"),
        note=_Part("text", "note", value="<b>done</b>", spoken=True),
    )
    form = _Form(*parts.values(), label="Example")
    show(page, form)
    snapshot = page.locator("body").aria_snapshot()
    for line in (
        'group "Example"',
        'button "Again"',
        'button "remove this panel"',
        'slider "n_points"',
        'textbox "n_points, as a number"',
        'slider "rows from"',
        'slider "rows to"',
        'checkbox "closed_form"',
        'combobox "unit"',
        'combobox "class of this panel"',
        'radiogroup "sign"',
        'radio "x" [checked]',
        'combobox "another class"',
        'progressbar "work"',
        "status",
    ):
        assert f"- {line}" in snapshot, (line, snapshot)

    def press(what, *keys):
        page.locator(f".attrnb-{what}").focus() if what == "again" else page.locator(
            f".attrnb-{what} >> input, select"
        ).first.focus()
        for key in keys:
            page.keyboard.press(key)

    press("again", "Enter", "Space")
    assert page.evaluate("id => models[id].said", form.model_id) == [dict(click="part_again")] * 2
    for name, keys, value in (
        ("points", ["ArrowRight"], 6),
        ("points", ["End"], 9),
        ("radius", ["ArrowLeft"], 0.45),
        ("scale", ["ArrowRight"], 10**-0.95),
        ("rows", ["ArrowRight"], [3, 7]),
        ("rows", ["End"], [7, 7]),
        ("closed", ["Space"], True),
        ("sign", ["ArrowRight"], 1),
        ("search", ["d", "o", "g", "Enter"], "dog"),
    ):
        page.locator(f".attrnb-{name} input").first.focus()
        for key in keys:
            page.keyboard.press(key)
        assert told(page, form, parts[name]) == pytest.approx(value), name
    page.locator(".attrnb-unit select").focus()
    page.keyboard.press("ArrowDown")
    assert told(page, form, parts["unit"]) == 2
    typed = page.locator(".attrnb-points .attrnb-typed")
    typed.fill("4")
    page.keyboard.press("Enter")
    assert told(page, form, parts["points"]) == 4
    typed.fill("many")
    page.keyboard.press("Enter")
    assert (told(page, form, parts["points"]), typed.input_value()) == (4, "4"), "what is no number is not sent"


REACHED = """() => { const e = document.activeElement;
return e === document.body ? "" : e.getAttribute("aria-label") || e.closest("label")?.innerText || e.innerText }"""
ALL = """() => [...document.querySelectorAll("button:enabled, input:enabled, select:enabled, [tabindex='0']")]
.filter((e) => e.checkVisibility() && (e.type !== "radio" || e.checked))
.map((e) => e.getAttribute("aria-label") || e.closest("label")?.innerText || e.innerText)"""


def test_the_tabulator_reaches_every_control_in_order(page):
    samples = shape_images(12, seed=1)
    explorer = explore(sample_model(), samples.images, categories=SHAPE_CLASSES, methods=["NeFLAG"])
    explorer.wait()
    panel = explorer.panels[0]
    around = [explorer._head, *explorer._strip.children, explorer._picker, *explorer._chooser.children]
    top, heat_map, note, _, bottom = panel.children
    forms = [*around, explorer._display, top, heat_map, note, panel.settings_box, *panel.pages[1].children, bottom]
    show(page, *forms)
    explorer.close()
    reached = []
    for _ in range(200):
        page.keyboard.press("Tab")
        name = page.evaluate(REACHED)
        if not name and reached:
            break
        reached.append(name)
    assert len(reached) > 45 and all(reached), reached
    assert reached == page.evaluate(ALL)
    for name in ("Add panel", "earlier inputs", "rows from", "Strength", "Percentile", "n_points", "Save"):
        assert name in reached, (name, reached)
