"""What arithmetic alone promises: multiply-adds and parameters, shared and apart."""

from __future__ import annotations

from benchmarks.speed.baselines import FAST, REFERENCE, SIDE, build, default_name
from benchmarks.speed.timing import Row, Settings
from brainmtl.models.summary import ModelSummary, summarize


def rows(settings: Settings) -> list[Row]:
    """Of the default model, of ``unet_2m_fast`` and of the reference; nothing is timed."""
    reference = summarize(build(REFERENCE), SIDE)
    found = []
    for name in dict.fromkeys((default_name(), FAST, REFERENCE)):
        summary = summarize(build(name), SIDE)
        found += _arithmetic(f"theory, {name}", summary, reference)
        found += _sharing(f"theory, {name}", summary)
    return found


def _arithmetic(section: str, own: ModelSummary, reference: ModelSummary) -> list[Row]:
    macs = own.macs
    saved = 1 - own.cls_only_macs / macs["total"]
    # the reference: a classifier of encoder and head, and a U-Net of another encoder and a decoder
    apart = 2 * reference.macs["encoder"] + reference.macs["decoder"] + reference.macs["head"]
    return [
        Row(section, "encoder", macs["encoder"] / 1e9, "G multiply-adds"),
        Row(section, "decoder", macs["decoder"] / 1e9, "G multiply-adds"),
        Row(
            section,
            "without the decoder",
            own.cls_only_macs / 1e9,
            "G multiply-adds",
            macs["total"] / own.cls_only_macs,
            against=f"fewer than with it: {saved:.0%} are saved where there is no tumour",
        ),
        Row(
            section,
            "an image without tumour",
            own.cls_only_macs / 1e9,
            "G multiply-adds",
            reference.cls_only_macs / own.cls_only_macs,
            against=f"fewer than two models of {REFERENCE}'s size",
        ),
        Row(
            section,
            "an image with tumour",
            macs["total"] / 1e9,
            "G multiply-adds",
            apart / macs["total"],
            against=f"fewer than two models of {REFERENCE}'s size",
        ),
    ]


def _sharing(section: str, own: ModelSummary) -> list[Row]:
    found = []
    for name, parts, unit, scale in (
        ("an image with tumour", own.macs, "G multiply-adds", 1e9),
        ("parameters", own.parameters, "M parameters", 1e6),
    ):
        ratio = (parts["total"] + parts["encoder"]) / parts["total"]
        title = f"{name}, one encoder for both tasks"
        against = "fewer than two models of this size"
        found.append(Row(section, title, parts["total"] / scale, unit, ratio, against=against))
    return found
