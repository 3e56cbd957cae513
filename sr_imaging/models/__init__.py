"""A model on disk: its card, its weights, and those that come with the package (`zoo`)."""
