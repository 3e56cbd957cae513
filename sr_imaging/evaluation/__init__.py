"""A model measured on scans, always beside cubic interpolation."""
