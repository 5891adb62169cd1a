"""Training and test data of a model: speakers of a split, examples, batches, embeddings."""
