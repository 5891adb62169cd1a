"""What a run is worth: errors, calibration, quality, the model card."""
