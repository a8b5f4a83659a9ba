"""What is counted in bulk reads as if each had been counted by Prometheus' own client."""

from __future__ import annotations

import random
import threading

from prometheus_client.parser import text_string_to_metric_families

from service.metrics.declared import LATENCY_BUCKETS, Metrics


def lines(metrics):
    text = metrics.exposition()[0].decode()
    return [line for line in text.splitlines() if 'm"' in line]


def test_a_scrape_reads_as_if_each_was_counted_by_itself():
    drawn = random.Random(0)
    # Bounds themselves, what lies beyond all of them, and what clocks that step back would give.
    seconds = [*LATENCY_BUCKETS, 0.0, 3.0, 1e9, -1.0, *(drawn.expovariate(100) for _ in range(500))]
    tallied, single = Metrics(), Metrics()
    labels = "route", "m"
    mine = (
        tallied.spread(tallied.request_seconds, *labels),
        tallied.sum(tallied.stage_seconds, "m", "decode"),
        tallied.count(tallied.requests, *labels, "200"),
    )
    theirs = (
        single.child(single.request_seconds, *labels),
        single.child(single.stage_seconds, "m", "decode"),
        single.child(single.requests, *labels, "200"),
    )
    for at, each in enumerate(seconds):
        for spread, total, count in (mine, theirs):
            spread.observe(each)
            total.observe(each)
            count.inc(at)
        if at % 100 == 0:
            assert [line.split()[0] for line in lines(tallied)] == [
                line.split()[0] for line in lines(single)
            ]
    read, expected = ([line.split() for line in lines(each)] for each in (tallied, single))
    assert [name for name, _ in read] == [name for name, _ in expected]
    assert all(
        abs(float(a) - float(b)) <= 1e-9 * abs(float(b))
        for (_, a), (_, b) in zip(read, expected, strict=True)
    )


def test_one_child_has_one_tally_and_others_may_count_in_it_too():
    metrics = Metrics()
    metrics.sum(metrics.stage_seconds, "m", "decode").observe(1)
    metrics.sum(metrics.stage_seconds, "m", "decode").observe(2)
    metrics.spent("m", "decode", 4)
    assert 'apical_stage_seconds_sum{model="m",stage="decode"} 7.0' in lines(metrics)
    assert 'apical_stage_seconds_count{model="m",stage="decode"} 3.0' in lines(metrics)


def test_scrapes_at_the_same_time_count_nothing_twice_and_lose_nothing():
    metrics, over = Metrics(), threading.Event()
    count = metrics.count(metrics.requests, "route", "m", "200")
    spread = metrics.spread(metrics.request_seconds, "route", "m")
    read = []

    def scrape():
        while not over.is_set():
            (family,) = [
                each
                for each in text_string_to_metric_families(metrics.exposition()[0].decode())
                if each.name == "apical_requests"
            ]
            read.append(sum(sample.value for sample in family.samples))

    threads = [threading.Thread(target=scrape) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(100_000):
        count.inc()
        spread.observe(0.001)
    over.set()
    for thread in threads:
        thread.join()
    assert max(read) <= 100_000
    last = lines(metrics)
    assert 'apical_requests_total{code="200",model="m",route="route"} 100000.0' in last
    assert 'apical_request_seconds_count{model="m",route="route"} 100000.0' in last
