"""What the numbers of an image stand for: values and back, fill, masks, resampling."""
