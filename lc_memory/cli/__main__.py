"""``python -m lc_memory.cli``."""

import sys

from lc_memory.cli import main

sys.exit(main())
