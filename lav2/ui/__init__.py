"""The web page and its API, in Gradio. All that it says about a photo comes from `lav2.assistant`. No torch.

Gradio is first imported here, because it reads its settings and does its slowest work at that moment.
"""

import os
from unittest.mock import patch

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # else the Hub's client looks up who calls, for its user agent

# While it is imported, Gradio looks through the source of its components and renders stubs for editors (.pyi), which
# takes longer than all else that it does. It leaves out classes whose file is not known.
with patch("inspect.getfile", side_effect=OSError):
    import gradio  # noqa: F401
