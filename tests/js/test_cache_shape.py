"""Which sizes of the KV cache are measured, and which are assumed."""

from tests.js.node import in_node


def test_a_mask_of_its_own_makes_the_sizes_an_assumption() -> None:
    said = in_node("""
        import { assumedWords } from "@/data/cache_shape.js";
        const of = (rules) => assumedWords({ nLayers: 4, head: { rules } });
        const plain = { window: null, mask: null };
        const answer = [of([plain, plain]), of([plain, { window: 8, mask: null }]),
            of([plain, { window: null, mask: 0 }]), of([])];""")
    assert said[:2] == ["", ""]
    assert "1 of 4 layers" in said[2] and "assume that all are kept" in said[2]
    assert "not recorded" in said[3]
