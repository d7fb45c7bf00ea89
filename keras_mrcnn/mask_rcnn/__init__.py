"""The model: `MaskRCNN` with its preprocessing and postprocessing, and `Detector`, the graph of them all."""
