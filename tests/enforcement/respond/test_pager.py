"""One attack is a few pages, however loud it is."""

from hypothesis import given
from hypothesis import strategies as st

from enforcement.respond.pager import NAMED_MAX, Page, Pager
from gossip.ledger.entries import Subject, SubjectKind
from gossip.units import UnixMs

NOW = 1_800_000_000_000


def agent(n: int) -> Subject:
    return Subject(SubjectKind.AGENT, n.to_bytes(32, "big"))


def run(pager: Pager, cases: list[tuple[int, int]]) -> list[Page]:
    """Quarantines as (when, who), then time until nothing is due."""
    pages: list[Page | None] = []
    for at, who in sorted(cases):
        while pager.due_ms is not None and pager.due_ms <= NOW + at:
            pages.append(pager.tick(pager.due_ms))
        now = UnixMs(NOW + at)
        pages.append(pager.quarantined(agent(who), now, now, held_back=False))
    while pager.due_ms is not None:
        pages.append(pager.tick(pager.due_ms))
    return [page for page in pages if page]


@given(
    st.lists(
        st.tuples(st.integers(0, 10 * 60_000), st.integers(0, 300)),
        min_size=1,
        max_size=300,
    )
)
def test_one_attack_is_three_pages_at_most_and_leaves_no_case_out(
    cases: list[tuple[int, int]],
) -> None:
    first: dict[int, int] = {}
    for at, who in sorted(cases):
        first.setdefault(who, at)

    pages = run(Pager(), [(at, who) for who, at in first.items()])

    assert len(pages) <= 3
    assert sum(page.cases for page in pages) == len(first)
    assert pages[0].at_ms == NOW + min(first.values())


def test_a_case_pages_once_for_each_quarantine() -> None:
    pager = Pager()
    now = UnixMs(NOW)
    assert pager.quarantined(agent(1), now, now, held_back=False) is not None
    assert pager.quarantined(agent(1), now, now, held_back=False) is None
    assert pager.tick(UnixMs(NOW + 60_000)) is None
    pager.ended(agent(1))
    later = UnixMs(NOW + 3_600_000)
    page = pager.quarantined(agent(1), later, later, held_back=True)
    assert page is not None
    assert (page.cases, page.held_back) == (1, 1)


def test_a_page_names_only_so_many() -> None:
    pager, now = Pager(), UnixMs(NOW)
    for n in range(500):
        pager.quarantined(agent(n), now, now, held_back=False)
    page = pager.tick(UnixMs(NOW + 60_000))
    assert page is not None
    assert page.cases == 499
    assert len(page.subjects) == NAMED_MAX
