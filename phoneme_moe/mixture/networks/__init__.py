"""Networks that experts and gates are made of, many of one shape side by side."""
