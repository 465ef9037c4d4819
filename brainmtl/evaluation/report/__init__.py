"""The report of one evaluation: one plain dict, rendered as Markdown and as one HTML file."""

from brainmtl.evaluation.report.build import write_report
from brainmtl.evaluation.report.document import Section
from brainmtl.evaluation.report.text import with_interval

__all__ = ["Section", "with_interval", "write_report"]
