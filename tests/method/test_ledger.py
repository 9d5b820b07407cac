from dataclasses import asdict

import numpy as np
import pytest
import torch

from syngrpo.method.ledger import Ledger, LedgerCounts, PendingDescription, token_span


def _pending(
    job_id: str, version: int = 0, length: int = 6, bundle: str | None = None
) -> PendingDescription:
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
        bundle=bundle,
    )


def _plain(pending: PendingDescription) -> dict:
    values = asdict(pending)
    return {name: getattr(value, "tolist", lambda v=value: v)() for name, value in values.items()}


def _taken(ledger: Ledger) -> list[str]:
    """The jobs whose descriptions are rewarded now."""
    return [one.job_id for one in ledger.take_measured()[0]]


def test_every_description_leaves_exactly_once():
    ledger = Ledger()
    for name in ("a", "b", "c"):
        ledger.add(_pending(name))
    ledger.settle("b", 0.7)
    ledger.reject("a")
    ledger.lose("c")
    measured, unpaired = ledger.take_measured()
    assert [(one.job_id, one.diversity) for one in measured] == [("b", 0.7), ("a", 0.0)]
    assert unpaired == 0
    for leave in (ledger.reject, ledger.lose, lambda name: ledger.settle(name, 0.9)):
        leave("a")
    assert len(ledger) == 0 and _taken(ledger) == []
    assert ledger.counts == LedgerCounts(added=3, settled=1, rejected=1, lost=1)


def _bundle(ledger: Ledger, *names: str) -> None:
    for name in names:
        ledger.add(_pending(name, bundle=names[0]))


def test_siblings_are_rewarded_together_when_their_images_are_rolled_out():
    ledger = Ledger()
    _bundle(ledger, "a", "b", "c", "d")
    _bundle(ledger, "e", "f")
    ledger.reject("b")
    ledger.lose("d")
    assert ledger.take_measured() == ([], 0) and len(ledger) == 5
    ledger.settle("c", 0.5)
    ledger.settle("a", 0.25)
    measured, unpaired = ledger.take_measured()
    assert [(one.job_id, one.diversity) for one in measured] == [("a", 0.25), ("b", 0), ("c", 0.5)]
    assert unpaired == 0 and len(ledger) == 2


def test_siblings_of_which_no_image_can_come_any_more_are_rewarded_at_once():
    ledger = Ledger()
    _bundle(ledger, "a", "b", "c")
    ledger.reject("a")
    ledger.reject("c")
    assert _taken(ledger) == []
    ledger.lose("b")
    assert _taken(ledger) == ["a", "c"]


def test_who_has_no_sibling_left_or_comes_late_gets_no_reward_and_is_counted():
    ledger = Ledger()
    _bundle(ledger, "a", "b")
    _bundle(ledger, "c", "d", "e")
    ledger.lose("b")
    assert ledger.take_measured() == ([], 0)
    ledger.settle("a", 0.5)
    assert ledger.take_measured() == ([], 1)
    ledger.settle("c", 0.5)
    ledger.settle("d", 0.25)
    measured, unpaired = ledger.take_measured()
    assert [one.job_id for one in measured] == ["c", "d"] and unpaired == 1
    ledger.settle("e", 0.5)
    assert ledger.take_measured() == ([], 0) and len(ledger) == 0
    assert ledger.counts.unpaired == 2


def test_a_bundle_survives_in_the_middle(tmp_path):
    ledger, restored = Ledger(), Ledger()
    _bundle(ledger, "a", "b", "c")
    ledger.reject("c")
    ledger.take_measured()
    restored.load_state_dict(ledger.state_dict())
    for one in (ledger, restored):
        one.settle("b", 0.5)
        one.settle("a", 0.5)
    before, after = ledger.take_measured()[0], restored.take_measured()[0]
    assert [_plain(one) for one in before] == [_plain(one) for one in after]
    assert [one.diversity for one in after] == [0.5, 0.5, 0.0]


def test_a_state_of_before_bundles_is_read():
    ledger, restored = Ledger(), Ledger()
    ledger.add(_pending("a"))
    state = ledger.state_dict()
    for row in state["rows"]:
        del row["bundle"], row["diversity"]
    del state["counts"]["unpaired"]
    restored.load_state_dict(state)
    restored.settle("a", 0.5)
    assert _taken(restored) == ["a"]


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
    ledger.settle("a", 0.5)
    assert [one.policy_version for one in ledger.take_measured()[0]] == [5]


def test_state_is_restored_exactly_by_torch_without_pickled_code(tmp_path):
    ledger = Ledger()
    for version in range(20):
        ledger.add(_pending(f"job-{version}", version, length=4 + version))
    ledger.settle("job-3", 0.5)
    ledger.take_measured()
    state = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in ledger.state_dict().items()
    }
    torch.save(state, tmp_path / "ledger.pt")
    restored = Ledger()
    restored.load_state_dict(torch.load(tmp_path / "ledger.pt", weights_only=True))
    assert restored.counts == ledger.counts and len(restored) == 19
    for version in (0, 7, 19):
        for one in (ledger, restored):
            one.settle(f"job-{version}", 0.25)
        (before,), (after,) = ledger.take_measured()[0], restored.take_measured()[0]
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
