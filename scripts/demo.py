"""Opens a web page, served from this machine alone, where one points at things in images with words.

plvl demo [--model MODEL] [--host HOST] [--port PORT] [--open]
"""

import argparse
import errno
import importlib.util
import os
import signal
import socket
from tempfile import TemporaryDirectory

from plvl.scripts.extras import pip_install
from plvl.scripts.program import run_command


def add_arguments(parser: argparse.ArgumentParser):
    parser.add_argument("--model", help="folder or Hub name of a PLVL model, or photos (default) or shapes")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve; 0.0.0.0 lets others in (%(default)s)")
    parser.add_argument("--port", type=int, help="port to serve (default: the first free one from 7860 on)")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")


def run(arguments):
    if importlib.util.find_spec("gradio") is None:
        raise ValueError(f"the page needs Gradio: {pip_install('demo')}")
    # Gradio reads both as it is imported. A folder of its own for what visitors bring goes when the page does.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with TemporaryDirectory(prefix="plvl-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            serve(arguments)
        except KeyboardInterrupt:
            # Gradio takes it while it waits; it may come before, too.
            return


def serve(arguments):
    """Serves the page until it is interrupted.

    Raises:
        ValueError: there is no such address, port or model, or the model is not whole.
        OSError: the port is taken.
    """
    _check_address(arguments.host, arguments.port)
    # Not at the top: --help and a misspelt flag need not wait for Transformers.
    from plvl.scripts.demo_page.examples import read_examples
    from plvl.scripts.model_loading import chosen_folder, knows_drawn_shapes_alone, load_chosen_model

    folder = chosen_folder(arguments.model)
    examples = read_examples(folder)
    model, processor = load_chosen_model(folder, attn_implementation="eager")

    # Nor does a model that is not there wait for Gradio.
    from plvl.scripts.demo_page.page import build_page, launch_options

    # What ends a service does what Ctrl+C does: the folder of what visitors brought goes too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    page = build_page(model, processor, examples, knows_shapes_alone=knows_drawn_shapes_alone(folder))
    _, url, _ = page.launch(
        server_name=arguments.host,
        server_port=arguments.port,
        inbrowser=arguments.open,
        prevent_thread_lock=True,
        **launch_options(),
    )
    print(f"the demo is at {url} (Ctrl+C ends it)", flush=True)
    page.block_thread()


def _check_address(host, port):
    """One line of an error, at once: Gradio comes after the model, and tries an unknown host at a hundred ports."""
    if port is not None and not 1 <= port <= 65535:
        raise ValueError(f"--port must be from 1 to 65535, got {port}")
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ValueError(f"--host {host}: {error}") from error
    with socket.socket(family, socket.SOCK_STREAM) as tried:
        # As the server does it: a port whose last connection has just ended is free.
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(address)
        except OSError as error:
            raise OSError(_why_not(host, port, error)) from error


def _why_not(host, port, error: OSError) -> str:
    if port is None:
        return f"--host {host}: {error.strerror}"
    if error.errno == errno.EADDRINUSE:
        return f"--port {port} of {host} is taken: name another, or none for the first free one from 7860 on"
    return f"--port {port} of {host}: {error.strerror}"


def main(argv=None):
    run_command(__doc__, add_arguments, run, "plvl demo", argv)


if __name__ == "__main__":
    main()
