"""`python -m lav2.instruct`"""

import sys

from lav2.instruct.command import main

sys.exit(main())
