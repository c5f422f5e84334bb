"""``python -m d2_saliency.cli`` is ``d2-saliency``."""

import sys

from .main import main

if __name__ == "__main__":
    sys.argv[0] = "d2-saliency"  # the report shows the command
    sys.exit(main())
