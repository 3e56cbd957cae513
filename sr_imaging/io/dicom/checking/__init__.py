"""Whether a series holds to the rules of a derived series."""
