"""Which block of the KV store holds what: plain counting, no tensors.

A block holds `size` positions. Full blocks are known by a hash of all that decides their content, so equal beginnings
share them. A block nobody uses keeps its content until it is needed: the prefix cache is simply what has not been
overwritten yet, oldest use first.
"""

from collections import OrderedDict


class KVBlocks:
    """Reference-counted blocks 0..total-1 with a content index."""

    def __init__(self, total: int, size: int) -> None:
        self.total = total
        self.size = size
        self._uses = [0] * total
        self._hash: dict[int, bytes] = {}  # block -> content, for blocks whose content is known
        self._block: dict[bytes, int] = {}  # content -> block
        self._idle: OrderedDict[int, None] = OrderedDict.fromkeys(range(total))  # unused, next to be overwritten first

    @property
    def free(self) -> int:
        """Blocks that can be taken, cached ones included."""
        return len(self._idle)

    @property
    def cached(self) -> int:
        """Unused blocks whose content may still be taken over."""
        return sum(block in self._hash for block in self._idle)

    def needed(self, positions: int) -> int:
        """Blocks for this many positions."""
        return -(-positions // self.size)

    def find(self, hashes: list[bytes]) -> list[int]:
        """The blocks that hold the longest known beginning of `hashes`; not taken yet."""
        found = []
        for content in hashes:
            block = self._block.get(content)
            if block is None:
                break
            found.append(block)
        return found

    def idle_among(self, blocks: list[int]) -> int:
        """How many of `blocks` are unused now, and so would leave `free` when shared."""
        return sum(block in self._idle for block in blocks)

    def share(self, blocks: list[int]) -> None:
        """Take blocks together with whoever uses them already."""
        for block in blocks:
            self._uses[block] += 1
            self._idle.pop(block, None)

    def take(self, count: int) -> list[int]:
        """`count` blocks of one's own, their old content forgotten. There must be that many free."""
        taken = []
        for _ in range(count):
            block, _none = self._idle.popitem(last=False)
            self._forget(block)
            self._uses[block] = 1
            taken.append(block)
        return taken

    def remember(self, block: int, content: bytes) -> None:
        """Note that `block` is full and holds `content`. The first holder of a content stays its home."""
        if content not in self._block and block not in self._hash:
            self._block[content] = block
            self._hash[block] = content

    def disown(self, blocks: list[int]) -> list[int]:
        """Those of `blocks` that nobody else uses, their content forgotten: it must not be taken over any more."""
        own = [block for block in blocks if self._uses[block] == 1]
        for block in own:
            self._forget(block)
        return own

    def release(self, blocks: list[int]) -> None:
        """Give blocks back. The end of a sequence is overwritten before its beginning, which others may share."""
        for block in reversed(blocks):
            self._uses[block] -= 1
            if self._uses[block] == 0:
                self._idle[block] = None
                if block not in self._hash:
                    self._idle.move_to_end(block, last=False)

    def _forget(self, block: int) -> None:
        content = self._hash.pop(block, None)
        if content is not None:
            del self._block[content]
