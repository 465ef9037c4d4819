"""The report: every figure is printed, nothing undefined is, and the page needs nothing but itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import report_inputs as inputs
import simulated
from report_inputs import merged, no_segmentation
from report_pages import Page, leaves, plain, texts, written

from brainmtl.data.manifest import display_name
from brainmtl.errors import DataError
from brainmtl.evaluation.report import Section, write_report
from brainmtl.evaluation.report.text import number
from brainmtl.evaluation.scores import score_sources
from brainmtl.evaluation.statistics.intervals import add_intervals
from brainmtl.inference.operating.bands import load_bands


def test_every_figure_of_the_metrics_is_printed(tmp_path: Path) -> None:
    values = inputs.source_values(inputs.Figures())
    _, markdown, page = written(tmp_path, {"brats": values})
    # Before calibration, thresholds and fixed rates are not of interest.
    for key in ("thresholds", "sensitivity_at_specificity", "specificity_at_sensitivity"):
        del values["uncalibrated"][key]
    shown = dict(leaves(values))
    assert len(shown) > 190
    for path, value in shown.items():
        pattern = rf"(?<![\d.-]){re.escape(number(value))}(?!\d)"
        assert re.search(pattern, markdown), f"{path} = {value} is not in the Markdown"
        assert re.search(pattern, page.text), f"{path} = {value} is not on the page"
    for counts in values["classification"]["counts"].values():
        assert f"{counts[0]}/{counts[1]}" in markdown


def test_json_markdown_and_page_say_the_same(tmp_path: Path) -> None:
    result = {name: inputs.source_values(inputs.Figures()) for name in ("brats", "lgg")}
    report, markdown, page = written(tmp_path, result)
    found = [text for text in texts(report) if text]
    assert len(found) > 500
    unescaped = plain(re.sub(r"\\(.)", r"\1", markdown))
    for text in found:
        assert plain(text) in unescaped, text
        assert plain(text) in plain(page.text), text
    titles = [chapter["title"] for chapter in report["chapters"]]
    assert re.findall(r"^## (.*)$", markdown, re.MULTILINE) == titles
    assert len(page.ids) == len(titles) == len(set(page.ids))


def test_page_stands_alone(tmp_path: Path) -> None:
    result = {"brats": inputs.source_values(inputs.Figures())}
    _, markdown, page = written(tmp_path, result)
    assert "script" not in page.tags and "link" not in page.tags
    anchors = [target for target in page.references if target.startswith("#")]
    pictures = [target for target in page.references if not target.startswith("#")]
    assert {target[1:] for target in anchors} == set(page.ids)
    assert len(pictures) == 6 and all(t.startswith("data:image/png;base64,") for t in pictures)
    assert not re.search(r"url\(|@import|https?://", (tmp_path / "report.html").read_text())
    linked = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", markdown)
    assert len(linked) == 6 and all((tmp_path / target).is_file() for target in linked)


def test_folds_have_a_column_each(tmp_path: Path) -> None:
    values = inputs.source_values(inputs.Figures())
    merged(values)
    result = {"brats": values}
    one = inputs.run(result)["operating_point"]
    points = {f"fold {k}": one | {"temperature": 1.5 + k / 8} for k in range(3)}
    checkpoint = ", ".join(f"outputs/cv/{k}/joint/checkpoints/best.ckpt" for k in range(3))
    run = inputs.run(result, folds=[0, 1, 2], operating_point=points, checkpoint=checkpoint)
    _, markdown, _ = written(tmp_path, result, run=run)
    assert markdown.startswith("# Cross-validation of stage joint")
    assert "Cross-validation over 3 folds" in markdown and "merge 3 models" in markdown
    assert "| Temperature of the calibration | 1.5 | 1.625 | 1.75 |" in markdown
    assert markdown.count("### Candidates of test-time augmentation") == 3
    assert "python -m brainmtl.crossval dir=outputs/cv stage_name=joint" in markdown


def test_names_are_shown_and_never_obeyed(tmp_path: Path) -> None:
    name = "<b>x</b>|$a$ *b* [c](d) & &lt; \"e'"
    values = inputs.source_values(inputs.Figures())
    result = {name: values}
    _, markdown, page = written(
        tmp_path, result, run=inputs.run(result, remarks=[f"- {name} _so_"])
    )
    assert page.tags.isdisjoint({"b", "em"})
    assert name in page.text
    from markdown_it import MarkdownIt

    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)
    shown = Page(rendered)
    assert "b" not in shown.tags
    assert f"- {name} _so_" in shown.text
    assert not [target for target in shown.references if not target.startswith("figures/")]
    # The bar in the name splits no cell: as many headers as columns.
    header = next(line for line in markdown.splitlines() if line.startswith("|  | "))
    assert len(re.findall(r"(?<!\\)\|", header)) == 3
    pictures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert len(pictures) == 6 and all(re.fullmatch(r"[\w.%~-]+", path) for path in pictures)


def test_what_fails_comes_first(tmp_path: Path) -> None:
    good, bad = (inputs.source_values(inputs.Figures()) for _ in range(2))
    bad["intervals"]["classification.balanced_accuracy"] |= {"low": 0.42, "high": 0.61}
    section = Section("Shortcuts", "Text.", findings=["Beaten."], alerts=["Worse than chance."])
    result = {"brats": good, "lgg": bad}
    report, markdown, page = written(tmp_path, result, sections=[section])
    assert report["alerts"][0] == "Worse than chance." and len(report["alerts"]) == 2
    assert report["alerts"][1].startswith("lgg: the model is NOT shown to be better")
    assert report["findings"][0] == "Beaten." and report["findings"][1].startswith(
        "brats: balanced"
    )
    for text in (markdown, page.text):
        order = [
            *report["alerts"],
            "One checkpoint on split test",
            "Beaten.",
            "Headline, per source",
        ]
        places = [plain(text).index(part) for part in order]
        assert places == sorted(places)


@pytest.mark.parametrize(
    ("low", "value", "beaten"),
    [(0.501, 0.7, True), (0.5, 0.7, False), (None, 0.7, False), (None, 0.5, False)],
)
def test_when_a_constant_call_is_beaten(
    low: float | None, value: float, beaten: bool, tmp_path: Path
) -> None:
    values = inputs.source_values(inputs.Figures())
    values["classification"]["balanced_accuracy"] = value
    values["intervals"]["classification.balanced_accuracy"] |= {"low": low, "note": "few"}
    report, _, _ = written(tmp_path, {"brats": values})
    assert (not report["alerts"]) == beaten


@pytest.mark.parametrize(
    ("synthetic", "sentence"),
    [
        ((False, False), "All images evaluated here are real ones."),
        ((True, True), "All images evaluated here are synthetic"),
        ((True, False), "Synthetic, drawn by a computer: a (synthetic). Their figures say nothing"),
    ],
)
def test_data_are_called_what_they_are(
    synthetic: tuple[bool, bool], sentence: str, tmp_path: Path
) -> None:
    result = {
        name: inputs.source_values(inputs.Figures(), synthetic=flag)
        for name, flag in zip("ab", synthetic, strict=True)
    }
    _, markdown, page = written(tmp_path, result)
    assert sentence in markdown and sentence in page.text
    assert markdown.index(sentence) < markdown.index("## Headline")


def test_limits_follow_from_the_data(tmp_path: Path) -> None:
    values = inputs.source_values(inputs.Figures())
    pictures = inputs.source_values(inputs.Figures(), synthetic=True)
    no_segmentation(pictures)
    result = {"lgg": values, "phantom_kaggle": pictures}
    rows = inputs.rows("lgg", groups=40) + inputs.rows("phantom_kaggle", masks=False)
    run = inputs.run(result, training_sources=["phantom_kaggle"], synthetic_training=True)
    report, _, _ = written(tmp_path, result, rows=rows, run=run)
    chapter = next(
        c for c in report["chapters"] if c["title"].startswith("What these figures do not")
    )
    limits = " ".join(chapter["blocks"][0]["items"])
    assert "Never trained on: lgg." in limits
    assert "lgg: only" not in limits and "phantom_kaggle (synthetic): only 8" in limits
    assert "phantom_kaggle (synthetic): no reference masks" in limits
    assert "lgg: one set of reference masks" in limits
    assert "The model has learnt from synthetic images only." in limits
    assert "no healthy patients" not in limits  # two of them are
    assert "first weights" not in limits


def test_weights_that_a_model_began_with_are_named(tmp_path: Path) -> None:
    result = {"lgg": inputs.source_values(inputs.Figures())}
    run = inputs.run(result, pretrained="synthetic heads (phantom_brats)")
    _, markdown, _ = written(tmp_path, result, run=run)
    assert "Its first weights were trained on synthetic heads (phantom_brats)." in markdown
    assert "the mean of" not in markdown


def test_a_mean_of_several_trainings_says_so(tmp_path: Path) -> None:
    result = {"lgg": inputs.source_values(inputs.Figures())}
    _, markdown, _ = written(tmp_path, result, run=inputs.run(result, trainings=3))
    assert "Its weights are the mean of 3 trainings from the same start." in markdown


def test_section_of_another_part(tmp_path: Path) -> None:
    text = (
        "## Shortcuts\n\nA *word*.\n\n### Part\n\n#### Deeper\n\n| a | b |\n|---|---:|\n| 1 | 0.5 |\n\n"
        "```\n## no heading\n```\n\n<script>x</script> [link](http://a.example) ![p](http://b.example/p.png)"
    )
    values = inputs.source_values(inputs.Figures())
    picture = tmp_path / "figures" / "roc_brats.png"  # any picture there is
    section = Section("Shortcuts", text, pictures=[("Any curve", picture)])
    _, markdown, page = written(tmp_path, {"brats": values}, sections=[section])
    assert markdown.count("## Shortcuts") == 1
    assert (
        "\n### Part\n" in markdown
        and "\n#### Deeper\n" in markdown
        and "\n## no heading\n" in markdown
    )
    assert "![Any curve](figures/roc_brats.png)" in markdown
    assert {"em", "h3", "h4"} <= page.tags and "script" not in page.tags
    assert not [t for t in page.references if not t.startswith(("#", "data:image/png"))]
    assert "Any curve." in page.text


@pytest.mark.parametrize(
    ("name", "message"), [("gone.png", "cannot be embedded"), ("a.svg", "PNG|png")]
)
def test_picture_that_cannot_be_embedded(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.svg").write_text("<svg/>")
    pictures = {"brats": [("a case", Path(name))]}
    values = inputs.source_values(inputs.Figures())
    with pytest.raises(DataError, match=message):
        written(tmp_path, {"brats": values}, pictures=pictures)


def test_without_figures_no_folder(tmp_path: Path) -> None:
    values = inputs.source_values(inputs.Figures())
    result = {"brats": values}
    lines = inputs.rows("brats"), inputs.cases("brats")
    write_report(tmp_path, result, inputs.run(result), *lines, {}, [], load_bands(), draw=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report.json", "report.md"]


def test_from_lines_to_report(tmp_path: Path) -> None:
    """The figures as the evaluation computes them have the structure that the report expects."""
    rows, cases = simulated.volumes("brats", 7, 6, seed=1)
    lone_rows, lone_cases = simulated.volumes("lgg", 1, 6, seed=2)
    pictures = simulated.pictures("phantom_kaggle", 12, per_group=2, seed=3)
    rows, cases = rows + lone_rows + pictures, cases + lone_cases
    result = score_sources(rows, cases, 0.5, 0.5)
    add_intervals(result, rows, cases, 100)
    names = {source: display_name(source, v["synthetic"]) for source, v in result.items()}
    run = inputs.run(result, display_names=names)
    report, markdown, page = written(tmp_path, result, rows=rows, cases=cases, run=run)
    assert set(report["observed"]) == set(result)
    for values in result.values():
        assert number(values["classification"]["accuracy"]) in markdown
    assert "kaggle-like (synthetic)" in page.text
    assert not re.search(r"\b(None|nan|inf)\b", markdown)
