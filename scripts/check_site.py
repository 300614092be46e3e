"""Look at a rendered site as its readers do, in headless Chromium, and name what is wrong.

    python scripts/check_site.py _proc/_docs                    # every page, at 390, 800 and 1200 pixels
    python scripts/check_site.py _proc/_docs --pages neflag.html --widths 390

Read from the files: links and anchors, pictures without a description, the weight of a page with its pictures (at most
1 MB), numbered references that were not resolved. Seen in the browser, in the light and in the dark theme: pages that
scroll sideways, cut outputs, words with a contrast below 4.5 : 1 (3 : 1 for large ones), formulas that are not typeset,
pictures that don't show, sliders that the keyboard doesn't move, errors of scripts. One line each, and 1 at the end if
there is one. Needs Playwright (`pip install -e '.[dev]'`) and Chromium: on the path, or ATTRNB_CHROMIUM names it.
"""

import argparse
import functools
import http.server
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

WIDTHS = 390, 800, 1200
HEAVIEST = 1_000_000  # bytes of a page and of the pictures beside it
FLAGS = "--no-sandbox --disable-gpu --no-first-run --disable-background-networking".split()
BROWSERS = "chromium", "chromium-browser", "google-chrome"
UNRESOLVED = re.compile(r"\?@[\w-]+|(?<![\w.])@(?:fig|tbl|eq|sec)-[\w-]+")


class Page(HTMLParser):
    "Addresses, anchors, pictures and words of an HTML file"

    def __init__(self, path: Path):
        super().__init__()
        self.links, self.sources, self.anchors, self.silent, self.words = [], [], set(), [], []
        self._inside = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in ("img", "script", "source") and given.get("src"):
            self.sources.append(given["src"])
        if tag == "link" and given.get("href") and given.get("rel") in ("stylesheet", "icon"):
            self.sources.append(given["href"])
        if tag == "img" and "alt" not in given:
            self.silent.append(given.get("src", "?")[:60])
        if tag in ("script", "style", "pre", "code"):
            self._inside.append(tag)

    def handle_endtag(self, tag):
        if self._inside and tag == self._inside[-1]:
            self._inside.pop()

    def handle_data(self, text):
        if not self._inside:
            self.words.append(text)


def of_the_site(address: str) -> bool:
    return not urlsplit(address).scheme and not address.startswith("//")


def target_of(address: str, page: Path, site: Path) -> Path:
    "The file that a relative address means"
    path = unquote(urlsplit(address).path)
    there = site / path.lstrip("/") if path.startswith("/") else page.parent / path if path else page
    return there / "index.html" if there.is_dir() else there


def from_the_files(paths: list[Path], site: Path) -> Iterator[str]:
    "What is wrong with links, pictures and weights, one line each"
    read = functools.cache(Page)
    for path in paths:
        page, name = read(path), path.relative_to(site)
        for address in dict.fromkeys((*page.links, *page.sources)):
            if not of_the_site(address):
                continue
            there, anchor = target_of(address, path, site), unquote(urlsplit(address).fragment)
            if not there.exists():
                yield f"{name}: {address} leads nowhere"
            elif anchor and there.suffix == ".html" and anchor not in read(there).anchors:
                yield f"{name}: {address} has no such anchor"
        for source in page.silent:
            yield f"{name}: the picture {source} has no alt text"
        for words in dict.fromkeys(UNRESOLVED.findall(" ".join(page.words))):
            yield f"{name}: the reference {words} is not resolved"
        pictures = {target_of(s, path, site) for s in page.sources if of_the_site(s)}
        pictures = {p for p in pictures if p.suffix in (".png", ".jpg", ".jpeg", ".svg", ".gif")}
        weight = path.stat().st_size + sum(p.stat().st_size for p in pictures if p.exists())
        if weight > HEAVIEST:
            yield f"{name}: {weight / 1e6:.2f} MB with its pictures"


