"""Detections drawn into videos: frames in, frames out, in colours that stay with an object."""
