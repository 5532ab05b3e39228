"""Settings: precedence, types, and errors that point at file, line, variable or option."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
from shapely.geometry import Point

from openeo_gfmap.cli.config import (
    BackendSection,
    Config,
    OutputSection,
    SamplesSection,
    find_config,
    load_config,
)
from openeo_gfmap.cli.retrying import RemedySection, RetrySection
from openeo_gfmap.cli.settings_file import shown
from openeo_gfmap.cli.template import guess, write_template
from openeo_gfmap.cli.words import TOML
from openeo_gfmap.errors import InputError
from openeo_gfmap.manager.kinds import ErrorKind
from openeo_gfmap.manager.options import ManagerOptions
from openeo_gfmap.manager.policy import (
    REMEDIES,
    Again,
    ChangeOptions,
    GiveUp,
    Grow,
    RetryPolicy,
)
from openeo_gfmap.quality import QualityGates
from openeo_gfmap.recipes import (
    AroundDate,
    FixedDates,
    Labels,
    SclDilation,
    Sentinel2Patches,
)

TEXT = """\
# A comment
[samples]
path = "fields.gpkg"

[recipe]
size = 32
bands = [
  "S2-L2A-B04",
  "S2-L2A-SCL",
]
labels = false

[recipe.period]
start = "2021-01-01"
end = "2021-07-01"

[backend]
parallel_jobs = 4

[gates]
max_nodata = 0.5
values = { "S2-L2A-B04" = [0, 10000], "*" = ["none", 12000] }

[retry]
max_attempts = 3

[limits]
max_costs = 100
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "gfmap.toml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_a_file_becomes_recipe_gates_and_options(toml: Path) -> None:
    config = load_config(toml, (), {})
    assert config.recipe == Sentinel2Patches(
        size=32,
        bands=("S2-L2A-B04", "S2-L2A-SCL"),
        labels=None,
        period=FixedDates("2021-01-01", "2021-07-01"),
    )
    assert config.samples_path == toml.parent / "fields.gpkg"
    assert config.folder == toml.parent / "patches"
    assert config.options.max_costs == 100.0
    assert config.options.retry.max_attempts == 3
    assert config.backend.parallel_jobs == 4
    # What the recipe itself wants of a file holds with what was set.
    assert config.gates.shape == (32, 32)
    assert config.gates.max_nodata == 0.5
    assert config.gates.values == {"S2-L2A-B04": (0, 10_000), "*": (None, 12_000)}
    assert config.options.gates == config.gates


def test_options_go_before_variables_and_these_before_the_file(toml: Path) -> None:
    environment = {"GFMAP_RECIPE_SIZE": "48", "GFMAP_BACKEND_PARALLEL_JOBS": "7"}
    config = load_config(toml, [("recipe.size", "64")], environment)
    assert config.recipe == Sentinel2Patches(
        size=64, bands=("S2-L2A-B04", "S2-L2A-SCL"), labels=None,
        period=FixedDates("2021-01-01", "2021-07-01"),
    )  # fmt: skip
    assert config.backend.parallel_jobs == 7


def test_texts_become_what_a_setting_is(toml: Path) -> None:
    environment = {
        "GFMAP_RECIPE_BANDS": "S2-L2A-B04, S2-L2A-B08",
        "GFMAP_RECIPE_CLOUD_MASK_KERNEL1_SIZE": "9",
        "GFMAP_RECIPE_DISTANCE_TO_CLOUD": "no",
        "GFMAP_RECIPE_MAX_CLOUD_COVER": "none",
        "GFMAP_RECIPE_JOB_OPTIONS": '{"executor-memory": "3G"}',
    }
    recipe = load_config(toml, (), environment).recipe
    assert isinstance(recipe, Sentinel2Patches)
    assert recipe.bands == ("S2-L2A-B04", "S2-L2A-B08")
    assert recipe.cloud_mask is not None and recipe.cloud_mask.kernel1_size == 9
    assert recipe.distance_to_cloud is False
    assert recipe.max_cloud_cover is None
    assert recipe.job_options == {"executor-memory": "3G"}


