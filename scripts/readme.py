"""Make README.md from nbs/index.ipynb and nbs/llms.txt from the sidebar, and give pages their badge; without Quarto.

    python scripts/readme.py                        write README.md, nbs/llms.txt and the badges
    python scripts/readme.py --print-command main   print the set-up command that runs the main job
    python scripts/readme.py --print-command tests  print the set-up command that runs the tests

Markdown cells are taken over (front matter and Quarto's attributes left out, links to notebooks pointed at the
site), code cells and their text output become fenced blocks, stored figures are replaced by nothing: the README's
pictures are ordinary Markdown images with files in nbs/images.

llms.txt (https://llmstxt.org) lists every page of the sidebar with its description and the address of its Markdown
twin, which Quarto writes beside each page. nbdev-export leaves a file alone that it did not write.

The badge opens a page in Colab. It is a cell of its own right below the title (the title's cell becomes front matter),
with words in its line: an image that stands alone would become a figure with a caption.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SITE, REPOSITORY = (
    re.search(rf'^{name} = "(.*?)/?"', (ROOT / "pyproject.toml").read_text(), flags=re.M).group(1)
    for name in ("Documentation", "Repository")
)
COLAB = "https://colab.research.google.com"
BADGE = "colab"  # the id of the badge's cell
PICTURES = "https://raw.githubusercontent.com/attrnb/attrnb/main"  # a package index has the README without its files
HIDDEN = re.compile(r"^#\|\s*(hide|default_exp|export|exporti)\b", re.M)


def readable(markdown: str) -> str:
    "Quarto's markdown as plain markdown that works outside of the site"
    markdown = re.sub(r"\A---\n.*?\n---\n", "", markdown, flags=re.S)
    markdown = re.sub(
        r"\]\((?!https?:|#)([\w/.-]+)\.ipynb(#[\w-]+)?\)",
        lambda m: f"]({SITE}/{page(m[1])}.html{m[2] or ''})",
        markdown,
    )
    markdown = re.sub(r"\]\((images/[^)]+)\)(\{[^}]*\})?", rf"]({PICTURES}/nbs/\1)", markdown)
    markdown = re.sub(r"\n{3,}", "\n\n", re.sub(r"^:::.*\n", "", markdown, flags=re.M))
    return markdown.strip()


def page(path: str) -> str:
    "A notebook's address on the site: nbdev drops the leading number of the file name"
    folder, _, name = path.rpartition("/")
    return (folder + "/" if folder else "") + re.sub(r"^\d+[a-z]?_", "", name)


def readme() -> str:
    "The text of README.md"
    blocks = ["<!-- Made from nbs/index.ipynb by scripts/readme.py; edit there. -->"]
    for cell in json.loads((ROOT / "nbs" / "index.ipynb").read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["id"] == BADGE:  # for those who read the page
            continue
        if cell["cell_type"] == "markdown":
            blocks.append(readable(source))
        elif cell["cell_type"] == "code" and not HIDDEN.search(source):
            code = re.sub(r"^#\|.*\n", "", source, flags=re.M).strip()
            blocks.append(f"```python\n{code}\n```")
            text = "".join(
                "".join(o.get("text", o.get("data", {}).get("text/plain", "")))
                for o in cell["outputs"]
                if "image/png" not in o.get("data", {}) and "image/jpeg" not in o.get("data", {})
            )
            if text.strip():
                blocks.append("\n".join("    " + line for line in text.strip().splitlines()))
    return "\n\n".join(b for b in blocks if b) + "\n"


def llms() -> str:
    "The text of nbs/llms.txt: the pages of the sidebar, section by section, in its order"
    import yaml  # not needed for the README, which CI makes before anything is installed

    def entry(item):
        first = "".join(json.loads((ROOT / "nbs" / item["href"]).read_text(encoding="utf-8"))["cells"][0]["source"])
        title, description = re.match(r"# (.+)\n\n> (.+)", first).groups()
        description = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", description)
        return f"- [{title}]({SITE}/{page(item['href'].removesuffix('.ipynb'))}.html.md): {description}"

    def entries(items):
        for item in items:
            yield from entries(item["contents"]) if "section" in item else [entry(item)]

    website = yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))["website"]
    blocks, pages = [f"# {website['title']}", f"> {website['description']}"], []
    for item in website["sidebar"]["contents"]:
        if "section" in item:
            blocks += ["\n".join([f"## {item['section']}", "", *entries(item["contents"])])]
        else:
            pages.append(entry(item))
    blocks.insert(2, "\n".join(pages))
    return "\n\n".join(blocks) + "\n"


def with_badge(notebook: dict, path: str) -> dict:
    "A notebook of nbs/ with the cell that opens it in Colab, right below the title"
    address = f"{REPOSITORY.replace('https://github.com', COLAB + '/github')}/blob/main/nbs/{path}"
    badge = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({address}) There, first run `%pip install attrnb`."
    title, *others = [cell for cell in notebook["cells"] if cell["id"] != BADGE]
    cell = dict(cell_type="markdown", id=BADGE, metadata={}, source=[badge])
    return notebook | dict(cells=[title, cell, *others])


def write_badges():
    "Put or renew the badge of every page; a page that has it is not touched"
    for file in (ROOT / "nbs").rglob("*.ipynb"):
        path = file.relative_to(ROOT / "nbs")
        if any(part[0] in "._" for part in path.parts):
            continue
        notebook = json.loads(file.read_text(encoding="utf-8"))
        badged = with_badge(notebook, path.as_posix())
        if badged != notebook:
            file.write_text(json.dumps(badged, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def set_up_commands(text: str) -> dict:
    "The two set-up commands: the README's lines that begin with `pip install -e`"
    commands = re.findall(r"^pip install -e .*$", text, flags=re.M)
    tests = [c for c in commands if c.endswith("pytest")]
    main = [c for c in commands if "attrnb explain" in c]
    if len(commands) != 2 or len(tests) != 1 or len(main) != 1:
        sys.exit(
            "index.ipynb must hold exactly two set-up commands, one ending in pytest, one in attrnb explain; found"
            f" {commands}"
        )
    return dict(main=main[0], tests=tests[0])


if __name__ == "__main__":
    text = readme()
    commands = set_up_commands(text)
    if sys.argv[1:2] == ["--print-command"]:
        print(commands[sys.argv[2]])
    else:
        (ROOT / "README.md").write_text(text, encoding="utf-8")
        (ROOT / "nbs" / "llms.txt").write_text(llms(), encoding="utf-8")
        write_badges()
