"""A generator over an array of any size, tile by tile, here or on a cluster."""
