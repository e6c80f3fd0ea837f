"""The tuner of rerankers: a cross-encoder that learns to tell answers from what a search finds beside them."""