WRONG = [
    ('path = "fields.gpkg"', "", "line 2: [samples] lacks 'path', which has no default."),
    ("size = 32", "siez = 32", "line 6: [recipe] has no key 'siez'; did you mean 'size'?"),
    ("size = 32", "size = -1", "line 6: [recipe] size is -1; it must be more than 0."),
    ("size = 32", 'size = "a"', "line 6: [recipe] size is 'a'; expected a whole number."),
    ("size = 32", "size = true", "line 6: [recipe] size is true; expected a whole number."),
    ("size = 32", "size = 33", "line 6: [recipe] size: a side of 33 pixels"),
    ("labels = false", "labels = 3", "line 11: [recipe] labels is 3; expected a section"),
    ('end = "2021-07-01"', 'end = "2020"', "line 15: [recipe.period] end is '2020' ("),
    ('end = "2021-07-01"', "end = 2020-01-01", "line 15: [recipe.period] end: the period from"),
    ("size = 32", 'composite = "fortnight"', "line 6: [recipe] composite is 'fortnight'; expected"),
    ("size = 32", "snap = 30\nsize = 32", "line 7: [recipe] size: a side of 32 pixels of 10 m"),
    ("max_nodata = 0.5", "max_nodata = 50", "line 21: [gates] max_nodata is 50"),
    ("max_attempts = 3", "max_attempts = 0", "line 25: [retry] max_attempts is 0"),
    ("max_costs = 100", "max_costs = -1", "line 28: [limits] max_costs is -1"),
    ("max_costs = 100", 'refetch_lost = "md5"', "line 28: [limits] refetch_lost is 'md5'"),
    ("[backend]", "[backends]", "line 17: there is no section [backends]; did you mean 'backend'?"),
    ("[gates]", "[gates", "line 20"),
    ("labels = false", "cloud_mask.kernel = 3", "line 11: [recipe.cloud_mask] has no key 'kernel'"),
    ("labels = false", "labels = { atribute = 3 }", "line 11: [recipe.labels] has no key 'atr"),
    ("[backend]", "[[backend]]", "line 17: backend is [{ \"parallel_jobs\" = 4 }]; expected a"),
    ("# A comment", "size = 3", "line 1: size is 3; it stands in no section"),
    ("size = 32", 'path = """{sample_id}\nsize = 3"""\nsiez = 3', "line 8: [recipe] has no key"),
    ("max_nodata = 0.5", 'bands = ["S2-L2A-B4"]', "line 21: [gates] bands has 'S2-L2A-B4', which"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "message"), WRONG, ids=[new or old for old, new, _ in WRONG]
)
def test_what_is_wrong_is_told_with_file_line_and_key(
    old: str, new: str, message: str, toml: Path
) -> None:
    toml.write_text(TEXT.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError) as error:
        load_config(toml, (), {})
    assert f"gfmap.toml, {message}" in str(error.value)


#: What is found out only when samples and back-end are looked at, too.
LATER = [
    ('path = "fields.gpkg"', 'path = "other.gpkg"', "line 3: [samples] path: there is no file "),
    ('path = "fields.gpkg"', 'path = "fields.gpkg"\nref_id = "a"', "line 4: [samples] ref_id: "),
    ("labels = false", 'labels.attribute = "crop"', "line 11: [recipe.labels] attribute: the "),
    ('"S2-L2A-B04",', '"S2-L2A-B99",', "line 7: [recipe] bands: Bands ['S2-L2A-B99'] are not"),
    ("parallel_jobs = 4", 'name = "cdsee"', "line 18: [backend] name: back-end 'cdsee' is not"),
    ("parallel_jobs = 4", "parallel_jobs = 0", "line 18: [backend] parallel_jobs: "),
    ("parallel_jobs = 4", "poll_sleep = -1", "line 18: [backend] poll_sleep: "),
    (
        "parallel_jobs = 4", 'name = "fed"\nupload = "ftp://store"',
        "line 19: [backend] upload: the store 'ftp://store' is no address",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), LATER, ids=[new for _, new, _ in LATER])
