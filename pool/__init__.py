"""The science: networks, patches, uncertainty, selection, DICOM, phantom.

Imports neither Ray nor MLflow nor FastAPI. Everything but `pool.dicom` imports with only torch, numpy, scipy and
safetensors installed, because GPU images carry little else; matplotlib, nibabel, pydicom and highdicom are imported
where they are used.
"""

__version__ = "0.1.0"
