"""Any open_clip model, taken apart: image tower, text tower, tokenizer, preprocessing. What training starts from, and
what `m3search model import` makes bundles of.

A source is one of
    hf-hub:ORGANISATION/NAME     through open_clip's own loading: the hub, or its cache on this machine
    local-dir:FOLDER             a copy of such a repository: open_clip_config.json, weights, tokenizer files
    FILE                         weights beside an open_clip_config.json
    ARCHITECTURE@FILE            weights of an architecture that open_clip knows by name ("ViT-B-32@epoch_9.pt")
    ARCHITECTURE@TAG             the same with open_clip's name for published weights ("ViT-B-32@laion2b_s34b_b79k")
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from m3search.errors import CheckpointError, MissingExtra
from m3search.trainer.openclip_folder import CONFIG, Folder, fill, stated_licence
from m3search.trainer.openclip_tokenizer import check_tokens, portable_tokenizer
from m3search.trainer.openclip_towers import OpenClipImage, OpenClipText, text_tower
from m3search.trainer.torchvision_shim import ensure_torchvision

if TYPE_CHECKING:
    from tokenizers import Tokenizer

HUB, LOCAL = "hf-hub:", "local-dir:"
NOT_STATED = "not stated"
# Names of errors that tell of a network that is not there, whichever client the hub's library uses.
UNREACHABLE = {
    "ConnectionError", "ConnectError", "TimeoutException", "URLError",
    "OfflineModeIsEnabled", "LocalEntryNotFoundError",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class OpenClip:
    """An open_clip model. The towers are in evaluation mode; they share their weights with `model`."""

    source: str  # as given, but of a local path only the last part
    name: str  # short, fit for a folder
    image: OpenClipImage
    text: OpenClipText
    tokenizer: Tokenizer  # truncates and pads as `text` needs it
    dim: int
    size: int  # pixels: images are (3, size, size)
    mean: tuple[float, ...]  # of the network's input per channel, where white is 1; `image` applies them
    std: tuple[float, ...]
    scale: float  # inverse temperature it was trained with
    licence: str  # as the checkpoint states it, else "not stated"
    model: Any  # open_clip's own
    tokenize: Callable[[list[str]], torch.Tensor]  # open_clip's own: texts to int64 (B, context length)

    @property
    def max_tokens(self) -> int:
        """Most tokens of a text, special tokens included."""
        return int((self.tokenizer.truncation or {})["max_length"])

    def tokens(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask, int64 (B, L): what `text` takes."""
        encoded = self.tokenizer.encode_batch(list(texts))
        return torch.tensor([e.ids for e in encoded]), torch.tensor([e.attention_mask for e in encoded])


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    """What open_clip gives for a source."""

    model: Any
    tokenizer: Any
    config: Mapping[str, Any]  # open_clip's "model_cfg"
    licence: str


def load_open_clip(source: str) -> OpenClip:
    """The model of a source, as the top of this module lists them.

    Raises:
        CheckpointError: it is not there, incomplete, or of a kind that cannot be used here; the message names the
            remedy.
        MissingExtra: open_clip is not installed.
    """
    _import_open_clip()
    with _quiet():
        loaded = _load(source)
    model = loaded.model.float().eval()
    image, size = _image_tower(model, source)
    text = text_tower(model)
    length = min(int(loaded.tokenizer.context_length), text.context_length)
    clean = (loaded.config["text_cfg"].get("tokenizer_kwargs") or {}).get("clean")
    tokenizer = portable_tokenizer(loaded.tokenizer, clean, text.pad_id, length, text.fixed_length)
    check_tokens(tokenizer, loaded.tokenizer, text.vocabulary)
    return OpenClip(
        source=_without_folders(source),
        name=short_name(source),
        image=image.eval(),
        text=text.eval(),
        tokenizer=tokenizer,
        dim=int(loaded.config["embed_dim"]),
        size=size,
        mean=tuple(image.pixel_mean.flatten().tolist()),
        std=tuple(image.pixel_std.flatten().tolist()),
        scale=float(model.logit_scale.detach().exp()),
        licence=loaded.licence,
        model=model,
        tokenize=loaded.tokenizer,
    )


def short_name(source: str) -> str:
    """A name for what a source holds: "BiomedCLIP" of "hf-hub:someone/BiomedCLIP"."""
    if source.startswith(HUB):
        name = source.rpartition("/")[2]
    elif source.startswith(LOCAL):
        name = _folder(source).resolve().name
    else:
        architecture, _, weights = source.rpartition("@")
        name = f"{architecture}-{Path(weights).stem}".lstrip("-")
    return re.sub(r"[^\w.-]", "-", name)


def _without_folders(source: str) -> str:
    """A source without the names of this machine's folders: what may stand in a bundle."""
    if source.startswith(HUB):
        return source
    if source.startswith(LOCAL):
        return f"{LOCAL}{_folder(source).resolve().name}"
    architecture, at, weights = source.rpartition("@")
    return f"{architecture}{at}{Path(weights).name}"


