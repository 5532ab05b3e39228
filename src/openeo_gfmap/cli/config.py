"""The configuration of an extraction: what `gfmap.toml`, the environment and options say together.

What a setting may be is decided by the dataclass that it goes into, where Python programs meet the
same checks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from openeo_gfmap.cli.retrying import RETRY_SECTIONS, RetrySection, read_retry
from openeo_gfmap.cli.settings_file import Settings, nearest, read_settings, shown, variable
from openeo_gfmap.cli.values import build, settable
from openeo_gfmap.cli.words import PARTS, TOML, setting_of
from openeo_gfmap.errors import InputError

if TYPE_CHECKING:
    from openeo_gfmap.manager.options import ManagerOptions
    from openeo_gfmap.quality import QualityGates
    from openeo_gfmap.recipes import Extraction, Recipe

__all__ = ["FILE_NAME", "SECTIONS", "WRITTEN", "Config", "find_config", "load_config"]

FILE_NAME: Final = "gfmap.toml"
#: How a file begins that nobody has written, so that the next run may replace it.
WRITTEN: Final = "# Written by gfmap: the settings of the last run in this folder."

#: Sections of the file, and beginnings of the variables.
SECTIONS: Final = (
    "samples", "recipe", "recipe.period", "recipe.labels", "recipe.cloud_mask", "backend",
    "output", "gates", "retry", *RETRY_SECTIONS, "limits",
)  # fmt: skip
#: Parts of the recipe that are sections of their own, and parts of the options that are.
_OWN_SECTIONS: Final = (*PARTS, "columns", "min_extract")


@dataclass(frozen=True)
class SamplesSection:
    """Where samples are, and which of their columns say what; None looks for the usual names."""

    path: str
    sample_id: str | None = None
    valid_date: str | None = None
    extract: str | None = None
    ref_id: str | None = None
    min_extract: int = 1


@dataclass(frozen=True)
class BackendSection:
    """Where jobs run.

    Attributes
    ----------
    name
        Such as "local" or "cdse".
    parallel_jobs
        Most jobs that are active at once.
    upload
        Address below which windows are put by HTTP, for a back-end that cannot be given them.
    poll_sleep
        Fewest seconds between two looks at a job.
    """

    name: str = "local"
    parallel_jobs: int = 2
    upload: str | None = None
    poll_sleep: float = 5.0


@dataclass(frozen=True)
class OutputSection:
    """Where files go, and what the collection of them is called."""

    folder: str = "patches"
    collection_id: str | None = None
    collection_description: str = ""


@dataclass(frozen=True)
class Config:
    """All of it, checked.

    Attributes
    ----------
    samples, backend, output, retry
        The sections.
    recipe
        As `openeo_gfmap.recipes` has it.
    gates
        What a received file must be: what the recipe itself wants, and what was set.
    options
        Of the job manager.
    base
        Folder that relative paths of the samples and the output begin at.
    settings
        What it was made of, for messages to point at.
    """

    samples: SamplesSection
    recipe: Recipe
    backend: BackendSection
    output: OutputSection
    retry: RetrySection
    gates: QualityGates
    options: ManagerOptions
    base: Path = field(default_factory=Path)
    settings: Settings | None = field(default=None, compare=False, repr=False)

    @property
    def samples_path(self) -> Path:
        """The file of the samples."""
        return self.base / self.samples.path

    @property
    def folder(self) -> Path:
        """The output folder."""
        return self.base / self.output.folder

    def extraction(self) -> Extraction:
        """Return the extraction; reads the samples, and refuses what cannot be used.

        Raises
        ------
        InputError
            With what is wrong.
        """
        from openeo_gfmap.recipes import Extraction  # noqa: PLC0415

        with self._pointing():
            return Extraction(
                self.recipe, self.samples_path, self.backend.name, upload=self.backend.upload
            )

    def check(self, extraction: Extraction) -> None:
        """See to it that the extraction can be run; connects to nothing.

        Raises
        ------
        InputError
            With the setting that is wrong.
        """
        with self._pointing():
            extraction.manager(self.folder, options=self.options, **self._arguments())

    def run(self, extraction: Extraction, *, show_progress: bool, **arguments: Any) -> None:
        """Run the extraction into the output folder; see `Extraction.run`."""
        options = replace(self.options, show_progress=show_progress and self.options.show_progress)
        with self._pointing():
            extraction.run(self.folder, options=options, **self._arguments(), **arguments)

    def _arguments(self) -> dict[str, Any]:
        return {
            "parallel_jobs": self.backend.parallel_jobs,
            "poll_sleep": self.backend.poll_sleep,
            "collection_id": self.output.collection_id,
            "collection_description": self.output.collection_description,
        }

    @contextmanager
    def _pointing(self) -> Iterator[None]:
        """Say in an error which setting it is about, where one is."""
        try:
            yield
        except InputError as error:
            if error.about is None or self.settings is None:
                raise
            place = self.settings.place_of(*setting_of(error.about))
            raise InputError(f"{place}: {error.told(TOML)}") from error

    def sections(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Iterate over all sections and their values, as a file would hold them."""
        recipe = {"name": self.recipe.name}
        parts: dict[str, dict[str, Any]] = {}
        for each in fields(self.recipe):  # type: ignore[arg-type] # recipes are dataclasses
            value = getattr(self.recipe, each.name)
            if each.name in ("columns", "min_extract"):
                continue
            if each.name in _OWN_SECTIONS and value is not None:
                parts[f"recipe.{each.name}"] = vars(value)
            else:
                recipe[each.name] = value
        yield "samples", vars(self.samples)
        yield "recipe", recipe
        yield from parts.items()
        yield "backend", vars(self.backend)
        yield "output", vars(self.output)
        yield "gates", self.gates.to_dict()
        yield from self.retry.sections()
        limits = vars(self.options).items()
        yield "limits", {name: value for name, value in limits if name not in ("retry", "gates")}

    def to_toml(self) -> str:
        """Return a file that says the same, with absolute paths, wherever it is read from.

        Settings that hold a password or a token are left out.
        """
        here = replace(
            self,
            samples=replace(self.samples, path=str(self.samples_path.absolute())),
            output=replace(self.output, folder=str(self.folder.absolute())),
        )
        lines = [WRITTEN, ""]
        for name, values in here.sections():
            # What is None is left out: it is the default, or said by leaving its section out.
            kept = {k: v for k, v in values.items() if v is not None or k in _OWN_SECTIONS}
            lines += [f"[{name}]", *(_line(name, *pair) for pair in kept.items()), ""]
        return "\n".join(lines)


