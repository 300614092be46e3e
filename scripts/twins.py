"""Point the links of the rendered site's Markdown twins at twins, and check that every relative link leads somewhere.

    python scripts/twins.py _proc/_docs

Quarto resolves a link to a notebook in HTML only: PAGE.html.md, the twin for language models and readers of Markdown,
keeps `04_neflag.ipynb#heading`. Here it becomes `neflag.html.md#heading`. Then every relative address of every twin
must be a file of the site, and what stands behind `#` an anchor of the HTML page. Ends with 1 if one isn't, or if a
page of llms.txt has no twin.
"""

import re
import sys
from pathlib import Path
from urllib.parse import unquote

from readme import SITE, page

NOTEBOOK = re.compile(r"(?P<start>\]\(|href=\")(?!https?:)(?P<path>[\w/.-]+)\.ipynb(?P<anchor>#[\w-]+)?")
RELATIVE = re.compile(r"(?:\]\(<?|href=\"|src=\")(?![a-z]+:)(?P<path>[^)#\s\">]*)(?:#(?P<anchor>[^)\s\">]*))?")
CODE = re.compile(r"^ *(```+|~~~+).*?^ *\1|`[^`\n]+`", flags=re.M | re.S)
ANCHOR = re.compile(r"\b(?:id|name)=\"([^\"]+)\"")


def mapped(markdown: str) -> str:
    "A twin's text with links to twins in place of links to notebooks; paths stay relative to the page's folder"
    return NOTEBOOK.sub(lambda m: f"{m['start']}{page(m['path'])}.html.md{m['anchor'] or ''}", markdown)


def missing(site: Path) -> list[str]:
    "What the twins and llms.txt of a rendered site link to and isn't there, one line each"
    anchors: dict[Path, set[str]] = {}

    def has(target: Path, anchor: str) -> bool:
        html = target.with_suffix("") if target.suffix == ".md" else target
        if html not in anchors:
            anchors[html] = set(ANCHOR.findall(html.read_text(encoding="utf-8"))) if html.exists() else set()
        return anchor in anchors[html]

    lost = []
    for twin in sorted(site.rglob("*.html.md")):
        for link in RELATIVE.finditer(CODE.sub("", twin.read_text(encoding="utf-8"))):
            path, anchor = unquote(link["path"]), unquote(link["anchor"] or "")
            target = site / path.lstrip("/") if path.startswith("/") else twin.parent / path if path else twin
            if not target.exists() or (anchor and not has(target, anchor)):
                lost.append(f"{twin.relative_to(site)}: {path}{'#' + anchor if anchor else ''}")
    listed = re.findall(rf"{re.escape(SITE)}/([\w/.-]+\.html\.md)", (site / "llms.txt").read_text(encoding="utf-8"))
    return lost + [f"llms.txt: {name}" for name in listed if not (site / name).exists()]


def main(folder: str) -> int:
    "Map the links of all twins under `folder`, print what is missing, and return 1 if anything is"
    site = Path(folder)
    twins = sorted(site.rglob("*.html.md"))
    if not twins:
        print(f"no PAGE.html.md under {folder}: render the site first")
        return 1
    for twin in twins:
        twin.write_text(mapped(twin.read_text(encoding="utf-8")), encoding="utf-8")
    lost = missing(site)
    print(f"{len(twins)} twins, {len(lost)} links without a target", *lost, sep="\n")
    return int(bool(lost))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
