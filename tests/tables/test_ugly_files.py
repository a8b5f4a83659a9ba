"""Files as lines and people really write them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from service.config.file import parse
from service.errors import ConfigurationError
from service.tables.columns import codes, number, numbers, times
from service.tables.described import describe
from service.tables.reading import read
from service.tables.score import Score
from service.tables.sending import sendable
from service.tables.written import toml

LABELS = ["ok", "worn"]


def made(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "line.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def lines(count=60, header="temp,flow,state", form="{0},{1},{2}", offset=20.0):
    """Rows of two sensors and a state that neither tells alone."""
    rng = np.random.default_rng(1)
    said = [header]
    for k in range(count):
        a, b = offset + rng.normal() * 5, rng.normal() * 2
        state = LABELS[int(a - offset + 3 * b + rng.normal() > 0)]
        said.append(form.format(f"{a:.2f}", f"{b:.2f}", state, k))
    return "\n".join(said) + "\n"


def described(tmp_path, text, target="state", encoding="utf-8", **options):
    file = read(made(tmp_path, text, encoding), **options)
    found = describe(file, target)
    # Whatever it is made of, what is written can be read.
    configuration = parse(toml("line.csv", "line", found))
    names = [feature.name for feature in configuration.models[0].features]
    assert names == [sensor.name for sensor in found.sensors]
    return file, found


def sensors(found):
    return [sensor.name for sensor in found.sensors]


def test_a_plain_file(tmp_path):
    file, found = described(tmp_path, lines())
    assert (file.encoding, file.separator, file.rows) == ("utf-8", ",", 60)
    assert sensors(found) == ["temp", "flow"]
    assert set(found.classes) == set(LABELS)
    assert found.warnings == []
    assert file.doubts == []


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_separators_and_decimal_commas(tmp_path, separator):
    text = lines().replace(",", separator).replace(".", ",")
    file, found = described(tmp_path, text)
    assert file.separator == separator
    assert [s.numbers.comma for s in found.sensors] == [True, True]
    plain = sendable(read(made(tmp_path, lines())), "state", ["temp", "flow"], LABELS)
    comma = sendable(file, "state", ["temp", "flow"], LABELS)
    assert plain == comma


def test_decimal_commas_in_quotes_between_commas(tmp_path):
    text = "a,b,state\n" + "\n".join(f'"{k % 7},5","{k % 5},25",{LABELS[k * 7 % 3 % 2]}' for k in
                                     range(60))  # fmt: skip
    file, found = described(tmp_path, text)
    assert file.separator == ","
    assert found.sensors[0].numbers.values[:3].tolist() == [0.5, 1.5, 2.5]


@pytest.mark.parametrize(
    ("encoding", "found"),
    [("utf-8-sig", "utf-8-sig"), ("utf-16", "utf-16"), ("utf-16-le", "utf-16-le"),
     ("utf-16-be", "utf-16-be"), ("cp932", "cp932")],
)  # fmt: skip
def test_encodings(tmp_path, encoding, found):
    text = lines(header="温度,流量,状態", form="{0},{1},{2}").replace("ok", "正常")
    file, about = described(tmp_path, text, "状態", encoding)
    assert file.encoding == found
    assert file.names == ["温度", "流量", "状態"]
    assert "正常" in about.classes


def test_western_letters_of_windows(tmp_path):
    file, _ = described(tmp_path, lines(header="Fluß,Öl,state"), encoding="cp1252")
    assert file.encoding == "cp1252"
    assert file.names[:2] == ["Fluß", "Öl"]


def test_an_encoding_that_is_said_wrongly_is_told(tmp_path):
    with pytest.raises(ConfigurationError, match="say --encoding"):
        read(made(tmp_path, "é,b\n1,2\n", "cp1252"), encoding="utf-8")


def test_everything_that_says_missing(tmp_path):
    words = ["NaN", "-", "Bad", "", "null", "N/A", "#DIV/0!", "I/O Timeout", "inf", "?"]
    text = lines(200)
    for k, word in enumerate(words):
        text += f"{word},{k % 3 / 2},{LABELS[k % 2]}\n"
    file, found = described(tmp_path, text)
    values = found.sensors[0].numbers.values
    assert int(np.isnan(values).sum()) == len(words)
    rows = sendable(file, "state", ["temp", "flow"], LABELS)
    assert rows.columns["temp"][-len(words) :] == [None] * len(words)


def test_booleans_are_numbers(tmp_path):
    text = lines(header="temp,flow,state,door", form="{0},{1},{2},{3}")
    text = "\n".join(
        line if k == 0 else line.rsplit(",", 1)[0] + (",True" if k * 7 % 5 < 2 else ",FALSE")
        for k, line in enumerate(text.splitlines())
    )
    _, found = described(tmp_path, text)
    assert sensors(found) == ["temp", "flow", "door"]
    door = found.sensors[2]
    assert set(door.numbers.values) == {0.0, 1.0}
    assert door.low < 0 < 1 < door.high


def test_identifiers_constants_text_and_time_are_left_out_with_why(tmp_path):
    header = "id,at,temp,flow,state,plant,note,big"
    text = header + "\n"
    for k, line in enumerate(lines(80).splitlines()[1:]):
        temp, flow, state = line.split(",")
        big = 2**53 + 3 * k
        text += f"{k},2026-03-01 00:{k // 60:02d}:{k % 60:02d},{temp},{flow},{state},7,n{k},{big}\n"
    _, found = described(tmp_path, text)
    assert sensors(found) == ["temp", "flow"]
    assert "counts the rows" in found.left_out["id"]
    assert "counts the rows" in found.left_out["big"]
    assert "always 7" in found.left_out["plant"]
    assert "text, such as 'n0'" in found.left_out["note"]
    assert found.time == "at"
    assert any("times say no zone" in w for w in found.warnings)


@pytest.mark.parametrize("lag", [0, 1, -1, 2])
def test_a_column_that_tells_the_label_is_a_leak(tmp_path, lag):
    rows = [line.split(",") for line in lines(300).splitlines()[1:]]
    told = [str(LABELS.index(r[2])) for r in rows]
    shifted = told[-lag:] + told[:-lag] if lag else told
    text = "temp,flow,state,alarm\n"
    text += "\n".join(",".join([*r, a]) for r, a in zip(rows, shifted, strict=True))
    _, found = described(tmp_path, text)
    assert sensors(found) == ["temp", "flow"]
    assert "the label itself" in found.left_out["alarm"]


def test_a_toggle_in_long_blocks_of_labels_is_no_leak(tmp_path):
    rng = np.random.default_rng(0)
    text = "temp,mode,state\n"
    for k in range(1200):
        state = k // 200 % 2
        text += f"{rng.normal():.2f},{int(rng.random() < 0.2 + 0.5 * state)},{LABELS[state]}\n"
    _, found = described(tmp_path, text)
    assert sensors(found) == ["temp", "mode"]
    assert any("blocks of 200 rows" in w for w in found.warnings)


def test_error_codes_are_not_in_the_range_and_honest_extremes_are(tmp_path):
    assert codes(np.array([20.0, 21, 22, 23, 9999, 9999, 9999])) == [9999]
    assert codes(np.array([20.0, 21, 22, -999, -999, -999, 65535, 65535, 65535])) == [-999, 65535]
    assert codes(np.array([20.0, 21, 22, 9999])) == []  # once: it may be honest
    assert codes(np.array([9990.0, 9995, 9999, 9999, 9999, 9980])) == []  # near the others
    assert codes(np.array([0.0, 1, 0, 1, 1, 0])) == []
    text = lines() + "9999,1,ok\n" * 5 + "80,1,ok\n"
    _, found = described(tmp_path, text)
    temp = found.sensors[0]
    assert 80 < temp.high < 200
    assert any("9999 (5 times) is taken for an error code" in w for w in found.warnings)


def test_no_reading_of_the_file_is_out_of_its_range(tmp_path):
    rng = np.random.default_rng(2)
    for scale in (1e-6, 1.0, 1e5, 1e9):
        text = "a,state\n" + "\n".join(
            f"{scale * (3 + v):.6g},{LABELS[k * 7 % 3 % 2]}"
            for k, v in enumerate(rng.standard_cauchy(300))
        )
        _, found = described(tmp_path, text)
        values = found.sensors[0].numbers.values
        feature = parse(toml("f", "m", found)).models[0].features[0]
        assert feature.range[0] <= values.min()
        assert values.max() <= feature.range[1]


def test_a_header_twice_and_names_twice_or_missing(tmp_path):
    text = lines(30) + lines(30)
    file, _ = described(tmp_path, text)
    assert file.rows == 60
    assert "the header comes 1 more times" in file.doubts[0]
    twice = lines(header="temp,temp,state")
    assert read(made(tmp_path, twice)).names == ["temp", "temp_2", "state"]
    assert read(made(tmp_path, lines(header="temp,,state"))).names == ["temp", "c2", "state"]


def test_lines_that_are_cut_and_a_file_without_a_header(tmp_path):
    file = read(made(tmp_path, lines() + "1.0,2"))
    assert file.rows == 60
    assert "1 of 61 lines have another number of cells" in file.doubts[0]
    bare = read(made(tmp_path, "\n".join(f"{k},{k % 3},{k % 2}" for k in range(40))))
    assert bare.names == ["c1", "c2", "c3"]
    assert bare.rows == 40


def test_five_hundred_columns(tmp_path):
    rng = np.random.default_rng(3)
    header = ",".join([*(f"s{k}" for k in range(500)), "state"])
    rows = [
        ",".join([*(f"{v:.3f}" for v in rng.normal(size=500)), LABELS[int(rng.random() > 0.5)]])
        for _ in range(100)
    ]
    _, found = described(tmp_path, "\n".join([header, *rows]))
    assert len(found.sensors) == 500


def test_times_that_repeat_go_back_and_change_to_winter(tmp_path):
    zone = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 10, 24, 22, tzinfo=UTC).timestamp()
    text = "at;temp;flow;state\n"
    for k, line in enumerate(lines(60).splitlines()[1:]):
        at = datetime.fromtimestamp(start + 600 * k, zone)
        text += f"{at:%d.%m.%Y %H:%M:%S};{line.replace(',', ';')}\n"
    last = text.splitlines()[-1]
    text += last + "\n"
    file, found = described(tmp_path, text)
    said = "\n".join(found.warnings)
    assert "goes back 1 times, by an hour as at the end of summer time" in said
    assert "1 rows have the time of the row before" in said
    rows = sendable(file, "state", ["temp", "flow"], LABELS, zone)
    (first, *_) = rows.parts(0, 1)
    assert first.observed_at == "2026-10-25T00:00:00+02:00"
    # A time without a zone says nothing that could be compared with others.
    (bare, *_) = sendable(file, "state", ["temp", "flow"], LABELS).parts(0, 1)
    assert bare.observed_at is None


def test_rare_classes_gaps_and_sensors_that_stand_still_are_warned_of(tmp_path):
    text = lines(300) + "25.0,1.0,broken\n" * 3
    _, found = described(tmp_path, text)
    assert any("class 'broken' has 3 of 303 rows" in w for w in found.warnings)
    rows = [f"{k // 10 * 7 % 20},{k // 10 % 3},{LABELS[k % 2]}" for k in range(200)]
    _, found = described(tmp_path, "\n".join(["a,b,state", *rows]))
    assert any("are those before again" in w for w in found.warnings)


@pytest.mark.parametrize(
    ("text", "target", "said"),
    [
        ("", "state", "expected a header and rows, found nothing"),
        ("a,b\n", "b", "expected rows below the header"),
        (lines(), "stat", r"expected one of the columns \['temp', 'flow', 'state'\]"),
        (lines(), "temp", "distinct values. A measured quantity cannot be predicted yet"),
        ("a,b\n1,ok\n2,ok\n", "b", "at least two classes"),
        ("a,b\nx,ok\ny,no\n", "b", "expected at least one column of readings"),
    ],
)
def test_what_cannot_be_used_is_told(tmp_path, text, target, said):
    with pytest.raises(ConfigurationError, match=said):
        describe(read(made(tmp_path, text)), target)


def test_names_with_anything_in_them_are_written_and_read_again(tmp_path):
    names = ['a"b', "c\\d", "π [rad/s]", "プレス 温度", "x'y"]
    rng = np.random.default_rng(4)
    text = ";".join(f'"{n.replace(chr(34), chr(34) * 2)}"' for n in [*names, "st # at"]) + "\n"
    for k in range(40):
        cells = [f"{v:.2f}" for v in rng.normal(size=len(names))]
        text += ";".join([*cells, ["o\\k", 'w"orn'][k * 7 % 3 % 2]]) + "\n"
    _, found = described(tmp_path, text, "st # at")
    assert sensors(found) == names


def test_numbers_are_read_as_they_are_written():
    assert number("1.234,5", True) == 1234.5
    assert number("1,234.5", False) == 1234.5
    assert number("-,5", True) == -0.5
    assert number("1e3", False) == 1000
    assert number("0x10", False) is None
    assert number("1_000", False) == 1000 or number("1_000", False) is None
    found = numbers(["1", "2", "x"] * 2)
    assert found is None
    mostly = numbers([str(k) for k in range(99)] + ["x"])
    assert mostly is not None
    assert mostly.odd == 1
    assert math.isnan(mostly.values[-1])


def test_numbers_alone_are_no_times():
    assert times(["20260301", "20260302"]) is None
    assert times(["1", "2"]) is None
    assert times(["2026-03-01T00:00:00Z", "-"])[1] is None


def test_a_parquet_file_is_read_like_any_other(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [line.split(",") for line in lines().splitlines()[1:]]
    table = pyarrow.table(
        {
            "temp": [float(r[0]) for r in rows],
            "flow": [None if k == 3 else float(r[1]) for k, r in enumerate(rows)],
            "state": [r[2] for r in rows],
        }
    )
    path = tmp_path / "line.parquet"
    parquet.write_table(table, path)
    found = describe(read(path), "state")
    assert sensors(found) == ["temp", "flow"]
    assert int(np.isnan(found.sensors[1].numbers.values).sum()) == 1


def test_the_score_is_what_sklearn_says():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(5)
    labels = [str(v) for v in rng.integers(0, 3, 500)]
    said = [a if rng.random() < 0.7 else "1" for a in labels]
    score = Score(["0", "1", "2"])
    for at in range(0, 500, 7):
        score.saw(labels[at : at + 7], said[at : at + 7])
    score.saw([None], ["0"])
    assert score.rows == 500
    assert score.accuracy() == pytest.approx(metrics.accuracy_score(labels, said))
    assert score.macro_f1 == pytest.approx(metrics.f1_score(labels, said, average="macro"))
    last = sum(a == b for a, b in zip(labels[1:], labels[:-1], strict=True)) / 500
    assert score.accuracy("last") == pytest.approx(last)
