"""The models that come with the package: weights with their cards, and the settings each was trained with."""
