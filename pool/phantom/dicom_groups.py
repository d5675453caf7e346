"""Functional groups that all frames of an enhanced MR file share (PS3.3 C.7.6.16 and C.8.13)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pool.phantom.study_types import ScanValues
from pool.series import SliceGeometry

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def item(**fields: Any) -> Dataset:
    """A sequence item of these keywords."""
    from pydicom.dataset import Dataset

    made = Dataset()
    for keyword, value in fields.items():
        setattr(made, keyword, value)
    return made


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """A coded concept."""
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def shared_groups(
    scan: ScanValues, geometry: SliceGeometry, spacing_mm: tuple[float, float], size: tuple[int, int]
) -> Dataset:
    """Functional groups that all frames of a slice of a first pass share (PS3.3 C.8.13).

    Args:
        scan: its sequence.
        geometry: its place.
        spacing_mm: between rows, between columns [mm].
        size: rows and columns.
    """
    n_rows, n_cols = size
    heart = code("80891009", "SCT", "Heart")
    flash = scan.readout == "flash"
    return item(
        MRImageFrameTypeSequence=[
            item(
                FrameType=["ORIGINAL", "PRIMARY", "PERFUSION", "NONE"],
                PixelPresentation="MONOCHROME",
                VolumetricProperties="VOLUME",
                VolumeBasedCalculationTechnique="NONE",
                ComplexImageComponent="MAGNITUDE",
                AcquisitionContrast="PERFUSION",
            )
        ],
        PixelMeasuresSequence=[item(PixelSpacing=list(spacing_mm), SliceThickness=scan.thickness_mm)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=[f"{v:.10g}"[:16] for v in geometry.orientation])],
        FrameAnatomySequence=[item(FrameLaterality="U", AnatomicRegionSequence=[heart])],
        PixelValueTransformationSequence=[item(RescaleIntercept="0", RescaleSlope="1", RescaleType="US")],
        FrameVOILUTSequence=[item(WindowCenter="1000", WindowWidth="2000")],
        MRTimingAndRelatedParametersSequence=[
            item(
                RepetitionTime=scan.tr_ms,
                FlipAngle=scan.flip_deg,
                EchoTrainLength=1,
                RFEchoTrainLength=1,
                GradientEchoTrainLength=1,
                SpecificAbsorptionRateSequence=[
                    item(SpecificAbsorptionRateDefinition="IEC_WHOLE_BODY", SpecificAbsorptionRateValue=0.5)
                ],
                GradientOutputType="DB_DT",
                GradientOutput=50.0,
                OperatingModeSequence=[
                    item(OperatingModeType="STATIC FIELD", OperatingMode="IEC_NORMAL"),
                    item(OperatingModeType="RF", OperatingMode="IEC_NORMAL"),
                    item(OperatingModeType="GRADIENT", OperatingMode="IEC_NORMAL"),
                ],
            )
        ],
        MRFOVGeometrySequence=[
            item(
                InPlanePhaseEncodingDirection="COLUMN",
                MRAcquisitionFrequencyEncodingSteps=n_cols,
                MRAcquisitionPhaseEncodingStepsInPlane=n_rows,
                PercentSampling=100.0,
                PercentPhaseFieldOfView=100.0,
            )
        ],
        MREchoSequence=[item(EffectiveEchoTime=scan.te_ms)],
        MRModifierSequence=[
            item(
                InversionRecovery="NO",
                FlowCompensation="NONE",
                Spoiling="RF" if flash else "NONE",
                T2Preparation="NO",
                SpectrallySelectedExcitation="NONE",
                SpatialPresaturation="NONE",
                PartialFourier="NO",
                ParallelAcquisition="YES",
                ParallelAcquisitionTechnique="OTHER",
                ParallelReductionFactorInPlane=scan.acceleration,
                ParallelReductionFactorOutOfPlane=1.0,
                ParallelReductionFactorSecondInPlane=1.0,
            )
        ],
        MRImagingModifierSequence=[
            item(
                MagnetizationTransfer="NONE",
                BloodSignalNulling="NO",
                Tagging="NONE",
                TransmitterFrequency=42.577 * scan.field_t,
                PixelBandwidth=700.0,
            )
        ],
        MRReceiveCoilSequence=[
            item(
                ReceiveCoilName="Body_18",
                ReceiveCoilManufacturerName="PHANTOM",
                ReceiveCoilType="MULTICOIL",
                QuadratureReceiveCoil="NO",
                MultiCoilDefinitionSequence=[item(MultiCoilElementName="BO1", MultiCoilElementUsed="YES")],
            )
        ],
        MRTransmitCoilSequence=[
            item(TransmitCoilName="Body", TransmitCoilManufacturerName="PHANTOM", TransmitCoilType="BODY")
        ],
        MRAveragesSequence=[item(NumberOfAverages=1.0)],
    )
