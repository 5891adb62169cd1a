"""An encoder for whole utterances: time-delay and feed-forward layers, dense or sparse."""