def test_what_samples_and_back_end_do_not_allow_is_told_with_its_place(
    old: str, new: str, message: str, toml: Path
) -> None:
    fields(toml.parent, sample_id=["a", "b"])
    text = TEXT.replace(old, new, 1)
    if "B99" in new:
        text = re.sub(r"(?s)\[gates\].*?(?=\[retry\])", "", text)
    toml.write_text(text, encoding="utf-8")
    config = load_config(toml, (), {})
    with pytest.raises(InputError) as error:
        config.check(config.extraction())
    assert f"gfmap.toml, {message}" in str(error.value)


#: What is wrong with samples: a table of them, more settings, and what is said.
SAMPLES: list[tuple[dict[str, Any], str, str]] = [
    (
        {"uid": ["a", "a"]}, "",
        "line 2: [samples] sample_id: {file}: 1 values of uid occur more than once, such as 'a'; "
        "each sample needs its own, since files are named by it. Drop the duplicates, or name "
        "another column as [samples] sample_id.",
    ),
    (
        {"code": [1, None]}, 'sample_id = "code"',
        "line 4: [samples] sample_id: {file}: 1 samples have no code, in rows 1; each needs one",
    ),
    ({"a": [1, 2]}, 'sample_id = "b"', "line 4: [samples] sample_id: the samples have no column "
     "'b' for [samples] sample_id; they have a, geometry."),
    (
        {"day": ["1/6/2021", "soon"]}, 'valid_date = "day"',
        "line 4: [samples] valid_date: {file}: column day holds '1/6/2021', 'soon'; expected dates "
        "such as 2021-06-01, the year first. Mend it, or name another column as [samples] "
        "valid_date.",
    ),
    (
        {"date": ["2021-06-01", None]}, "",
        "line 2: [samples] valid_date: 1 of 2 samples to be extracted have no date, such as '1'; "
        "fill it in, name its column as [samples] valid_date, or give all samples one period: "
        "[recipe.period] start and end.",
    ),
    (
        {"extract": ["yes", "no"]}, "",
        "line 2: [samples] extract: {file}: column extract holds 'yes', 'no'; expected true and",
    ),
    (
        {"extract": [1, 1]}, "min_extract = 2",
        "line 4: [samples] min_extract: {file}: no sample is to be extracted: extract is nowhere "
        "true, or 2 or more. Set it, or lower [samples] min_extract.",
    ),
    (
        {"x": [1, 2]}, "[recipe]\nlabels = { names = 'y' }",
        "line 5: [recipe.labels] attribute: the samples have no column 'croptype_label' to make "
        "labels of; they have x, geometry, sample_id, extract, ref_id, valid_date. Name one of "
        "them as [recipe.labels] attribute, or make no labels: labels = false in [recipe].",
    ),
    (
        {"x": [1, 2]}, '[recipe]\nlabels = false\npath = "{y}.nc"\n[recipe.period]\n'
        "start = 2021-01-01\nend = 2021-02-01",
        "line 6: [recipe] path: the path template '{y}.nc' has the field 'y', which the samples do",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "more", "message"), SAMPLES, ids=[m for *_, m in SAMPLES])
def test_what_is_wrong_with_samples_is_told_in_words_of_the_file(
    columns: dict[str, Any], more: str, message: str, tmp_path: Path
) -> None:
    file = fields(tmp_path, **columns)
    path = tmp_path / "gfmap.toml"
    recipe = "" if "[recipe]" in more else "\n[recipe]\nlabels = false"
    path.write_text(f'# Mine\n[samples]\npath = "fields.gpkg"\n{more}{recipe}\n', encoding="utf-8")
    with pytest.raises(InputError) as error:
        load_config(path, (), {}).extraction()
    assert f"gfmap.toml, {message.replace('{file}', str(file))}" in str(error.value)


