"""The recognizer: features to experts behind a gate, or to an encoder, to log posteriors."""
