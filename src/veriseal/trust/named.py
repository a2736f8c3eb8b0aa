"""What the settings name, against what is there and against one another: for `lint`."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence

from veriseal import voa
from veriseal.policy import Policy
from veriseal.trust import finding, model, window
from veriseal.trust.finding import ERROR, WARNING, Finding


class Settings:
    """The ``policy`` of the system with the VOA names ``own`` below ``root``.

    ``sources`` are the files that its settings are in, see `policy.sources`.
    """

    def __init__(
        self, policy: Policy, own: Sequence[str], root: str, sources: Mapping[str, str]
    ) -> None:
        self._policy = policy
        self._own = own
        self._root = root
        self._sources = sources
        self.names = list(dict.fromkeys((*policy.previous, *own, *policy.next)))
        """The window, also with what is wrong in it."""

    def window(self) -> Iterator[Finding]:
        """What is wrong, or odd, about the window itself."""
        for part, mistake in window.mistakes(self._policy, self._own):
            yield finding.of(mistake)._replace(path=self._sources.get(part))
        for part, name in self._beside():
            path = self._sources.get(part)
            if name in self._own:
                text = f"trust.{part} names {name}, which is the system's own release"
                yield Finding(WARNING, "contradicting-settings", text, path, "Take it out")
            elif voa.is_os_name(name) and not voa.covers(self._own[0], name):
                text = f"trust.{part} names {name}, which is another system than {self._own[0]}"
                remedy = "Take it out, unless that system's files are meant to run here"
                yield Finding(WARNING, "other-system", text, path, remedy)

    def missing(self, present: Collection[str]) -> Iterator[Finding]:
        """Which releases of the window are not ``present``: those with a certificate."""
        for part, name in self._beside():
            if name not in present and name not in self._own and voa.is_os_name(name):
                text = f"trust.{part} names {name}, and there is no usable certificate of it"
                yield self._missing(text, name)
        if not set(present).intersection(self._own):
            names = " or ".join(self._own)
            text = f"there is no usable certificate of this system's own release, {names}"
            yield self._missing(text, self._own[-1])

    def not_stated(self, present: Collection[str], said: Collection[str]) -> Iterator[Finding]:
        """Which releases of the window have no certificate in the trust statement that counts.

        ``present`` have one; of ``said`` it is said already.
        """
        for part, name in self._beside():
            if name not in (*present, *said, *self._own) and voa.is_os_name(name):
                text = (
                    f"trust.{part} names {name}, of which the trust statement has no certificate "
                )
                text += "that counts"
                remedy = f"Have it made again, also with --release {name}=CERTIFICATE, or take "
                remedy += f"{name} out of trust.{part}"
                yield Finding(WARNING, "no-certificate", text, self.statement(), remedy)
        if not {*present, *said}.intersection(self._own):
            text = "the trust statement has no certificate that counts of this system's own "
            text += f"release, {' or '.join(self._own)}"
            remedy = f"Have it made again, also with --release {self._own[-1]}=CERTIFICATE"
            yield Finding(WARNING, "no-certificate", text, self.statement(), remedy)

    def contradictions(self, anchors: bool, signers: int) -> Iterator[Finding]:
        """What contradicts what. ``anchors``: whether there are any; so many ``signers`` are."""
        policy = self._policy
        if policy.statement and not anchors:
            yield self._contradiction(
                ERROR,
                "statement",
                "trust.statement is set, and no anchor is there that could have signed it",
                "Put the vendor's root into "
                + voa.place(
                    window.system(self._own[0]), voa.ANCHOR_PURPOSE, policy.context, self._root
                ),
            )
        if not policy.statement and policy.statement_device:
            yield self._contradiction(
                WARNING,
                "statement_device",
                "trust.statement_device is set, and trust.statement is not",
                "Set trust.statement to the path on that device, or take the device out",
            )
        if not policy.statement and policy.without_statement != "refuse":
            yield self._contradiction(
                WARNING,
                "without_statement",
                f'trust.without_statement = "{policy.without_statement}" says nothing without '
                "trust.statement",
                "Take it out, or name the statement",
            )
        # None at all is said where the boot is asked.
        if not policy.statement and 0 < signers < policy.signatures_needed:
            yield self._contradiction(
                ERROR,
                "signatures_needed",
                f"boot.signatures_needed is {policy.signatures_needed}, and no more than {signers} "
                "could sign: so many certificates are there",
                "Install the others, or need fewer",
            )

    def statement(self) -> str:
        """The trust statement, or the device that it is on, as findings name it."""
        if self._policy.statement_device:
            return self._policy.statement_device
        return os.path.join(self._root, self._policy.statement.lstrip("/"))

    def _beside(self) -> Iterator[tuple[str, str]]:
        for part, names in (
            (model.PREVIOUS, self._policy.previous),
            (model.NEXT, self._policy.next),
        ):
            for name in dict.fromkeys(names):
                yield part, name

    def _missing(self, text: str, name: str) -> Finding:
        path = voa.place(name, voa.PURPOSE, self._policy.context, self._root)
        return Finding(WARNING, "no-certificate", text, path, "Put it there")

    def _contradiction(self, level: str, setting: str, text: str, remedy: str) -> Finding:
        path = self._sources.get(setting)
        return Finding(level, "contradicting-settings", text, path, remedy)
