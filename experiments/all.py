"""All programs of this folder, one after the other; each goes on where it was stopped, and so does this line.

    python experiments/all.py --data FOLDER          # three hours on two cores
    python experiments/all.py --data FOLDER --long   # and what takes longer
    python experiments/all.py --list                 # the commands, and nothing is run

A finished command finds its rows, or its run folder under RUNS, and makes nothing again; rows go to the CSV files
beside the pages. FOLDER (or the variable ATTRNB_REAL_DATA) holds pictures and weights that can't be passed on:
weights/, imagenet_val100/ (images/ and annotations.json), imagenet_train250/ and coco256/ as coco_annotations.py
reads it. Without it only what needs no photographs is run. Minutes are those of one core, by the counted passes of the
stored tables at 57 ms for a gradient and 22 ms for a pass forward (mobilenet_v2, one image); torch uses all cores.

| program | pages | minutes |
|---|---|---|
| token_baselines | text | 4 |
| compare_methods | tutorials/compare_methods | 101 |
| geodesic_photographs; searches of the confirmation | tutorials/geodesic_images | 60; 21 |
| neflag_faithfulness: power, main; settings | tutorials/neflag_faithfulness | 97; 27 |
| neflag_forms: confirm, floors; choose | tutorials/neflag_faithfulness | 24; 4 |
| class_evidence: grids; choice, coco | tutorials/class_evidence | 4; 8 |
| edge_weights: confirm; choose | geodesic/50_knn, tutorials/half_moons | 2; 2 |
| trials: confirmation, shapes, pairs; training photographs | tutorials/what_works | 3; 12 |
| what_runs | tutorials/what_runs | hours |

What stands behind a semicolon, and what_runs, is left to `--long`: mostly what settings were chosen on. The minutes of
neflag_forms, edge_weights (one network of each kind) and the searches (one photograph) are measured; of trials the
embedded images aren't counted. Of what_runs nothing is: it takes hours, at most its `--limit` seconds for a row.
The pages tutorials/half_moons, tutorials/geodesic_images and tutorials/equilibrium_localisation make their own tables
in cells that are marked slow: `pytest nbs/tutorials/half_moons.ipynb --flags slow`, and so on.
"""

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NETWORKS = {  # state file, and what its pixels are scaled by
    "squeezenet1_0": ("squeezenet1_0-deepcompression.pth", ""),
    "mobilenet_v2": ("mobilenet_v2-tf2ptq-bnstats.pth", "--mean 0.5 --std 0.5"),
}
PICTURES = "--photographs {data}/imagenet_val100/images"
TRUTH = "--annotations {data}/imagenet_val100/annotations.json --coco {data}/coco256"


def commands() -> list[tuple[str, float, bool]]:
    "Program with its words, minutes of one core, and whether only --long runs it"
    each = [(name, f"--weights {{data}}/weights/{file} {scale}".rstrip()) for name, (file, scale) in NETWORKS.items()]
    files = " ".join(f"{name}={{data}}/weights/{file}" for name, (file, _) in NETWORKS.items())
    found = [("token_baselines --out {tables}/text/baselines.csv", 4, False)]
    for part, minutes, long in (("power", 0.2, False), ("main", 5, False), ("settings", 1, True)):
        found.append((f"neflag_faithfulness {part} shapes --runs {{runs}}", minutes, long))
    for name, weights in each:
        annotated = f"{{runs}}/coco_{name}.json"
        found.append((f"coco_annotations {{data}}/coco256 {annotated} --network {name}", 0.3, False))
        words = f"{weights} {PICTURES} {TRUTH} --coco-annotations {annotated} --runs {{runs}}/compare_methods"
        found.append((f"compare_methods {name} {words}", 50, False))
    found.append(("compare_methods --collect --runs {runs}/compare_methods", 0.5, False))
    for name, weights in each:
        geodesic = f"geodesic_photographs {name} {weights} {PICTURES} --runs {{runs}}"
        found.append((geodesic, 30, False))
        searches = '--part confirm --every 4 --only variational "published, 10 points, 10 iterations"'
        found.append((f"{geodesic}/searches {searches}", 8 if name == "squeezenet1_0" else 13, True))
        for part, minutes, long in (("power", 4, False), ("main", 42, False), ("settings", 13, True)):
            found.append((f"neflag_faithfulness {part} {name} {weights} {PICTURES} --runs {{runs}}", minutes, long))
    found.append((f"neflag_forms choose {files} --photographs {{data}}/imagenet_train250", 4, True))
    found.append((f"neflag_forms confirm {files} {PICTURES}", 22, False))
    found.append(("neflag_forms floors shapes shapes:1 --substrates black blurred", 2, False))
    found += [("trials shapes", 1, False), ("trials pairs", 0.1, False)]
    for name, weights in each:
        found.append((f"trials {name} {weights} --photographs {{data}}/imagenet_train250", 6, True))
        found.append((f"trials {name} {weights} {PICTURES} --confirm", 1, False))
        training = "--photographs {data}/imagenet_train250 --annotations {data}/imagenet_train250/labels.json"
        found.append((f"class_evidence choice {name} {weights} {training}", 2, True))
        boxed = f"{PICTURES} --annotations {{data}}/imagenet_val100/annotations.json"
        found.append((f"class_evidence grids {name} {weights} {boxed}", 2, False))
        found.append((f"class_evidence coco {name} {weights} --coco {{data}}/coco256", 2, True))
    found += [(f"edge_weights {stage}", 2, stage == "choose") for stage in ("choose", "confirm")]
    return [*found, ("what_runs", float("inf"), True)]


def main(given: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("ATTRNB_REAL_DATA"), help="folder of photographs and weights")
    parser.add_argument("--runs", default="runs", help="where the run folders are kept")
    parser.add_argument("--long", action="store_true", help="what takes hours, too")
    parser.add_argument("--list", action="store_true", help="print the commands and run nothing")
    words = parser.parse_args(given)
    places, failed = dict(data=words.data, runs=words.runs, tables=HERE.parent / "nbs"), []
    for command, minutes, long in commands():
        if (long and not words.long) or (words.data is None and "{data}" in command):
            continue
        program, *rest = shlex.split(command.format(**places))
        print(f"{minutes:5g} min  {program} {' '.join(rest)}", flush=True)
        if words.list:
            continue
        Path(words.runs).mkdir(parents=True, exist_ok=True)
        if subprocess.run([sys.executable, str(HERE / f"{program}.py"), *rest], check=False).returncode:
            failed.append(program)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; the same line tries them again")


if __name__ == "__main__":
    main()
