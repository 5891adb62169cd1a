"""Evaluation of a run: errors, calibration, transcript quality and the model card."""
