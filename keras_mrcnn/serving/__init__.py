"""Clients of exported models, for programs without TensorFlow: each in a module of its own, imported by name."""
