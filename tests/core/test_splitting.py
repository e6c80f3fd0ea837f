"""Splits share nothing, whatever hangs together; and the check for leaks says what is shared."""

import itertools
import random

import pytest

from embedtune import DatasetError, QADataset, Split, leaks
from embedtune.grouping import UnionFind, connected_groups
from embedtune.near_duplicates import near_duplicate_groups
from embedtune.testing import tiny_dataset
from embedtune.texts import fold

N_RANDOM = 60
WORDS = [
    *("apple", "bridge", "cloud", "drum", "engine", "ferry", "garden", "hammer"),
    *("island", "jungle", "kettle", "lantern", "mirror", "needle", "ocean"),
]


def random_dataset(seed: int) -> QADataset:
    """Documents, copies in other spelling, near copies, chunks that several queries share, and repeated queries."""
    rng = random.Random(seed)
    corpus: dict[str, str] = {}
    documents: dict[str, dict[str, str]] = {}
    for i in range(rng.randint(20, 40)):
        copied = rng.choice(list(corpus.values())) if corpus and rng.random() < 0.2 else None
        fresh = " ".join(rng.choices(WORDS, k=25)) + f" number {i}"
        corpus[f"c{i}"] = rng.choice([copied, copied.upper(), f"{copied} again"]) if copied else fresh
        if rng.random() < 0.5:
            documents[f"c{i}"] = {"document_id": f"d{rng.randint(0, 15)}"}
    queries: dict[str, str] = {}
    relevant: dict[str, list[str]] = {}
    for i in range(rng.randint(20, 50)):
        repeated = rng.choice(list(queries.values())) if queries and rng.random() < 0.1 else None
        queries[f"q{i}"] = rng.choice([repeated, f"  {repeated.title()}"]) if repeated else f"where is number {i}?"
        relevant[f"q{i}"] = rng.sample(list(corpus), 2 if rng.random() < 0.1 else 1)
    return QADataset(queries, corpus, relevant, documents)


def sides(split: Split) -> list[QADataset]:
    return [side for side in (split.train, split.val, split.test) if side is not None]


def shuffled(dataset: QADataset, seed: int) -> QADataset:
    order = list(dataset.queries)
    random.Random(seed).shuffle(order)
    return dataset.subset(order)


def relevant_chunks(dataset: QADataset) -> set[str]:
    return {chunk for chunks in dataset.relevant_docs.values() for chunk in chunks}


@pytest.mark.parametrize("by", ["document", "chunk"])
def test_sides_share_no_query_no_chunk_no_document_and_no_near_duplicate(by: str) -> None:
    n_split = 0
    for seed in range(N_RANDOM):
        dataset = random_dataset(seed)
        try:
            split = dataset.split(val=0.2, test=0.2, seed=seed, by=by)
        except DatasetError:
            continue  # all hangs together
        n_split += 1
        near = near_duplicate_groups(dataset.corpus)
        assert sorted(query for side in sides(split) for query in side.queries) == sorted(dataset.queries)
        for a, b in itertools.combinations(sides(split), 2):
            assert not leaks(a, b), str(leaks(a, b))
            ours, theirs = relevant_chunks(a), relevant_chunks(b)
            assert not ours & theirs
            assert not [group for group in near if ours & set(group) and theirs & set(group)]
            if by == "document":
                documents = [{dataset.documents[chunk] for chunk in side} - {None} for side in (ours, theirs)]
                assert not documents[0] & documents[1]
    assert n_split > N_RANDOM / 4, "too few of the random sets could be split: the law was tested on nothing"


def test_train_holds_none_of_the_others_documents_nor_their_near_duplicates() -> None:
    """A model must not even see a test document as a negative."""
    n_split = 0
    for seed in range(N_RANDOM):
        dataset = random_dataset(seed)
        try:
            split = dataset.split(val=0.2, test=0.2, seed=seed)
        except DatasetError:
            continue
        n_split += 1
        held_back = {chunk for side in sides(split)[1:] for chunk in relevant_chunks(side)}
        train_texts = {fold(text) for text in split.train.corpus.values()}
        assert not train_texts & {fold(dataset.corpus[chunk]) for chunk in held_back}
        train_documents = {dataset.documents[chunk] for chunk in split.train.corpus} - {None}
        assert not train_documents & {dataset.documents[chunk] for chunk in held_back}
    assert n_split


