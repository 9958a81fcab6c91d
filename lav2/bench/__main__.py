"""`python -m lav2.bench`"""

import sys

from lav2.bench.command import main

sys.exit(main())
