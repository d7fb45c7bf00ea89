"""Draws detections into videos. Each object keeps its colour from frame to frame."""
