"""Masks that somebody drew, laid on the native grid of their study: ITK-SNAP NIfTI, DICOM SEG, `.mat`, `.npz`."""