def _folder(source: str) -> Path:
    return Path(source.removeprefix(LOCAL)).expanduser()


def _load(source: str) -> _Loaded:
    if source.startswith(HUB):
        return _from_hub(source)
    if source.startswith(LOCAL):
        return _from_folder(Folder(_folder(source)))
    if Path(source).is_file():
        return _from_folder(Folder(Path(source).parent, Path(source)))
    architecture, at, weights = source.partition("@")
    if at and weights:
        return _from_architecture(architecture, weights)
    raise CheckpointError(
        f"there is no model {source!r}; give hf-hub:ORGANISATION/NAME, local-dir:FOLDER, a file beside an {CONFIG}, or "
        "ARCHITECTURE@FILE for an architecture that open_clip knows"
    )


def _from_folder(folder: Folder) -> _Loaded:
    """A model of local files; nothing is asked of a network."""
    import open_clip

    config, weights = folder.config(), folder.weights
    with folder.text_settings(config) as text:
        try:
            model = open_clip.create_model(
                f"{LOCAL}{folder.path}", load_weights=False, pretrained_text=False, text_cfg=text
            )
        except Exception as error:  # of open_clip, timm or transformers, each with its own kinds
            raise CheckpointError(
                f"open_clip cannot build what {folder.path / CONFIG} describes: {_first_line(error)}"
            ) from error
    fill(model, weights, CONFIG)
    return _Loaded(model, folder.tokenizer(text), config, folder.licence() or NOT_STATED)


def _from_hub(source: str) -> _Loaded:
    import open_clip

    try:
        config = open_clip.get_model_config(source)
        model = open_clip.create_model(source, pretrained_text=False, require_pretrained=True)
        tokenizer = open_clip.get_tokenizer(source)
    except Exception as error:  # of open_clip, timm, transformers or the hub's client, each with its own kinds
        raise CheckpointError(_hub_problem(source, error, LOCAL + "FOLDER")) from error
    return _Loaded(model, tokenizer, config, _hub_licence(source.removeprefix(HUB)) or NOT_STATED)


def _from_architecture(architecture: str, weights: str) -> _Loaded:
    import open_clip

    if architecture not in open_clip.list_models():
        near = difflib.get_close_matches(architecture, open_clip.list_models(), n=3, cutoff=0.3)
        raise CheckpointError(f"open_clip knows no architecture {architecture!r}; near are {', '.join(near) or 'none'}")
    is_file, tags = Path(weights).is_file(), open_clip.list_pretrained_tags_by_model(architecture)
    if weights not in tags and not is_file:
        raise CheckpointError(
            f"there is no file {weights}, nor weights of that name for {architecture}; open_clip knows "
            f"{', '.join(tags) or 'none'}"
        )
    try:
        model = open_clip.create_model(
            architecture,
            pretrained=weights,
            load_weights=not is_file,
            pretrained_text=False,
            require_pretrained=not is_file,
        )
        tokenizer = open_clip.get_tokenizer(architecture)
    except Exception as error:  # as above; a known architecture may need the hub for its text model's configuration
        local = f"{LOCAL}FOLDER" if is_file else "ARCHITECTURE@FILE"
        raise CheckpointError(_hub_problem(f"{architecture}@{weights}", error, local)) from error
    if is_file:
        fill(model, Path(weights), architecture)
    return _Loaded(model, tokenizer, open_clip.get_model_config(architecture), NOT_STATED)


def _image_tower(model: Any, source: str) -> tuple[OpenClipImage, int]:
    """The image tower and the side of its input in pixels."""
    settings = model.visual.preprocess_cfg
    size = settings["size"]
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise CheckpointError(f"{source} takes images of {height} x {width} pixels; only square ones can be used here")
    return OpenClipImage(model.visual, settings["mean"], settings["std"]), int(height)


def _hub_problem(source: str, error: BaseException, local: str) -> str:
    """What went wrong while something was asked of the hub, and how to give the same `local`ly."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    remedy = f"copy its files onto this machine and give {local}"
    if any(isinstance(one, (GatedRepoError, RepositoryNotFoundError)) for one in chain):
        return f"{source} is not on the hub, or not for you (is its licence accepted, are you logged in?); or {remedy}"
    if UNREACHABLE & {kind.__name__ for one in chain for kind in type(one).__mro__}:
        return f"{source} needs the network, which cannot be reached from here or is switched off; {remedy}"
    return f"open_clip cannot load {source}: {_first_line(error)}; or {remedy}"


def _hub_licence(repository: str) -> str:
    """The licence field of a hub repository's card, "" where it has none."""
    from huggingface_hub import hf_hub_download

    try:
        return stated_licence(Path(hf_hub_download(repository, "README.md")))
    except Exception:  # no card, no network: then nothing is stated
        return ""


def _import_open_clip() -> None:
    try:
        ensure_torchvision()
        import open_clip  # noqa: F401
    except ImportError as error:
        raise MissingExtra(f"{error.name} is needed for models of open_clip: pip install 'm3search[train]'") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """open_clip warns of weights that are loaded later; what matters is raised."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
