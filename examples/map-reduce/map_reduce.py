from collections import Counter

import tabulate


def word_count(texts):
    counts = Counter(word for text in texts for word in text.split())
    return tabulate.tabulate(counts.most_common())
