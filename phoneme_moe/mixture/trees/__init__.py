"""Hierarchical mixtures of experts (trees of gates and experts), and EM to train them."""
