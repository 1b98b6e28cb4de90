"""Stage 0: the specialist of one modality, a tower and a text encoder, from warm starts and on its own items alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from m3search.trainer import losses, objective, parallel
from m3search.trainer.corpus import Corpus, Sampler
from m3search.trainer.device import autocast, device_of
from m3search.trainer.loop import Draw, Stage
from m3search.trainer.model import Specialist, item_embeddings
from m3search.trainer.text_encoder import FrozenText, text_vectors
from m3search.trainer.validate import evaluate, table

if TYPE_CHECKING:
    from m3search.trainer.config import TrainConfig


class Pretrain(Stage):
    """`loss = contrastive(items, texts) + label scores + attraction within the modality + staying near MiniLM`."""

    def __init__(
        self, modality: str, specialist: Specialist, frozen: FrozenText, corpus: Corpus, config: TrainConfig
    ) -> None:
        self.name = f"pretrain-{modality}"
        self.modality, self.frozen, self.corpus, self.config = modality, frozen, corpus, config
        self.settings = config.modalities[modality]
        self.steps, self.warmup = self.settings.steps, config.pretrain.warmup
        self.device = device_of(config.run)
        self.module: Specialist = specialist.to(self.device)
        self.phrasebook = corpus.phrasebook(modality)
        self.sampler = Sampler(
            modality, corpus.training[modality], self.settings, config.data.phantom_share, self.device
        )
        self.queue = objective.Queue(config.loss.queue) if config.loss.queue else None

    def groups(self) -> list[dict[str, Any]]:
        """As the specialist groups itself."""
        return self.module.groups(self.settings, self.config.pretrain.text_lr)

    def terms(self, draw: Draw) -> dict[str, Tensor]:
        """One batch of the modality."""
        specialist, run = self.module, self.config.run
        rows, inputs = self.sampler.draw(draw.rng, draw.generator)
        sentences = objective.draw_sentences(rows, self.phrasebook, draw.rng)
        with autocast(run, self.device):
            items = parallel.embed(specialist.tower, inputs, run.chunk).float()
            texts = specialist.text.embed(self.frozen, [*sentences.words, *self.phrasebook.labels])
        own, names = texts.parts(len(sentences.words), len(self.phrasebook.labels))
        batch = objective.Batch(rows, items, sentences, own, names, self.phrasebook.labels, self.corpus.opinions)
        found = objective.terms(batch, self.config.loss, specialist.scale, specialist.label_bias, queue=self.queue)
        return found | {"keep": self.config.loss.keep_text * losses.keep_close(texts.sentences.float(), texts.before)}

    def validate(self, average: nn.Module) -> str:
        """Retrieval among the held-out items of the modality."""
        assert isinstance(average, Specialist)
        average.eval()
        inputs = self.corpus.validation[self.modality]
        labels = sorted({label for row in inputs.rows for label in row.labels})
        names = dict(zip(labels, text_vectors(average.text, self.frozen, labels), strict=True))
        vectors = item_embeddings(average.tower, inputs)
        return table(evaluate({self.modality: inputs.rows}, {self.modality: vectors}, names)[0])