REMEDIES_SAID = """
[retry.transient]
remedy = "again"
wait = 5

[retry.out-of-memory]
remedy = "change-options"

[retry.out-of-memory.options.executor-memory]
factor = 2
ceiling = "16G"

[retry.out-of-memory.options.task-cpus]
factor = 2
ceiling = 8
initial = 1

[retry.backend-bug]
remedy = "give-up"
"""


def test_remedies_are_said_by_kind_of_error(toml: Path) -> None:
    toml.write_text(TEXT + REMEDIES_SAID, encoding="utf-8")
    options = [("retry.results.remedy", "again")]
    environment = {
        "GFMAP_RETRY_OUT_OF_MEMORY_WAIT": "7",
        "GFMAP_RETRY_TIME_LIMIT_REMEDY": "change-options",
        "GFMAP_RETRY_TIME_LIMIT_OPTIONS": '{"cpus": {"factor": 2, "ceiling": 4}}',
    }
    config = load_config(toml, options, environment)
    growth = {"executor-memory": Grow(2, "16G"), "task-cpus": Grow(2, 8, initial=1)}
    policy = RetryPolicy(
        3,
        {
            **REMEDIES,
            ErrorKind.TRANSIENT: Again(5),
            ErrorKind.OUT_OF_MEMORY: ChangeOptions(growth, wait=7),
            ErrorKind.BACKEND_BUG: GiveUp(),
            ErrorKind.RESULTS: Again(),
            ErrorKind.TIME_LIMIT: ChangeOptions({"cpus": Grow(2, 4)}),
        },
    )
    assert config.options.retry == policy
    # A number without a fraction stays one: job options may be nothing else.
    assert growth["task-cpus"].apply(6) == 8
    out_of_memory = config.options.retry.remedies[ErrorKind.OUT_OF_MEMORY]
    assert isinstance(out_of_memory, ChangeOptions)
    assert repr(out_of_memory.options["task-cpus"].ceiling) == "8"
    assert resolved(config, toml.parent).options.retry == policy


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("remedy = 'hope'", "31: [{}] remedy is 'hope'; there are again, change-options, give-up."),
        ("wait = 3", "30: [{}] lacks 'remedy'"),
        ("remedy = 'again'\nwait = -1", "32: [{}] wait is -1.0;"),
        ("remedy = 'again'\nafter = 1", "32: [{}] has no key 'after'"),
        (
            "remedy = 'change-options'",
            "31: [{}] remedy is 'change-options', and there are no options",
        ),
        (
            "remedy = 'again'\noptions = { a = 1 }",
            "32: [{}] options are for the remedy 'change-options'",
        ),
        ("remedy = 'change-options'\noptions = { a = 1 }", "32: [{}] options: a is 1; expected a"),
        (
            "remedy = 'change-options'\noptions = { a = { factor = 1, ceiling = 2 } }",
            "32: [{}.options.a] factor is 1.0; it must be more than 1.",
        ),
        (
            "remedy = 'change-options'\noptions.a = { factor = 2 }",
            "32: [{}.options.a] lacks 'ceiling'",
        ),
        (
            "remedy = 'change-options'\noptions.a = { factor = 2, ceiling = 'x' }",
            "32: [{}.options.a] ceiling is 'x'; expected a number, or one with a unit",
        ),
    ],
)
def test_remedies_that_cannot_be_meant_are_told_with_their_place(
    said: str, message: str, toml: Path
) -> None:
    toml.write_text(f"{TEXT}\n[retry.unknown]\n{said}\n", encoding="utf-8")
    with pytest.raises(InputError) as error:
        load_config(toml, (), {})
    assert f"gfmap.toml, line {message.format('retry.unknown')}" in str(error.value)


def test_a_kind_of_error_that_there_is_not_is_told(toml: Path) -> None:
    toml.write_text(f"{TEXT}\n[retry.transiant]\nremedy = 'again'\n", encoding="utf-8")
    said = r"line 30: 'transiant' is no kind of error; did you mean 'transient'\?"
    with pytest.raises(InputError, match=said):
        load_config(toml, (), {})


