"""An image is a DataArray: where it lies (`grid`), what its numbers stand for (`pixels`).

What attrs say of the numbers is read by `stored_numbers`; `pixels.values` makes floats of them for a model and
stores its result again; `pixels.packing` does the same where masked values are asked for as a scan is read.
"""
