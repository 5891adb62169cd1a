"""What models are shown: examples of a split and batches of them."""