def test_val_and_test_keep_the_whole_corpus_as_distractors() -> None:
    dataset = tiny_dataset(8)
    split = dataset.split()
    assert split.val is not None
    assert split.test is not None
    assert split.val.corpus == split.test.corpus == dataset.corpus
    assert len(split.train.corpus) < len(dataset.corpus)


def test_a_distractor_of_no_document_stays_in_train() -> None:
    base = tiny_dataset(8)
    dataset = QADataset(base.queries, {**base.corpus, "extra": "nobody asks"}, base.relevant_docs, base.metadata)
    assert "extra" in dataset.split().train.corpus


def test_a_distractor_in_a_test_document_leaves_train() -> None:
    base = tiny_dataset(8)
    metadata = {**base.metadata, **{f"x{i}": {"document_id": f"dc{i}"} for i in range(8)}}
    corpus = {**base.corpus, **{f"x{i}": f"another page of book {'iv' * i} {i}" for i in range(8)}}
    split = QADataset(base.queries, corpus, base.relevant_docs, metadata).split()
    assert {f"x{chunk[1:]}" for chunk in split.train.corpus if chunk.startswith("c")} == {
        chunk for chunk in split.train.corpus if chunk.startswith("x")
    }


@pytest.mark.parametrize("seed", range(5))
def test_the_split_does_not_depend_on_the_order_of_the_queries(seed: int) -> None:
    dataset = tiny_dataset(24)
    one, other = dataset.split(seed=3), shuffled(dataset, seed).split(seed=3)
    for side, same in zip(sides(one), sides(other), strict=True):
        assert set(side.queries) == set(same.queries)


def test_the_seed_decides_and_the_same_seed_gives_the_same_split() -> None:
    dataset = tiny_dataset(24)
    assert dataset.split(seed=1) == dataset.split(seed=1)
    assert len({frozenset(dataset.split(seed=seed).train.queries) for seed in range(5)}) > 1


def test_queries_keep_their_order_within_a_side() -> None:
    dataset = tiny_dataset(24)
    for side in sides(dataset.split()):
        assert list(side.queries) == [query for query in dataset.queries if query in side.queries]


def test_shares_are_of_queries_and_met_where_groups_are_small() -> None:
    dataset = QADataset(
        {f"q{i}": f"where is number {i}?" for i in range(100)},
        {f"c{i}": f"{WORDS[i % 15]} {WORDS[i // 15]} page {i * 7919}" for i in range(100)},
        {f"q{i}": [f"c{i}"] for i in range(100)},
    )
    assert [len(side) for side in sides(dataset.split(val=0.1, test=0.2))] == [70, 10, 20]


def test_a_side_without_a_share_is_none() -> None:
    split = tiny_dataset(8).split(val=0, test=0.25)
    assert split.val is None
    assert len(sides(split)) == 2
    assert tiny_dataset(8).split(val=0, test=0).train == tiny_dataset(8)


def test_a_small_set_still_fills_every_side() -> None:
    """A tenth of four queries rounds to none; one is better than an error."""
    dataset = QADataset(
        {f"q{i}": f"question {i}?" for i in range(4)},
        dict(zip("abcd", WORDS, strict=False)),
        {f"q{i}": ["abcd"[i]] for i in range(4)},
    )
    assert [len(side) for side in sides(dataset.split())] == [2, 1, 1]


