"""A chain takes its true successors and nothing else, whatever was tried before and in whatever order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dataspace.kernel.errors import DataspaceError
from dataspace.kernel.jws import SigningKey
from tests.fakes import papers
from vault.statements import Epoch, KeyChain, follow, write_statement
from vault.suite1 import OpeningKey

COLLECTIONS = ("wages", "vitals", "smoking")
PUBLIC = [OpeningKey(papers.seed(f"chain {n}")).public for n in range(6)]
SIGNERS = [papers.signing_key(f"chain {n}") for n in range(4)]
FIRST = SIGNERS[0]


class Chain(RuleBasedStateMachine):
    """``held`` is the model: what the next statement has to continue."""

    def __init__(self) -> None:
        super().__init__()
        self.signer = FIRST
        self.held = {"wages": Epoch("wages", 1, PUBLIC[0])}
        self.statements = [self.write(FIRST, number=1, previous=None)]
        self.chain = KeyChain.pin(self.statements[0], FIRST.kid)
        self.heads = [self.chain.head]

    def write(self, signer: SigningKey | None = None, **changes: Any) -> str:
        content = {
            "signing_key": self.signer.public,
            "epochs": list(self.held.values()),
            "issued_at": papers.NOW,
            "not_after": papers.NOW + 1000,
        }
        if "number" not in changes:
            content |= {"number": self.chain.number + 1, "previous": self.chain.head}
        return write_statement(signer or self.signer, **(content | changes))

    def accept(self, statement: str) -> None:
        self.chain = self.chain.extend(statement)
        self.statements.append(statement)
        self.heads.append(self.chain.head)

    def refuse(self, statement: str) -> None:
        with pytest.raises(DataspaceError):
            self.chain.extend(statement)
        with pytest.raises(DataspaceError):
            follow([*self.statements, statement], FIRST.kid)

    @rule(name=st.sampled_from(COLLECTIONS), step=st.integers(1, 3), key=st.sampled_from(PUBLIC))
    def start_an_epoch(self, name: str, step: int, key: bytes) -> None:
        number = self.held[name].epoch + step if name in self.held else 1
        self.held[name] = Epoch(name, number, key)
        self.accept(self.write())

    @rule(signer=st.sampled_from(SIGNERS))
    def change_the_signing_key(self, signer: SigningKey) -> None:
        self.accept(self.write(signing_key=signer.public))
        self.signer = signer

    @rule(signer=st.sampled_from(SIGNERS))
    def signed_by_another_key(self, signer: SigningKey) -> None:
        if signer is not self.signer:
            self.refuse(self.write(signer))

    @rule(number=st.integers(-1, 12))
    def another_number(self, number: int) -> None:
        if number != self.chain.number + 1:
            self.refuse(self.write(number=number, previous=self.chain.head))

    @rule(data=st.data())
    def another_predecessor(self, data: st.DataObject) -> None:
        previous = data.draw(st.sampled_from([None, papers.EPOCH.key_digest, *self.heads[:-1]]))
        self.refuse(self.write(number=self.chain.number + 1, previous=previous))

    @rule(data=st.data())
    def an_epoch_goes_back_changes_its_key_or_is_left_out(self, data: st.DataObject) -> None:
        old = data.draw(st.sampled_from(list(self.held.values())))
        others = [epoch for epoch in self.held.values() if epoch is not old]
        key = data.draw(st.sampled_from([key for key in PUBLIC if key != old.key]))
        back = replace(old, epoch=data.draw(st.integers(-1, old.epoch - 1)))
        for epochs in (others, [*others, replace(old, key=key)], [*others, back], [*others, old, old]):
            self.refuse(self.write(epochs=epochs))

    @rule(data=st.data())
    def the_same_again(self, data: st.DataObject) -> None:
        self.refuse(data.draw(st.sampled_from(self.statements)))

    @invariant()
    def the_chain_is_what_was_signed(self) -> None:
        assert dict(self.chain.epochs) == self.held
        assert self.chain.signing_key == self.signer.public
        assert follow(self.statements, FIRST.kid) == self.chain
        assert self.chain.number == len(self.statements)


Chain.TestCase.settings = settings(max_examples=40, stateful_step_count=12, deadline=None)
TestChain = Chain.TestCase
