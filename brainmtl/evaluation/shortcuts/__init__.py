"""Did the network learn the tumour or the source? Evidence for one answer or the other.

Sources of images differ in scanner, format and skull-stripping, and often in how many of their
images show a tumour. A network may then read the label off the source (shortcut learning: Geirhos et
al., Nature Machine Intelligence 2020; for radiographs DeGrave et al., ibid. 2021).
"""

from brainmtl.evaluation.shortcuts.baselines import baseline_lines
from brainmtl.evaluation.shortcuts.comparison import summarise_baselines
from brainmtl.evaluation.shortcuts.drawing import section_figures
from brainmtl.evaluation.shortcuts.markdown import section_markdown
from brainmtl.evaluation.shortcuts.section import shortcut_section

__all__ = [
    "baseline_lines",
    "section_figures",
    "section_markdown",
    "shortcut_section",
    "summarise_baselines",
]
