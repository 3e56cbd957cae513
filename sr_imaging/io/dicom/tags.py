"""The DICOM tags that matter here: what a scan looks at, what splits a series, what a derived one drops."""

from typing import Final

__all__ = [
    "ALWAYS_LOSSY",
    "CODES",
    "CT_IMAGE",
    "DROPPED",
    "DROPPED_GROUPS",
    "ENHANCED",
    "FRAME_FACTS",
    "LAST_HEADER_TAG",
    "LOSSY_METHODS",
    "MR_IMAGE",
    "MULTI_FRAME",
    "PHASE",
    "RENAMED",
    "SCAN_TAGS",
    "SPLIT_ALWAYS",
    "SPLIT_IF_REPEATED",
    "UNPAIRED",
    "WRITTEN_ANEW",
]

CT_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.2"
MR_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED: Final = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
        "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT
        "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR
        "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR
        "1.2.840.10008.5.1.4.1.1.128.1",  # Legacy Converted Enhanced PET
        "1.2.840.10008.5.1.4.1.1.130",  # Enhanced PET
    }
)

SCAN_TAGS: Final = {
    "ImageType": 0x00080008,
    "SOPClassUID": 0x00080016,
    "SOPInstanceUID": 0x00080018,
    "AcquisitionTime": 0x00080032,
    "Modality": 0x00080060,
    "PatientID": 0x00100020,
    "SliceThickness": 0x00180050,
    "EchoTime": 0x00180081,
    "EchoNumbers": 0x00180086,
    "SpacingBetweenSlices": 0x00180088,
    "TriggerTime": 0x00181060,
    "DiffusionBValue": 0x00189087,
    "DiffusionGradientOrientation": 0x00189089,
    "ConvolutionKernel": 0x00181210,
    "StudyInstanceUID": 0x0020000D,
    "SeriesInstanceUID": 0x0020000E,
    "SeriesNumber": 0x00200011,
    "AcquisitionNumber": 0x00200012,
    "InstanceNumber": 0x00200013,
    "ImagePositionPatient": 0x00200032,
    "ImageOrientationPatient": 0x00200037,
    "FrameOfReferenceUID": 0x00200052,
    "TemporalPositionIdentifier": 0x00200100,
    "SamplesPerPixel": 0x00280002,
    "PhotometricInterpretation": 0x00280004,
    "NumberOfFrames": 0x00280008,
    "Rows": 0x00280010,
    "Columns": 0x00280011,
    "PixelSpacing": 0x00280030,
    "BitsAllocated": 0x00280100,
    "BitsStored": 0x00280101,
    "HighBit": 0x00280102,
    "PixelRepresentation": 0x00280103,
    "PixelPaddingValue": 0x00280120,
    "PixelPaddingRangeLimit": 0x00280121,
    "RescaleIntercept": 0x00281052,
    "RescaleSlope": 0x00281053,
    "RescaleType": 0x00281054,
    "ModalityLUTSequence": 0x00283000,
    "Units": 0x00541001,
}
LAST_HEADER_TAG: Final = max(SCAN_TAGS.values())

# A series splits by these wherever they differ: other contrasts at (usually) the same positions.
SPLIT_ALWAYS: Final = (
    *("EchoNumbers", "EffectiveEchoTime", "TemporalPositionIdentifier", "DiffusionBValue", "component"),
    "StackID",
)
# And by the first of these that turns repeated positions into whole stacks of equal length.
SPLIT_IF_REPEATED: Final = (
    "EchoTime",
    "TriggerTime",
    "NominalCardiacTriggerDelayTime",
    "NominalPercentageOfCardiacPhase",
    "NominalPercentageOfRespiratoryPhase",
    "InversionTimes",
    "FlipAngle",
    "DiffusionGradientOrientation",
    "ImageType",
    "AcquisitionNumber",
    "AcquisitionTime",
)

