"""The model: `MaskRCNN` with its preprocessing and postprocessing, and the graph of both, `Detector`."""
