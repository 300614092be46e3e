"""Plant faults in the package, one at a time, and see whether the suite catches them.

    python scripts/plant_faults.py                      # all faults, two at a time; a table at the end
    python scripts/plant_faults.py --only core neflag-sign
    python scripts/plant_faults.py --write              # also put the table into CONTRIBUTING.md

Each fault replaces a piece of a module, and the same piece of the notebook that the module is made from, in a temporary
copy of the repository; then the tests that should notice run until the first one fails. Nothing in the working tree is
touched. A fault is caught when a test fails that passes without it, or when the package can't be imported any more.
Needs an operating system that forks processes: they share a torch that was loaded once.
"""

import argparse
import contextlib
import functools
import importlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- planted faults: written by scripts/plant_faults.py -->", "<!-- end of planted faults -->"
SECONDS = 900  # of one fault at most
# long, and about something else
LEFT_OUT = ("tests/test_benchmark.py::test_kill_9_at_twenty_random_moments_changes_nothing",)
LOADED = (
    "torch",
    "torchvision",
    "captum.attr",
    "captum.metrics",
    "matplotlib.pyplot",
    "scipy.sparse.csgraph",
    "hypothesis",
    "ipywidgets",
    "nbdev.test",
    "pytest",
    "_pytest.assertion.rewrite",
    "PIL.Image",
    "safetensors.torch",
    "fastcore.docments",
    "IPython",
)  # once, before the processes fork
_ordinary = multiprocessing.get_context
_fork = _ordinary("fork")


def wing_files(wing: str, root: Path = ROOT) -> tuple[list[Path], list[Path]]:
    "The modules of a wing (attrnb/WING.py or attrnb/WING/*.py), and the notebooks that they are made from"
    modules = [p for p in (root / f"attrnb/{wing}.py", *sorted((root / f"attrnb/{wing}").rglob("*.py"))) if p.is_file()]
    notebooks = [p for p in sorted((root / "nbs").rglob("*.ipynb")) if _exports_to(p).split(".")[0] == wing]
    return modules, notebooks


@functools.cache
def _exports_to(notebook: Path) -> str:
    found = re.search(r'"#\|\s*default_exp ([\w.]+)', notebook.read_text(encoding="utf-8"))
    return found.group(1) if found else ""


@dataclass(frozen=True)
class Fault:
    "One mistake that somebody could make"

    id: str  # begins with the module's name
    what: str  # in words
    old: str  # the text of the module, which occurs there once
    new: str  # what stands there instead
    first: str = ""  # what runs first: a test of the module, or another test, file or notebook

    @property
    def module(self) -> str:
        return self.id.split("-")[0]

    @property
    def selection(self) -> tuple[str, ...]:
        "What pytest runs, until the first failure"
        file = f"tests/test_{self.module}.py"
        pages = [p.relative_to(ROOT).as_posix() for p in wing_files(self.module)[1] if _stands_in_page(self, p)]
        first = (self.first if "/" in self.first else f"{file}::{self.first}",) if self.first else ()
        files = [file] if (ROOT / file).is_file() else []
        return (*first, *(t for t in (*files, *pages) if t not in first))


