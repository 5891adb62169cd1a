"""Training: stages, objectives, adaptation and growing."""
