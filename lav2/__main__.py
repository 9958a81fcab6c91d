"""`python -m lav2 COMMAND ...`"""

import sys

from lav2.cli.main import main

sys.exit(main())