FAULTS = [
    # core
    Fault(
        "core-column",
        "one logit column read by softmax instead of sigmoid",
        "return nn.functional.logsigmoid(outputs) if log else outputs.sigmoid()",
        "return outputs.log_softmax(-1) if log else outputs.softmax(-1)",
        "test_class_score_of_segmentation_and_single_column",
    ),
    Fault(
        "core-class-axis",
        "softmax over the last axis instead of the classes",
        "return outputs.log_softmax(classes) if log else outputs.softmax(classes)",
        "return outputs.log_softmax(-1) if log else outputs.softmax(-1)",
        "test_class_score_of_segmentation_and_single_column",
    ),
    Fault(
        "core-baseline-batch",
        "every example starts at the first baseline",
        "result.append(baseline.expand_as(x))",
        "result.append(baseline[:1].expand_as(x))",
        "tests/test_paths.py",
    ),
    Fault(
        "core-noise-seed",
        "the seed of the noise is ignored",
        "return torch.randn(*shape, generator=generator, dtype=torch.float64, device=generator.device).to(like)",
        "return torch.randn(*shape, dtype=torch.float64).to(like)",
        "test_noise_is_repeatable_in_every_precision",
    ),
    Fault(
        "core-last-chunk",
        "the rows after the last whole chunk are dropped",
        "return [slice(i, min(i + internal_batch_size, n_rows)) for i in range(0, n_rows, internal_batch_size)]",
        "return [slice(i, i + min(internal_batch_size, n_rows)) for i in range(0, max(1, n_rows - internal_batch_size +"
        " 1), internal_batch_size)]",
        "test_gradients_do_not_depend_on_chunks",
    ),
    Fault(
        "core-mean-of-rows",
        "gradients of the mean of the rows instead of their sum",
        "torch.autograd.grad(scores.sum(), points, allow_unused=True)",
        "torch.autograd.grad(scores.mean(), points, allow_unused=True)",
        "test_gradients_match_captum_saliency",
    ),
    Fault(
        "core-count",
        "gradient evaluations counted by chunk",
        "self.gradient_evaluations += len(found[-1])",
        "self.gradient_evaluations += 1",
        "nbs/core/90_target_score.ipynb",
    ),
    Fault(
        "core-corner",
        "every segment ends at the end of the path",
        "corners[place % n_segments + 1]",
        "corners[-1:].expand_as(corners[place % n_segments])",
        "nbs/core/85_chunks.ipynb",
    ),
    Fault(
        "core-step-sign",
        "the step without its sign",
        "(self._at(self.weights, node) * step)",
        "(self._at(self.weights, node) * step.abs())",
        "nbs/core/85_chunks.ipynb",
    ),
    Fault(
        "core-room",
        "what the first rows need is forgotten",
        "max(size, budget * size // max(1, live.most))",
        "math.inf",
        "tests/test_core.py::test_rows_that_make_much_go_in_small_pieces",
    ),
    Fault(
        "core-room-errors",
        "every error is taken for memory that ran out",
        "if size == 1 or not memory_ran_out(error):",
        "if size == 1:",
        "tests/test_core.py::test_other_errors_are_not_taken_for_memory",
    ),
    Fault(
        "core-room-swallows",
        "an error of the model at the rows that are counted is passed over",
        "        raise self.failed",
        "        self.failed = None",
        "tests/test_core.py::test_an_error_of_the_model_comes_out_at_any_pass",
    ),
    Fault(
        "core-negative-target",
        "target -1 is the first class",
        "return target % sizes",
        "return target.clamp(min=0)",
        "test_targets_of_class_outputs",
    ),
    Fault(
        "core-sum-features",
        "mean over the features instead of the sum",
        "flat_rows(p).sum(1, dtype=torch.promote_types(p.dtype, torch.float32))",
        "flat_rows(p).to(torch.promote_types(p.dtype, torch.float32)).mean(1)",
        "tests/test_paths.py::test_double_precision_is_complete_to_sixteen_digits",
    ),
    Fault(
        "core-delta-sign",
        "the convergence error adds the change of score",
        "return sum_features(parts) - change",
        "return sum_features(parts) + change",
        "tests/test_paths.py::test_convergence_delta_of_other_attributions",
    ),
    Fault(
        "core-inputs-swapped",
        "features of several inputs given back in the wrong order",
        "parts = rows.split(sizes, 1)",
        "parts = rows.flip(1).split(sizes, 1)",
        "tests/test_neflag.py::test_tuple_of_inputs",
    ),
    Fault(
        "core-target-rows",
        "every row has the target of its place in the chunk",
        "column.index_select(0, examples) for column",
        "column[: len(output)] for column",
        "test_gradients_do_not_depend_on_chunks",
    ),
    Fault(
        "core-mode",
        "models stay in evaluation mode",
        "        elif held.training and not module.training:",
        "        elif held.training and not held.training:",
        "test_model_is_left_as_found",
    ),
    Fault(
        "core-holders",
        "who leaves first switches the model back for all",
        "        if held.holders:\n            return\n",
        "        if held.holders < 0:\n            return\n",
        "tests/test_threads.py",
    ),
    Fault(
        "core-buffers",
        "running statistics are not put back",
        "        if buffer._version != version:\n",
        "        if buffer._version < version:\n",
    ),
    Fault(
        "core-hooks",
        "hooks made meanwhile stay",
        "                d.pop(key, None)\n",
        "                pass\n",
    ),
    Fault(
        "core-roles",
        "tensors of the call are divided among the examples",
        "                entry[1] = False\n",
        "                entry[1] = True\n",
    ),
    Fault(
        "core-alone",
        "rows that influence each other are not noticed",
        "    if not change > tolerance:\n",
        "    if not change > tolerance * float('inf'):\n",
    ),
    Fault(
        "core-not-finite",
        "gradients of NaN pass",
        'refuse_not_finite(g, f"the gradient with respect to input {k}", examples.to(g.device))',
        "pass",
        "test_gradients_that_are_not_finite_are_refused_though_the_score_is",
    ),
    Fault(
        "core-in-place",
        "the model gets the points themselves",
        "    copies = tuple(p.clone() for p in points)\n",
        "    copies = tuple(points)\n",
    ),
    Fault(
        "core-threads",
        "modules that run in another thread are switched, too",
        "    watches = _watches.get(threading.get_ident())\n",
        "    watches = sum(_watches.values(), [])\n",
        "tests/test_threads.py",
    ),
    # statistics
    Fault(
        "statistics-interval",
        "a 95 % interval that holds 90 %",
        "[(1 - level) / 2, (1 + level) / 2]",
        "[1 - level, level]",
        "test_the_bootstrap_interval_is_that_of_a_plain_loop_and_of_each_column",
    ),
    Fault(
        "statistics-studentised",
        "few examples get an interval that is too narrow",
        "spreads = (shares @ centred.square() - shift.square()).clamp(min=0).sqrt().maximum(spread / 2)",
        "spreads = spread",
        "test_few_examples_are_covered_as_the_interval_says",
    ),
    Fault(
        "statistics-drawn",
        "the last example is never drawn",
        "torch.randint(n, (n_resamples, n)",
        "torch.randint(n - 1, (n_resamples, n)",
        "test_the_bootstrap_interval_is_that_of_a_plain_loop_and_of_each_column",
    ),
    Fault(
        "core-points-along",
        "the ends of a segment swapped",
        "points = flat[segment] * (1 - share) + flat[segment + 1] * share",
        "points = flat[segment] * share + flat[segment + 1] * (1 - share)",
        "test_points_along_a_path_are_evenly_spread",
    ),
    Fault(
        "core-layer-input",
        "the layer's output is explained instead of its input",
        "before = self.attribute_to_layer_input\n",
        "before = not self.attribute_to_layer_input\n",
        "tests/test_layers.py",
    ),
    Fault(
        "core-layer-threads",
        "other threads see the activation that is put in",
        "if threading.get_ident() != self.thread or not (self.running or recomputed):",
        "if not (self.running or recomputed):",
        "tests/test_layers.py::test_other_threads_do_not_see_the_exchange",
    ),
    Fault(
        "core-layer-recomputed",
        "a layer that is computed anew in the backward pass has its own activation",
        "recomputed = torch._C._current_graph_task_id() != -1",
        "recomputed = False",
        "tests/test_layers.py::test_layers_within_a_checkpoint",
    ),
    Fault(
        "core-entry",
        "of an output with logits the first tensor is taken",
        "found = [logits] if isinstance(logits, Tensor) else [tensor for _, tensor in _tensors(output)]",
        "found = [tensor for _, tensor in _tensors(output)][:1]",
        "tests/test_models_as_they_are.py::test_the_rule_finds_the_logits",
    ),
    Fault(
        "core-region",
        "a region's sum instead of its mean",
        "return (scores * weights).sum(region) / weights.sum(region)",
        "return (scores * weights).sum(region)",
        "tests/test_models_as_they_are.py::test_regions_weigh_their_places_and_wrong_ones_are_refused",
    ),
    Fault(
        "core-input-names",
        "inputs given by name are given by place, too",
        "return inputs[len(self.input_names) :], named, places",
        "return inputs, named, places",
        "tests/test_models_as_they_are.py::test_inputs_by_name_with_a_mask_for_each_example",
    ),
    Fault(
        "core-margin",
        "the margin's rival is the best class itself",
        "return outputs - torch.where(is_top, second, top)",
        "return outputs - top",
        "tests/test_core.py::test_the_margin_is_that_of_a_plain_loop",
    ),
    Fault(
        "core-lost-gradient",
        "the first module without a gradient is blamed instead of the last",
        "    last = call.inner[-1]\n",
        "    last = call.inner[0]\n",
        "tests/test_models_as_they_are.py::test_a_lost_gradient_is_refused_where_it_ends",
    ),
    Fault(
        "core-layer-twice",
        "a layer that runs several times is explained",
        "        if self.calls > 1:\n",
        "        if self.calls > 9:\n",
        "tests/test_layers.py::test_what_is_refused",
    ),
    Fault(
        "core-layer-baseline",
        "the baseline is an activation of zeros",
        "    return starts\n",
        "    return tuple(torch.zeros_like(t) for t in starts)\n",
        "tests/test_layers.py::test_straight_paths_equal_captum",
    ),
    Fault(
        "core-layer-around",
        "all examples run on the first one's input, though something leads around the layer",
        "if self._one_function_for_all and len(tensors[0]) > 1 and not score._leads_around(*how):",
        "if self._one_function_for_all and len(tensors[0]) > 1:",
        "tests/test_layers.py::test_a_connection_around_is_not_shared_by_the_examples_of_a_pool",
    ),
    Fault(
        "core-layer-written",
        "what comes after the layer writes into the activation",
        "own = tuple(p[:1].clone() for p in parts)",
        "own = tuple(p[:1] for p in parts)",
        "tests/test_layers.py::test_images_in_place_activations_and_chunks",
    ),
    # samples
    Fault(
        "samples-seed",
        "the seed of the pictures is ignored",
        "torch.Generator().manual_seed(3 * seed + k)",
        "torch.Generator().manual_seed(k)",
        "test_same_seed_same_pictures",
    ),
    Fault(
        "samples-marker",
        "the evidence leaves the marker out",
        "evidence |= marker",
        "evidence = evidence & ~marker",
        "test_pictures_of_any_size",
    ),
    Fault(
        "samples-overlap",
        "distractors overlap the evidence",
        "distractors & ~evidence, marker",
        "distractors | marker, marker",
        "test_pictures_of_any_size",
    ),
    Fault(
        "samples-triangle",
        "triangles larger than the other shapes",
        "inradius = (math.pi / 27**0.5) ** 0.5",
        "inradius = (math.pi / 20**0.5) ** 0.5",
        "nbs/samples/10_shapes.ipynb",
    ),
    Fault(
        "samples-moons",
        "both moons in one place",
        "torch.stack([1 - lower.cos(), 0.5 - lower.sin()], 1)",
        "torch.stack([lower.cos(), 0.5 - lower.sin()], 1)",
        "test_half_moons_without_noise_lie_on_two_circles",
    ),
    Fault(
        "samples-mark",
        "a mark is never in the last row or column",
        "* (size - side + 1)).long()",
        "* (size - side)).long()",
        "test_marks_lie_everywhere_and_classes_are_drawn",
    ),
    # photographs
    Fault(
        "photographs-normalise",
        "multiplied by the standard deviation",
        "return (x - self.mean) / self.std",
        "return (x - self.mean) * self.std",
        "test_normalize",
    ),
    Fault(
        "photographs-class-range",
        "one class number too many is accepted",
        "if not 0 <= number < len(categories):",
        "if not 0 <= number <= len(categories):",
        "test_class_numbers_end_with_the_classes",
    ),
    Fault(
        "photographs-crop",
        "pictures are cropped before they are resized",
        "return TF.convert_image_dtype(TF.pil_to_tensor(TF.center_crop(image, self.crop)), torch.float32)",
        "return TF.pil_to_tensor(TF.center_crop(image, self.crop)).float()",
        "test_state_files",
    ),
    Fault(
        "photographs-turn",
        "the orientation of a photograph is forgotten",
        "return image if turn is None else image.transpose(turn)",
        "return image",
        "test_orientation",
    ),
    Fault(
        "photographs-zero",
        "a TIFF whose zero is white comes as a negative",
        "            black, white = white, black\n",
        "            pass\n",
        "test_a_tiff_whose_zero_is_white",
    ),
    # plots
    Fault("plots-limits", "signed maps lose their negative half", "vmin=-limit if signed else 0", "vmin=0"),
    Fault(
        "plots-magnitude",
        "magnitudes keep their sign",
        'return (t.abs() if sign == "magnitude" else t).numpy()',
        "return t.numpy()",
    ),
    Fault(
        "plots-clip",
        "pictures clipped at the wrong range",
        ".permute(0, 2, 3, 1).clamp(0, 1).numpy()",
        ".permute(0, 2, 3, 1).clamp(0, .5).numpy()",
    ),
    Fault(
        "plots-shared",
        "a shared scale is each map's own",
        "end = color_limit(maps if shared_scale else values, percentile)",
        "end = color_limit(values, percentile)",
        "test_heat_maps_share_a_scale_when_asked",
    ),
    Fault(
        "plots-opacity",
        "the opacity of an overlay is ignored",
        "np.clip(np.abs(values) / end, 0, 1) * opacity, 1)",
        "np.clip(np.abs(values) / end, 0, 1), 1)",
        "test_an_overlay_is_as_opaque_as_asked_where_it_is_strongest",
    ),
    Fault(
        "plots-area",
        "the area under a curve by its right ends",
        "torch.trapezoid(_double(values), _double(x), dim=1), level",
        "(_double(values)[:, 1:] * _double(x).diff()).sum(1), level",
        "test_areas_are_those_of_the_measures",
    ),
    Fault(
        "plots-order",
        "features ordered by value instead of magnitude",
        'order = np.argsort(-np.abs(attribution), kind="stable")',
        'order = np.argsort(-attribution, kind="stable")',
        "test_bars_with_the_rest_are_the_whole_attribution",
    ),
    Fault(
        "plots-rest",
        "the bar of the rest leaves one feature out",
        "shown.append(attribution[order[k:]].sum())",
        "shown.append(attribution[order[k + 1:]].sum())",
        "test_bars_with_the_rest_are_the_whole_attribution",
    ),
    Fault(
        "plots-grid",
        "a landscape turned on its side",
        'torch.meshgrid(x, y, indexing="xy")',
        'torch.meshgrid(x, y, indexing="ij")',
        "test_a_landscape_runs_along_its_axes",
    ),
    Fault(
        "plots-flux",
        "the flux of the wrong sign",
        "flux = (slope.view(points.shape) * outward).sum(2)",
        "flux = -(slope.view(points.shape) * outward).sum(2)",
        "test_the_flux_is_gradient_times_normal",
    ),
    Fault(
        "plots-note",
        "the note on NaN pixels is dropped",
        "wrong = int((~np.isfinite(values)).sum())",
        "wrong = 0",
        "test_what_is_not_finite_is_refused_or_marked",
    ),
    Fault(
        "plots-frame",
        "the slider shows another frame's label",
        'data-label="{html.escape(label)}"',
        'data-label="{html.escape(alt)}"',
        "test_the_slider_is_self_contained_and_labelled",
    ),
    # paths
    Fault(
        "paths-weights",
        "Gauss weights that add up to 2",
        "weights = np.concatenate([rules[size][1] * size / (2 * n) for size in sizes])",
        "weights = np.concatenate([rules[size][1] * size / n for size in sizes])",
        "test_straight_path_equals_captum",
    ),
    Fault(
        "paths-trapezoid",
        "only one end of the trapezoid rule counts half",
        "weights[[0, -1]] /= 2",
        "weights[[0]] /= 2",
        "test_trapezoid_is_right_where_captum_is_low",
    ),
    Fault(
        "paths-riemann",
        "left and right Riemann sums swapped",
        '{"riemann_left": 0, "riemann_right": 1, "riemann_middle": 0.5}',
        '{"riemann_left": 1, "riemann_right": 0, "riemann_middle": 0.5}',
        "test_straight_path_equals_captum",
    ),
    Fault(
        "paths-cache",
        "the cached nodes themselves are handed out",
        "return nodes.clone(), weights.clone()",
        "return nodes, weights",
        "test_cached_nodes_can_not_be_spoilt",
    ),
    Fault(
        "paths-baseline",
        "the baseline is ignored",
        "return tuple(torch.stack([b, x.detach()], 1) for b, x in zip(starts, inputs, strict=True))",
        "return tuple(torch.stack([0 * b, x.detach()], 1) for b, x in zip(starts, inputs, strict=True))",
    ),
    Fault("paths-steps", "nodes per segment rounded down", "math.ceil(n_steps / segments)", "n_steps // segments"),
    Fault(
        "paths-note",
        "attributions that don't add up are not announced",
        "    if not complete.all():\n",
        "    if not complete.shape:\n",
        "test_an_incomplete_sum_is_one_warning_with_the_examples_and_the_cure",
    ),
    # neflag
    Fault(
        "neflag-hit",
        "points of positive flux count",
        "hit, ended = (flux < 0) & (at.step >= first_allowed)",
        "hit, ended = (flux > 0) & (at.step >= first_allowed)",
        "test_linear_score_in_closed_form",
    ),
    Fault(
        "neflag-first",
        "one search step too many",
        "hit, ended = (flux < 0) & (at.step >= first_allowed)",
        "hit, ended = (flux < 0) & (at.step > first_allowed)",
        "test_linear_score_in_closed_form",
    ),
    Fault(
        "neflag-sign",
        "attributions of the wrong sign",
        "return flux, -flow if",
        "return flux, flow if",
        "test_linear_score_in_closed_form",
    ),
    Fault("neflag-uphill", "the search climbs", "mul_(-length)", "mul_(length)"),
    Fault(
        "neflag-mean",
        "divided by the points that count",
        "checked_attributions(unflatten_features(total / n_points, tensors)",
        "checked_attributions(unflatten_features(total / found.hits.clamp(min=1)[:, None], tensors)",
    ),
    Fault(
        "neflag-rms",
        "a radius per feature grows with the number of features",
        'math.sqrt(features) if unit == "rms"',
        'features if unit == "rms"',
    ),
    Fault(
        "neflag-seed",
        "the seed is ignored",
        "torch.randn(like.shape[1], generator=generator, out=direction)",
        "torch.randn(like.shape[1], out=direction)",
        "test_more_points_keep_the_first_ones",
    ),
    Fault(
        "neflag-unit",
        "directions are not of unit length",
        "return directions / directions.norm(dim=1, keepdim=True)",
        "return directions",
    ),
    Fault(
        "neflag-clamp",
        "clamped points keep their unclamped displacement",
        "displacement = (y.unflatten(0, (len(here), -1)) - here).flatten(0, 1)",
        "displacement = displacement",
        "test_a_clamped_point_counts_with_the_way_that_is_left",
    ),
    Fault(
        "neflag-note",
        "examples without negative flux are not announced",
        "if missed:",
        "if missed and not steps:",
        "test_minimum_gives_zeros_and_one_warning",
    ),
    Fault(
        "neflag-closed-half",
        "the closed form counts the whole sphere, where the flux flows in through half of it",
        "half = F.norm(dim=1), _mean_size(F.shape[1]) / 2",
        "half = F.norm(dim=1), _mean_size(F.shape[1])",
    ),
    Fault(
        "neflag-closed-search",
        "the closed form searches first, for twice the gradients",
        'search_steps = 0 if true_or_false(closed_form, "closed_form") else search_steps',
        'search_steps = search_steps if true_or_false(closed_form, "closed_form") else search_steps',
    ),
    Fault(
        "neflag-vector",
        "flux times displacement instead of flux times normal",
        "else (flux / distance)[:, None] * displacement",
        "else flux[:, None] * displacement",
    ),
    # geodesic
    Fault(
        "geodesic-length",
        "length of the products instead of product of the lengths",
        "gradient.norm(dim=1) * step.norm(dim=1) * weights[node])",
        "terms.norm(dim=1))",
        "test_sandwich",
    ),
    Fault(
        "geodesic-w1",
        "magnitude of the sum instead of sum of the magnitudes",
        "w1.index_add_(0, edge, terms.abs().sum(1))",
        "w1.index_add_(0, edge, terms.sum(1).abs())",
        "test_sandwich",
    ),
    Fault(
        "geodesic-order",
        "the neighbours of many features are not put in order",
        "index.gather(1, order)[:, :k].cpu()",
        "index[:, :k].cpu()",
        "test_nearest_points",
    ),
    Fault(
        "geodesic-bridge",
        "neighbouring components get no bridge",
        "for b in range(a + 1, n):",
        "for b in range(a + 2, n):",
        "test_graph_is_connected_and_simple",
    ),
    Fault(
        "geodesic-loops",
        "every point is its own neighbour",
        "pairs = pairs[pairs[:, 0] != pairs[:, 1]]",
        "pairs = pairs[pairs[:, 0] >= 0]",
        "test_graph_is_connected_and_simple",
    ),
    Fault(
        "geodesic-steiner",
        "the first Steiner point lies on the end of its edge",
        "(number.cumsum(0) - number)[edge] + 1",
        "(number.cumsum(0) - number)[edge]",
        "test_steiner_points_lie_evenly_inside_the_edges",
    ),
    Fault(
        "geodesic-doubling",
        "nodes are not doubled where the integral is coarse",
        "keep_attributions, sweep.n_steps * 2**doubling)",
        "keep_attributions, sweep.n_steps)",
        "test_direct_edge_is_an_upper_bound",
    ),
    Fault(
        "geodesic-backwards",
        "edges walked backwards count forwards",
        "np.where(backwards, -1, 1)",
        "np.where(backwards, 1, 1)",
        "test_complete_and_bounded",
    ),
    Fault(
        "geodesic-reversed",
        "corners from the end to the start",
        "mine = order[first[q] : first[q + 1]][::-1]",
        "mine = order[first[q] : first[q + 1]]",
        "test_complete_and_bounded",
    ),
    Fault(
        "geodesic-energy",
        "the energy without the number of segments",
        "part = (path.shape[1] - 1) * ((steepness * weights)",
        "part = ((steepness * weights)",
        "test_the_energy_of_a_linear_score_in_closed_form",
    ),
    Fault(
        "geodesic-pull",
        "the pull on a corner from one side only",
        "gradient.index_put_((owner, place + 1), pull[1], accumulate=True)",
        "gradient.index_put_((owner, place + 1), pull[1], accumulate=False)",
        "test_the_energy_of_a_linear_score_in_closed_form",
    ),
    Fault(
        "geodesic-difference",
        "differences are divided by one step instead of two",
        "return size * (ahead - behind) / (2 * steps[:, None])",
        "return size * (ahead - behind) / steps[:, None]",
        "tests/test_slopes.py::test_the_energy_by_differences_is_the_exact_one",
    ),
    Fault(
        "geodesic-step",
        "the longest step is taken, not the best",
        "            better = apart < error\n",
        "            better = (apart < error) & error.isinf()\n",
        "tests/test_slopes.py::test_differences_against_the_exact_product",
    ),
    Fault(
        "geodesic-steps-of-others",
        "every example has the first one's step",
        "    steps = self.steps[examples]\n",
        "    steps = self.steps[:1].expand(len(examples))\n",
        "tests/test_slopes.py::test_every_example_has_a_step_of_its_own",
    ),
    Fault(
        "geodesic-silent",
        "second derivatives that are wrong are taken",
        "self.trusted = self.trusted or self._agrees(score, path, example)",
        "self.trusted = True",
        "tests/test_slopes.py::test_the_way_that_is_taken",
    ),
    Fault(
        "geodesic-swallowed",
        "memory that isn't there is a missing derivative",
        "            if memory_ran_out(error):\n                raise\n",
        "",
        "tests/test_slopes.py::test_errors_of_the_model_and_missing_memory_are_no_missing_derivative",
    ),
    Fault(
        "geodesic-modes",
        "bends that are not orthonormal",
        "* math.sqrt(2 / n_segments)",
        "* math.sqrt(1 / n_segments)",
        "test_sine_basis",
    ),
    Fault(
        "geodesic-backtracking",
        "every step of the search is accepted",
        "accepted = trial_value <= value[rows] + 1e-4 * step[rows] * slope[rows]",
        "accepted = trial_value <= math.inf",
        "test_no_step_of_the_search_goes_uphill",
    ),
    Fault(
        "geodesic-better",
        "the longer path is kept",
        "better = (found.length < best.length[which]) & right",
        "better = (found.length > best.length[which]) & right",
        "test_never_longer_than_its_start",
    ),
    Fault(
        "geodesic-spread",
        "the spread is not taken around its own mean",
        "(squares / n_samples - offset.square()).clamp(min=0).sqrt()",
        "(squares / n_samples).sqrt()",
        "test_the_spread_is_that_around_its_own_mean",
    ),
    Fault(
        "geodesic-beta",
        "the published energy flees the gradient",
        "(weight * norms(offset) - beta * norms(slope(line + offset, owner))).sum()",
        "(weight * norms(offset) + beta * norms(slope(line + offset, owner))).sum()",
        "test_the_published_energy_seeks_steep_places",
    ),
    Fault(
        "geodesic-target",
        "all examples share the first one's target",
        "return [((row,), [i for i in range(n) if rows[i] == row]) for row in dict.fromkeys(rows)]",
        "return [((rows[0],), list(range(n)))]",
        "test_batch_equals_examples_and_chunks",
    ),
    Fault(
        "geodesic-stale",
        "kept fits are used whatever the score is now",
        "        eps = torch.finfo(score.inputs[0].dtype).eps\n        allowed = (32",
        "        return True\n        eps = torch.finfo(score.inputs[0].dtype).eps\n        allowed = (32",
        "test_changed_model_is_noticed",
    ),
    Fault(
        "geodesic-diffusion",
        "light leaves at the picture's edge",
        "(near.sum(1).diag() - near)",
        "(2 * torch.eye(n, dtype=torch.float64) - near)",
        "test_versions_are_what_diffusion_and_dimming_make_of_the_image",
    ),
    Fault(
        "geodesic-owner",
        "every picture's versions have the first one's score",
        "costs = self._costs(sweep, owner, points, scores, edges)",
        "costs = self._costs(sweep, 0 * owner, points, scores, edges)",
        "test_paths_through_versions_keep_to_their_own_picture",
    ),
    # equilibrium
    Fault(
        "equilibrium-pooling",
        "the gradient is not averaged over the map",
        "weight = gradient.mean(places, keepdim=True)\n",
        "weight = gradient\n",
    ),
    Fault(
        "equilibrium-ratio",
        "the ratio holds in 1x1 layers too",
        "alpha=1.0 if thin else ratio, out",
        "alpha=ratio, out",
        "test_rule_and_gap_of_one_layer",
    ),
    Fault(
        "equilibrium-suppressor",
        "the suppressor adds",
        "result.addcmul_(reached, -to_each(unit",
        "result.addcmul_(reached, +to_each(unit",
        "test_rule_and_gap_of_one_layer",
    ),
    Fault(
        "equilibrium-pixel",
        "positive and negative weights swapped at the pixels",
        "up, down = weight.clamp(min=0), weight.clamp(max=0)",
        "down, up = weight.clamp(min=0), weight.clamp(max=0)",
        "test_any_convolution_against_matrices",
    ),
    Fault(
        "equilibrium-range",
        "the smallest pixel of the whole batch",
        "low, high = (to_each(one, inputs.shape, examples.inputs) for one in (rows.amin(1),",
        "low, high = (to_each(one, inputs.shape, examples.inputs) for one in (rows.amin().expand(len(rows)),",
        "test_batch_equals_single_images_and_chunks",
    ),
    Fault(
        "equilibrium-average",
        "average pooling passes relevance to negative inputs",
        "x = (call.inputs[0].clamp(min=0) + 1e-9).requires_grad_()",
        "x = (call.inputs[0].abs() + 1e-9).requires_grad_()",
        "test_average_pooling_passes_nothing_to_negative_inputs",
    ),
    Fault(
        "equilibrium-branch",
        "all relevance to the shorter branch",
        "if d == max(depths) else None",
        "if d == min(depths) else None",
    ),
    Fault(
        "equilibrium-half",
        "each of two branches gets the whole",
        "return (relevance / 2,) * 2",
        "return (relevance,) * 2",
    ),
    Fault(
        "equilibrium-gate",
        "the gate gets the relevance",
        "return tuple(None if g else _fit(relevance, x)",
        "return tuple(None if not g else _fit(relevance, x)",
    ),
    Fault(
        "equilibrium-weights",
        "negative weights are left out",
        "    size = weight.abs()\n    thin = all(",
        "    size = weight.clamp(min=0)\n    thin = all(",
        "test_any_convolution_against_matrices",
    ),
    Fault(
        "equilibrium-merge",
        "where branches meet only one counts",
        "return b if a is None else a if b is None else a + b",
        "return b if a is None else a",
    ),
    Fault(
        "equilibrium-linear",
        "linear layers are not thin",
        "lambda s: s @ size.mT, True, of, examples",
        "lambda s: s @ size.mT, False, of, examples",
        "test_a_linear_layer_is_a_convolution_of_one_pixel",
    ),
    Fault(
        "equilibrium-gap",
        "the expected gap is off by one",
        "return (ratio + 1) * p - q - z",
        "return ratio * p - q - z",
        "test_rule_and_gap_of_one_layer",
    ),
    Fault(
        "equilibrium-chunks",
        "layers of the first chunk only",
        "None if n[0] is None else torch.cat(n) for n in numbers",
        "None if n[0] is None else n[0] for n in numbers",
        "test_batch_equals_single_images_and_chunks",
    ),
    Fault(
        "equilibrium-note",
        "maps of zeros are not announced",
        "nothing = [k for k, z in enumerate(zero) if z]",
        "nothing = []",
        "test_vanishing_gradient_warns_and_names_the_images",
    ),
    Fault(
        "equilibrium-view",
        "a view still shows what was there before a write",
        "        if seen != len(storage.writes):\n",
        "        if seen is None:\n",
        "test_decisions_by_values_and_writes_through_views_are_followed",
    ),
    Fault(
        "equilibrium-kept",
        "numbers that a rule looks at are not saved from in-place operations",
        "kept.tensor = kept.tensor.clone()",
        "pass",
    ),
    Fault(
        "equilibrium-writes",
        "of two writes the first one stays",
        "    for part, written in zip(parts, specs, strict=True):\n",
        "    for part, written in reversed(list(zip(parts, specs, strict=True))):\n",
    ),
    Fault(
        "equilibrium-axis",
        "examples folded with places count as one after the other",
        "along = numbers if inner == 1 else numbers.repeat_interleave(inner)",
        "along = numbers if inner == 1 else numbers.repeat(inner)",
    ),
    Fault(
        "equilibrium-stop",
        "the gradient of a start layer also goes by way of the others",
        "torch.zeros_like(g) if k == output and g is not None else g",
        "g",
        "test_a_skip_path_round_the_last_map_starts_too",
    ),
    Fault(
        "equilibrium-recurrent",
        "the state before gets what comes from the input",
        "    return relevance * part, relevance * (1 - part)\n",
        "    return relevance * (1 - part), relevance * part\n",
    ),
    Fault(
        "equilibrium-way",
        "every output is thought to have gone up",
        "way = torch.ones_like(pulls).masked_fill_(pulls < 0, -1)",
        "way = torch.ones_like(pulls)",
        "tests/test_equilibrium_attention.py::test_linear_layers_pair_by_pair_and_their_law",
    ),
    Fault(
        "equilibrium-resist",
        "supporters answer for the negative, too",
        "    others = everybody - supporters\n",
        "    others = everybody - 0 * supporters\n",
        "tests/test_equilibrium_attention.py::test_linear_layers_pair_by_pair_and_their_law",
    ),
    Fault(
        "equilibrium-agree",
        "terms of an addition that resist get the positive part, too",
        "along > 0).to(terms)",
        "along != 0).to(terms)",
        "tests/test_equilibrium_attention.py::test_an_addition_is_a_layer_with_weights_of_one",
    ),
    Fault(
        "equilibrium-held",
        "an attention's weights get what belongs to its values",
        "carriers = [held.index(False)]",
        "carriers = [held.index(True)]",
        "tests/test_equilibrium_attention.py::test_one_attention_in_any_spelling",
    ),
    Fault(
        "equilibrium-masked",
        "masked places answer for the negative",
        "share = share - taken",
        "share = share - 0 * taken",
        "tests/test_equilibrium_attention.py::test_padding_and_what_comes_later_get_nothing",
    ),
    Fault(
        "equilibrium-causal",
        "a query doesn't see its own place",
        "device=key.device).triu(1)",
        "device=key.device).triu(0)",
        "tests/test_equilibrium_attention.py::test_weights_of_a_fused_attention_in_pieces",
    ),
    Fault(
        "equilibrium-heads",
        "heads that share a key are taken for the next ones",
        "return total.unflatten(1, (-1, self.groups)).sum(2)",
        "return total.unflatten(1, (self.groups, -1)).sum(1)",
        "tests/test_equilibrium_attention.py::test_weights_of_a_fused_attention_in_pieces",
    ),
    Fault(
        "equilibrium-contrast",
        "the contrast's score isn't subtracted",
        "gradients = recording.gradients(scores - less)",
        "gradients = recording.gradients(scores)",
        "tests/test_equilibrium.py::test_a_contrast_is_the_difference_of_two_scores",
    ),
    Fault(
        "equilibrium-next",
        "the strongest other class may be the target",
        "    others[rows, number] = -torch.inf\n",
        "",
        "tests/test_equilibrium.py::test_the_next_class_is_the_strongest_other_one_at_each_input",
    ),
    Fault(
        "equilibrium-difference",
        "a difference is taken for a sum",
        "(-1 if call.operation is not aten.add else 1)",
        "1",
        "tests/test_equilibrium_attention.py::test_a_difference_is_a_sum",
    ),
    Fault(
        "equilibrium-digits",
        "a difference of nearly equal products stands for the product",
        "rest = forward(given[1].neg_().add_(1))",
        "rest = rest.clamp(min=0)",
        "tests/test_equilibrium_counts.py::test_a_product_had_by_subtraction_keeps_its_digits",
    ),
    Fault(
        "equilibrium-many",
        "what active and inactive neurons send is swapped where more are active",
        "return (x, rest, few) if many else (x, few, rest)",
        "return (x, few, rest)",
        "tests/test_equilibrium_counts.py::test_a_product_had_by_subtraction_keeps_its_digits",
    ),
    Fault(
        "equilibrium-places",
        "places that a maximum found aren't saved from the model",
        "record.winners = self.keep(result[1], True)",
        "record.winners = Kept(result[1])",
        "tests/test_equilibrium_counts.py::test_places_that_a_model_writes_over_are_kept",
    ),
    # measures
    Fault(
        "measures-units",
        "patches numbered by the wrong side",
        "number = number * math.ceil(shape[d] / side) + index.view",
        "number = number * math.ceil(shape[1] / side) + index.view",
        "test_curves_equal_plain_loops",
    ),
    Fault(
        "measures-magnitude",
        "importance by magnitude keeps the sign",
        'if sign == "magnitude":\n        a = a.abs()',
        'if sign == "magnitude":\n        a = a + 0',
        "test_curves_equal_plain_loops",
    ),
    Fault(
        "measures-count",
        "one unit too many is removed",
        "from_input = (place[e, None] < counts[e, j]) == inserting[j]",
        "from_input = (place[e, None] <= counts[e, j]) == inserting[j]",
        "test_curves_equal_plain_loops",
    ),
    Fault(
        "measures-width",
        "the area is not divided by the width of the curve",
        "return torch.trapezoid(curve, fractions.to(curve), dim=1) / width",
        "return torch.trapezoid(curve, fractions.to(curve), dim=1)",
        "test_curves_equal_plain_loops",
    ),
    Fault(
        "measures-ends",
        "a curve ends where it began",
        "torch.cat([found[name], found[other][:, :1]], 1)",
        "torch.cat([found[name], found[name][:, :1]], 1)",
        "test_curves_equal_plain_loops",
    ),
    Fault(
        "measures-sufficiency",
        "sufficiency removes what it should keep",
        '("whole", "kept"),',
        '("whole", "removed"),',
        "test_top_fraction_equals_plain_loops",
    ),
    Fault(
        "measures-floor",
        "29 % of 100 units are 28",
        "self._counts = (fractions * masking.units + 1e-9).floor().long()",
        "self._counts = (fractions * masking.units).floor().long()",
        "test_a_fraction_of_a_hundred_units_is_that_many",
    ),
    Fault(
        "measures-log-odds",
        "log-odds of the wrong sign",
        "return removed - whole",
        "return whole - removed",
        "test_top_fraction_equals_plain_loops",
    ),
    Fault(
        "measures-tie",
        "classes that tie all count as predicted",
        "largest / largest.sum(self._classes(output), keepdim=True)",
        "largest",
        "test_classes_that_tie_share_the_prediction",
    ),
    Fault(
        "measures-sizes",
        "large units weigh more in a random order",
        "return (values / size.clamp(min=1)).gather(1, number)",
        "return values.gather(1, number)",
        "test_random_orders_are_fair_for_units_of_any_size",
    ),
    Fault(
        "measures-draws",
        "all random orders are the same",
        'maps = (random_map(x, settings.get("unit", 1), generator) for _ in range(n_samples))',
        'maps = (random_map(x, settings.get("unit", 1), seed) for _ in range(n_samples))',
        "test_every_draw_of_the_floor_is_another_order",
    ),
    Fault(
        "measures-greedy",
        "the greedy search goes the same way for insertion",
        'sign = 1 if towards == "deletion" else -1',
        "sign = 1",
        "test_the_greedy_search_for_insertion_ranks_last_what_is_missed_least",
    ),
    Fault(
        "measures-smooth",
        "smoothing reaches as far up and left as down and right",
        "around = ((side - 1) // 2, side // 2) * dims",
        "around = (side // 2, (side - 1) // 2) * dims",
        "test_smoothing_is_of_the_map_that_ranks",
    ),
    Fault(
        "measures-imputation",
        "neighbours outside the picture count as black ones",
        "_neighbours(torch.ones_like(x[:1]))",
        "torch.ones_like(x[:1])",
        "test_imputation_solves_the_equations_of_road",
    ),
    Fault(
        "measures-needed",
        "the number of images for a single interval, whatever the power",
        "for p in (1 - (1 - level) / 2, power))",
        "for p in (1 - (1 - level) / 2,))",
        "test_images_needed_is_the_size_of_a_study",
    ),
    Fault(
        "measures-class",
        "pixels of both objects count for the first",
        "((first, second), (second, first))]",
        "((first, first & False), (second, first))]",
        "test_class_sensitivity_equals_plain_loops",
    ),
    Fault(
        "measures-cells",
        "cells of DiFull see each other",
        'if self.setting == "DiFull":',
        'if self.setting == "":',
        "test_a_grid_network_keeps_its_cells_apart",
    ),
    Fault(
        "measures-share",
        "a mean of ratios instead of a ratio of means",
        "return (self.value - self.floor.mean(0)).mean().item() / range_ if range_ else math.nan",
        "return ((self.value - self.floor.mean(0)) / self.range).mean().item() if range_ else math.nan",
        "test_the_share_of_the_way_is_a_ratio_of_means",
    ),
    Fault(
        "measures-boxes",
        "pixels without their centres",
        "rows, columns = torch.arange(height)[:, None] + 0.5, torch.arange(width) + 0.5",
        "rows, columns = torch.arange(height)[:, None] + 0.0, torch.arange(width) + 0.0",
        "test_baseline_maps_and_boxes",
    ),
    Fault(
        "measures-tolerance",
        "the tolerance is one pixel short in each row",
        "half = min(int(distance + 1e-9), masks.shape[1] - 1)",
        "half = min(max(int(distance + 1e-9) - 1, 0), masks.shape[1] - 1)",
        "test_localisation_equals_plain_loops",
    ),
    Fault(
        "measures-energy",
        "the share of the outside",
        "return (positive * masks).flatten(1).sum(1) / positive.flatten(1).sum(1)",
        "return (positive * ~masks).flatten(1).sum(1) / positive.flatten(1).sum(1)",
        "test_localisation_equals_plain_loops",
    ),
    Fault(
        "measures-missed",
        "a total miss is the best",
        "return outside / (outside + inside)",
        "return inside / (outside + inside)",
        "test_localisation_equals_plain_loops",
    ),
    Fault(
        "measures-iou",
        "tied pixels all count",
        "common = ((above + tied * share) * inside).sum(1)",
        "common = ((above | tied) * inside).sum(1)",
        "test_localisation_equals_plain_loops",
    ),
    Fault(
        "measures-complete",
        "the completeness error adds",
        "error = (flat_rows(a).sum(1) - change).abs()",
        "error = (flat_rows(a).sum(1) + change).abs()",
        "test_axioms_of_integrated_gradients",
    ),
    Fault(
        "measures-shake",
        "inputs are changed in one direction only",
        "return inputs + perturb_radius * (2 * _draws(x.shape, len(inputs) // len(x), generator).to(inputs) - 1)",
        "return inputs + perturb_radius * _draws(x.shape, len(inputs) // len(x), generator).to(inputs)",
        "test_sensitivity_is_the_largest_change_over_the_same_draws_in_any_chunks",
    ),
    Fault(
        "measures-infidelity",
        "the substrate is left out of the perturbation",
        "return mask if contributions else mask * (rows - baselines)",
        "return mask if contributions else mask * rows",
        "test_gradients_are_faithful_to_a_linear_score_whatever_the_substrate",
    ),
    Fault(
        "measures-ranks",
        "equal numbers have different ranks",
        "(ordered.diff(dim=1) != 0).long()",
        "(ordered.diff(dim=1) >= 0).long()",
        "test_rank_correlation_equals_scipy",
    ),
    Fault(
        "measures-similarity",
        "variances of the population",
        "correction = window**2 / (window**2 - 1)",
        "correction = 1",
        "test_structural_similarity_against_loops",
    ),
    Fault(
        "measures-restored",
        "the random weights stay",
        "            finally:\n                _restore(model, saved)\n",
        "            finally:\n                pass\n",
        "test_cascade_goes_from_the_top_and_restores_every_bit",
    ),
    Fault(
        "measures-cascade",
        "the first layer is randomised first",
        "return sorted(owners, key=place.get, reverse=True)",
        "return sorted(owners, key=place.get)",
        "test_cascade_goes_from_the_top_and_restores_every_bit",
    ),
    Fault(
        "measures-purity",
        "the half with the largest attributions",
        "below, tied = size < last, size == last",
        "below, tied = size > last, size == last",
        "test_purity_equals_plain_loops",
    ),
    Fault(
        "measures-noise-seed",
        "the seed of the noise substrate is ignored",
        "return torch.rand(x.shape[1:], generator=random_generator(seed)",
        "return torch.rand(x.shape[1:], generator=random_generator(0)",
        "test_the_noise_substrate_has_its_seed",
    ),
    Fault(
        "measures-conservation",
        "the mean departure of the layers",
        "return departure if per_layer else departure.amax(1)",
        "return departure if per_layer else departure.mean(1)",
        "test_dummies_and_conservation",
    ),
    Fault(
        "measures-better",
        "lower deletion scores count as worse",
        '_of_curves("deletion_score", "lower", deletion)',
        '_of_curves("deletion_score", "higher", deletion)',
        "tests/test_benchmark.py::test_the_table_knows_which_way_is_better",
    ),
    Fault(
        "measures-masks",
        "masks of other examples",
        "masks = None if self.masks is None else self.masks[rows]",
        "masks = None if self.masks is None else self.masks[: len(rows)]",
        "tests/test_benchmark.py::test_a_measure_that_takes_single_examples_sees_their_masks",
    ),
    Fault(
        "measures-shared-rows",
        "the row by which the model is checked is kept instead of the masked ones",
        "chunks.append(notes.pop(0))",
        "chunks.append(notes.pop())",
        "test_measures_at_a_fraction_share_their_rows",
    ),
    # methods
    Fault(
        "methods-link",
        "the model that is explained gives logits, whatever the score",
        "            return self.link(outputs)\n",
        "            return outputs\n",
        "test_the_model_that_is_explained_gives_the_score",
    ),
    Fault(
        "methods-activity",
        "the negative part counts as activity",
        "return self.positive(output)",
        "return output",
        "test_activity_is_the_mean_of_the_positive_part_of_the_last_map_whatever_the_class",
    ),
    Fault(
        "methods-spelling",
        "capital letters count in names",
        "text.lower())\n",
        "text)\n",
        "test_names_in_any_spelling",
    ),
    Fault(
        "methods-order",
        "settings of the method come before those of the call",
        "{**chosen, **self.settings, **settings}",
        "{**chosen, **settings, **self.settings}",
        "test_settings_of_the_call_come_before_those_of_the_method",
    ),
    Fault(
        "methods-seed",
        "the seed doesn't reach the method",
        "wanted = dict(seed=seed)",
        "wanted = dict(seed=0)",
        "test_the_seed_reaches_the_method_or_the_global_generators",
    ),
    Fault(
        "methods-count",
        "rows without a gradient count as gradients",
        "rows * torch.is_grad_enabled()",
        "rows",
        "test_the_model_that_is_explained_gives_the_score",
    ),
    Fault(
        "methods-flags",
        "what is found on the way is not asked for",
        "dict.fromkeys(method.flags if findings else (), True)",
        "{}",
        "test_what_is_found_on_the_way_answers_the_protocol_or_nothing",
    ),
    Fault(
        "methods-global-seed",
        "the global generators are left seeded",
        "np.random.set_state(state)",
        "pass",
        "tests/test_benchmark.py::test_the_global_generators_are_left_as_they_were",
    ),
    # text
    Fault(
        "text-mean",
        "the mean over the dimensions instead of the sum",
        "found.double().mean(2) if grouped else found.double().sum(2)",
        "found.double().mean(2)",
        "test_of_a_linear_model_every_complete_method_says_what_each_token_adds",
    ),
    Fault(
        "text-unknown",
        "unknown words are kept out like padding",
        "if k != unknown or k in added}",
        "if k in added or k == unknown}",
        "test_text_ids_and_encodings_are_the_same",
    ),
    Fault(
        "text-special",
        "special tokens change at the baseline, too",
        "return torch.where(kept[..., None], start, inside.embeddings)",
        "return start.contiguous()",
        "test_a_straight_path_begins_at_the_baseline_that_is_asked_for",
    ),
    Fault(
        "text-last",
        "the last position is that of the padding",
        "int(mask[0].nonzero().max()) if shape[1] == mask.shape[1] else shape[1] - 1",
        "shape[1] - 1",
        "test_next_tokens_are_asked_about_at_a_position",
    ),
    Fault(
        "text-mask",
        "padding counts as text",
        "kept &= mask.bool()",
        "kept &= True",
        "test_it_is_the_method_on_the_embeddings_summed",
    ),
    Fault(
        "text-way",
        "a model whose output changes is explained all the same",
        "own.shape == whole.shape and _differs(own, whole) <= _tolerance(whole)",
        "own.shape == whole.shape",
        "nbs/text/10_embedding.ipynb",
    ),
    Fault(
        "text-escape",
        "markup in tokens is markup",
        "{html.escape(_shown(token))}</span>",
        "{_shown(token)}</span>",
        "test_tokens_are_text_whatever_they_hold",
    ),
    Fault(
        "text-colour",
        "blue speaks for",
        "colormaps[SIGNED_COLORS]((max(-1.0, min(1.0, value / limit)) + 1) / 2)",
        "colormaps[SIGNED_COLORS]((max(-1.0, min(1.0, -value / limit)) + 1) / 2)",
        "test_red_is_for_blue_against_and_grey_holds_no_number",
    ),
    # testing
    Fault(
        "testing-gap",
        "a difference of any size is rounding",
        "hold(gap <= self.rtol * largest,",
        "hold(gap <= largest / self.rtol,",
        "tests/test_contract.py::test_a_broken_method_is_caught_by_its_clause",
    ),
    Fault(
        "testing-hooks",
        "hooks of the modules are not looked at",
        "list(getattr(m, kind)) for m in modules",
        "[] for m in modules",
        "tests/test_contract.py::test_a_broken_method_is_caught_by_its_clause",
    ),
    Fault(
        "testing-seed",
        "nothing is drawn between two calls",
        "torch.manual_seed(1)",
        "torch.manual_seed(torch.initial_seed())",
        "tests/test_contract.py::test_a_broken_method_is_caught_by_its_clause",
    ),
    Fault(
        "testing-growth",
        "any growth is let pass",
        "hold(counts[1] <= counts[0],",
        "hold(counts[1] >= counts[0],",
        "tests/test_contract.py::test_a_broken_method_is_caught_by_its_clause",
    ),
    Fault(
        "testing-copy",
        "the caller's model is used, not a copy",
        "else copy.deepcopy(model)",
        "else model",
        "tests/test_contract.py::test_a_score_without_classes_and_the_callers_model_are_left_alone",
    ),
    Fault(
        "methods-white",
        "the white baseline is black",
        "return torch.ones_like(x) if white else start.contiguous()",
        "return torch.zeros_like(x) if white else start.contiguous()",
        "tests/test_explore.py::test_baselines_by_name",
    ),
    # benchmark
    Fault(
        "benchmark-seed",
        "every example has the same seed",
        'hashlib.sha256(_text_bytes(f"{seed}\\0{name}"))',
        'hashlib.sha256(_text_bytes(f"{seed}"))',
        "test_seeds_belong_to_examples",
    ),
    Fault(
        "benchmark-beaten",
        "a floor counts as beaten when the mean is better",
        "most=2000)[1] or 0) > 0",
        "most=2000)[0] or 0) > 0",
        "test_a_floor_is_beaten_where_the_paired_interval_excludes_it",
    ),
    Fault(
        "benchmark-draws",
        "the random floor has a single draw",
        "for one in (case, *_further_draws(case))]",
        "for one in (case,)]",
        "test_a_random_floor_is_the_mean_of_three_draws",
    ),
    Fault(
        "benchmark-difference",
        "differences of the wrong sign",
        "pairs = values - base",
        "pairs = base - values",
        "test_intervals_are_paired",
    ),
    Fault(
        "benchmark-predicted",
        "the least probable class is explained",
        "e.predicted = int(outputs.argmax())",
        "e.predicted = int(outputs.argmin())",
        "test_targets",
    ),
    Fault(
        "benchmark-random",
        "methods that draw get whole blocks",
        "if self.method.random or self.findings or len(inputs) == 1:",
        "if self.findings or len(inputs) == 1:",
        "test_a_method_that_draws_is_called_with_one_example",
    ),
    Fault(
        "benchmark-nan",
        "attributions of NaN are kept",
        "one if torch.isfinite(one).all() else reason",
        "one if one is not None else reason",
        "test_failures_are_of_one_example",
    ),
    Fault(
        "benchmark-cost",
        "the cost of a block for every example",
        "cost = [round(c / len(examples), 3)",
        "cost = [round(c / 1, 3)",
        "test_rows_of_ones_own_methods_are_counted_where_they_are_seen",
    ),
    Fault(
        "benchmark-weights",
        "weights are told apart by their names only",
        'whole.update(_tensor_bytes(value) if value.numel() else b"")',
        'whole.update(b"")',
        "test_hash_of_weights_sees_every_value",
    ),
    Fault(
        "benchmark-retry",
        "what failed is never done again",
        "list(plan.methods)) > (1 if plan.retry_failed else 0)",
        "list(plan.methods)) > 0",
        "test_retry_failed_does_again_what_failed_and_only_that",
    ),
    # explore
    Fault(
        "explore-region",
        "rows and columns of a region swapped",
        "inside[tuple(map(slice, region[: len(sides)], region[len(sides) :]))] = True",
        "inside[tuple(map(slice, region[: len(sides)], region[len(sides) :]))[::-1]] = True",
        "test_region_by_clicks_sliders_and_trait",
    ),
    Fault(
        "explore-recent",
        "what was looked at again is dropped first",
        "            self._values.move_to_end(key)\n",
        "",
        "test_what_was_looked_at_last_is_dropped_last",
    ),
    Fault(
        "explore-replaced",
        "an outdated job runs to its end",
        "            if self._running is not None and self._running[0] == key:\n               "
        " self._running[1].set()\n",
        "",
        "test_a_running_job_is_told_to_stop_when_another_takes_its_place",
    ),
    Fault(
        "explore-threads",
        "calls of other threads are counted",
        "    if threading.get_ident() != self.thread:\n        return\n",
        "",
        "test_watch_counts_only_its_own_thread",
    ),
    Fault(
        "explore-curve",
        "the pictures of deletion and insertion swapped",
        '_masked(x, chosen if kind == "insertion" else ~chosen, empty, fill)',
        '_masked(x, chosen if kind == "deletion" else ~chosen, empty, fill)',
        "test_the_film_of_a_curve_removes_or_inserts",
    ),
    Fault(
        "explore-corners",
        "a region ends at the first corner",
        "*map(max, first[2:], cell[2:])",
        "*map(min, first[2:], cell[2:])",
        "test_region_by_clicks_sliders_and_trait",
    ),
    Fault(
        "explore-cancelled",
        "a cancelled job goes on",
        "    if self.stop.is_set():\n        raise Cancelled()\n",
        "    return\n",
        "test_cancel_stops_at_the_next_call",
    ),
    Fault(
        "explore-stale",
        "results of old weights stay in the cache",
        "else ResultCache(earlier.cache.limit / 1e6, earlier.cache.entries)",
        "else earlier.cache",
        "test_a_changed_model_is_explained_anew",
    ),
    Fault(
        "explore-form-logarithm",
        "the ends of a logarithmic slider are taken for its values",
        '(10**self.min, 10**self.max) if self.kind == "logarithm"',
        '(self.min, self.max) if self.kind == "logarithm"',
        "nbs/explore/32_forms.ipynb",
    ),
    Fault(
        "explore-form-choice",
        "an answer behind the last option is taken for the first from the end",
        "if answer not in range(len(self.choices)):",
        "if answer >= len(self.choices):",
        "nbs/explore/32_forms.ipynb",
    ),
    Fault(
        "explore-form-finite",
        "infinity is a number of a slider",
        "or not all(map(math.isfinite, numbers))",
        "or not numbers",
        "nbs/explore/32_forms.ipynb",
    ),
    Fault(
        "explore-form-disabled",
        "a button that is disabled can be pressed",
        'part.kind == "button" and not part.disabled',
        'part.kind == "button"',
        "nbs/explore/32_forms.ipynb",
    ),
    Fault(
        "explore-form-refused",
        "the browser keeps an answer that was refused",
        "        part.value = value\n        setattr(self, part.key, part.state())",
        "        part.value = value",
        "nbs/explore/32_forms.ipynb",
    ),
    Fault(
        "explore-form-order",
        "parts that were shown once stay",
        "self.order = [part.key for part in parts]",
        "self.order = list(self.parts)",
        "nbs/explore/32_forms.ipynb",
    ),
    Fault(
        "explore-form-typed",
        "what is no number stays in the field of a slider",
        "    else draw(now);",
        "",
        "tests/test_widgets.py::test_all_parts_have_names_and_obey_the_keyboard",
    ),
    Fault(
        "explore-map-scale",
        "the browser gets a map that is not scaled",
        "(values / (largest or 1.0))",
        "(values / 1.0)",
        "nbs/explore/33_maps.ipynb",
    ),
    Fault(
        "explore-map-sent",
        "a new map is not drawn",
        "self.label, self.sent = label, self.sent + 1",
        "self.label = label",
        "nbs/explore/33_maps.ipynb",
    ),
    Fault(
        "explore-map-outline",
        "the border of a region stays when there is none",
        "self.region = list(region or [])",
        "self.region = list(region or self.region)",
        "nbs/explore/33_maps.ipynb",
    ),
    Fault(
        "explore-map-percentile",
        "the browser cuts a map off one value lower",
        "at = (percentile / 100) * last,",
        "at = (percentile / 100) * (last - 1),",
        "tests/test_widgets.py::test_the_browser_draws_the_map_that_python_draws",
    ),
    Fault(
        "explore-map-not-finite",
        "what is no number is as pale as zero",
        'const over = view === "map" || !finite ? 1',
        'const over = view === "map" ? 1',
        "tests/test_widgets.py::test_the_browser_draws_the_map_that_python_draws",
    ),
    # cli
    Fault(
        "cli-target",
        "the least probable class is explained",
        "predicted = probabilities.argmax(1).tolist()",
        "predicted = probabilities.argmin(1).tolist()",
        "test_the_table_and_the_targets_are_those_of_the_images",
    ),
    Fault(
        "cli-error",
        "the completeness error of the first image only",
        "completeness_error=None if error.isnan().any() else error.mean().item()",
        "completeness_error=None if error.isnan().any() else error[0].item()",
        "test_the_table_and_the_targets_are_those_of_the_images",
    ),
    Fault(
        "cli-cost",
        "gradients of all images together",
        "else done.gradient_rows / count",
        "else done.gradient_rows",
        "test_seconds_and_gradients_are_per_image",
    ),
    Fault(
        "cli-code",
        "a wrong call ends with code 0",
        "file=sys.stderr)\n        return 2\n",
        "file=sys.stderr)\n        return 0\n",
        "test_wrong_calls_are_one_line_and_exit_code_2",
    ),
    Fault(
        "cli-keep",
        "attributions are kept although none was asked for",
        'keep=None if keep == "none" else keep',
        'keep="float32" if keep == "none" else keep',
        "test_nothing_is_kept_when_nothing_is_asked_for",
    ),
    Fault(
        "cli-seed",
        "the seed of the embedded images is ignored",
        "samples = shape_images(images, seed=seed + 1_000_003)",
        "samples = shape_images(images, seed=1_000_003)",
        "test_the_table_and_the_targets_are_those_of_the_images",
    ),
    Fault(
        "cli-unasked",
        "weights are downloaded though nobody asked",
        "    if weights is None and cached_weights(model) is None:\n",
        "    if False:\n",
        "test_a_model_without_a_photograph_takes_that_of_matplotlib",
    ),
]


