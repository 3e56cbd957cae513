"""An image is a DataArray: where it lies (`grid`), what its numbers stand for (`pixels`).

What attrs say of the numbers is read by `stored_numbers`. For a model `pixels.values` makes floats of them,
and stores its result again; `pixels.packing` does the same where masked values are asked for on reading.
"""
