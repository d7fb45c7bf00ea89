"""What everything else stands on, free of TensorFlow: records, image files, mask pasting, atomic files."""
