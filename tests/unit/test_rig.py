from demo.flow import max_difference
from tests.conftest import World


def test_x(lived_in: World) -> None:
    assert max_difference(lived_in.outcome) == 0
    assert lived_in.outcome.individual == {"是": 3, "否": 3, "无法判断": 2, "refused": 1, "withdrawn": 1}
