"""Files as layers and layers as files, and the sample images."""
