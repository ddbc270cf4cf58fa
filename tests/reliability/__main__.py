"""python -m tests.reliability --list | --tier NAME [--seconds N | --long | --amount N] [--seed S]"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # as pytest has it: these modules know each other by their plain names

from runner import main  # noqa: E402

if __name__ == "__main__":
    logging.getLogger("eventbus").setLevel(logging.CRITICAL)  # handlers fail on purpose, and disks, too
    sys.exit(main())
