"""`python -m meddistill`, also under torchrun."""

from meddistill.cli import main

if __name__ == "__main__":
    main()