def _line(section: str, key: str, value: Any) -> str:
    from openeo_gfmap.manager.secrets import without_secrets  # noqa: PLC0415

    taken: list[str] = []
    without_secrets(value, taken, key)
    if taken:
        name = variable(section, key)
        return f"# {key} holds a secret, which is not written: set {name} for later commands"
    return f"{key} = {shown(value)}"


def find_config(given: Path | None, folder: Path | None = None) -> Path | None:
    """Return the file to read: the one that was named, else ``gfmap.toml`` in a folder or here.

    Raises
    ------
    InputError
        When the file that was named does not exist.
    """
    if given is not None:
        if not given.is_file():
            raise InputError(f"there is no file {given}; write one with `gfmap init FIELDS`.")
        return given
    here = [(folder or Path()) / FILE_NAME, Path(FILE_NAME)]
    return next((path for path in here if path.is_file()), None)


def load_config(
    path: Path | None,
    options: Iterable[tuple[str, str]] = (),
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Return the configuration.

    Parameters
    ----------
    path : Path, optional
        TOML file; relative paths in it begin at its folder.
    options : iterable of (str, str)
        Section and key, and text.
    environment : mapping, optional
        Instead of the process's own.

    Raises
    ------
    InputError
        With file and line, variable or option, section and key.
    """
    from openeo_gfmap.manager.options import ManagerOptions  # noqa: PLC0415

    settings = read_settings(
        path, os.environ if environment is None else environment, options, SECTIONS
    )
    _check_sections(settings)
    samples = _section(settings, "samples", SamplesSection)
    recipe = _recipe(settings, samples)
    retry, policy = read_retry(settings)
    gates = _gates(settings, recipe)
    return Config(
        samples=samples,
        recipe=recipe,
        backend=_section(settings, "backend", BackendSection),
        output=_section(settings, "output", OutputSection),
        retry=retry,
        gates=gates,
        options=build(
            ManagerOptions,
            "limits",
            settings.section("limits"),
            settings.where("limits"),
            retry=policy,
            gates=gates,
        ),
        base=path.parent if path is not None else Path(),
        settings=settings,
    )


def _check_sections(settings: Settings) -> None:
    for key, setting in settings.section("").items():
        told = (
            f"expected a section [{key}] with keys of its own"
            if key in SECTIONS
            else "it stands in no section; put it below one, such as [recipe]"
        )
        raise InputError(f"{setting.where}: {key} is {shown(setting.value)}; {told}.")
    for name in settings.names():
        # A table inside a section is a value, and looked at as that.
        if name and not any(f"{name}.".startswith(f"{each}.") for each in SECTIONS):
            raise InputError(
                f"{settings.where(name)}: there is no section [{name}]; {nearest(name, SECTIONS)}"
            )


def _section(settings: Settings, name: str, kind: type[Any]) -> Any:
    return build(kind, name, settings.section(name), settings.where(name))


def _recipe(settings: Settings, samples: SamplesSection) -> Recipe:
    from openeo_gfmap.recipes import RECIPES, SampleColumns  # noqa: PLC0415

    given = settings.section("recipe")
    chosen = given.pop("name", None)
    name = chosen.value if chosen else next(iter(RECIPES))
    if name not in RECIPES:
        place = chosen.where if chosen else settings.where("recipe")
        raise InputError(f"{place}: [recipe] name is {name!r}; there are {', '.join(RECIPES)}.")
    kind = RECIPES[name]
    columns = SampleColumns(samples.sample_id, samples.valid_date, samples.extract, samples.ref_id)
    further: dict[str, Any] = {"columns": columns, "min_extract": samples.min_extract}
    for part in PARTS:
        made = _part(settings, part, given)
        if made is not _NOT_SAID:
            further[part] = made
            given.pop(part, None)
    return build(kind, "recipe", given, settings.where("recipe"), **further)


_NOT_SAID: Final = object()


def _part(settings: Settings, part: str, given: Mapping[str, Any]) -> Any:
    """Return a part of the recipe that is a section of its own, or false for none."""
    from openeo_gfmap.recipes import (  # noqa: PLC0415
        AroundDate,
        FixedDates,
        Labels,
        SclDilation,
    )

    name = f"recipe.{part}"
    found = settings.section(name)
    if not found and part in given:
        if str(given[part].value).lower() in ("false", "none", "no") and part != "period":
            return None
        raise InputError(
            f"{given[part].where}: [recipe] {part} is {shown(given[part].value)}; expected a "
            f"section [{name}]" + ("." if part == "period" else ", or false for none.")
        )
    if not found:
        return _NOT_SAID
    kinds = {"labels": Labels, "cloud_mask": SclDilation}
    fixed = found.keys() & settable(FixedDates).keys()
    kind = kinds.get(part) or (FixedDates if fixed else AroundDate)
    return build(kind, name, found, settings.where(name))


def _gates(settings: Settings, recipe: Recipe) -> QualityGates:
    from openeo_gfmap.quality import QualityGates  # noqa: PLC0415

    given, where = settings.section("gates"), settings.where("gates")
    said, own = build(QualityGates, "gates", given, where), recipe.gates()
    made = set(own.bands or ())
    for name in ("bands", "max_nodata_by_band", "values"):
        unknown = sorted({*(getattr(said, name) or ())} - {*made, "*"}) if made else []
        if name in given and unknown:
            raise InputError(
                f"{given[name].where}: [gates] {name} has {unknown[0]!r}, which is no band of the "
                f"recipe, so that no file would pass; {nearest(unknown[0], sorted(made))}"
            )
    return replace(own, **{name: getattr(said, name) for name in given})
