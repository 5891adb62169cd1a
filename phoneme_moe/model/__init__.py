"""The recogniser: experts behind a gate, or an encoder, from features to log posteriors."""
