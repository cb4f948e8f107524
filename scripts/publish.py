"""Publishes a trained model on the Hugging Face Hub, with its processor and a model card.

python scripts/publish.py --model outputs/refcoco --repo lab/plvl-refcoco [--license apache-2.0] [--dry_run FOLDER]
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi
from huggingface_hub.errors import HTTPError
from huggingface_hub.utils import validate_repo_id

from plvl.scripts.program import ArgumentParser


def main(argv=None):
    parser = ArgumentParser(
        description="Publishes a trained model on the Hugging Face Hub, with its processor and a model card."
    )
    parser.add_argument("--model", required=True, help="folder of the model and its processor")
    parser.add_argument("--repo", required=True, help="repository on the Hub, as lab/plvl-refcoco")
    parser.add_argument("--with_code", action="store_true", help="carry the code, for users without PLVL")
    parser.add_argument("--license", help="licence of the weights for a new card, by the Hub's name, as apache-2.0")
    parser.add_argument(
        "--datasets", nargs="+", help="what it was trained on, for a new card; default: see metrics.json"
    )
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--dry_run", metavar="FOLDER", help="write what would be sent into FOLDER, and send nothing")
    arguments = parser.parse_args(argv)
    # Not at the top: --help and a misspelt flag need not wait for Transformers.
    from plvl.scripts.release_folder import build_release_folder

    def build(folder):
        show(
            build_release_folder(
                arguments.model,
                folder,
                arguments.repo,
                with_code=arguments.with_code,
                license=arguments.license,
                datasets=arguments.datasets,
            )
        )

    try:
        validate_repo_id(arguments.repo)
        if arguments.dry_run:
            build(arguments.dry_run)
            print(f"nothing was sent; {arguments.dry_run} holds what would be")
            return
        with TemporaryDirectory() as folder:
            build(folder)
            print(f"published: {send(folder, arguments.repo, arguments.private)}")
    except (ValueError, OSError, HTTPError) as error:
        sys.exit(f"publish: {error}")


def send(folder, repo: str, private: bool) -> str:
    """Uploads a folder in one commit, into a repository that is made if there is none; gives the repository's URL."""
    hub = HfApi()
    url = hub.create_repo(repo, private=private or None, exist_ok=True)
    hub.upload_folder(repo_id=url.repo_id, folder_path=folder, commit_message="Upload PLVL model and processor")
    return str(url)


def show(files: list[Path]):
    for file in files:
        print(f"{file.stat().st_size:>14,}  {file.name}")


if __name__ == "__main__":
    main()
