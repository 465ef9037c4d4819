"""Robustness of a model: graded corruptions of its images, and changes that must not matter."""

from brainmtl.evaluation.robustness.curves import robustness, robustness_section
from brainmtl.evaluation.robustness.figures import robustness_figures
from brainmtl.evaluation.robustness.markdown import robustness_markdown

__all__ = ["robustness", "robustness_figures", "robustness_markdown", "robustness_section"]
