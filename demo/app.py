#!/usr/bin/env python
"""Serve the web app, as "d2-saliency app" does."""

import sys

from d2_saliency.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["app"]
    sys.exit(main())