# Source values that say nothing true about a derived slice; what is not recomputed stays away.
DROPPED: Final = frozenset(
    {
        0x00080001,  # Length to End
        0x00080014,  # Instance Creator UID: of the program that wrote the source
        0x00082112,  # Source Image Sequence: written anew
        0x00089092,  # Referenced Image Evidence Sequence
        0x00089215,  # Derivation Code Sequence: written anew
        0x00082111,  # Derivation Description: written anew
        0x00181100,  # Reconstruction Diameter
        0x00181164,  # Imager Pixel Spacing: of the detector's grid
        0x00200030,  # Image Position, of ACR-NEMA: ImagePositionPatient is computed anew
        0x00200035,  # Image Orientation, of ACR-NEMA
        0x00200050,  # Location, of ACR-NEMA
        0x00201002,  # Images in Acquisition
        0x00201200,  # Number of Patient Related Studies: this series changes the counts
        0x00201202,  # Number of Patient Related Series
        0x00201204,  # Number of Patient Related Instances
        0x00201206,  # Number of Study Related Series
        0x00201208,  # Number of Study Related Instances
        0x00201209,  # Number of Series Related Instances
        0x00280006,  # Planar Configuration
        0x00280008,  # Number of Frames
        0x00280034,  # Pixel Aspect Ratio
        0x00280106,  # Smallest Image Pixel Value
        0x00280107,  # Largest Image Pixel Value
        0x00280108,  # Smallest Pixel Value in Series
        0x00280109,  # Largest Pixel Value in Series
        0x00280120,  # Pixel Padding Value: written anew
        0x00280121,  # Pixel Padding Range Limit
        0x00281052,  # Rescale Intercept: written anew
        0x00281053,  # Rescale Slope: written anew
        0x00283000,  # Modality LUT Sequence: already applied
        0x00409096,  # Real World Value Mapping Sequence: maps the old stored values
        0x00880200,  # Icon Image Sequence
        0x52009229,  # Shared Functional Groups Sequence
        0x52009230,  # Per-Frame Functional Groups Sequence
        0x7FE00001,  # Extended Offset Table
        0x7FE00002,  # Extended Offset Table Lengths
        0x7FE00008,  # Float Pixel Data
        0x7FE00009,  # Double Float Pixel Data
        0x7FE00010,  # Pixel Data
        0xFFFCFFFC,  # Data Set Trailing Padding
    }
)
# Of these, what a derived slice states for itself.
WRITTEN_ANEW: Final = frozenset(
    {
        *(0x00082111, 0x00082112, 0x00089215),  # derivation and source images
        *(0x00280120, 0x00281052, 0x00281053),  # padding and scaling
        0x7FE00010,  # Pixel Data
    }
)
# Curves, overlays (repeating groups), MAC parameters and digital signatures of the old bytes.
DROPPED_GROUPS: Final = frozenset({*range(0x5000, 0x5020), *range(0x6000, 0x6020), 0x4FFE, 0xFFFA})

# What of the top level of an enhanced file says nothing of one of its frames, or must be absent in a
# single-frame one unless ScanningSequence or ScanOptions say what an enhanced file does not (PS3.3 C.8.3.1).
MULTI_FRAME: Final = (
    0x00080008,  # Image Type: that of the frame is taken
    0x00089154,  # Source Image Evidence Sequence
    0x00089205,  # Pixel Presentation
    0x00089206,  # Volumetric Properties
    0x00089207,  # Volume Based Calculation Technique
    0x00180082,  # Inversion Time: InversionTimes of the frame stays
    0x00181060,  # Trigger Time: NominalCardiacTriggerDelayTime of the frame stays
    0x00200242,  # SOP Instance UID of Concatenation Source
    0x00209161,  # Concatenation UID
    0x00209162,  # In-concatenation Number
    0x00209163,  # In-concatenation Total Number
    0x00209221,  # Dimension Organization Sequence
    0x00209222,  # Dimension Index Sequence
    0x00209228,  # Concatenation Frame Offset Number
    0x00209311,  # Dimension Organization Type
    0x00280009,  # Frame Increment Pointer
    0x00286010,  # Representative Frame Number
)

