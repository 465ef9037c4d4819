"""From what a network says to what is told: calibration, decision, mask, and where it looked.

Evaluation and serving call the same functions, so that measured figures are those of what is served.
"""
