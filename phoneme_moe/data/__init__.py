"""Training and test data of a model: examples, batches, embeddings, speakers of a split."""
