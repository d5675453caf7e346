"""DICOM in and out: `read.read_dicom_study`, `segmentation.write_segmentation`, `parametric_map.write_parametric_map`."""
