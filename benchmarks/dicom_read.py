"""Time and memory to read a DICOM series, against SimpleITK and MONAI in the same run.

    python benchmarks/dicom_read.py [--quick]

Builds 150 slices of 512 x 512 in a temporary folder, and a tenth of them in JPEG 2000, and prints ratios:
above 1 means that sr_imaging is faster. Fails unless it is as fast as SimpleITK, four times as fast as MONAI,
and needs at most 1.3 times the volume in memory.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from common import format_ratio, time_pairs
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

from sr_imaging.io.dicom.reading import headers
from sr_imaging.io.dicom.reading.find_series import find_series
from sr_imaging.io.dicom.reading.series import read_series

FASTER_THAN_ITK, FASTER_THAN_MONAI, MEMORY = 1.0, 4.0, 1.3
HEADERS = 1000


def build_series(folder: Path, *, slices: int, matrix: int, compress: bool = False) -> Path:
    """Write a CT series of smooth noise; headers alone (one pixel) where the matrix is 1."""
    rng = np.random.default_rng(0)
    names = ("series", "study", "for")
    series, study, frame = (generate_uid(entropy_srcs=["benchmark", name]) for name in names)
    folder.mkdir()
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
        noise = rng.integers(0, 64, (matrix, matrix), dtype=np.uint16).cumsum(1) % 4096
        ds.add_new(0x7FE00010, "OW", noise.astype(np.uint16).tobytes())
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        if compress:
            ds.compress(JPEG2000Lossless, generate_instance_uid=False)
        dcmwrite(folder / f"{k:04d}.dcm", ds, enforce_file_format=True)
    return folder


def read_ours(folder: Path) -> np.ndarray:
    headers._RECENT.clear()  # as if the series had never been read
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


def measure_peak(*folders: Path) -> float:
    """Return the peak memory in MB of a process that reads series one after another (Linux only)."""
    code = (
        "import re, sys; from pathlib import Path; from sr_imaging import read\n"
        "for name in sys.argv[1:]: read(name)\n"
        "print(re.search(r'VmHWM:\\s*(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    command = [sys.executable, "-c", code, *map(str, folders)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024


def main() -> int:
    """Print all ratios; return 1 where a floor is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small series, to see that it runs")
    quick = parser.parse_args().quick
    slices, matrix, runs = (12, 64, 1) if quick else (150, 512, 5)
    with tempfile.TemporaryDirectory() as name:
        plain = build_series(Path(name) / "plain", slices=slices, matrix=matrix)
        packed = build_series(
            Path(name) / "packed", slices=max(slices // 10, 3), matrix=matrix, compress=True
        )
        small = build_series(Path(name) / "small", slices=slices if quick else HEADERS, matrix=1)
        if not quick:
            time.sleep(2)  # headers of files that were just written are not cached
        same = np.array_equal(read_ours(plain), read_simpleitk(plain))
        print(f"{slices} slices of {matrix} x {matrix}, values equal to SimpleITK's: {same}")
        itk = time_pairs(lambda: read_ours(plain), lambda: read_simpleitk(plain), runs)
        print(f"sr_imaging {median(a for a, _ in itk):.2f} s, speed over SimpleITK {format_ratio(itk)}")
        monai = time_pairs(lambda: read_ours(plain), lambda: read_monai(plain), max(runs // 2, 1))
        print(f"speed over MONAI's PydicomReader {format_ratio(monai)}")
        jpeg = time_pairs(lambda: read_ours(packed), lambda: read_simpleitk(packed), runs)
        count = max(slices // 10, 3)
        each = 1e3 * median(a for a, _ in jpeg) / count
        print(f"JPEG 2000, {each:.0f} ms a slice, speed over SimpleITK {format_ratio(jpeg)}")
        began = time.perf_counter()
        find_series(small.iterdir())
        print(f"headers of {slices if quick else HEADERS} files {time.perf_counter() - began:.2f} s")
        volume = slices * matrix**2 * 2 / 2**20
        memory = (measure_peak(small, plain) - measure_peak(small)) / volume
        print(f"peak memory {memory:.2f} times the volume of {volume:.0f} MB")
    speeds = [median(b / a for a, b in pairs) for pairs in (itk, monai)]
    kept = same and speeds[0] >= FASTER_THAN_ITK and speeds[1] >= FASTER_THAN_MONAI and memory <= MEMORY
    return 0 if quick or kept else 1


if __name__ == "__main__":
    sys.exit(main())