def test_remedies_for_jobs_that_are_made_once_only_are_refused(toml: Path) -> None:
    text = TEXT.replace("max_attempts = 3", "") + '[retry.unknown]\nremedy = "again"\n'
    toml.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"line 29: \[retry.unknown\] says .* max_attempts is 1,"):
        load_config(toml, (), {})


def test_what_a_program_is_to_write_is_not_told_to_who_has_a_file(tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame({"a": [1]}, geometry=[Point(5, 51)])
    frame.to_parquet(tmp_path / "fields.parquet")
    (tmp_path / "table.csv").write_text("lon,lat\n4,51\n")
    samples = [("samples.path", str(tmp_path / "fields.parquet")), ("recipe.labels", "false")]
    with pytest.raises(InputError, match=r"option samples.path: .* no CRS.*ogr2ogr -a_srs"):
        load_config(None, samples, {}).extraction()
    samples[0] = ("samples.path", str(tmp_path / "table.csv"))
    with pytest.raises(InputError, match=r"only the columns lon, lat.*ogr2ogr -oo X_POSSIBLE"):
        load_config(None, samples, {}).extraction()
    cdse = [("samples.path", str(fields(tmp_path, a=[1, 2]))), ("backend.name", "cdse")]
    with pytest.raises(InputError, match=r'give upload = "https://…" in \[backend\], a store that'):
        load_config(None, cdse, {}).extraction()
    with pytest.raises(InputError, match=r"have a mask, as \[recipe.cloud_mask\] says it"):
        load_config(None, [*samples, ("recipe.composite", "month"), ("recipe.cloud_mask", "no")])


def test_an_error_that_names_settings_can_be_pickled() -> None:
    import pickle

    error = InputError(lambda words: words.name("Labels", "labels"), about="labels")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.about, again.told(TOML)) == ("Labels", "labels", "Labels")
    assert error.told(TOML) == "[recipe.labels]"