def test_one_group_cannot_be_split_and_says_what_would_help() -> None:
    base = tiny_dataset(4)
    dataset = QADataset(
        base.queries, base.corpus, base.relevant_docs, {chunk: {"document_id": "one"} for chunk in base.corpus}
    )
    with pytest.raises(
        DatasetError,
        match=r"nothing is left for test, since they form 1 connected groups \(.* 8 queries\).*by='chunk'",
    ):
        dataset.split()
    assert dataset.split(by="chunk").test is not None
    with pytest.raises(DatasetError, match="Give more chunks"):
        tiny_dataset(1).split(by="chunk")


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0.2), (0.1, 1), (0.5, 0.5), (float("nan"), 0.1)])
def test_shares_that_leave_nothing_are_refused(val: float, test: float) -> None:
    with pytest.raises(DatasetError, match=rf"The shares must lie in \[0, 1\) .* got val={val}, test={test}"):
        tiny_dataset().split(val=val, test=test)


def test_an_unknown_way_of_splitting_is_refused() -> None:
    with pytest.raises(DatasetError, match="by must be 'document' or 'chunk'; got 'row'"):
        tiny_dataset().split(by="row")


# Leaks


def pair(query: str, chunk: str, *, prefix: str, distractor: str = "another") -> QADataset:
    names = (f"{prefix}q", f"{prefix}c", f"{prefix}d")
    return QADataset({names[0]: query}, {names[1]: chunk, names[2]: distractor}, {names[0]: [names[1]]})


def test_leaks_see_through_case_width_and_white_space() -> None:
    report = leaks(
        pair("Where is Straße 1?", "one", prefix="a"), pair(" where is  STRASSE\u00a0\uff11?", "two", prefix="b")
    )
    assert report
    assert report.queries == (("aq", "bq"),)
    assert report.chunks == ()
    assert str(report) == "shared are 1 query texts (such as 'bq')"


def test_a_shared_chunk_names_the_queries_on_it() -> None:
    report = leaks(pair("how?", "The same\ntext", prefix="a"), pair("why?", "the SAME text", prefix="b"))
    assert report.chunks == (("ac", "bc"),)
    assert report.queries_on_shared_chunks == ("bq",)


def test_distractors_are_never_leaks() -> None:
    """Every test set holds train's chunks as distractors."""
    a = pair("how?", "one", prefix="a", distractor="two")
    b = pair("why?", "two", prefix="b", distractor="one")
    assert not leaks(a, b)
    assert str(leaks(a, b)) == "nothing is shared"


def test_a_set_leaks_into_itself() -> None:
    report = leaks(tiny_dataset(), tiny_dataset())
    assert (len(report.queries), len(report.chunks), len(report.queries_on_shared_chunks)) == (8, 4, 8)


# Near duplicates


def shingles(text: str) -> set[str]:
    folded = fold(text)
    return {folded[i : i + 5] for i in range(max(len(folded) - 4, 1))}


def brute_force(texts: dict[str, str], threshold: float) -> set[frozenset[str]]:
    """Connected groups of all pairs whose exact Jaccard similarity reaches the threshold."""
    ids = list(texts)
    union = UnionFind(len(ids))
    for i, j in itertools.combinations(range(len(ids)), 2):
        a, b = shingles(texts[ids[i]]), shingles(texts[ids[j]])
        if len(a & b) / len(a | b) >= threshold:
            union.join(i, j)
    return {frozenset(ids[i] for i in group) for group in union.groups() if len(group) > 1}


def edited(text: str, rng: random.Random, n_edits: int) -> str:
    letters = list(text)
    for _ in range(n_edits):
        letters[rng.randrange(len(letters))] = rng.choice("aeiou雲ß ")
    return "".join(letters)


