"""Acoustic features: audio files, log mel features, augmentation; independent of the model."""
