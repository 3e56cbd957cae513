"""What a derived slice keeps of its source: of single-frame files and of the frames of enhanced ones."""

from pathlib import Path

import pytest
from helpers.dicom_series import build_series, enhanced_file
from pydicom import Dataset, config, dcmread

from sr_imaging.io.dicom.reading.find_series import find_series
from sr_imaging.io.dicom.reading.series import read_series
from sr_imaging.io.dicom.writing.series import write_series

ENHANCED = (
    "1901_WIP_3DpCASL_real.dcm",
    "philips_IM_0027_fMAP.dcm",
    "siemens_cimax_xa61_88972279",
    "siemens_xa10_6_1.dcm",
)
# By the name in a derived slice: functional group and attribute of a frame.
OF_FRAME = {
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "RepetitionTime": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    "EchoTrainLength": ("MRTimingAndRelatedParametersSequence", "EchoTrainLength"),
    "FlipAngle": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "NumberOfAverages": ("MRAveragesSequence", "NumberOfAverages"),
    "PixelBandwidth": ("MRImagingModifierSequence", "PixelBandwidth"),
    "ImagingFrequency": ("MRImagingModifierSequence", "TransmitterFrequency"),
    "WindowCenter": ("FrameVOILUTSequence", "WindowCenter"),
    "WindowWidth": ("FrameVOILUTSequence", "WindowWidth"),
}


def derived(source: Path, folder: Path) -> Dataset:
    """The first slice of what is derived from the first scan of a file or folder."""
    scan = find_series([source] if source.is_file() else source.iterdir())[0][0]
    write_series(read_series(scan)[:2], folder, scan)
    return dcmread(folder / "IM_0001.dcm")


def stated(dataset: Dataset, group: str, name: str) -> object:
    """An attribute of the first frame."""
    for groups in (dataset.PerFrameFunctionalGroupsSequence[0], dataset.SharedFunctionalGroupsSequence[0]):
        if group in groups and name in groups[group].value[0]:
            return groups[group].value[0][name].value
    raise LookupError(f"{group} has no {name}")


@pytest.mark.parametrize("name", ENHANCED)
def test_write_series_keeps_what_a_frame_of_an_enhanced_file_states(
    shared_data: Path, tmp_path: Path, name: str
) -> None:
    path = shared_data / "medical/dcm_mr_enhanced_multiframe" / name
    source, out = dcmread(path, stop_before_pixels=True), derived(path, tmp_path)
    for keyword, (group, attribute) in OF_FRAME.items():
        # decimal strings of 16 characters hold ten digits at least
        assert float(out[keyword].value) == pytest.approx(
            float(str(stated(source, group, attribute))), rel=1e-9
        )
    kind = [str(part) for part in stated(source, "MRImageFrameTypeSequence", "FrameType")]
    assert list(out.ImageType) == ["DERIVED", "SECONDARY", *kind[2:]]


@pytest.mark.parametrize("name", ENHANCED)
def test_write_series_keeps_the_top_level_of_an_enhanced_file(
    shared_data: Path, tmp_path: Path, name: str
) -> None:
    path = shared_data / "medical/dcm_mr_enhanced_multiframe" / name
    source, out = dcmread(path, stop_before_pixels=True), derived(path, tmp_path)
    for keyword in (
        *("AcquisitionDateTime", "MagneticFieldStrength", "StationName", "OperatorsName", "PatientAge"),
        *("IssuerOfPatientID", "AcquisitionContrast", "ComplexImageComponent", "BurnedInAnnotation"),
        *("AcquisitionDuration", "PulseSequenceName", "StudyDescription", "InstitutionName"),
    ):
        assert out.get(keyword) == source.get(keyword) or source.get(keyword) in ("MIXED", "UNKNOWN")
    for keyword in ("DimensionIndexSequence", "DimensionOrganizationSequence", "NumberOfFrames"):
        assert keyword not in out


def test_write_series_marks_a_frame_of_phase_as_one(shared_data: Path, tmp_path: Path) -> None:
    ds = dcmread(shared_data / "medical/dcm_mr_enhanced_multiframe/siemens_xa10_6_1.dcm")
    for groups in (*ds.SharedFunctionalGroupsSequence, *ds.PerFrameFunctionalGroupsSequence):
        for kind in groups.get("MRImageFrameTypeSequence", []):
            kind.ComplexImageComponent, kind.FrameType = "PHASE", ["ORIGINAL", "PRIMARY", "OTHER", "NONE"]
    ds.save_as(tmp_path / "e.dcm")
    assert list(derived(tmp_path / "e.dcm", tmp_path / "out").ImageType)[2:] == ["OTHER", "NONE", "P"]


