"""NIfTI files and pairs."""
