"""The command line ``d2-saliency``. Nothing here imports torch before the arguments are parsed."""