# Where the text stands


def exported_cells(notebook: dict) -> list[dict]:
    "The code cells that become part of a module"
    return [
        c
        for c in notebook["cells"]
        if c["cell_type"] == "code" and re.search(r"^#\|\s*export[is]?\b", "".join(c["source"]), re.MULTILINE)
    ]


def _stands_in_page(fault: Fault, page: Path) -> int:
    "How often the text stands in the exported cells of a notebook"
    cells = exported_cells(json.loads(page.read_text(encoding="utf-8")))
    return sum(("".join(c["source"]) + "\n\n").count(fault.old) for c in cells)


def occurrences(fault: Fault, root: Path = ROOT) -> tuple[int, int]:
    "How often the text of a fault stands in the modules of its wing, and in the exported cells of their notebooks"
    modules, pages = wing_files(fault.module, root)
    in_modules = sum(p.read_text(encoding="utf-8").count(fault.old) for p in modules)
    return in_modules, sum(_stands_in_page(fault, p) for p in pages)


def plant(fault: Fault, root: Path):
    "Write the fault into module and notebook"
    if occurrences(fault, root) != (1, 1):
        raise ValueError(
            f"{fault.id}: the text occurs {occurrences(fault, root)} times in module and notebook, not once in each"
        )
    modules, pages = wing_files(fault.module, root)
    path = next(p for p in modules if fault.old in p.read_text(encoding="utf-8"))
    page = next(p for p in pages if _stands_in_page(fault, p))
    path.write_text(path.read_text(encoding="utf-8").replace(fault.old, fault.new), encoding="utf-8")
    notebook = json.loads(page.read_text(encoding="utf-8"))
    for cell in exported_cells(notebook):
        source = ("".join(cell["source"]) + "\n\n").replace(fault.old, fault.new).rstrip("\n")
        cell["source"] = source.splitlines(keepends=True)
    page.write_text(json.dumps(notebook, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


# Copies of the repository


def copy_repository(target: Path):
    "Every file that git knows or would add, as it is in the working tree"
    names = (
        subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        .stdout.decode()
        .split("\0")
    )
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def put_back(root: Path, module: str, source: Path = ROOT):
    "Modules and notebooks of a wing as they are in another copy"
    for files in wing_files(module, source):
        for path in files:
            shutil.copy2(path, root / path.relative_to(source))


def _start(root: Path, selection: tuple[str, ...], out: Path) -> int:
    "A forked process, which has torch loaded already, that runs pytest in a copy; its number"
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        with open(out, "wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.environ.update(PYTHONPATH=str(root), MPLBACKEND="Agg", OMP_NUM_THREADS="1")
        sys.dont_write_bytecode = True
        os.chdir(root)
        sys.path[:] = [str(root), *(p for p in sys.path if p and Path(p).resolve() not in (ROOT, ROOT / "scripts"))]
        # the notebooks' processes need not load torch again either
        multiprocessing.get_context = lambda kind=None: _fork if kind == "forkserver" else _ordinary(kind)
        import pytest

        import attrnb

        if Path(attrnb.__file__).parent.parent != root:
            raise ImportError(f"attrnb came from {attrnb.__file__}")
        code = 0
        for part in (selection[:1], selection[1:]):
            if part and code == 0:
                code = pytest.main(
                    [
                        "-x",
                        "-q",
                        "--tb=line",
                        "-rfE",
                        "-p",
                        "no:cacheprovider",
                        *(f"--deselect={t}" for t in LEFT_OUT),
                        *part,
                    ]
                )
        sys.stdout.flush()
        os._exit(code)
    except BaseException:
        traceback.print_exc()
        os._exit(3)


def _outcome(code: int | None, out: Path) -> tuple[bool, str]:
    "Whether a run failed, and the first test that did"
    text = out.read_text(errors="replace")
    found = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", text, re.MULTILINE)
    if code is None:
        return False, f"not known after {SECONDS} seconds"
    if code == 4:
        raise ValueError(f"pytest doesn't find what it should run: {text[-500:]}")
    return code != 0, short(found[0]) if found else "" if code == 0 else "import"


def short(test: str) -> str:
    "A test without its parameters; a notebook without the name of its one item"
    test = re.sub(r"\[.*", "", test)
    return test.partition("::")[0] if ".ipynb" in test else test


def run_all(jobs: list[tuple[str, Fault | None, tuple[str, ...]]], workers: int, tell) -> None:
    """Do (name, fault, tests) jobs, so many at once, each in a copy of the repository; `tell(name, failed, first
    failed test, seconds)`
    """
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        whole, copies, running, waiting = Path(folder).resolve() / "whole", [], {}, list(jobs)
        copy_repository(whole)  # the working tree may change meanwhile
        for k in range(min(workers, len(jobs))):
            copies.append(whole.with_name(f"copy{k}"))
            shutil.copytree(whole, copies[-1])
        while waiting or running:
            while waiting and copies:
                name, fault, selection = waiting.pop(0)
                root = copies.pop()
                if fault is not None:
                    plant(fault, root)
                out = Path(folder) / f"{name}.txt"
                running[_start(root, selection, out)] = name, fault, root, out, time.perf_counter()
            time.sleep(0.1)
            for pid, (name, fault, root, out, start) in list(running.items()):
                done, status = os.waitpid(pid, os.WNOHANG)
                seconds, code = time.perf_counter() - start, os.waitstatus_to_exitcode(status)
                if not done and seconds < SECONDS:
                    continue
                if not done:
                    os.killpg(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    code = None
                del running[pid]
                if fault is not None:
                    put_back(root, fault.module, whole)
                copies.append(root)
                tell(name, *_outcome(code, out), seconds)


def search(faults: list[Fault], workers: int, known: dict[str, dict], results: Path | None = None) -> dict[str, dict]:
    "Fault -> its outcome: caught, by which test, after how many seconds. Tests that caught a fault before go first"
    found = {}

    def tell(name, failed, test, seconds):
        found[name] = dict(caught=failed, by=test, seconds=round(seconds, 1))
        if results is not None:
            results.write_text(json.dumps(known | found, indent=1) + "\n")
        print(
            f"{len(found)}/{len(faults)} {'caught  ' if failed else 'SURVIVED'} {name}"
            f" ({test}{', ' if test else ''}{seconds:.0f} s)",
            flush=True,
        )

    def selection(fault):
        before = known.get(fault.id, {}).get("by", "")
        first = (
            (before,) if before.startswith(("tests/", "nbs/")) and (ROOT / before.partition("::")[0]).is_file() else ()
        )
        return (*first, *(t for t in fault.selection if t not in first))

    run_all([(f.id, f, selection(f)) for f in faults], workers, tell)
    catching = sorted({o["by"] for o in found.values() if o["by"].startswith(("tests/", "nbs/"))})
    wrong = {}
    for test in catching if _fails(catching, workers) else ():
        wrong[test] = _fails([test], workers)
    for name, outcome in found.items():
        if wrong.get(outcome["by"]):
            print(f"{name}: {outcome['by']} fails without the fault, too")
            outcome.update(caught=False, by=f"{outcome['by']} (fails without the fault, too)")
    return found


def _fails(tests: list[str], workers: int) -> bool:
    "Whether one of the tests fails in a copy without a fault"
    found = []
    run_all([("none", None, tuple(tests))], workers, lambda name, failed, test, seconds: found.append(failed))
    return found[0]


# The table


def section(outcomes: dict[str, dict]) -> str:
    "The table for CONTRIBUTING.md"
    told = [f for f in FAULTS if f.id in outcomes]
    caught = sum(outcomes[f.id]["caught"] for f in told)
    lines = [
        BEGIN,
        "",
        f"{caught} of {len(told)} planted faults are caught ({caught / len(told):.0%}).",
        "",
        "| fault | module | what | caught by |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{f.id}` | {f.module} | {f.what} |"
        f" {'`' + outcomes[f.id]['by'] + '`' if outcomes[f.id]['caught'] else '**survives**'} |"
        for f in told
    ]
    return "\n".join([*lines, "", END])


def write_section(outcomes: dict[str, dict], path: Path = ROOT / "CONTRIBUTING.md"):
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    path.write_text(before + section(outcomes) + rest.split(END)[1], encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", help="ids of faults, or modules")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--results", type=Path, help="JSON file of outcomes; those of faults that don't run now are kept"
    )
    parser.add_argument("--write", action="store_true", help="put the table into CONTRIBUTING.md")
    options = parser.parse_args()
    chosen = [f for f in FAULTS if not options.only or f.id in options.only or f.module in options.only]
    misplaced = [f"{f.id}: {occurrences(f)}" for f in chosen if occurrences(f) != (1, 1)]
    if misplaced:
        print("the text of these faults doesn't occur once in module and notebook:", *misplaced, sep="\n")
        return 2
    for name in LOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    sys.modules["torch"].set_num_threads(1)
    outcomes = json.loads(options.results.read_text()) if options.results and options.results.exists() else {}
    outcomes |= search(chosen, options.workers, outcomes, options.results)
    outcomes = {f.id: outcomes[f.id] for f in FAULTS if f.id in outcomes}
    if options.results:
        options.results.write_text(json.dumps(outcomes, indent=1) + "\n")
    if options.write:
        write_section(outcomes)
    survivors = [f for f in FAULTS if f.id in outcomes and not outcomes[f.id]["caught"]]
    print(f"{len(outcomes) - len(survivors)} of {len(outcomes)} caught")
    for f in survivors:
        print(f"survived: {f.id}: {f.what}")
    return 1 if len(survivors) > 0.05 * len(outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
