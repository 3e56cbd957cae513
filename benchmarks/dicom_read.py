"""Time to read a DICOM series against SimpleITK and MONAI, in one run on one machine.

Builds 150 slices of 512 x 512 in a temporary folder, reads them several times with each reader in turn, and
prints the best time of each and the ratio to ours: above 1 means that ours is faster.

    python benchmarks/dicom_read.py [slices] [matrix] [repeats]
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from sr_imaging.io.dicom_read import read_series
from sr_imaging.io.dicom_scan import find_series


def build_series(folder: Path, *, slices: int, matrix: int) -> None:
    rng = np.random.default_rng(0)
    series, study, frame = (
        generate_uid(entropy_srcs=["benchmark", name]) for name in ("series", "study", "for")
    )
    for k in range(slices):
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid(entropy_srcs=["benchmark", str(k)])
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.Modality, ds.ImageType, ds.InstanceNumber = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], k + 1
        ds.PatientName, ds.PatientID, ds.PatientPosition = "", "", "HFS"
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.ImagePositionPatient = [-200.5, -180.25, 2.5 * k - 100]
        ds.PixelSpacing, ds.SliceThickness = [0.78, 0.78], 2.5
        ds.Rows = ds.Columns = matrix
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
        ds.add_new(0x7FE00010, "OW", rng.integers(0, 4096, (matrix, matrix), dtype=np.uint16).tobytes())
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dcmwrite(folder / f"{k:04d}.dcm", ds, enforce_file_format=True)


def read_ours(folder: Path) -> np.ndarray:
    scans, _ = find_series(folder.iterdir())
    return read_series(scans[0]).values


def read_simpleitk(folder: Path) -> np.ndarray:
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(str(folder))[0]
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series))
    return SimpleITK.GetArrayFromImage(reader.Execute())


def read_monai(folder: Path) -> np.ndarray:
    from monai.data import PydicomReader

    reader = PydicomReader()
    return np.asarray(reader.get_data(reader.read(str(folder)))[0])


def best_time(read: Callable[[Path], np.ndarray], folder: Path, repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        read(folder)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    slices, matrix, repeats = (int(v) for v in (*sys.argv[1:], *("150", "512", "3")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_series(folder, slices=slices, matrix=matrix)
        start = time.perf_counter()
        find_series(folder.iterdir())
        scan = time.perf_counter() - start
        ours = best_time(read_ours, folder, repeats)
        itk = best_time(read_simpleitk, folder, repeats)
        monai = best_time(read_monai, folder, 1)
        same = np.array_equal(read_ours(folder), read_simpleitk(folder))
    print(f"{slices} slices of {matrix} x {matrix}, values equal to SimpleITK's: {same}")
    print(f"headers alone   {1e3 * scan / slices:6.2f} ms a file")
    print(f"sr_imaging      {ours:6.2f} s")
    print(f"SimpleITK       {itk:6.2f} s   SimpleITK / ours {itk / ours:5.2f}")
    print(f"MONAI (pydicom) {monai:6.2f} s   MONAI / ours     {monai / ours:5.2f}")


if __name__ == "__main__":
    main()
