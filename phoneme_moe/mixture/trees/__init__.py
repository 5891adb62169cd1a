"""Trees of gates and experts, and EM for them."""
