"""Opens a web page, served from this machine alone, where one points at things in pictures with words.

plvl demo [--model MODEL] [--host HOST] [--port PORT] [--open]
"""

import argparse
import importlib.util
import os
import signal
import socket
import sys
from tempfile import TemporaryDirectory


def add_arguments(parser: argparse.ArgumentParser):
    parser.add_argument("--model", help="folder or Hub name of a PLVL model (default: the bundled checkpoint)")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve; 0.0.0.0 lets others in (%(default)s)")
    parser.add_argument("--port", type=int, help="port to serve (default: the first free one from 7860 on)")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")


def run(arguments):
    if importlib.util.find_spec("gradio") is None:
        sys.exit("plvl demo: the page needs Gradio, which the extra brings: pip install 'plvl[demo]'")
    # Gradio reads both as it is imported. A folder of its own for what visitors bring goes when the page does.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with TemporaryDirectory(prefix="plvl-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            serve(arguments)
        except KeyboardInterrupt:
            # Gradio takes it while it waits; it may come before, too.
            return
        except (ValueError, OSError) as error:
            sys.exit(f"plvl demo: {error}")


def serve(arguments):
    """Serves the page until it is interrupted.

    Raises:
        ValueError: there is no such address, port or model, or the model is not whole.
        OSError: the port is taken.
    """
    _check_address(arguments.host, arguments.port)
    # Not at the top: --help and a misspelt flag need not wait for Transformers.
    from plvl.scripts.chosen_model import chosen_folder, load_chosen_model
    from plvl.scripts.demo_page.examples import read_examples

    folder = chosen_folder(arguments.model)
    examples = read_examples(folder)
    model, processor = load_chosen_model(folder, attn_implementation="eager")

    # Nor does a model that is not there wait for Gradio.
    from plvl.scripts.demo_page.page import build_page, launch_options

    # What ends a service does what Ctrl+C does: the folder of what visitors brought goes too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    page = build_page(model, processor, examples, is_bundled=arguments.model is None)
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
    """For one line of an error: Gradio tries an unknown host at a hundred ports, and fails otherwise at port 70000."""
    if port is not None and not 1 <= port <= 65535:
        raise ValueError(f"--port must be from 1 to 65535, got {port}")
    try:
        socket.getaddrinfo(host, port)
    except OSError as error:
        raise ValueError(f"--host {host}: {error}") from error


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    run(parser.parse_args(argv))


if __name__ == "__main__":
    main()
