"The page of claims: every row is whole, leads somewhere, and has a command that exists (its numbers, the page checks)"

import ast
import json
import re

import pytest
from house import ROOT
from test_site import NBS, anchors, cells, notebook

PAGE = NBS / "tutorials" / "claims.ipynb"


def names_of(tree):
    "Names that the cell gives to texts"
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], (ast.Name, ast.Tuple)):
            targets = getattr(node.targets[0], "elts", [node.targets[0]])
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            if len(targets) == len(values):
                found |= {t.id: v.value for t, v in zip(targets, values, strict=True) if isinstance(v, ast.Constant)}
    return found


def rows():
    "The claims as dicts, the fields' names, and the seconds of the commands, read without running the cell"
    (source,) = [s for _, s in cells(PAGE, "code") if re.search(r"^CLAIMS = \[", s, flags=re.M)]
    tree = ast.parse(source)
    names = names_of(tree)

    def text(node):
        return node.value if isinstance(node, ast.Constant) else names[node.id]

    (declared,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    fields = [node.target.id for node in declared.body if isinstance(node, ast.AnnAssign)]
    given = {
        n.targets[0].id: n.value for n in tree.body if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)
    }
    claims = [dict(zip(fields, map(text, call.args), strict=True)) for call in given["CLAIMS"].elts]
    seconds = {text(k): v.value for k, v in zip(given["SECONDS"].keys, given["SECONDS"].values, strict=True)}
    return claims, fields, seconds


CLAIMS, FIELDS, SECONDS = rows()


def test_the_claims_are_of_all_three_papers_and_of_the_library():
    assert set(FIELDS) == {"name", "source", "claim", "verdict", "page", "command"}
    names = [claim["name"] for claim in CLAIMS]
    assert len(names) == len(set(names)) and {name[0] for name in names} == set("NGEL")
    assert {claim["verdict"] for claim in CLAIMS} == {"holds", "fails", "can't be told here"}
    for letter in "NGE":
        of_paper = [claim["source"] for claim in CLAIMS if claim["name"].startswith(letter)]
        assert any(source.startswith("abstract") for source in of_paper) and len(of_paper) > 10


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim["name"])
def test_a_claim_is_whole_and_leads_somewhere(claim):
    assert all(isinstance(claim[field], str) and claim[field] for field in FIELDS)
    assert claim["claim"].endswith(".") and "|" not in claim["claim"].replace(r"\|", "").replace("|w|", "")
    page, _, anchor = claim["page"].partition("#")
    assert (NBS / page).is_file(), page
    assert not anchor or anchor in anchors(NBS / page), claim["page"]
    assert SECONDS[claim["command"]] > 0
    (program,) = re.findall(r"\S+\.(?:py|ipynb)", claim["command"])
    assert (ROOT / program).is_file(), program
    assert claim["command"].startswith("python " if program.endswith(".py") else "pytest ")


def test_the_page_holds_every_verdict_to_its_number():
    code = [s for _, s in cells(PAGE, "code")]
    entered = {name for s in code for name in re.findall(r'found\(\s*"(\w+)"', s)}
    entered |= {
        name
        for s in code
        for line in re.findall(r"^for name, .*:$", s, flags=re.M | re.S)
        for name in re.findall(r'\("([NGEL]\d+)"', line)
    }
    assert entered == {claim["name"] for claim in CLAIMS}
    assert any("assert CLAIM[name].verdict == VERDICTS[holds]" in s for s in code)
    assert any("assert evidence.keys() == CLAIM.keys()" in s for s in code)


def test_every_claim_is_in_a_stored_table_of_the_page():
    shown = "".join(json.dumps(c["outputs"]) for c in notebook(PAGE)["cells"] if c["cell_type"] == "code")
    for claim in CLAIMS:
        assert f"| {claim['name']}. {claim['claim']} |" in shown.replace("\\u2019", "'"), claim["name"]
