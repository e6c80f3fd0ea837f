"""A map of query vectors, learned in numpy, for embedders whose weights cannot be trained."""