# what follows runs in the page; each returns a list of lines
SIDEWAYS = """() => {
    const root = document.documentElement, over = root.scrollWidth - root.clientWidth
    if (over <= 0) return []
    const wide = [...document.querySelectorAll('main *')].filter(e => {
        for (let a = e.parentElement; a; a = a.parentElement)
            if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(a).overflowX) && a !== document.body
                && a !== root) return false
        return e.getBoundingClientRect().right > root.clientWidth + 1 })
    const first = wide.length ? wide[wide.length - 1] : null
    const what = first ? `${first.tagName.toLowerCase()} "${first.textContent.trim().slice(0, 40)}"` : 'something'
    return [`scrolls sideways by ${over} pixels: ${what}`] }"""

CUT = """() => [...document.querySelectorAll('.cell-output > pre, .cell-output-stdout pre')]
    .filter(e => e.offsetParent && e.scrollWidth > e.clientWidth + 1)
    .map(e => `an output is cut: "${e.textContent.trim().slice(0, 60)}"`)"""

CONTRAST = """() => {
    const number = c => { const v = c.match(/[\\d.]+/g).map(Number); return [...v, 1].slice(0, 4) }
    const light = c => c.slice(0, 3).map(v => v / 255)
        .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0)
    const over = (top, under) => top.slice(0, 3).map((v, i) => v * top[3] + under[i] * (1 - top[3]))
    const ground = e => {
        const layers = []
        for (; e; e = e.parentElement) {
            const style = getComputedStyle(e)
            if (style.backgroundImage !== 'none') return null
            layers.push(number(style.backgroundColor))
            if (layers[layers.length - 1][3] === 1) break }
        return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]) }
    const found = new Map()
    for (const e of document.querySelectorAll('body *')) {
        const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())
        const style = getComputedStyle(e), box = e.getBoundingClientRect()
        if (!own || !box.width || style.visibility === 'hidden' || e.closest('svg, mjx-container, [aria-hidden=true]'))
            continue
        let opacity = 1
        for (let a = e; a; a = a.parentElement) opacity *= Number(getComputedStyle(a).opacity)
        const under = ground(e), ink = number(style.color)
        if (!under || opacity === 0) continue
        ink[3] *= opacity
        const a = light(over(ink, under)), b = light(under)
        const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05)
        const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.6 && Number(style.fontWeight) >= 700)
        const kind = e.tagName.toLowerCase() + (e.classList.length ? '.' + e.classList[0] : '')
        if (ratio < (large ? 3 : 4.5) && !found.has(kind))
            found.set(kind, `contrast ${ratio.toFixed(1)} : 1 of ${kind} "${e.textContent.trim().slice(0, 30)}"`) }
    return [...found.values()] }"""

FORMULAS = """() => {
    const all = [...document.querySelectorAll('span.math')]
    const raw = all.filter(e => !e.querySelector('mjx-container, .katex, math'))
    const lines = raw.length ? [`${raw.length} of ${all.length} formulas are not typeset: "${
        raw[0].textContent.trim().slice(0, 40)}"`] : []
    for (const e of document.querySelectorAll('mjx-merror, .katex-error, merror'))
        lines.push(`a formula with an error: "${e.textContent.trim().slice(0, 60)}"`)
    return lines }"""

PICTURES = """() => [...document.querySelectorAll('img')].filter(e => e.offsetParent !== null || e.closest('.navbar'))
    .filter(e => getComputedStyle(e).display !== 'none' && (!e.complete || !e.naturalWidth
        || e.getBoundingClientRect().height < 8 || e.getBoundingClientRect().width < 8))
    .map(e => { const b = e.getBoundingClientRect()
        const name = (e.alt || e.src).slice(0, 50)
        return `the picture "${name}" shows ${b.width.toFixed(0)} x ${b.height.toFixed(0)}` })"""

SEEN = "box => [...box.querySelectorAll('img')].findIndex(e => getComputedStyle(e).display !== 'none')"


