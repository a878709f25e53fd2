"""Learned artefacts: load, check and register adapters, describe a training in a recipe, and run it."""
