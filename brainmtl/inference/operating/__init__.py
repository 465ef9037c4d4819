"""What is made of a network's output: calibration, decision, bands, clean masks."""
