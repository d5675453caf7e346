"""DICOM in (`read.read_dicom_study`) and out (`segmentation.write_segmentation`, `parametric_map`)."""
