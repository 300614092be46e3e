"`python -m attrnb.cli` is the command `attrnb`; written by hand"

import sys

from attrnb.cli import main

if __name__ == "__main__":
    sys.exit(main())
