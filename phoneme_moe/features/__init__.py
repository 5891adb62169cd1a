"""Sound in, log mel features out; knows nothing of models."""
