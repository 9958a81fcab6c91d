"""A frozen LLaMA of transformers, its image encoder and the adapter, put together.

Words: B batch, T tokens, K prompt length, D width, N image tokens, C image width.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import DynamicCache, PreTrainedModel

from lav2.config import AdapterConfig, ProjectorConfig, VisionConfig
from lav2.model.adapter import Adapter, LayerPrompt, device_of, group, trainable, tune_linears
from lav2.model.llm import check_architecture
from lav2.model.vision import PooledProjector, VisualProjector

IGNORED = -100  # a label that is not learned, as in transformers


class AdaptedLlama(nn.Module):
    """A frozen causal language model with LLaMA-Adapter V2 on it.

    Args:
        llm: the frozen model, loaded with `attn_implementation=ATTENTION` (see load_llm).
        config: the adapter's settings.
        projector: the visual projection's settings, None: text only.
        vision: settings of the image encoder that the projection reads; required with `projector`.

    Raises:
        LAV2Error: the model's architecture does not take the adapter; the message says why.
    """

    continuous = False  # see lav2.inference.backend.DecoderBackend

    def __init__(
        self,
        llm: PreTrainedModel,
        config: AdapterConfig,
        projector: ProjectorConfig | None = None,
        vision: VisionConfig | None = None,
    ):
        super().__init__()
        check_architecture(llm)
        self.llm = llm.requires_grad_(False)
        self.config, self.projector_config, self.vision_config = config, projector, vision
        shape = llm.config
        self.adapter = Adapter(config, shape.num_hidden_layers, shape.num_attention_heads, shape.hidden_size)
        self.projector = None
        if projector and projector.pooled:
            self.projector = PooledProjector(projector, vision, shape.hidden_size)
        elif projector:
            self.projector = VisualProjector(projector, vision, config.prompt_length, shape.hidden_size)
        tune_linears(self.decoder, config)
        self.adapter.to(self.device)
        if self.projector is not None:
            self.projector.to(self.device)
        self.requires_grad_(False)

    @property
    def decoder(self) -> nn.Module:
        return self.llm.model

    @property
    def device(self) -> torch.device:
        """Where token ids go and logits come from; with a device map, layers may lie elsewhere."""
        return device_of(self.llm.get_input_embeddings())

    @property
    def proof_first(self) -> bool:
        return self.config.proof_first

    def adapter_parameters(self) -> dict[str, nn.Parameter]:
        """Every parameter that training may change in some stage, by name: exactly what a checkpoint holds."""
        return {name: p for name, p in self.named_parameters() if group(name, self.config) is not None}

    def set_stage(self, stage: str) -> dict[str, nn.Parameter]:
        """Mark exactly the stage's parameters as trained and return them by name."""
        self.requires_grad_(False)
        chosen = {name: p for name, p in self.named_parameters() if trainable(name, self.config, stage)}
        for parameter in chosen.values():
            parameter.requires_grad_(True)
        return chosen

    def autocast(self) -> torch.autocast:
        """The context in which a model of float32 adapter and norms on 16-bit frozen matrices computes; without effect
        where all is float32 or float64."""
        reduced = self.llm.dtype in (torch.bfloat16, torch.float16)
        return torch.autocast(self.device.type, self.llm.dtype if reduced else torch.bfloat16, enabled=reduced)

    def visual_prompt(self, clip_tokens: Tensor) -> Tensor:  # [B, N, C] -> [B, K, D]; pooled: [B, 1, D]
        return self.projector(clip_tokens.to(self.device))

    def prompt_kv(
        self,
        visual_prompt: Tensor | None = None,
        has_image: Tensor | None = None,
        text_only: tuple[LayerPrompt | None, ...] | None = None,
    ) -> tuple[LayerPrompt | None, ...]:
        """Each layer's prompt keys, values and gate (see Adapter.prompt_kv): once per image, not per token."""
        return self.adapter.prompt_kv(self.decoder.layers, visual_prompt, has_image, text_only)

    def forward(self, input_ids: Tensor, prompt_kv: tuple[LayerPrompt | None, ...], **kwargs):
        """transformers' forward with the prompts handed down; keywords as there (attention_mask, past_key_values ...).

        Args:
            input_ids: [B, T].
            prompt_kv: from `prompt_kv`.

        Returns:
            transformers' CausalLMOutputWithPast: logits [B, T, vocabulary].
        """
        return self.llm(input_ids=input_ids, prompt_kv=prompt_kv, **kwargs)

    def begin(
        self,
        rows: int,
        prompt_kv: tuple[LayerPrompt | None, ...],
        attention_mask: Tensor | None = None,
        capacity: int | None = None,
        shared_prefix: int = 0,
    ) -> DynamicCache:
        """As lav2.inference.backend.DecoderBackend has it; this cache grows by itself."""
        return DynamicCache(config=self.llm.config)

    def prefill(
        self,
        input_ids: Tensor,
        prompt_kv: tuple[LayerPrompt | None, ...],
        attention_mask: Tensor | None = None,
        cache: DynamicCache | None = None,
    ) -> tuple[Tensor, DynamicCache]:
        """Logits [B, vocabulary] after the last of input_ids [B, T], and the cache that holds them. attention_mask is
        that of all tokens so far: with left padding, positions count real tokens."""
        kwargs = {}
        if attention_mask is not None:
            kwargs = {
                "attention_mask": attention_mask,
                "position_ids": (attention_mask.cumsum(-1) - 1).clamp(min=0)[:, -input_ids.shape[1] :],
            }
        cache = self.begin(len(input_ids), prompt_kv) if cache is None else cache
        output = self(input_ids, prompt_kv, past_key_values=cache, use_cache=True, logits_to_keep=1, **kwargs)
        return output.logits[:, -1], cache

    def loss(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        labels: Tensor,
        clip_tokens: Tensor | None = None,
        has_image: Tensor | None = None,
        branch: Tensor | None = None,
        weight: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> Tensor:
        """Mean cross-entropy over the labelled positions; only these go through the vocabulary projection.

        Args:
            input_ids, attention_mask, labels: [B, T]; labels IGNORED where nothing is learned.
            clip_tokens: [B, N, C] of the photos, None: text only.
            has_image: [B] bool, None: every row has one.
            branch: [B, T] of each token: 0 is seen by all that follows, another number by its own branch alone
                (lav2.data.batches.join); None: one text a row.
            weight: [B, T] by which each label's cross-entropy is multiplied, None: 1.
        """
        order = {}
        if branch is not None:
            attention_mask = _branch_mask(branch, attention_mask)
            order = {"position_ids": attention_mask[:, 0].sum(-1) - 1}  # as in the branch's own text
        # On a CPU the plain products are faster than the flash kernel, whose backward pass is slow (docs/LOG.md). With
        # gradient checkpointing the layers run again outside of this function, where the choice would not hold.
        choose = self.device.type == "cpu" and not self.llm.is_gradient_checkpointing
        plain = sdpa_kernel(SDPBackend.MATH) if choose else nullcontext()
        with self.autocast(), plain:
            visual = self.visual_prompt(clip_tokens) if clip_tokens is not None else None
            hidden = self.decoder(
                input_ids=input_ids,
                attention_mask=attention_mask,
                **order,
                use_cache=False,
                prompt_kv=self.prompt_kv(visual, has_image),
            ).last_hidden_state  # [B, T, D]
            learned = labels[:, 1:] != IGNORED
            logits = self.llm.get_output_embeddings()(hidden[:, :-1][learned])  # [M, vocabulary]
        goal, logits = labels[:, 1:][learned], logits.float()
        if weight is None:
            return F.cross_entropy(logits, goal, label_smoothing=label_smoothing)
        each = F.cross_entropy(logits, goal, label_smoothing=label_smoothing, reduction="none")  # [M]
        return (each * weight[:, 1:][learned]).mean()


def _branch_mask(branch: Tensor, attention_mask: Tensor) -> Tensor:
    """[B, 1, T, T] bool: which earlier tokens each token sees: the shared ones and those of its own branch."""
    causal = torch.ones(branch.shape[1], branch.shape[1], dtype=torch.bool, device=branch.device).tril()  # [T, T]
    same_branch = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])  # [B, T, T]
    visible = same_branch & causal & attention_mask[:, None, :].bool()
    return (visible | torch.eye(len(causal), dtype=torch.bool, device=branch.device))[:, None]  # padding sees itself
