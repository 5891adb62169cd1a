"""Acoustic features: audio input, log mel features, augmentation."""
