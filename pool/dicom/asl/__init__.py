"""ASL studies in DICOM: which image is what (`kinds`), pairs (`pairs`), sign (`signs`), all together (`read`)."""
