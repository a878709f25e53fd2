"""Our attention, in the place transformers leaves for one: paged KV, packed sequences, one call a group.

transformers hands the packed queries, keys and values of one layer (1, heads, T, head_dim). They are written to the KV
store, and each sequence attends to its own blocks. Sequences of like shape (a decode row each, prefill chunks of like
length) are padded to one rectangle and computed together; unlike ones are not, as padding short rows to long ones costs
more than another call. An unknown attention gets no mask from transformers: causality, the sliding window and the
isolation between sequences are all decided here, on absolute positions.

Grouped-query heads are folded into the query axis: the g query heads of one KV head are g rows that see the same keys.
"""

from collections import defaultdict
from collections.abc import Sequence as Items
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface

from service.engine.scheduler import Slice

NAME = "ragtune"
_IGNORED = frozenset({"position_ids", "use_cache", "output_attentions", "is_causal"})
_CALL = 1024  # padding scores (queries times keys) that cost about as much as one more call
_MOST_SCORES = 1 << 24  # scores of one group and head at most; larger groups are split


@dataclass(frozen=True)
class KVStore:
    """Keys and values of all layers, in blocks: one (blocks, size * kv_heads * head_dim) tensor each a layer.

    Zeroed at the start: positions beyond a sequence's end are masked, but a NaN there would survive the mask.
    """

    keys: list[Tensor]
    values: list[Tensor]
    size: int

    @classmethod
    def empty(
        cls, layers: int, blocks: int, size: int, width: int, device: torch.device, dtype: torch.dtype
    ) -> "KVStore":
        """A store of `blocks` blocks of `size` positions; `width` is kv_heads * head_dim."""
        make = [torch.zeros(blocks, size * width, device=device, dtype=dtype) for _ in range(2 * layers)]
        return cls(make[:layers], make[layers:], size)

    def write(self, layer: int, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Put (T, kv_heads, head_dim) keys and values at the (T,) slots, a slot being block * size + offset."""
        for store, new in ((self.keys[layer], keys), (self.values[layer], values)):
            flat = new.reshape(slots.shape[0], -1)
            store.view(-1, flat.shape[1]).index_copy_(0, slots, flat)

    def clear(self, blocks: Items[int]) -> None:
        """Zero these blocks, so that nothing non-finite is left for their next owner."""
        for store in (*self.keys, *self.values):
            store[list(blocks)] = 0


@dataclass
class Group:
    """Slices of like shape as one rectangle: `batch` sequences, `queries` rows each, `keys` positions each."""

    rows: Tensor | None  # (batch * queries,) rows of the pack, padded by repeating a real one; None: the whole pack
    real: Tensor | None  # which of those rows are real, as indices; None: all
    blocks: Tensor  # (batch * blocks,) block numbers, padded
    positions: Tensor  # (batch, queries) absolute query positions
    batch: int
    queries: int
    keys: int
    _masks: dict[tuple[int | None, int], Tensor] = field(default_factory=dict)

    def mask(self, window: int | None, fold: int, dtype: torch.dtype) -> Tensor:
        """(batch, 1, fold * queries, keys): 0 where a query may look, -inf elsewhere. Made once a step and window."""
        if (window, fold) not in self._masks:
            key = torch.arange(self.keys, device=self.positions.device)
            query = self.positions[:, :, None]
            allowed = key <= query
            if window is not None:
                allowed &= key > query - window
            additive = torch.zeros(allowed.shape, device=allowed.device, dtype=dtype)
            additive.masked_fill_(~allowed, float("-inf"))
            self._masks[window, fold] = additive[:, None].repeat(1, 1, fold, 1)
        return self._masks[window, fold]


@dataclass
class AttentionStep:
    """What attention needs to know of one step; travels through the model's forward as the keyword `step`."""

    store: KVStore
    slots: Tensor  # (T,) where each row's KV goes
    groups: list[Group]


def plan(slices: Items[Slice], store: KVStore, device: torch.device) -> AttentionStep:
    """Lay out the attention of a step whose pack holds `slices` one after the other."""
    slots: list[int] = []
    offsets: list[int] = []
    by_count: dict[int, list[int]] = defaultdict(list)
    for index, piece in enumerate(slices):
        offsets.append(len(slots))
        table = piece.sequence.table
        end = piece.start + piece.count
        slots += [table[p // store.size] * store.size + p % store.size for p in range(piece.start, end)]
        by_count[_bucket(piece.count)].append(index)
    groups = [
        _group([slices[i] for i in part], [offsets[i] for i in part], len(slots), store, device)
        for members in by_count.values()
        for part in _by_length(members, slices)
    ]
    return AttentionStep(store, torch.tensor(slots, device=device), groups)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    step: AttentionStep,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: object,
) -> tuple[Tensor, None]:
    """One layer's attention; (1, heads, T, head_dim) in, (1, T, heads, head_dim) out.

    Raises TypeError for an argument that is not known here, and so would be left out of the result.
    """
    unknown = {name for name, given in others.items() if name not in _IGNORED and given is not None}
    if unknown or dropout or attention_mask is not None:
        raise TypeError(f"attention does not know {sorted(unknown) or 'dropout or a mask'}; it would be ignored")
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    step.store.write(layer, step.slots, key[0].transpose(0, 1), value[0].transpose(0, 1))
    packed = query[0].transpose(0, 1)
    out: Tensor | None = None
    for group in step.groups:
        result = _attend_group(group, packed, step.store, layer, key.shape[1], scaling, sliding_window, softcap)
        if group.rows is None:
            return result[None], None
        out = torch.empty_like(packed, memory_format=torch.contiguous_format) if out is None else out
        if group.real is None:
            out.index_copy_(0, group.rows, result)
        else:
            out.index_copy_(0, group.rows[group.real], result[group.real])
    assert out is not None  # a step has at least one slice
    return out[None], None


def _attend_group(
    group: Group,
    packed: Tensor,
    store: KVStore,
    layer: int,
    kv_heads: int,
    scaling: float,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    heads, width = packed.shape[1:]
    fold = heads // kv_heads
    rows = packed if group.rows is None else packed.index_select(0, group.rows)
    q = rows.reshape(group.batch, group.queries, kv_heads, fold, width).permute(0, 2, 3, 1, 4)
    q = q.reshape(group.batch, kv_heads, fold * group.queries, width)
    shape = (group.batch, group.keys, kv_heads, width)
    k = store.keys[layer].index_select(0, group.blocks).view(shape).transpose(1, 2)
    v = store.values[layer].index_select(0, group.blocks).view(shape).transpose(1, 2)
    mask = group.mask(window, fold, q.dtype)
    if softcap is None:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
    else:  # Gemma 2 squashes the scores before the mask; sdpa has no place for that
        scores = torch.tanh(q @ k.transpose(2, 3) * (scaling / softcap)) * softcap + mask
        out = torch.softmax(scores, dim=-1) @ v
    out = out.view(group.batch, kv_heads, fold, group.queries, width).permute(0, 3, 1, 2, 4)
    return out.reshape(group.batch * group.queries, heads, width)


def _group(pieces: Items[Slice], offsets: Items[int], total: int, store: KVStore, device: torch.device) -> Group:
    queries = max(piece.count for piece in pieces)
    width = max(-(-(piece.start + piece.count) // store.size) for piece in pieces)
    rows: list[int] = []
    real: list[int] = []
    blocks: list[int] = []
    positions: list[list[int]] = []
    for piece, offset in zip(pieces, offsets, strict=True):
        real += range(len(rows), len(rows) + piece.count)
        spare = queries - piece.count
        rows += [*range(offset, offset + piece.count), *[offset] * spare]
        positions.append([*range(piece.start, piece.start + piece.count), *[piece.start] * spare])
        own = piece.sequence.table[: -(-(piece.start + piece.count) // store.size)]
        blocks += own + own[-1:] * (width - len(own))
    everything = rows == list(range(total))
    return Group(
        rows=None if everything else torch.tensor(rows, device=device),
        real=None if len(real) == len(rows) else torch.tensor(real, device=device),
        blocks=torch.tensor(blocks, device=device),
        positions=torch.tensor(positions, device=device),
        batch=len(pieces),
        queries=queries,
        keys=width * store.size,
    )


def _by_length(members: list[int], slices: Items[Slice]) -> list[list[int]]:
    """Slices of like count in groups of like length: one joins the shorter ones while that costs less than a call."""

    def end(index: int) -> int:
        return slices[index].start + slices[index].count

    parts: list[list[int]] = []
    padding = 0
    for index in sorted(members, key=end):
        queries, part = slices[index].count, parts[-1] if parts else []
        padding += queries * sum(end(index) - end(other) for other in part[-1:]) * len(part)
        if part and padding <= _CALL and queries * end(index) * (len(part) + 1) <= _MOST_SCORES:
            part.append(index)
        else:
            parts.append([index])
            padding = 0
    return parts


def _bucket(n: int) -> int:
    """`n` rounded up so that a bucket's smallest member is at least about three quarters of its largest."""
    step = 1 << max(0, n.bit_length() - 3)
    return -(-n // step) * step


AttentionInterface.register(NAME, attend)