@pytest.mark.parametrize("seed", range(20))
def test_near_duplicates_are_those_of_brute_force(seed: int) -> None:
    """Similar pairs well above and well below the threshold; MinHash misses 1 in 5,000 at the threshold itself."""
    rng = random.Random(seed)
    texts: dict[str, str] = {}
    for i in range(12):
        text = " ".join(rng.choices(WORDS, k=40)) + f" {i}"
        texts[f"{i}"] = text
        texts[f"{i}-near"] = edited(text, rng, 2)
        texts[f"{i}-far"] = edited(text, rng, 60)
    assert {frozenset(group) for group in near_duplicate_groups(texts)} == brute_force(texts, 0.8)


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("Die Straßenbahn fährt um acht Uhr am Bahnhof ab.", "DIE STRASSENBAHN FÄHRT UM ACHT UHR AM BAHNHOF AB.", True),
        ("Die Straßenbahn fährt um acht Uhr ab.", "Der Bus kommt erst am späten Abend zurück.", False),
        (
            "東京は日本の首都であり、世界最大の都市圏の一つです。人口は約千四百万人です。",
            "東京は日本の首都であり、世界最大の都市圏の一つです。人口は約千四百万人です\uff01",
            True,
        ),
        ("東京は日本の首都です。", "大阪は西日本の中心です。", False),
        ("abc", "ABC", True),
        ("abc", "abd", False),
        ("a", "b", False),
        ("a", "\uff41", True),
        ("12345", "123456789", False),
    ],
    ids=["de-case", "de-other", "ja-mark", "ja-other", "3-case", "3-other", "1-other", "1-width", "prefix"],
)
def test_near_duplicates_in_other_languages_and_of_short_texts(one: str, other: str, near: bool) -> None:
    assert bool(near_duplicate_groups({"a": one, "b": other})) is near


def test_the_threshold_is_inclusive_and_one_means_equal_shingles() -> None:
    texts = {"a": "abcdefghij", "b": "abcdefghij", "c": "abcdefghijk"}
    assert near_duplicate_groups(texts, threshold=1.0) == [["a", "b"]]
    assert near_duplicate_groups(texts, threshold=6 / 7) == [["a", "b", "c"]]


def test_twenty_thousand_equal_texts_are_one_group_at_once() -> None:
    """Comparing all pairs would be 200 million."""
    texts = {f"c{i}": f"the {' ' * (i % 3)}same text, in one spelling or another" for i in range(20_000)}
    assert [len(group) for group in near_duplicate_groups(texts)] == [20_000]


def test_five_thousand_texts_of_one_template_are_grouped_without_all_pairs() -> None:
    """Form letters fill one bucket."""
    body = " ".join(WORDS * 4)
    texts = {f"c{i}": f"{body} {i}" for i in range(5000)}
    assert [len(group) for group in near_duplicate_groups(texts)] == [5000]


def test_groups_do_not_depend_on_the_order_where_similarity_is_clear() -> None:
    texts = {f"{i}{mark}": f"{word} " * 30 + mark for i, word in enumerate(WORDS) for mark in ("x", "y")}
    backwards = dict(reversed(texts.items()))
    assert {frozenset(g) for g in near_duplicate_groups(texts)} == {
        frozenset(g) for g in near_duplicate_groups(backwards)
    }


def test_only_the_first_20_000_characters_are_compared() -> None:
    texts = {"a": "ab" * 10_000 + "x" * 5000, "b": "ab" * 10_000 + "y" * 5000}
    assert near_duplicate_groups(texts) == [["a", "b"]]


# Groups


def test_queries_on_one_chunk_or_document_are_one_group() -> None:
    dataset = tiny_dataset(3)
    groups = connected_groups(dataset)
    assert [group.queries for group in groups] == [("q0-0", "q0-1"), ("q1-0", "q1-1"), ("q2-0", "q2-1")]
    assert [group.chunks for group in groups] == [("c0",), ("c1",), ("c2",)]


def test_a_chunk_and_a_document_of_one_name_are_two_things() -> None:
    dataset = QADataset(
        {"x": "how?", "y": "why?"}, {"x": "one", "y": "two"}, {"x": ["x"], "y": ["y"]}, {"x": {"document_id": "y"}}
    )
    assert len(connected_groups(dataset)) == 2


def test_groups_do_not_hang_on_query_text_unless_asked() -> None:
    dataset = QADataset({"a": "how?", "b": "HOW?"}, {"c": "one", "d": "two"}, {"a": ["c"], "b": ["d"]})
    assert len(connected_groups(dataset)) == 2
    assert len(connected_groups(dataset, by_query_text=True)) == 1
