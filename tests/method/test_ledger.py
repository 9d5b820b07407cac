from dataclasses import asdict

import numpy as np
import pytest
import torch

from syngrpo.method.ledger import Ledger, LedgerCounts, PendingDescription, token_span


def _pending(job_id: str, version: int = 0, length: int = 6) -> PendingDescription:
    generator = np.random.default_rng([version, length])
    return PendingDescription(
        job_id=job_id,
        parent_id=f"parent-of-{job_id}",
        task="rec",
        token_ids=generator.integers(0, 1000, length),
        logprobs=-generator.random(length, dtype=np.float32),
        scene_token_span=(2, length - 1),
        policy_version=version,
        parent_diversity=0.2 + version / 1000,
    )


def _plain(pending: PendingDescription) -> dict:
    values = asdict(pending)
    return {name: getattr(value, "tolist", lambda v=value: v)() for name, value in values.items()}


def test_every_description_leaves_exactly_once():
    ledger = Ledger()
    for name in ("a", "b", "c"):
        ledger.add(_pending(name))
    settled = ledger.settle("b")
    assert settled is not None and settled.parent_id == "parent-of-b"
    assert ledger.settle("b") is None and ledger.reject("b") is None
    rejected = ledger.reject("a")
    assert rejected is not None and rejected.job_id == "a"
    assert ledger.lose("c") and not ledger.lose("c")
    assert len(ledger) == 0
    assert ledger.counts == LedgerCounts(added=3, settled=1, rejected=1, lost=1)


def test_stale_means_more_than_the_allowed_versions():
    ledger = Ledger(max_staleness=64)
    for version in (0, 1, 2, 3):
        ledger.add(_pending(f"v{version}", version))
    assert ledger.drop_stale(64) == 0
    assert ledger.drop_stale(66) == 2
    assert "v1" not in ledger and "v2" in ledger
    assert ledger.counts.stale == 2


def test_a_newer_response_with_the_same_job_replaces_the_older():
    ledger = Ledger()
    ledger.add(_pending("a", version=1))
    ledger.add(_pending("a", version=5))
    assert len(ledger) == 1 and ledger.counts.replaced == 1
    settled = ledger.settle("a")
    assert settled is not None and settled.policy_version == 5


def test_state_is_restored_exactly_by_torch_without_pickled_code(tmp_path):
    ledger = Ledger()
    for version in range(20):
        ledger.add(_pending(f"job-{version}", version, length=4 + version))
    ledger.settle("job-3")
    state = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in ledger.state_dict().items()
    }
    torch.save(state, tmp_path / "ledger.pt")
    restored = Ledger()
    restored.load_state_dict(torch.load(tmp_path / "ledger.pt", weights_only=True))
    assert restored.counts == ledger.counts and len(restored) == 19
    for version in (0, 7, 19):
        before, after = ledger.settle(f"job-{version}"), restored.settle(f"job-{version}")
        assert before is not None and after is not None
        assert _plain(after) == _plain(before)
        assert after.parent_diversity == 0.2 + version / 1000


def test_an_empty_ledger_has_a_state(tmp_path):
    restored = Ledger()
    restored.load_state_dict(Ledger().state_dict())
    assert len(restored) == 0


def test_keeps_its_own_small_copy_of_the_tokens():
    batch = np.arange(1_000_000)
    pending = PendingDescription("a", "p", "rec", batch[10:16], np.zeros(6), (0, 3), 0, 0.0)
    batch[10:16] = 0
    assert pending.token_ids.tolist() == [10, 11, 12, 13, 14, 15]
    assert pending.token_ids.base is None and pending.logprobs.dtype == np.float32
    assert pending.scene_mask.tolist() == [True, True, True, False, False, False]


def test_refuses_what_does_not_fit_together():
    with pytest.raises(ValueError, match="do not fit"):
        PendingDescription("a", "p", "rec", np.arange(5), np.zeros(4), (0, 3), 0, 0.0)
    with pytest.raises(ValueError, match="do not fit"):
        PendingDescription("a", "p", "rec", np.arange(5), np.zeros(5), (3, 6), 0, 0.0)


def test_token_span_of_a_mask():
    assert token_span(np.array([False, True, True, False])) == (1, 3)
    for broken in ([False, False], [True, False, True]):
        with pytest.raises(ValueError, match="contiguous"):
            token_span(broken)
