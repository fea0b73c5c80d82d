import dataclasses

import pytest

from talkhead.config import build_config
from talkhead.errors import TalkheadError


@dataclasses.dataclass(frozen=True)
class Norm:
    eps: float
    affine: bool


def test_settings_may_leave_out_a_field_that_has_a_default() -> None:
    @dataclasses.dataclass(frozen=True)
    class Settings:
        rate: float
        steps: int = 10

    assert build_config(Settings, {"rate": 1}, source="x.toml") == Settings(1.0, 10)
    with pytest.raises(TalkheadError, match=r"^x\.toml: 1 key unknown \(step\)$"):
        build_config(Settings, {"rate": 1, "step": 2}, source="x.toml")


@dataclasses.dataclass(frozen=True)
class Cat:
    name: str
    lives: int


@dataclasses.dataclass(frozen=True)
class Dog:
    name: str
    tricks: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Owner:
    pet: Cat | Dog


def test_one_of_several_tables_is_told_by_its_keys() -> None:
    def owner(**pet: object) -> Owner:
        return build_config(Owner, {"pet": pet}, source="x.toml")

    assert owner(name="Tom", lives=9) == Owner(Cat("Tom", 9))
    assert owner(name="Rex", tricks=["sit"]) == Owner(Dog("Rex", ("sit",)))
    with pytest.raises(TalkheadError, match=r"x\.toml: pet\.tricks is 'sit', but must be a list"):
        owner(name="Rex", tricks="sit")
    with pytest.raises(TalkheadError, match=r"1 key unknown \(pet\.wings\)"):
        owner(name="Tom", lives=9, wings=2)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, -(2**63) - 1])
def test_numbers_that_no_float_holds_are_refused(value: float) -> None:
    with pytest.raises(TalkheadError, match=r"eps is .{1,90}, but must be a") as caught:
        build_config(Norm, {"eps": value, "affine": True}, source="a.toml")
    assert len(str(caught.value)) < 200
