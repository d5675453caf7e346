"""A folder of studies with masks becomes a labelled set: layout, patients, split, rejections."""
