"""Files that lie on the network."""

from pathlib import Path
from urllib.parse import urlsplit


def is_url(source):
    return source.startswith(("http://", "https://"))


def download(url, sha256, folder):
    """Download a file whose bytes must have the given sha256; the path it lies at then."""
    from torch.hub import download_url_to_file

    path = Path(folder, Path(urlsplit(url).path).name)
    try:
        download_url_to_file(url, str(path), hash_prefix=sha256)
    except OSError as error:  # URLError is one, and so is a connection that breaks
        raise ValueError(f"{url} cannot be fetched: {getattr(error, 'reason', error)}") from error
    except RuntimeError as error:  # torch's word for a wrong hash
        raise ValueError(f"{url} is not the file that the config means: {error}") from error
    return path
