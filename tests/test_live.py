"The sliders that are stored in the pages: self-contained, small, and they move in a real browser without a kernel"

import html.parser
import json

import pytest
from house import NOTEBOOKS, module_of

METHODS = ("paths", "neflag", "geodesic", "equilibrium")


class Controls(html.parser.HTMLParser):
    "The slider, its output and its pictures"

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def stored_controls():
    "(page, data of the output) for every control in the pages"
    found = []
    for path in NOTEBOOKS:
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                if 'class="attrnb-live"' in "".join(output.get("data", {}).get("text/html", "")):
                    found.append((path, output["data"]))
    return found


CONTROLS = stored_controls()
TEXTS = ["".join(data["text/html"]) for _, data in CONTROLS]
NAMES = [f"{path.stem}-{k}" for k, (path, _) in enumerate(CONTROLS)]


@pytest.mark.parametrize("text", TEXTS, ids=NAMES)
def test_a_stored_control_is_self_contained_and_small(text):
    assert len(text) < 320_000
    tags = Controls(text).tags
    assert {name for name, _ in tags} == {
        "div",
        "label",
        "span",
        "input",
        "output",
        "img",
    }, "no script, no style sheet, no frame"
    for name, attributes in tags:
        for key, value in attributes.items():
            if key == "src":
                assert value.startswith(("data:image/jpeg;base64,", "data:image/png;base64,"))
            else:
                assert "//" not in value and "url(" not in value
        assert name != "img" or attributes["alt"].strip()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_one_and_a_picture_where_html_is_not_shown(method):
    of_method = [data for path, data in CONTROLS if (module_of(path) or path.parent.name).split(".")[0] == method]
    assert of_method and all("text/plain" in d and ({"image/jpeg", "image/png"} & set(d)) for d in of_method)


def opened(browser, tmp_path, *texts, **settings):
    "A page with these controls on a disk, what it asked the network for, and what went wrong in it"
    path = tmp_path / "page.html"
    path.write_text(
        "<!doctype html><meta charset=utf-8><title>live</title><style>img{display:inline-block}</style>"
        + "<hr>".join(texts),
        encoding="utf-8",
    )
    page = browser.new_context(**settings).new_page()
    page.asked, page.wrong = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.goto(path.as_uri())
    return page


def shown(box):
    "Positions of the pictures that can be seen"
    return box.locator("img").evaluate_all(
        "pictures => pictures.map((p, i) => p.offsetParent !== null && p.naturalWidth > 0 ? i : -1).filter(i => i >= 0)"
    )


@pytest.mark.parametrize("text", TEXTS, ids=NAMES)
def test_a_stored_control_moves_without_a_kernel(browser, tmp_path, text):
    pictures = [a for name, a in Controls(text).tags if name == "img"]
    start = next(int(a["value"]) for name, a in Controls(text).tags if name == "input")
    page = opened(browser, tmp_path, text)
    box, slider = page.locator(".attrnb-live"), page.get_by_role("slider")
    assert shown(box) == [start]
    slider.focus()
    slider.press("Home")
    seen = [shown(box)]
    for _ in pictures[1:]:
        slider.press("ArrowRight")
        seen.append(shown(box))
        assert (
            box.locator("output").inner_text()
            == pictures[seen[-1][0]]["data-label"]
            == slider.get_attribute("aria-valuetext")
        )
    assert seen == [[i] for i in range(len(pictures))]
    slider.press("End")
    area = slider.bounding_box()
    page.mouse.click(area["x"] + 3, area["y"] + area["height"] / 2)
    assert shown(box) == [0]
    assert page.wrong == [] and all(url.startswith(("file:", "data:")) for url in page.asked)
    page.context.close()


def test_two_controls_on_a_page_do_not_disturb_each_other(browser, tmp_path):
    first, second = TEXTS[0], TEXTS[-1]
    page = opened(browser, tmp_path, first, first, second)
    boxes = [page.locator(".attrnb-live").nth(i) for i in range(3)]
    before = [shown(box) for box in boxes]
    slider = boxes[1].get_by_role("slider")
    slider.focus()
    slider.press("Home")
    assert [shown(box) for box in boxes] == [before[0], [0], before[2]]
    page.context.close()


def test_its_name_is_read_out_and_it_fits_a_telephone(browser, tmp_path):
    page = opened(browser, tmp_path, *TEXTS, viewport=dict(width=360, height=700))
    for slider in page.get_by_role("slider").all():
        name = slider.evaluate("s => s.labels[0].querySelector('span').textContent")
        assert name and page.get_by_role("slider", name=name).count() >= 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.context.close()


def test_without_scripts_the_first_picture_is_there(browser, tmp_path):
    page = opened(browser, tmp_path, TEXTS[0], java_script_enabled=False)
    visible = [picture.is_visible() for picture in page.locator("img").all()]
    assert sum(visible) == 1
    page.context.close()
