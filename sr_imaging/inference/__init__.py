"""Super-resolve: which model, which factors, tile by tile, and what the result says of itself."""
