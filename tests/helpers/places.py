"""Where the checkout is, and the folder of real scans."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("SR_IMAGING_DATA", ROOT.parent / "shared" / "data"))