# What the functional groups of a frame say that a single-frame file says as well.
FRAME_FACTS: Final = {
    "PixelMeasuresSequence": ("PixelSpacing",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelValueTransformationSequence": ("RescaleType",),
    "FrameVOILUTSequence": (
        *("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction"),
    ),
    "FrameAnatomySequence": ("AnatomicRegionSequence",),
    "FrameContentSequence": ("FrameAcquisitionNumber", "TemporalPositionIndex"),
    "CardiacSynchronizationSequence": ("NominalCardiacTriggerDelayTime",),
    "MREchoSequence": ("EffectiveEchoTime",),
    "MRTimingAndRelatedParametersSequence": ("RepetitionTime", "EchoTrainLength", "FlipAngle"),
    "MRModifierSequence": ("InversionTimes",),
    "MRAveragesSequence": ("NumberOfAverages",),
    "MRImagingModifierSequence": ("PixelBandwidth", "TransmitterFrequency"),
    "MRReceiveCoilSequence": ("ReceiveCoilName",),
    "MRTransmitCoilSequence": ("TransmitCoilName",),
    "MRFOVGeometrySequence": (
        *("PercentSampling", "PercentPhaseFieldOfView", "InPlanePhaseEncodingDirection"),
        "MRAcquisitionPhaseEncodingStepsInPlane",
    ),
    "MRDiffusionSequence": ("DiffusionBValue",),
    "MRImageFrameTypeSequence": ("ComplexImageComponent", "AcquisitionContrast"),
    "CTExposureSequence": (
        *("ExposureTimeInms", "XRayTubeCurrentInmA", "ExposureInmAs", "ExposureModulationType", "CTDIvol"),
    ),
    "CTXRayDetailsSequence": ("KVP", "FocalSpots", "FilterType"),
    "CTReconstructionSequence": ("ConvolutionKernel",),
    "CTAcquisitionDetailsSequence": (
        *("RotationDirection", "RevolutionTime", "SingleCollimationWidth", "TotalCollimationWidth"),
        *("TableHeight", "GantryDetectorTilt", "DataCollectionDiameter"),
    ),
    "CTTableDynamicsSequence": ("TableSpeed", "TableFeedPerRotation", "SpiralPitchFactor"),
    "CTGeometrySequence": ("DistanceSourceToDetector",),
}
# And under which name, where it is another.
RENAMED: Final = {
    "FrameAcquisitionNumber": "AcquisitionNumber",
    "TemporalPositionIndex": "TemporalPositionIdentifier",
    "EffectiveEchoTime": "EchoTime",
    "TransmitterFrequency": "ImagingFrequency",
    "MRAcquisitionPhaseEncodingStepsInPlane": "NumberOfPhaseEncodingSteps",
    "ExposureTimeInms": "ExposureTime",
    "XRayTubeCurrentInmA": "XRayTubeCurrent",
    "ExposureInmAs": "Exposure",
}

PHASE: Final = frozenset({"P", "PHASE", "PHASE MAP"})  # of ImageType, component of an enhanced frame

# Transfer syntaxes that lose information, by the name of their method (PS3.3 C.7.6.1.1.5).
LOSSY_METHODS: Final = {
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",  # JPEG baseline
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",  # JPEG extended
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",  # JPEG-LS near-lossless, which may be lossless as well
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",  # JPEG 2000, which may be lossless but does not say so
}

# And those of them that never keep every value, whatever a file states.
ALWAYS_LOSSY: Final = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")

# Body parts that have no left and right (PS3.16 table L-1, the usual ones): Laterality must be absent.
UNPAIRED: Final = frozenset(
    {
        *("ABDOMEN", "ABDOMENPELVIS", "BRAIN", "CHEST", "COCCYX", "CSPINE", "HEAD", "HEADNECK", "HEART"),
        *("LIVER", "LSPINE", "NECK", "PANCREAS", "PELVIS", "PROSTATE", "SKULL", "SPINE", "SSPINE"),
        *("STERNUM", "TSPINE", "UTERUS", "WHOLEBODY"),
    }
)

# Code value and meaning in scheme DCM (PS3.16 annex D).
CODES: Final = {
    "derivation": ("113085", "Spatial resampling"),
    "source": ("121322", "Source image for image processing operation"),
    "equipment": ("109102", "Processing Equipment"),
    "deidentification": ("113100", "Basic Application Confidentiality Profile"),
}
