"""A builder of small DICOM series for tests, with the real pixels of pydicom's own CT and MR test files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

SHAPE = (20, 28)  # rows, columns
PIXEL = (1.25, 0.8)  # mm between rows, between columns
STEP = 6.0  # mm between slices that are 5 mm thick
ORIGIN = (-31.5, 12.25, -40.0)
AXIAL = (1.0, 0, 0, 0, 1, 0)
SAGITTAL = (0.0, 1, 0, 0, 0, -1)
CORONAL = (1.0, 0, 0, 0, 0, -1)
OBLIQUE = (0.96, 0.28, 0, -0.168, 0.576, 0.8)

Edit = Callable[[Dataset, int], Any]


def real_pixels(count: int, shape: tuple[int, int] = SHAPE, *, name: str = "CT_small.dcm") -> np.ndarray:
    """Crops of a real slice, another one for each position: (count, rows, columns) int16, 0 … 4095."""
    path = get_testdata_file(name, download=False)
    image = np.asarray(dcmread(path).pixel_array).astype(np.int32)
    crops = [image[2 * k : 2 * k + shape[0], k : k + shape[1]] for k in range(count)]
    return np.clip(np.stack(crops), 0, 4095).astype(np.int16)


def build_series(
    folder: Path,
    count: int = 5,
    *,
    modality: str = "CT",
    orientation: tuple[float, ...] = AXIAL,
    pixels: np.ndarray | None = None,
    steps: np.ndarray | None = None,
    names: list[str] | None = None,
    edit: Edit | None = None,
) -> list[Path]:
    """Write a series of `count` slices; `edit(dataset, index)` changes each before it is written."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = real_pixels(count) if pixels is None else pixels
    steps = STEP * np.arange(count) if steps is None else steps
    paths = []
    for k in range(count):
        ds = slice_dataset(pixels[k], k, modality=modality, orientation=orientation, along=float(steps[k]))
        if edit is not None:
            edit(ds, k)
        path = folder / (names[k] if names else f"IM{k:04d}.dcm")
        ds.file_meta.MediaStorageSOPClassUID = UID(ds.get("SOPClassUID") or CTImageStorage)
        ds.file_meta.MediaStorageSOPInstanceUID = UID(ds.get("SOPInstanceUID") or "1.2.3")
        dcmwrite(path, ds, enforce_file_format=True)
        paths.append(path)
    return paths


def slice_dataset(
    pixels: np.ndarray, index: int, *, modality: str, orientation: tuple[float, ...], along: float
) -> Dataset:
    """One slice `along` mm from the origin on its normal."""
    normal = np.cross(orientation[:3], orientation[3:])
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    ds.SOPInstanceUID = generate_uid(entropy_srcs=["slice", modality, str(index), str(along)])
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(ds, name, generate_uid(entropy_srcs=[name, modality]))
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if modality == "CT" else "M"]
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = modality, 7, index + 1
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Secret^Name", "SECRETID", "", "O"
    ds.StudyDate = ds.AcquisitionDate = "20200102"
    ds.StudyTime = ds.AcquisitionTime = "030405"
    ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = "5", "A77", ""
    ds.Manufacturer, ds.SeriesDescription, ds.PatientPosition = "Maker", "thick", "HFS"
    ds.PositionReferenceIndicator, ds.AcquisitionNumber, ds.Laterality = "", 1, ""
    ds.ImageOrientationPatient = [float(v) for v in orientation]
    ds.ImagePositionPatient = [round(float(v), 9) for v in np.array(ORIGIN) + along * normal]
    ds.PixelSpacing, ds.SliceThickness = list(PIXEL), 5.0
    ds.WindowCenter, ds.WindowWidth = 40, 400
    if modality == "CT":
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType, ds.KVP = 1, -1024, "HU", 120
    else:
        ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = "SE", "NONE", ""
        ds.MRAcquisitionType, ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength = "2D", 500, 20, 1
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    set_pixels(ds, pixels, bits=12)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def set_pixels(ds: Dataset, pixels: np.ndarray, *, bits: int) -> None:
    """Store integer pixels with their own sign and size and so many stored bits."""
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = pixels.dtype.itemsize * 8, bits, bits - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i" and bits == pixels.dtype.itemsize * 8)
    vr = "OB" if pixels.dtype.itemsize == 1 else "OW"
    data = pixels.tobytes()
    ds.add_new(0x7FE00010, vr, data + b"\0" * (len(data) % 2))


def affine_of(orientation: tuple[float, ...], *, step: float = STEP) -> np.ndarray:
    """The affine of a series that `build_series` writes: index (z, y, x) to LPS mm."""
    matrix = np.eye(4)
    matrix[:3, 0] = np.cross(orientation[:3], orientation[3:]) * step
    matrix[:3, 1] = np.array(orientation[3:]) * PIXEL[0]
    matrix[:3, 2] = np.array(orientation[:3]) * PIXEL[1]
    matrix[:3, 3] = ORIGIN
    return matrix


def enhanced_file(folder: Path, target: Path, modality: str) -> Dataset:
    """The slices of a folder as one enhanced file that highdicom makes."""
    slices = [dcmread(path) for path in sorted(folder.iterdir())]
    make = {"CT": hd.legacy.LegacyConvertedEnhancedCTImage, "MR": hd.legacy.LegacyConvertedEnhancedMRImage}
    ds = make[modality](slices, generate_uid(), 8, generate_uid(), 1)
    ds.save_as(target)
    return ds
