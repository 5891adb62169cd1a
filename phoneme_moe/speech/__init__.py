"""Sound in, symbols out; knows nothing of experts."""
