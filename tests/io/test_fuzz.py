"""Real files with flipped bytes, cuts and holes: an array, a verdict or our error; no crash and no hang."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from sr_imaging import ReadError, find_scans, read
from sr_imaging.io.scan import under_policies

SLOWEST_S = 3.0  # of the processor for one case; usual are milliseconds
CASES = 200  # of each file
FILES: dict[str, Callable[[Path], Path]] = {
    **{
        name: lambda _, name=name: Path(get_testdata_file(name, download=False))
        for name in (
            *("CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm"),
            *("MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"),
            "dicomdirtests/DICOMDIR",
        )
    },
    **{
        name: lambda data, name=name: data / name
        for name in (
            "medical/dcm_mr_enhanced_multiframe/siemens_xa10_6_1.dcm",
            "medical/dcm_mr_phase_siemens_trio",
            "medical/dcm_mr_transfer_syntaxes_siemens/1.dcm",
            "odd/dicom_nema_wg04/JPLL/MR1_JPLL",
            "odd/nifti_derived/slope_inter.nii.gz",
            "odd/nifti_derived/left_handed.nii.gz",
            "odd/nifti_derived/pair.hdr",
        )
    },
}


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip a few bytes, most of them in the header; in a third of the cases also cut or blank a part."""
    broken = bytearray(data)
    head = min(len(broken), 4000)
    for _ in range(int(rng.integers(1, 6))):
        end = head if rng.random() < 0.8 else len(broken)
        broken[int(rng.integers(0, end))] = int(rng.choice([0, 1, 0x7F, 0xFF, int(rng.integers(256))]))
    kind = rng.integers(6)
    if kind == 0:
        del broken[int(rng.integers(0, len(broken))) :]
    elif kind == 1:
        start = int(rng.integers(0, head))
        stop = min(start + int(rng.integers(1, 40)), len(broken))
        broken[start:stop] = bytes(stop - start)
    return bytes(broken)


def outcome(path: Path) -> str:
    """What a user gets of a path; anything but our own error goes through and fails the test."""
    try:
        scans = find_scans(path)
    except ReadError:
        return "no scan"
    for found in scans:
        assert found.verdict.ok != bool(found.verdict.reason)
        if not found.verdict.ok:
            with pytest.raises(ReadError):
                read(found)
        (scan,) = under_policies([found], on_missing="resample", on_tilt="resample")
        if not scan.verdict.ok:
            continue
        try:
            da = read(scan)
        except ReadError:
            return "refused in reading"
        assert da.shape == scan.shape
        assert da.dtype.kind in "iuf"
        return "read"
    return "refused"


@pytest.mark.parametrize("name", FILES)
def test_damaged_file_gives_an_array_a_verdict_or_our_error(
    shared_data: Path, tmp_path: Path, name: str
) -> None:
    source = FILES[name](shared_data)
    rng = np.random.default_rng(len(name))
    outcomes: Counter[str] = Counter()
    if source.is_dir():  # a series of three slices, of which one is damaged
        whole = sorted(source.glob("*.dcm"))[:3]
        for path in whole[1:]:
            (tmp_path / path.name).write_bytes(path.read_bytes())
        source, asked = whole[0], tmp_path
    else:
        asked = tmp_path / source.name
    if source.suffix == ".hdr":
        (tmp_path / "pair.img").write_bytes(source.with_suffix(".img").read_bytes())
    data = source.read_bytes()
    for _ in range(CASES):
        (tmp_path / source.name).write_bytes(damaged(data, rng))
        began = time.process_time()
        outcomes[outcome(asked)] += 1
        assert time.process_time() - began < SLOWEST_S
    assert len(outcomes) > 1, outcomes  # the damage reaches what matters, and not always
