"""Publishes a trained model on the Hugging Face Hub, with its processor and a model card.

plvl publish --model outputs/refcoco --repo lab/plvl-refcoco [--license apache-2.0] [--dry_run FOLDER]
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from plvl.checkpoints.model_files import require_model_files
from plvl.scripts.atomic_directory import atomic_directory, record_files, require_own_folder
from plvl.scripts.program import run_command


def add_arguments(parser: argparse.ArgumentParser):
    parser.add_argument("--model", required=True, help="folder of the model and its processor")
    parser.add_argument("--repo", required=True, help="repository on the Hub, as lab/plvl-refcoco")
    parser.add_argument("--with_code", action="store_true", help="carry the code, for users without PLVL")
    parser.add_argument("--license", help="licence of the weights for a new card, by the Hub's name, as apache-2.0")
    parser.add_argument(
        "--datasets", nargs="+", help="what it was trained on, for a new card; default: see metrics.json"
    )
    parser.add_argument(
        "--replace_card", action="store_true", help="replace a card in the repository that somebody wrote"
    )
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--dry_run", metavar="FOLDER", help="write what would be sent into FOLDER, and send nothing")


def run(arguments):
    validate_repo_id(arguments.repo)
    require_model_files(Path(arguments.model))
    if arguments.dry_run:
        try_out(arguments)
    else:
        publish(arguments)


def try_out(arguments):
    """Writes what would be sent into the folder of --dry_run; what an earlier try has written there gives way."""
    require_own_folder(arguments.dry_run)
    with atomic_directory(arguments.dry_run, replace=True) as folder:
        build(folder, arguments)
        record_files(folder)
    print(f"nothing was sent; {arguments.dry_run} holds what would be")
    if not arguments.replace_card:
        print(f"a card that somebody wrote in {arguments.repo} would be kept (--replace_card replaces it)")


def publish(arguments):
    hub = HfApi()
    if not get_token():
        raise ValueError("nobody is logged in at the Hub: `hf auth login`, or set HF_TOKEN")
    with TemporaryDirectory() as folder:
        build(Path(folder), arguments)
        try:
            url = send(hub, Path(folder), arguments)
        except (HTTPError, OfflineModeIsEnabled) as error:
            if getattr(error, "response", None) is not None:
                raise  # the Hub's own words
            raise OSError(
                f"{constants.ENDPOINT} cannot be reached ({error}); nothing was published. Try again "
                "where there is a network, or keep what would be sent with --dry_run FOLDER for `hf upload`"
            ) from error
    print(f"published: {url}")


def build(folder: Path, arguments):
    # Not at the top: --help and a misspelt flag need not wait for Transformers.
    from plvl.scripts.release_folder import build_release_folder

    files = build_release_folder(
        arguments.model,
        folder,
        arguments.repo,
        with_code=arguments.with_code,
        license=arguments.license,
        datasets=arguments.datasets,
    )
    for file in files:
        print(f"{file.stat().st_size:>14,}  {file.relative_to(folder)}")


def send(hub: HfApi, folder: Path, arguments) -> str:
    """
    Uploads a folder in one commit, into a repository that is made if there is none; gives the repository's URL. A card
    there that somebody wrote is kept, unless it is to be replaced.
    """
    from plvl.modeling_plvl.model_card_plvl import card_on_hub, card_text, somebody_wrote

    url = hub.create_repo(arguments.repo, private=arguments.private or None, exist_ok=True)
    here, there = folder / "README.md", card_on_hub(url.repo_id)
    keeps_card = False
    if there is not None and not arguments.replace_card and somebody_wrote(card_text(there)):
        keeps_card = there.read_bytes() != here.read_bytes()
    hub.upload_folder(
        repo_id=url.repo_id,
        folder_path=folder,
        commit_message="Upload PLVL model and processor",
        ignore_patterns=["README.md"] if keeps_card else None,
    )
    if keeps_card:
        print(f"the card of {url.repo_id} was kept, for somebody wrote it (--replace_card replaces it)")
    return str(url)


def main(argv=None):
    run_command(__doc__, add_arguments, run, "publish", argv)


if __name__ == "__main__":
    main()
