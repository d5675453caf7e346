"""Trains and evaluates networks of trials on arterial spin labelling images: whole images, no patches, no Ray."""