def test_a_variable_that_names_no_section_is_told(
    toml: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load_config(toml, (), {"GFMAP_RECIP_SIZE": "3", "OPENEO_GFMAP_HOME": "x"})
    (record,) = caplog.records
    assert "GFMAP_RECIP_SIZE is not read" in record.getMessage()


def test_secrets_are_not_written_and_can_be_given_again(toml: Path) -> None:
    options = [("recipe.job_options", '{"access_token": "geheim", "cpus": 2}')]
    config = load_config(toml, options, {})
    text = config.to_toml()
    assert "geheim" not in text
    assert "set GFMAP_RECIPE_JOB_OPTIONS for later commands" in text
    path = toml.with_name("again.toml")
    path.write_text(text, encoding="utf-8")
    assert (
        load_config(path, (), {"GFMAP_RECIPE_JOB_OPTIONS": options[0][1]}).recipe == config.recipe
    )


def test_what_is_wrong_elsewhere_is_told_with_its_place(toml: Path) -> None:
    with pytest.raises(InputError, match=r"environment variable GFMAP_RECIPE_SIZE: .*size is 'x'"):
        load_config(toml, (), {"GFMAP_RECIPE_SIZE": "x"})
    with pytest.raises(InputError, match=r"option recipe.size: .*size is '1.5'"):
        load_config(toml, [("recipe.size", "1.5")], {})
    with pytest.raises(InputError, match=r"option 'colour.size': there is no section"):
        load_config(toml, [("colour.size", "1")], {})
    with pytest.raises(InputError, match=r"\[recipe\] name is 's1'; there are sentinel2-patches"):
        load_config(toml, [("recipe.name", "s1")], {})


def test_a_file_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(None) is None
    with pytest.raises(InputError, match=r"there is no file .*gfmap init"):
        find_config(tmp_path / "none.toml")
    (tmp_path / "gfmap.toml").write_text(TEXT)
    assert find_config(None) == Path("gfmap.toml")


def resolved(config: Config, folder: Path) -> Config:
    path = folder / "again.toml"
    path.write_text(config.to_toml(), encoding="utf-8")
    return load_config(path, (), {})


@pytest.mark.parametrize(
    "options",
    [
        [],
        [("recipe.cloud_mask", "false"), ("recipe.labels", "false")],
        [("recipe.labels.attribute", "crop"), ("recipe.composite", "month")],
        [("recipe.path", 'x/{sample_id}"\\\\ü.nc'.replace("\\\\", ""))],
        [("gates.min_clear_dates", "3"), ("output.folder", "/elsewhere"), ("limits.settle", "3")],
    ],
)
def test_a_configuration_goes_through_its_own_file(
    options: list[tuple[str, str]], toml: Path
) -> None:
    config = load_config(toml, options, {})
    again = resolved(config, toml.parent)
    assert again.recipe == config.recipe
    assert again.options == config.options
    assert again.gates == config.gates
    assert again.samples_path == config.samples_path.absolute()
    assert again.folder == config.folder.absolute()
    assert again.backend == config.backend


@pytest.mark.parametrize("value", [True, 3, 2.5, 'a "b" ü', [1, "x"], {"a b": [1, 2]}])
def test_values_are_written_as_toml_reads_them(value: object) -> None:
    import tomllib

    assert tomllib.loads(f"x = {shown(value)}") == {"x": value}


def fields(folder: Path, **columns: list[object]) -> Path:
    frame = gpd.GeoDataFrame(columns, geometry=[Point(5, 51), Point(5.1, 51)], crs=4326)
    path = folder / "fields.gpkg"
    frame.to_file(path)
    return path


@pytest.mark.parametrize(
    ("columns", "period", "labels"),
    [
        (
            {"sampleID": ["a", "b"], "valid_time": ["2021-05-01", "2021-06-01"], "label": [1, 2]},
            AroundDate(275, 275),
            Labels("label"),
        ),
        ({"uid": [1, 2]}, FixedDates("2021-01-01", "2022-01-01"), None),
    ],
)
def test_the_file_that_init_writes_can_be_used_as_it_is(
    columns: dict[str, list[object]], period: object, labels: object, tmp_path: Path
) -> None:
    path = fields(tmp_path, **columns)
    guessed = guess(path)
    assert guessed.samples == guessed.extracted == 2
    toml = tmp_path / "gfmap.toml"
    toml.write_text(write_template(guessed, path, tmp_path, "local"), encoding="utf-8")
    config = load_config(toml, (), {})
    assert isinstance(config.recipe, Sentinel2Patches)
    assert config.recipe.period == period
    assert config.recipe.labels == labels
    assert config.samples_path == path
    if period != AroundDate(275, 275):
        assert config.extraction().plan().samples == 2


DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_documented_file_holds_every_key_and_can_be_read(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.M | re.S)
    path = tmp_path / "gfmap.toml"
    path.write_text(block, encoding="utf-8")
    config = load_config(path, (), {})
    # Keys that must be absent for others to be there.
    shown = {("recipe.period", "start"), ("recipe.period", "end")}
    shown |= {(name, key) for name, keys in _documented(block).items() for key in keys}
    kinds: dict[str, type[Any]] = {
        "samples": SamplesSection,
        "recipe": Sentinel2Patches,
        "recipe.period": AroundDate,
        "recipe.labels": Labels,
        "recipe.cloud_mask": SclDilation,
        "backend": BackendSection,
        "output": OutputSection,
        "gates": QualityGates,
        "retry": RetrySection,
        "retry.out-of-memory": RemedySection,
        "limits": ManagerOptions,
    }
    elsewhere = {
        "columns",
        "min_extract",
        "period",
        "labels",
        "cloud_mask",
        "retry",
        "gates",
        "remedies",
    }
    for section, kind in kinds.items():
        keys = {each.name for each in dataclasses.fields(kind)}
        if section not in ("samples",):
            keys -= elsewhere
        assert {key for name, key in shown if name == section} >= keys, section
    assert config.recipe.name == "sentinel2-patches"


def _documented(block: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in block.splitlines():
        if table := re.match(r"\[([\w.-]+)\]", line):
            section = table[1]
        elif key := re.match(r"(\w+) =", line):
            found.setdefault(section, set()).add(key[1])
    return found
