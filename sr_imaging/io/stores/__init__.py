"""Stores that hold an image as xarray does: Zarr and netCDF."""
