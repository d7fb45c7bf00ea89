"""Building blocks of the package that need no TensorFlow: records, image files, mask pasting, atomic files."""
