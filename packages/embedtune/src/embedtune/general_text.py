"""How much of a model's view of general text a tuning has left: its neighbourhoods among everyday sentences."""

import numpy as np

from embedtune.errors import EmbeddingError
from embedtune.protocols import Embedder
from embedtune.search import checked_vectors, normalised

__all__ = ["GENERAL_SENTENCES", "neighbours_kept"]

GENERAL_SENTENCES: tuple[str, ...] = (
    # cooking
    "Knead the dough for ten minutes and let it rise in a warm place.",
    "Fry the onions slowly until they are soft and golden.",
    "A pinch of salt brings out the sweetness of chocolate.",
    "Rice absorbs about twice its volume of water while it cooks.",
    "Fresh basil loses its scent when it is heated for long.",
    # gardening
    "Tomato plants need a stake and plenty of sun.",
    "Prune the roses in early spring before the buds open.",
    "Slugs come out at night and eat young lettuce leaves.",
    "Compost is ready when it smells of forest soil.",
    "Water the seedlings from below to keep their leaves dry.",
    # weather
    "A cold front brought heavy rain and gusts to the coast.",
    "Fog forms when moist air cools close to the ground.",
    "The drought has left the reservoirs half empty.",
    "Thunder follows lightning because sound travels more slowly than light.",
    "Snow is expected above a thousand metres tonight.",
    # health
    "Wash your hands with soap for at least twenty seconds.",
    "High blood pressure often has no symptoms at all.",
    "The physician prescribed an antibiotic for the infection.",
    "Regular walking lowers the risk of heart disease.",
    "A fever above forty degrees needs medical attention.",
    # sport
    "The striker scored twice in the second half.",
    "She broke the national record over four hundred metres.",
    "The tennis final was decided in a tie-break.",
    "Cyclists drink before they feel thirsty on long climbs.",
    "The goalkeeper saved a penalty in the last minute.",
    # music
    "The violin is tuned in fifths, from G up to E.",
    "The choir rehearses every Thursday evening in the church.",
    "A minor chord sounds darker than a major one.",
    "The drummer keeps the tempo while the others improvise.",
    "He wrote his last symphony when he was almost deaf.",
    # travel
    "The night train to the coast leaves from platform nine.",
    "Passengers must be at the gate thirty minutes before departure.",
    "The hotel has a view of the harbour and serves breakfast until ten.",
    "A visa is not required for stays of up to three months.",
    "The mountain pass is closed to cars in winter.",
    # money
    "The central bank raised its interest rate by a quarter of a point.",
    "Save a part of each month's salary before you spend the rest.",
    "The loan is repaid in equal instalments over twenty years.",
    "Inflation means that the same money buys less each year.",
    "An invoice should state the date, the amount and the tax.",
    # law
    "The tenant may end the lease with three months' notice.",
    "The court dismissed the appeal for lack of evidence.",
    "A contract signed under threat is not valid.",
    "The witness was sworn in before giving testimony.",
    "Copyright lasts for decades after the author's death.",
    # physics
    "A body at rest stays at rest unless a force acts on it.",
    "Light bends when it passes from air into water.",
    "Heat flows from the warmer body to the colder one.",
    "The electron carries a negative charge.",
    "A pendulum's period depends on its length and not on its weight.",
    # biology
    "Plants turn carbon dioxide and water into sugar and oxygen.",
    "Bees find their way back to the hive by the position of the sun.",
    "The heart of a mouse beats several hundred times a minute.",
    "Bacteria divide in two, some of them every twenty minutes.",
    "Whales are mammals and must come up to breathe.",
    # space
    "The Moon always shows the same face to the Earth.",
    "Jupiter has more mass than all other planets together.",
    "A comet's tail points away from the Sun.",
    "The probe took nine years to reach the outer planets.",
    "Stars form where clouds of gas collapse under their own weight.",
    # history
    "The printing press spread books across the continent within decades.",
    "The city was besieged for two years before it surrendered.",
    "Merchants carried silk and spices along the caravan routes.",
    "The treaty ended the war but not the quarrel.",
    "The pyramid's builders were paid in bread and beer.",
    # computers
    "The program crashed because it ran out of memory.",
    "Make a backup before you install the update.",
    "A long passphrase is safer than a short password with symbols.",
    "The server answered with an error after the timeout.",
    "Sorting the list first makes the search much faster.",
    # household
    "Descale the kettle with vinegar once a month.",
    "The washing machine leaks when the door seal is worn.",
    "Replace the smoke detector's battery every year.",
    "A dripping tap can waste thousands of litres of water.",
    "Open the windows wide for five minutes instead of tilting them all day.",
    # cars
    "Check the tyre pressure while the tyres are cold.",
    "The engine stalls when the fuel filter is blocked.",
    "An electric car recovers energy when it brakes.",
    "The mechanic replaced the brake pads and the discs.",
    "Keep two seconds' distance to the car ahead.",
    # school
    "The teacher asked the class to read the chapter aloud.",
    "Homework is due on Friday morning.",
    "He failed the exam in mathematics and may repeat it in autumn.",
    "The library lends books for four weeks.",
    "Children learn a second language more easily than adults.",
    # work
    "The meeting was moved to Tuesday because two people were ill.",
    "She applied for the position and was invited to an interview.",
    "Overtime is paid with a supplement of a quarter.",
    "The team finished the project a week ahead of schedule.",
    "Please send your report by the end of the month.",
    # family
    "My grandmother told us stories before we went to sleep.",
    "The twins look alike but have very different tempers.",
    "They were married in a small village by the sea.",
    "The baby has learned to crawl and opens every drawer.",
    "We visit my parents on the first Sunday of the month.",
    # art
    "The painter mixed her colours with egg yolk.",
    "The museum shows photographs from the nineteenth century.",
    "The sculpture was cut from a single block of marble.",
    "Critics praised the film for its camera work.",
    "The novel is told by a narrator who cannot be trusted.",
    # other languages
    "Der Zug nach Hamburg hat heute eine Stunde Verspätung.",
    "Das Brot ist frisch aus dem Ofen und noch warm.",
    "La réunion est reportée à la semaine prochaine.",
    "Le musée est fermé le lundi.",
    "El médico le recomendó descansar unos días.",
    "La tienda abre a las nueve de la mañana.",
    "Il treno parte dal binario sette.",
    "De winkel is op zondag gesloten.",
)
"""Everyday sentences on twenty subjects, five on each, and a few in other languages; written for this purpose."""