def sliders(page) -> Iterator[str]:
    "Sliders that don't move their picture by an arrow key"
    boxes = page.locator(".attrnb-live")
    for k in range(boxes.count()):
        box = boxes.nth(k)
        handle = box.locator("input[type=range]")
        if not handle.is_visible():
            continue
        before, at, last = box.evaluate(SEEN), handle.input_value(), handle.get_attribute("max")
        handle.press("ArrowLeft" if at == last else "ArrowRight")
        label = box.locator("output").text_content()
        if box.evaluate(SEEN) == before or handle.input_value() == at or not label:
            yield f"slider {k + 1} doesn't move its picture"


def scroll_through(page):
    "So that pictures that load late are there"
    page.evaluate(
        """async () => {
        for (let y = 0; y < document.body.scrollHeight; y += innerHeight) {
            scrollTo(0, y); await new Promise(r => setTimeout(r, 20)) }
        scrollTo(0, 0)
        await Promise.all([...document.images].map(e => e.decode().catch(() => null))) }"""
    )


def theme_buttons(page) -> list[str]:
    "The names of the themes: dark only where the site has a switch"
    return ["light", "dark"] if page.locator(".quarto-color-scheme-toggle").count() else ["light"]


def dark_is_on(page) -> bool:
    return page.evaluate("document.body.classList.contains('quarto-dark')")


def from_the_browser(page, address: str, name: str, widths: tuple[int, ...], patience: int) -> Iterator[str]:
    "What is wrong with a page as it is seen, one line each"
    told = []
    page.on("pageerror", lambda error: told.append(f"error of a script: {error}"))
    page.on("requestfailed", lambda r: told.append(f"not loaded: {r.url[:80]}") if r.url.startswith(address) else None)
    for width in widths:
        page.set_viewport_size(dict(width=width, height=900))
        page.goto(f"{address}/{name}", wait_until="load")
        scroll_through(page)
        try:  # formulas are typeset after the page is there
            page.wait_for_function(f"!({FORMULAS})().length", timeout=patience)
        except Exception:
            pass
        for theme in theme_buttons(page):
            if (theme == "dark") != dark_is_on(page):
                page.locator(".quarto-color-scheme-toggle").first.evaluate("e => e.click()")
                page.wait_for_timeout(200)
            where = f"{name} ({width} px, {theme})"
            for look in (SIDEWAYS, CUT, CONTRAST):
                yield from (f"{where}: {line}" for line in page.evaluate(look))
        if dark_is_on(page):
            page.locator(".quarto-color-scheme-toggle").first.evaluate("e => e.click()")
        if width == widths[-1]:
            for look in (FORMULAS, PICTURES):
                yield from (f"{name}: {line}" for line in page.evaluate(look))
            yield from (f"{name}: {line}" for line in sliders(page))
    yield from (f"{name}: {line}" for line in dict.fromkeys(told))


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@contextmanager
def served(site: Path) -> Iterator[str]:
    "The address of the site on this machine"
    handler = functools.partial(Silent, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def browser_path() -> str | None:
    "Chromium, or None where it isn't found"
    return os.environ.get("ATTRNB_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def check(site: Path, paths: list[Path], widths: tuple[int, ...], patience: int = 10_000) -> Iterator[str]:
    "All that is wrong with these pages of a rendered site, one line each"
    from playwright.sync_api import sync_playwright

    yield from from_the_files(paths, site)
    with served(site) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=FLAGS, headless=True)
        for path in paths:
            page = browser.new_page()
            yield from from_the_browser(page, address, path.relative_to(site).as_posix(), widths, patience)
            page.close()
        browser.close()


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the rendered site")
    parser.add_argument("--pages", nargs="+", help="some pages only, by their paths in the folder")
    parser.add_argument("--widths", nargs="+", type=int, default=WIDTHS, help="of the window, in pixels")
    words = parser.parse_args(given)
    paths = [words.folder / p for p in words.pages] if words.pages else sorted(words.folder.rglob("*.html"))
    if lost := [str(p) for p in paths if not p.is_file()] or ([] if paths else [f"a page under {words.folder}"]):
        print("not there:", *lost)
        return 1
    wrong = 0
    for line in check(words.folder, paths, tuple(words.widths)):
        wrong += 1
        print(line, flush=True)
    print(f"{len(paths)} pages at {', '.join(map(str, words.widths))} pixels: {wrong} findings")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
