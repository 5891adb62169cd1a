"""Between a prepared corpus and a model: speakers of a split, examples, batches."""
