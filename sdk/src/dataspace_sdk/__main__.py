"""``python -m dataspace_sdk``."""

import sys

from dataspace_sdk.cli import main

sys.exit(main())
