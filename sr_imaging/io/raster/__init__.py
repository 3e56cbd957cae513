"""Rasters through GDAL: GeoTIFF, COG, Sentinel-2, PNG and JPEG."""
