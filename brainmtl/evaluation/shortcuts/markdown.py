"""The section of the report: each figure with how to read it and what it cannot show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainmtl.data.preprocessing.preprocess import BACKGROUND_VALUE
from brainmtl.evaluation.shortcuts.baselines import BASELINES, TRAIN_LIMIT
from brainmtl.evaluation.shortcuts.probe import FEATURES
from brainmtl.evaluation.shortcuts.tables import fraction, interval, number, percent, table
from brainmtl.evaluation.table import NOT_DEFINED

Names = Mapping[str, str]
Values = Mapping[str, Any]

FEATURE_NAMES = {
    "bottleneck": "Trained bottleneck",
    "untrained": "Untrained encoder",
    "pixels": "32x32 pixels",
}
INTRODUCTION = (
    "Each source has its own scanner, format and share of tumours. A network can therefore be right "
    "by telling the sources apart. No single figure below proves that it does or does not; together "
    "they show what it could have used instead of the tumour, and what it does use."
)
ASSOCIATION = (
    "Cramer's V is 0 where the source says nothing about the label and 1 where it gives it away; the "
    "information is the share of the uncertainty about the label that the source removes. This is a "
    "property of the data and says only how tempting the shortcut is."
)
PROBE = (
    "A linear probe (logistic regression) reads the source, or the label, off the features that the "
    "classification head pools; 0.5 is chance, 1 is perfect. The last two columns are the same probe "
    "without anything learned. A high figure for the source means that the source is there to be "
    "read, which is so for raw pixels too; it does not mean that the head uses it. Trained features "
    "that give the source away less than the untrained ones do would speak against the shortcut. "
    "Over tumour images alone, the label cannot help to tell the sources apart."
)
BASELINE = (
    "These predictors cannot know what a tumour looks like. Each was trained and tested within "
    "one source, on the same split, and is compared with the model on the same images. A baseline "
    "near 0.5 had nothing to find; one near the model shows that the source can be solved without "
    "looking at the tumour. The interval is that of the difference model - baseline, over patients "
    "or groups of duplicates; the model beats a baseline when it lies above 0. In volumes, the place "
    "of the slice is a fair hint: tumours are rarely in the first and last slices."
)
SWAP = (
    f"Preparation sets everything outside the head to one constant ({BACKGROUND_VALUE:g}) in every "
    "source, so the background has no values to learn from: to exchange it changes no pixel. What "
    "differs are scalp and skull, and the outline. Here the brain of a test image is put, at the "
    "donor's size, into the scalp, skull and background of an image without tumour of another source "
    "(skull-stripped sources have no scalp, only background). P is the calibrated probability of "
    "tumour, before and after of one pass without test-time augmentation. The diagonal is the control: "
    "surroundings of another image of the same source move P too, because the brain is resized and its "
    "edge redrawn. Only what goes beyond the control is due "
    "to the source. The composites are no real images, and intensities are not normalised anew."
)
BLANKED = (
    "Taken away instead of exchanged: scalp and skull replaced by background (a rough skull "
    "stripping), and the head replaced by its mean, so that only the outline is left. A model that "
    "still calls many outlines tumour judges by shape or by source."
)
HEAT = (
    "LayerCAM weighs the features above the bottleneck, each at its place, by their effect on the tumour "
    "logit. In brackets is what a map without preference would have. The maps are coarse (16x16 or "
    "32x32), so that heat spills over outlines, and a map inside the tumour does not prove that the "
    "tumour was the reason. The pointing game counts how often the hottest point lies in the tumour."
)
UNSEEN = (
    "A source that the model was never trained on cannot be recognised, so its figures hold no "
    "shortcut learned from it; they also hold the shift to other images, and the two cannot be told "
    "apart here. To test a source in this way, train without it: add the options to the end of the "
    "command of this training."
)


def section_markdown(section: Values, display_names: Names) -> str:
    """Markdown of what :func:`.section.shortcut_section` returns, under a heading of level 2.

    ``display_names`` maps every source to the name that people read.
    """

    def name(source: str) -> str:
        return display_names.get(source, source)

    lines = ["## Did it learn the tumour or the source?", "", INTRODUCTION, ""]
    lines += [f"- {sentence}" for sentence in section["baselines"]["sentences"]]
    lines += ["", *_association(section["association"], name)]
    lines += _probe(section["probe"], name)
    lines += _baselines(section["baselines"], name)
    lines += _background(section["background"], name)
    lines += _heat(section["heat"], name)
    lines += _unseen(section["unseen"], name)
    lines += [
        f"At most {section['options']['limit']} images per source were looked at wherever the network "
        f"had to run again (seed {section['options']['seed']}); the baselines "
        f"saw every test image and at most {TRAIN_LIMIT} training images per source (of a cross-validation: per source and fold; counts are sums).",
        "",
    ]
    return "\n".join(lines)


def _association(found: Values, name: Any) -> list[str]:
    rows = [
        [name(source), part, *(str(n[key]) for key in ("n_groups", "n_tumour", "n_no_tumour"))]
        for part, sources in found["counts"].items()
        for source, n in sources.items()
    ]
    header = ["Source", "Part", "Groups", "With tumour", "Without"]
    lines = ["### Does the source give the label away?", "", *table(header, rows, 2)]
    for part, values in found["strength"].items():
        if values["cramers_v"] is None:
            lines.append(f"- {part.capitalize()}: not defined ({values['reason']}).")
            continue
        share = values["mutual_information_bits"] / values["label_entropy_bits"]
        lines.append(
            f"- {part.capitalize()}: Cramer's V {number(values['cramers_v'])}, information "
            f"{percent(share)} (n = {values['n']})."
        )
    guess, overall = found["source_only"], found["majority_only"]
    if guess["accuracy"] is None:
        lines.append(f"- Label guessed from the source: not defined ({guess['reason']}).")
    else:
        lines.append(
            f"- Test label guessed from the source alone: accuracy {number(guess['accuracy'])} "
            f"({fraction(guess['counts'])}); always the more frequent label: "
            f"{number(overall['accuracy'])} ({fraction(overall['counts'])})."
        )
    return [*lines, "", ASSOCIATION, ""]


def _probe(found: Values, name: Any) -> list[str]:
    rows = []
    for key, what in (("all", "Source, all images"), ("tumour_only", "Source, tumour images only")):
        values = found["source"][key]
        rows.append(_probe_row(what, values))
        if len(values["pairs"]) > 1:
            for pair, own in values["pairs"].items():
                first, second = pair.split(" | ")
                rows.append(_probe_row(f"{what}: {name(first)} against {name(second)}", own))
    for source, values in found["label"].items():
        rows.append(_probe_row(f"Tumour or not, within {name(source)}", values))
    header = [
        "What is read off (ROC-AUC)",
        *FEATURE_NAMES.values(),
        "Training images",
        "Test images",
    ]
    lines = ["### What can be read off the features?", "", *table(header, rows)]
    left_out = found["source"]["all"]["left_out"]
    lines += [f"- Left out: {name(source)} ({reason})." for source, reason in left_out.items()]
    return [*lines, "", PROBE, ""] if left_out else [*lines, PROBE, ""]


def _probe_row(what: str, values: Values) -> list[str]:
    figures = [number(values[feature]) for feature in FEATURES]
    if all(values[feature] is None for feature in FEATURES):
        what = f"{what} ({values['reason']})"
    return [what, *figures, str(values["n_train"]), str(values["n_test"])]


def _baselines(found: Values, name: Any) -> list[str]:
    rows = []
    for source, own in found["sources"].items():
        model = own["model"]
        figures = [number(model["balanced_accuracy"]), number(model["roc_auc"]), "", "", ""]
        rows.append([name(source), "the model", *figures, str(own["n"])])
        for key, values in own["baselines"].items():
            reason = f" ({values['reason']})" if "reason" in values else ""
            rows.append(
                [
                    name(source),
                    BASELINES[key] + reason,
                    number(values["balanced_accuracy"]),
                    number(values["roc_auc"]),
                    number(values["difference"], sign=True),
                    interval(values["difference_interval"], sign=True),
                    {True: "yes", False: "NO", None: NOT_DEFINED}[values["beaten"]],
                    str(values["n"]),
                ]
            )
    header = ["Source", "Predictor", "Balanced accuracy", "ROC-AUC", "Model's lead"]
    header += ["95 % interval", "Beaten", "Images"]
    heading = "### Would something trivial do as well?"
    return [heading, "", *table(header, rows, 2), BASELINE, ""]


def _background(found: Values, name: Any) -> list[str]:
    lines = ["### Does P(tumour) follow the brain or its surroundings?", ""]
    for source, rim in found["rims"].items():
        kind = {
            True: "no scalp and skull found, taken as skull-stripped",
            False: f"scalp and skull reach {percent(rim['depth'])} of the way to the head's centre",
            None: "scalp and skull found in some folds, taken as skull-stripped in the others",
        }[rim["stripped"]]
        lines.append(
            f"- {name(source)}: {kind}; {percent(rim['background_share'])} of a picture is "
            f"background (n = {rim['n']})."
        )
    sources = list(found["swaps"])
    rows = [
        [name(brain), *(_swap(found["swaps"][brain][donor]) for donor in sources)]
        for brain in sources
    ]
    header = ["Brain of", *(f"in {name(donor)}" for donor in sources)]
    lines += ["", *table(header, rows)]
    lines += ["Cells: mean absolute change of P; calls that flipped.", "", SWAP, ""]
    rows = [
        [name(source), _swap(own["surroundings"]), _swap(own["head"]), _called(own["head"])]
        for source, own in found["blanked"].items()
    ]
    header = ["Source", "Scalp and skull taken away", "Outline alone", "Outlines called tumour"]
    return [*lines, *table(header, rows), BLANKED, ""]


def _swap(values: Values) -> str:
    if not values["n"]:
        return values["reason"]
    return f"{number(values['mean_absolute_change'])}; {fraction(values['flips']['counts'])}"


def _called(values: Values) -> str:
    """Calls after the change: those before, plus the flips to tumour, less those away from it."""
    gained, not_called = values["flips"]["to_tumour"]["counts"]
    lost, called = values["flips"]["to_no_tumour"]["counts"]
    return fraction([called + gained - lost, called + not_called])


def _heat(found: Values, name: Any) -> list[str]:
    rows = []
    for source, sets in found.items():
        for key, what in (("called", "called tumour"), ("tumour", "with tumour")):
            own = sets[key]
            inside = f"{percent(own['inside_tumour'])} ({percent(own['flat_inside_tumour'])})"
            hits = own["pointing"]
            rows.append(
                [
                    name(source),
                    what,
                    f"{percent(own['outside_head'])} ({percent(own['flat_outside_head'])})",
                    str(own["n"]),
                    inside if own["n_with_mask"] else "no mask",
                    f"{percent(hits['rate'])}, {fraction(hits['counts'])}"
                    if own["n_with_mask"]
                    else "no mask",
                    str(own["n_without_heat"]),
                ]
            )
    header = ["Source", "Images", "Heat outside the head", "n", "Heat in the tumour"]
    header += ["Pointing game", "Without heat"]
    return ["### Where does the classification look?", "", *table(header, rows, 2), HEAT, ""]


def _unseen(found: Values, name: Any) -> list[str]:
    rows = [
        [
            name(source),
            "trained on" if own["seen"] else "UNSEEN SOURCE",
            number(own["balanced_accuracy"]),
            number(own["roc_auc"]),
            str(own["n_classification"]),
            number(own["dice"]),
            str(own["n_patients"]),
        ]
        for source, own in found["figures"].items()
    ]
    header = ["Source", "In training", "Balanced accuracy", "ROC-AUC", "Images"]
    header += ["Dice per patient", "Patients"]
    lines = ["### Sources that it was never trained on", "", *table(header, rows, 2), UNSEEN, ""]
    for source, own in found["without"].items():
        options = f"`{own['options']}`" if own["options"] else f"not possible ({own['reason']})"
        lines.append(f"- Without {name(source)}: {options}")
    return [*lines, ""]
