"""Members that answer by chance: many trials on one image, their mean, and how far they differ.

A sweep's member disagrees with itself from patch to patch; one of these from draw to draw. What comes out is the same:
a mask, an uncertainty map and a score.
"""