def neighbours_kept(before: Embedder, after: Embedder, k: int = 10) -> float:
    """Mean share of a sentence's ``k`` nearest neighbours that stay among its ``k`` nearest.

    Args:
        before: The base model.
        after: The tuned model.
        k: Neighbours, of the 107 others.

    Returns:
        In [0, 1]; 1 where nothing has changed, about ``k / 107`` where all has.

    Raises:
        EmbeddingError: If ``k`` is not in [1, 107].

    >>> from embedtune.testing import HashEmbedder
    >>> neighbours_kept(HashEmbedder(), HashEmbedder())
    1.0
    """
    if not 1 <= k < len(GENERAL_SENTENCES):
        raise EmbeddingError(f"k must be in [1, {len(GENERAL_SENTENCES) - 1}]; got {k}.")
    sides = [_neighbours(embedder, k) for embedder in (before, after)]
    return float(np.mean([len(one & other) / k for one, other in zip(*sides, strict=True)]))


def _neighbours(embedder: Embedder, k: int) -> list[set[int]]:
    name = type(embedder).__name__
    vectors = checked_vectors(embedder.embed_documents(GENERAL_SENTENCES), len(GENERAL_SENTENCES), name)
    if embedder.similarity == "cosine":
        vectors = normalised(vectors)
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    return [set(row[:k].tolist()) for row in np.argsort(-scores, axis=1, kind="stable")]