def test_write_series_keeps_how_an_enhanced_ct_was_acquired(tmp_path: Path) -> None:
    build_series(tmp_path / "slices", 4, edit=lambda ds, k: setattr(ds, "KVP", 90))
    ds = enhanced_file(tmp_path / "slices", tmp_path / "e.dcm", "CT")
    exposure, kernel, frame = Dataset(), Dataset(), Dataset()
    exposure.ExposureTimeInms, exposure.XRayTubeCurrentInmA, exposure.ExposureInmAs = 499.7, 210.0, 105.2
    kernel.ConvolutionKernel, frame.FrameType = "B31f", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    shared = ds.SharedFunctionalGroupsSequence[0]
    shared.CTExposureSequence, shared.CTReconstructionSequence = [exposure], [kernel]
    shared.CTImageFrameTypeSequence = [frame]
    ds.save_as(tmp_path / "e.dcm")
    out = derived(tmp_path / "e.dcm", tmp_path / "out")
    assert (out.ExposureTime, out.XRayTubeCurrent, out.Exposure) == (500, 210, 105)
    assert (out.KVP, out.ConvolutionKernel, out.RescaleType) == (90, "B31f", "HU")
    assert (out.WindowCenter, out.WindowWidth) == (40, 400)
    assert list(out.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]


@pytest.mark.parametrize("stated", ["00", ""])
def test_write_series_marks_a_syntax_that_always_loses_whatever_is_stated(
    shared_data: Path, tmp_path: Path, stated: str
) -> None:
    ds = dcmread(shared_data / "odd/dicom_nema_wg04/JPLY/MR1_JPLY")
    ds.LossyImageCompression = stated
    ds.save_as(tmp_path / "e.dcm")
    out = derived(tmp_path / "e.dcm", tmp_path / "out")
    assert (out.LossyImageCompression, out.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert out.LossyImageCompressionRatio > 1


def test_write_series_shortens_decimal_strings_that_are_too_long(tmp_path: Path) -> None:
    texts = {"WindowCenter": "40.0000000000000001234", "TableHeight": "-123.45678901234567890"}

    def edit(ds: Dataset, k: int) -> None:
        request = Dataset()
        for target in (ds, request):
            for name, text in texts.items():
                setattr(target, name, 0)
                target[name]._value = text
        ds.RequestAttributesSequence = [request]

    with config.disable_value_validation():
        build_series(tmp_path / "in", edit=edit)
        out = derived(tmp_path / "in", tmp_path / "out")
        for target in (out, out.RequestAttributesSequence[0]):
            for name, text in texts.items():
                written = str(target[name].value)
                assert len(written) <= 16
                # what 16 characters hold
                assert float(written) == pytest.approx(float(text), rel=1e-12)


def test_write_series_joins_a_description_of_several_values(tmp_path: Path) -> None:
    build_series(tmp_path / "in", edit=lambda ds, k: setattr(ds, "SeriesDescription", ["T1", "FLAIR"]))
    assert derived(tmp_path / "in", tmp_path / "out").SeriesDescription == "T1/FLAIR resampled"


def test_write_series_drops_what_counts_or_made_the_source_instances(tmp_path: Path) -> None:
    def edit(ds: Dataset, k: int) -> None:
        ds.NumberOfSeriesRelatedInstances, ds.NumberOfStudyRelatedInstances = 5, 50
        ds.NumberOfStudyRelatedSeries, ds.InstanceCreatorUID = 3, "1.2.3.4"

    build_series(tmp_path / "in", edit=edit)
    out = derived(tmp_path / "in", tmp_path / "out")
    assert [
        element.keyword for element in out if "Related" in element.name or "Creator" in element.name
    ] == []


def test_write_series_invents_no_slice_thickness(tmp_path: Path) -> None:
    build_series(tmp_path / "in", edit=lambda ds, k: setattr(ds, "SliceThickness", None))
    out = derived(tmp_path / "in", tmp_path / "out")
    assert (out.SliceThickness, out.SpacingBetweenSlices) == (None, 6)
