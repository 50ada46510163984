"""Text-only navigators: words as hashes, the mirror, what memory knows, the contract, the disk."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
import torch

from pilotage.agents.vla.checkpoint import CheckpointError
from pilotage.agents.vln.checkpoint import load_navigator, load_text_agent, save_navigator
from pilotage.agents.vln.linear import LinearNavigator
from pilotage.agents.vln.matching import WordTable, idf
from pilotage.agents.vln.minilm import reduced
from pilotage.agents.vln.network import NetworkConfig, TextNavigator
from pilotage.agents.vln.policy import TextAgent
from pilotage.agents.vln.reading import Memory, Reader, Seen, padded
from pilotage.agents.vln.words import PAD, make_lexicon, tokenize, word_hash
from pilotage.envs.r2r.synthetic import write_synthetic
from pilotage.envs.r2r.tasks import make_tasks
from pilotage.envs.r2r.vector_env import R2RVectorEnv
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.testing import check_agent
from pilotage.episodes.types import BASELINE

SMALL = NetworkConfig(width=8, heads=2, encoder_layers=1, n_buckets=16, dropout=0.1)
WORDS = ["left", "right", "kitchen", "stove", "bed"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "synthetic"
    write_synthetic(folder)
    return folder


def table() -> WordTable:
    vectors = np.eye(5, 8, dtype=np.float32)
    vectors[3] = [0, 0, 0.8, 0.6, 0, 0, 0, 0]  # a stove is four fifths of a kitchen
    lexicon, rows = make_lexicon(WORDS, vectors, n_buckets=512, seed=0)
    return WordTable(lexicon, rows, np.ones(lexicon.n_rows, np.float32))


def navigators() -> list[LinearNavigator | TextNavigator]:
    torch.manual_seed(0)
    linear = LinearNavigator(table())
    torch.nn.init.normal_(linear.weight)
    return [linear.eval(), TextNavigator(table(), SMALL).eval()]


def seen(n: int = 3, k: int = 5, *, there: int = 4) -> Seen:
    """Random places; the last `k - there` are padding."""
    rng = np.random.default_rng(1)
    real = torch.arange(k).expand(n, k) < there
    number = torch.from_numpy(rng.uniform(-3, 3, (3, n, k)).astype(np.float32)) * real
    words = torch.from_numpy(rng.integers(1, 6, (n, k, 4))) * real[..., None]
    flags = torch.zeros(n, k)
    place = torch.from_numpy(rng.integers(1, 6, (n, 7)))
    return Seen(
        *(number[0], number[1] / 3, number[2].abs(), real, flags, flags.clone()),
        *(words, place, torch.arange(n)),
    )


# -- words -----------------------------------------------------------------------------------------


def test_words_are_known_by_their_hash_and_others_share_buckets() -> None:
    lexicon, vectors = make_lexicon(WORDS, np.eye(5, 8), n_buckets=64, seed=0)
    rows = lexicon.rows(["bed", "left", "zebra", "bed", "quagga"])
    assert [WORDS[int(vectors[r].argmax())] for r in rows[:2]] == ["bed", "left"]
    assert rows[0] == rows[3]
    assert (rows[[2, 4]] > 5).all()
    assert rows.max() < lexicon.n_rows == len(vectors)
    assert np.allclose(np.linalg.norm(vectors[1:], axis=1), 1)
    assert not vectors[PAD].any()
    # BLAKE2b of 8 bytes, little endian, without its lowest bit: checkpoints depend on it
    assert (
        word_hash("left") == int.from_bytes(blake2b(b"left", digest_size=8).digest(), "little") >> 1
    )
    assert tokenize("Walk PAST the bed-room, don't stop.") == [
        *("walk", "past", "the", "bed", "room", "don", "t", "stop"),
    ]


def test_reduced_keeps_the_angles_of_centred_vectors() -> None:
    """All directions kept, it is a rotation of the centred vectors: their cosines stay."""
    vectors = np.random.default_rng(0).normal(size=(30, 6)) + 5
    centred = vectors - vectors.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    found = reduced(vectors, 6)
    assert np.allclose(found @ found.T, unit @ unit.T, atol=1e-5)
    with pytest.raises(ValueError, match="no 7 directions"):
        reduced(vectors, 7)


def test_idf_by_hand() -> None:
    lexicon, _ = make_lexicon(WORDS, np.eye(5, 8), n_buckets=4, seed=0)
    bed, stove, left = lexicon.rows(["bed", "stove", "left"])
    lines = [np.array([bed, stove]), np.array([bed]), np.array([bed]), np.array([bed])]
    weights = idf(lexicon, lines)
    assert weights[bed] == 0.0  # log(4 / 5) < 0
    assert weights[stove] == pytest.approx(math.log(2) / math.log(4))
    assert (weights[left], weights[PAD]) == (1.0, 0.0)


def test_answered_is_the_best_cosine_above_a_threshold() -> None:
    words = table()
    row = dict(zip(WORDS, words.lexicon.rows(WORDS).tolist()))
    view = seen(1, 2, there=2)
    toward = torch.tensor([[[row["stove"], row["bed"]], [row["left"], PAD]]])
    view = replace(view, words=toward, place=torch.tensor([[row["bed"], PAD]]))
    asked = torch.tensor([[row["kitchen"], row["bed"], PAD]])
    found = words.answered(asked, view)[0]
    expected = [[0, 1, 0], [(0.8 - 0.3) / 0.7, 1, 0], [0, 0, 0]]
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float32), atol=1e-6)


# -- navigators ------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", navigators(), ids=lambda m: m.kind)
def test_the_mirror_is_the_swapped_instruction(model: LinearNavigator | TextNavigator) -> None:
    """Mirrored words are the words with left and right exchanged, and only in the rows asked."""
    reader = Reader(model.table.lexicon)
    said = padded([reader.instruction(t) for t in ("left to the bed", "right kitchen")])
    swapped = padded([reader.instruction(t) for t in ("right to the bed", "left kitchen")])
    mirrored = model.begin(said, torch.tensor([True, False]))
    assert torch.equal(mirrored["words"][0], swapped[0])
    assert torch.equal(mirrored["words"][1], said[1])


@pytest.mark.parametrize("model", navigators(), ids=lambda m: m.kind)
def test_padding_is_not_felt(model: LinearNavigator | TextNavigator) -> None:
    """Longer padding of words, places and captions changes no logit; no place, no probability."""
    words = torch.tensor([[1, 2, 3], [4, 5, 1], [2, 2, 4]])
    view = seen()
    short, _ = model.step(model.begin(words), view)
    assert torch.isinf(short[:, 5]).all()
    wide = {f.name: getattr(view, f.name) for f in fields(Seen)}
    for name in ("heading", "elevation", "distance", "there", "visited", "came_from"):
        wide[name] = torch.nn.functional.pad(wide[name], (0, 3))
    wide["words"] = torch.nn.functional.pad(wide["words"], (0, 2, 0, 3))
    wide["place"] = torch.nn.functional.pad(wide["place"], (0, 5))
    long, _ = model.step(model.begin(torch.nn.functional.pad(words, (0, 6))), Seen(**wide))
    assert torch.allclose(short[:, :5], long[:, :5], atol=1e-5)
    assert torch.isinf(long[:, 5:]).all()


@pytest.mark.parametrize("model", navigators(), ids=lambda m: m.kind)
def test_places_are_a_set(model: LinearNavigator | TextNavigator) -> None:
    """Another order of the places is another order of the logits, nothing else."""
    words = torch.tensor([[1, 2, 3], [4, 5, 1], [2, 2, 4]])
    view, order = seen(there=5), torch.tensor([3, 0, 4, 1, 2])
    turned = {f.name: getattr(view, f.name) for f in fields(Seen)}
    for name in ("heading", "elevation", "distance", "there", "visited", "came_from", "words"):
        turned[name] = turned[name][:, order]
    first, _ = model.step(model.begin(words), view)
    second, _ = model.step(model.begin(words), Seen(**turned))
    assert torch.allclose(first[:, 1:][:, order], second[:, 1:], atol=1e-5)
    assert torch.allclose(first[:, 0], second[:, 0], atol=1e-5)


def test_blind_navigators_do_not_feel_captions() -> None:
    words = torch.tensor([[1, 2, 3], [4, 5, 1], [2, 2, 4]])
    view = seen()
    other = replace(view, words=view.words.flip(0), place=view.place.flip(0))
    torch.manual_seed(0)
    blind = LinearNavigator(table(), reads=False)
    torch.nn.init.normal_(blind.weight)
    for model in (blind, TextNavigator(table(), replace(SMALL, reads=False)).eval()):
        assert torch.equal(*(model.step(model.begin(words), v)[0] for v in (view, other)))
    for model in navigators():
        first, second = (model.step(model.begin(words), v)[0] for v in (view, other))
        assert not torch.allclose(first, second)


def test_the_linear_features_tell_left_from_right() -> None:
    """Weight on (bearing to the left) x (left said): it goes left when told so, else not."""
    model = LinearNavigator(table())
    view = seen(1, 2, there=2)
    sides = replace(view, heading=torch.tensor([[-math.pi / 2, math.pi / 2]]))
    reader = Reader(model.table.lexicon)
    said = padded([reader.instruction("left left left left")])
    with torch.no_grad():
        model.weight[6 * 12 + 1] = 1.0  # sector 6 of 8 is 270 deg; classes begin with left
    logits, _ = model.step(model.begin(said), sides)
    assert logits[0, 1] > 0
    assert logits[0, 2] == 0
    other = padded([reader.instruction("right right right right")])
    assert not model.step(model.begin(other), sides)[0][0, 1:].any()


# -- in the world ----------------------------------------------------------------------------------


def test_memory_knows_where_it_was(root: Path) -> None:
    """Going somewhere and looking back: that place is visited and the one it came from."""
    envs = R2RVectorEnv(1, data=root)
    task = make_tasks("train", 1, data=root)[0]
    memory = Memory(1, Reader(table().lexicon))
    observations, _ = envs.reset(options={"tasks": [task]})
    first = memory.look(observations, [0])
    assert (int(first.step[0]), float(first.visited.sum())) == (0, 0.0)
    start, goes_to = observations["viewpoint"][0], observations["candidate_ids"][0].split()[0]
    observations, *_ = envs.step(np.array([1]))
    second = memory.look(observations, [0])
    assert observations["viewpoint"][0] == goes_to
    ids = observations["candidate_ids"][0].split()
    column = ids.index(start)
    assert second.visited[0].nonzero().ravel().tolist() == [column]
    assert second.came_from[0].nonzero().ravel().tolist() == [column]
    assert int(second.there.sum()) == len(ids)
    memory.forget(0)
    assert not memory.look(observations, [0]).visited.any()
    envs.close()


@pytest.mark.parametrize("model", navigators(), ids=lambda m: m.kind)
def test_the_contract_of_an_agent(root: Path, model: LinearNavigator | TextNavigator) -> None:
    tasks = [replace(t, max_steps=5) for t in make_tasks("train", 3, data=root)]
    agent = TextAgent(model, name="small")
    check_agent(agent, lambda n: R2RVectorEnv(n, data=root), tasks, [BASELINE])


def test_it_stops_after_its_moves(root: Path) -> None:
    model = LinearNavigator(table())
    with torch.no_grad():
        model.weight[-12:] = -100.0  # of stopping: it never would
    envs = R2RVectorEnv(2, data=root)
    agent = TextAgent(model.eval(), name="restless", max_moves=4)
    for record in run_episodes(envs, agent, make_tasks("train", 3, data=root), [BASELINE]):
        assert record.actions[:4].all()
        assert record.actions[4:].tolist() == [0]
    envs.close()


# -- on disk ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", navigators(), ids=lambda m: m.kind)
def test_a_saved_navigator_is_the_same(
    tmp_path: Path, model: LinearNavigator | TextNavigator
) -> None:
    save_navigator(tmp_path, model.half().float(), training={"command": "none"})
    loaded, header = load_navigator(tmp_path)
    words, view = torch.tensor([[1, 2, 3], [4, 5, 1], [2, 2, 4]]), seen()
    assert torch.equal(
        model.step(model.begin(words), view)[0], loaded.step(loaded.begin(words), view)[0]
    )
    assert header["training"] == {"command": "none"}
    assert load_text_agent(tmp_path).agent_id.startswith(f"{tmp_path.name}@")


def test_damage_is_named(tmp_path: Path) -> None:
    save_navigator(tmp_path, navigators()[0], training={})
    header = json.loads((tmp_path / "agent.json").read_text())
    for change, message in [
        ({"format": 9}, "has format 9"),
        ({"kind": "oracle"}, 'must be "linear" or "transformer"'),
        ({"settings": {"sees": 1}}, "does not fit together"),
        ({"n_buckets": 7}, "does not fit together"),
    ]:
        (tmp_path / "agent.json").write_text(json.dumps(header | change))
        with pytest.raises(CheckpointError, match=message):
            load_navigator(tmp_path)
    (tmp_path / "agent.json").write_text(json.dumps(header))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="truncated or changed"):
        load_navigator(tmp_path)
    weights.unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        load_navigator(tmp_path)
