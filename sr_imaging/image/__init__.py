"""An image is a DataArray: where it lies (`grid`), what its numbers stand for (`pixels`)."""
